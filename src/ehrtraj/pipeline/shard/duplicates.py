"""Find rows that repeat another row in every column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrtraj.format.arrays import NULL, SECOND, Int64s, Texts, to_int64
from ehrtraj.pipeline.shard.packing import fits, sort_order


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
    positions, follows = order[suspected], same[suspected]
    candidates = rows.take(pa.array(positions))
    columns = [_comparable(candidates[c]) for c in rows.column_names]
    equal = follows.copy()
    for column in columns:
        equal[1:] &= column[1:] == column[:-1]
    group = np.cumsum(~follows, dtype=np.int64)
    # In a group of three or more, equal rows may have another between them: only such groups are sorted whole.
    mixed = np.zeros(int(group[-1]) + 1, np.bool_)
    mixed[group[follows & ~equal]] = True
    mixed &= np.bincount(group, minlength=len(mixed)) > 2
    inside = np.flatnonzero(mixed[group])
    if len(inside):
        by_content, whole = sort_order([group[inside], *(column[inside] for column in columns)])
        equal[inside] = False
        equal[inside[by_content[whole]]] = True
    return np.sort(positions[equal])
