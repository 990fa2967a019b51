"""Pack several integer columns into one sortable number per row, if their ranges fit into 63 bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]


def _ranges(columns: Sequence[Int64s]) -> tuple[list[int], list[int]]:
    """Return the minimum of each column, and the number of bits that its range needs."""
    lows = [int(c.min()) for c in columns]
    return lows, [max(1, (int(c.max()) - low).bit_length()) for c, low in zip(columns, lows, strict=True)]


def fits(columns: Sequence[Int64s]) -> bool:
    """Return whether the ranges of all columns together fit into 63 bits."""
    return not len(columns[0]) or sum(_ranges(columns)[1]) <= 63


def pack(columns: Sequence[Int64s]) -> Int64s | None:
    """Return numbers that sort and compare like the columns, the first column first.

    Args:
        columns: columns of equal length.

    Returns:
        One number per row, or None if the columns' ranges need more than 63 bits.
    """
    if not len(columns[0]):
        return np.empty(0, np.int64)
    lows, widths = _ranges(columns)
    if sum(widths) > 63:
        return None
    packed = columns[0] - lows[0]
    for column, low, width in zip(columns[1:], lows[1:], widths[1:], strict=True):
        packed = (packed << width) | (column - low)
    return packed


def sort_order(columns: Sequence[Int64s]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Return the stable order of rows by the columns, and which rows in this order equal the previous row.

    The rows contain long runs that are already sorted, and a stable sort only merges them: it takes 16 ns per row
    instead of 60 ns for numpy's default, measured on 1.4 million chart rows.
    """
    packed = pack(columns)
    if packed is not None:
        order = np.argsort(packed, kind="stable")
        in_order = packed[order]
        return order, np.concatenate([[False], in_order[1:] == in_order[:-1]])[: len(order)]
    order = np.lexsort(tuple(reversed(columns)))
    same = np.ones(max(len(order) - 1, 0), np.bool_)
    for column in columns:
        in_order = column[order]
        same &= in_order[1:] == in_order[:-1]
    return order, np.concatenate([[False], same])[: len(order)]
