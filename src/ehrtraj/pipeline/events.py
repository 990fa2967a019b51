"""The shape of an event, and the columns of many events while they are put together.

While a shard is assembled, numbers are plain numpy arrays with a sentinel for null, and texts are positions in a list
of distinct texts: sorting then moves 4 bytes for a text and nothing is spelled out before it is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]

NULL = np.iinfo(np.int64).min
"""Stands for null in int64 arrays, times included."""

SECOND = 1_000_000
"""Microseconds, the unit of all times."""

PRECISIONS = ("second", "minute", "day", "year")

EVENT_SCHEMA = pa.schema(
    [
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("time", pa.timestamp("us")),
        pa.field("code", pa.string(), nullable=False),
        pa.field("numeric_value", pa.float32()),
        pa.field("text_value", pa.large_string()),
        pa.field("unit", pa.string()),
        pa.field("available_time", pa.timestamp("us")),
        pa.field("time_precision", pa.string(), nullable=False),
        pa.field("hadm_id", pa.int64()),
        pa.field("stay_id", pa.int64()),
        pa.field("raw_value", pa.string()),
        pa.field("raw_unit", pa.string()),
        pa.field("flags", pa.int64(), nullable=False),
        pa.field("source_table", pa.string(), nullable=False),
        pa.field("source_key", pa.int64()),
        pa.field("link_id", pa.int64()),
        pa.field("attributes", pa.string()),
    ]
)
"""Columns of `data/**/*.parquet`: MEDS 0.4 first, then ours."""

EVENT_TIME = pa.field("event_time", pa.timestamp("us"))
"""Added with `--clock available`: when it happened, `time` then being when it could be known."""

INT_COLUMNS = ("available_time", "hadm_id", "stay_id", "flags", "source_key", "link_id")
TEXT_COLUMNS = ("text_value", "unit", "raw_value", "raw_unit", "attributes")


def event_schema(clock: str) -> pa.Schema:
    """Schema of the data files for a clock."""
    return EVENT_SCHEMA if clock == "event" else EVENT_SCHEMA.append(EVENT_TIME)


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def to_int64(column: pa.ChunkedArray) -> Int64s:
    """Integers or timestamps as int64, `NULL` for null."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    if column.null_count:
        column = pc.fill_null(column, NULL)
    return column.to_numpy()


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

    @classmethod
    def concat(cls, parts: Sequence[Texts | None], lengths: Sequence[int], kind: pa.DataType) -> Texts:
        """Put parts one after another over one list of distinct values; a part that is None is all null."""
        present = [p.values.cast(kind) for p in parts if p is not None]
        union = pa.chunked_array(present, kind).combine_chunks().dictionary_encode()
        moved, at = [], 0
        new = np.append(union.indices.to_numpy(zero_copy_only=False).astype(np.int32), np.int32(-1))
        for part, length in zip(parts, lengths, strict=True):
            if part is None:
                moved.append(np.full(length, -1, np.int32))
                continue
            own = np.append(new[at : at + len(part.values)], np.int32(-1))
            moved.append(own[part.positions])
            at += len(part.values)
        return cls(np.concatenate(moved) if moved else np.empty(0, np.int32), union.dictionary)

    def ranks(self) -> Int32s:
        """Place of each distinct value in their order as bytes, so that ties sort the same whatever came first."""
        order = pc.sort_indices(self.values).to_numpy()
        ranks = np.empty(len(order) + 1, np.int32)
        ranks[order] = np.arange(len(order), dtype=np.int32)
        ranks[-1] = -1
        return ranks


@dataclass
class Events:
    """Events of one statement, or of all of a part, column by column.

    Attributes:
        table: position of the source table among the build's tables, for each event.
        subject: subject_id.
        time: microseconds, `NULL` for static facts.
        code: positions in the list of codes.
        number: float32, NaN for null.
        precision: position in `PRECISIONS`.
        linked: whether hadm_id is to be checked and inferred.
        ints: the columns of `INT_COLUMNS`.
        texts: the columns of `TEXT_COLUMNS`.
    """

    table: npt.NDArray[np.uint8]
    subject: Int64s
    time: Int64s
    code: Int32s
    number: npt.NDArray[np.float32]
    precision: npt.NDArray[np.uint8]
    linked: npt.NDArray[np.bool_]
    ints: dict[str, Int64s]
    texts: dict[str, Texts]

    def __len__(self) -> int:
        return len(self.subject)


def masked(values: Int64s, kind: pa.DataType) -> pa.Array:
    """An Arrow array of int64 or timestamps in which `NULL` is null."""
    null = values == NULL
    data: Any = values if kind == pa.int64() else values.view("datetime64[us]")
    return pa.array(data, kind, mask=null if null.any() else None)
