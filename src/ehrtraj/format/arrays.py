"""Columns in memory: numpy arrays with a sentinel for null, and texts as positions in a list of distinct texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Int64s = npt.NDArray[np.int64]


Int32s = npt.NDArray[np.int32]


Floats = npt.NDArray[np.float64]


Bools = npt.NDArray[np.bool_]


NULL = np.iinfo(np.int64).min
"""Stands for null in int64 arrays, times included."""


SECOND = 1_000_000
"""Microseconds, the unit of all times."""


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def to_int64(column: pa.ChunkedArray) -> Int64s:
    """Integers or timestamps as int64, `NULL` for null."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if column.null_count:
        column = pc.fill_null(column, NULL)
    values: Int64s = column.to_numpy()
    return values


@dataclass
class Texts:
    """Texts as positions in a list of distinct ones; -1 for null."""

    positions: Int32s
    values: pa.Array

    @classmethod
    def encode(cls, column: pa.ChunkedArray) -> Texts:
        """Find the distinct values of a column of any type."""
        encoded = one_array(column).dictionary_encode()
        positions = encoded.indices
        if positions.null_count:
            positions = pc.fill_null(positions, -1)
        return cls(positions.to_numpy(), encoded.dictionary)

    def take(self) -> list[str | None]:
        """The text of each row."""
        texts: list[str | None] = self.values.take(pa.array(self.positions, mask=self.positions < 0)).to_pylist()
        return texts

    def ranks(self) -> Int32s:
        """Place of each distinct value in their order as bytes, so that ties sort the same whatever came first."""
        order = pc.sort_indices(self.values).to_numpy()
        ranks = np.empty(len(order) + 1, np.int32)
        ranks[order] = np.arange(len(order), dtype=np.int32)
        ranks[-1] = -1
        return ranks


def with_nulls(values: npt.NDArray[Any], null: npt.NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
    """An Arrow array over the values themselves, null where `null` says so.

    `pyarrow.array(values, mask=null)` does the same at 3.6 ns a value; this costs 0.1.
    """
    valid = pa.py_buffer(np.packbits(~null, bitorder="little")) if null.any() else None
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(np.ascontiguousarray(values))])


def masked(values: Int64s, kind: pa.DataType) -> pa.Array:
    """An Arrow array of int64 or timestamps in which `NULL` is null."""
    return with_nulls(values, values == NULL, kind)
