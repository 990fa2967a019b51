"""Find rows that repeat another row in every column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrtraj.format.arrays import NULL, SECOND, Int64s, Texts, to_int64
from ehrtraj.pipeline.shard.packing import fits, sort_order


def _comparable(column: pa.ChunkedArray) -> Int64s:
    """Return int64 values that are equal exactly where the column's values are equal (null equals null)."""
    if not (pa.types.is_integer(column.type) or pa.types.is_timestamp(column.type)):
        return Texts.encode(column).positions.astype(np.int64)
    values = to_int64(column.cast(pa.int64()))
    null = values == NULL
    if not null.any():
        return values
    # Null becomes a number just below the others, so that the range stays small enough to be packed.
    return np.where(null, (values[~null].min() if not null.all() else 0) - 1, values)


def _keys(rows: pa.Table, columns: Sequence[str]) -> list[Int64s]:
    """Return numbers that are equal at least where the columns' values are equal, in ranges that can be packed.

    If the values do not fit, they are replaced by their positions among the distinct values in order of occurrence,
    which keeps runs of rows together.
    """
    plain = []
    for name in columns:
        values = _comparable(rows[name])
        # Full seconds are enough to find candidates.
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
    """Return the ascending positions of rows that equal an earlier row in every column.

    Args:
        rows: a table.
        suspect: columns to compare first; only rows that agree in these are compared in all columns.
    """
    order, same = sort_order(_keys(rows, suspect))
    if not same.any():
        return np.empty(0, np.int64)
    suspected = same.copy()
    suspected[:-1] |= same[1:]
    positions, follows = order[suspected], same[suspected]
    candidates = rows.take(pa.array(positions))
    # Columns that are equal in all rows of each group need not be compared or sorted again.
    varying = []
    equal = follows.copy()
    for name in rows.column_names:
        column = _comparable(candidates[name])
        unchanged = column[1:] == column[:-1]
        if not unchanged[follows[1:]].all():
            varying.append(column)
            equal[1:] &= unchanged
    group = np.cumsum(~follows, dtype=np.int64)
    # In a group of three or more, other rows may be between equal rows: only such groups are sorted by all columns.
    mixed = np.zeros(int(group[-1]) + 1, np.bool_)
    mixed[group[follows & ~equal]] = True
    mixed &= np.bincount(group, minlength=len(mixed)) > 2
    inside = np.flatnonzero(mixed[group])
    if len(inside):
        by_content, repeats = sort_order([group[inside], *(column[inside] for column in varying)])
        equal[inside] = False
        equal[inside[by_content[repeats]]] = True
    return np.sort(positions[equal])
