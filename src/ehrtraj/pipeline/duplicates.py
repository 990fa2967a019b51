"""Find rows that repeat another row in every column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrtraj.pipeline.events import NULL, SECOND, Int64s, Texts, to_int64
from ehrtraj.pipeline.packing import fits, sort_order


def _comparable(column: pa.ChunkedArray) -> Int64s:
    """int64 values that are equal exactly where the column's values are (null equals null)."""
    if not (pa.types.is_integer(column.type) or pa.types.is_timestamp(column.type)):
        return Texts.encode(column).positions.astype(np.int64)
    values = to_int64(column.cast(pa.int64()))
    null = values == NULL
    if not null.any():
        return values
    # A number next to the others, so that the range stays small enough to pack.
    return np.where(null, (values[~null].min() if not null.all() else 0) - 1, values)


def _keys(rows: pa.Table, columns: Sequence[str]) -> list[Int64s]:
    """Numbers that agree at least where the columns' values do, from ranges narrow enough to be packed together.

    Positions among the distinct values, in the order they come, keep rows that lie in runs in runs.
    """
    plain = []
    for name in columns:
        values = _comparable(rows[name])
        # Whole seconds are enough to suspect a pair.
        plain.append(values // SECOND if pa.types.is_timestamp(rows.schema.field(name).type) else values)
    if fits(plain):
        return plain
    return [
        p
        if pa.types.is_timestamp(rows.schema.field(name).type)
        else Texts.encode(rows[name]).positions.astype(np.int64)
        for name, p in zip(columns, plain, strict=True)
    ]


def find_duplicates(rows: pa.Table, suspect: Sequence[str]) -> npt.NDArray[np.int64]:
    """Positions, ascending, of rows that equal an earlier row in every column.

    Args:
        rows: a table.
        suspect: columns to look at first; only rows that agree in these are compared whole.
    """
    order, same = sort_order(_keys(rows, suspect))
    if not same.any():
        return np.empty(0, np.int64)
    suspected = same.copy()
    suspected[:-1] |= same[1:]
    positions = order[suspected]
    group = np.cumsum(~same[suspected], dtype=np.int64)
    candidates = rows.take(pa.array(positions))
    columns = [group, *(_comparable(candidates[c]) for c in rows.column_names)]
    by_content, whole = sort_order(columns)
    return np.sort(positions[by_content[whole]])
