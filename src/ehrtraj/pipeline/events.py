"""The shape of an event, and the columns of many events while they are put together.

While a shard is assembled, numbers are plain numpy arrays with a sentinel for null, and texts are positions in a list
of distinct texts: sorting then moves 4 bytes for a text and nothing is spelled out before it is written.
"""

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


@dataclass
class Events:
    """Events column by column.

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


_BUFFER_TYPES: dict[str, Any] = {
    "table": np.uint8,
    "subject": np.int64,
    "time": np.int64,
    "code": np.int32,
    "number": np.float32,
    "precision": np.uint8,
    "linked": np.bool_,
    **dict.fromkeys(INT_COLUMNS, np.int64),
    **dict.fromkeys(TEXT_COLUMNS, np.int32),
}


class EventBuffer:
    """Room for the events of one part, filled statement by statement and used again for the next part.

    The same memory serves all parts of a worker: fresh memory has to be made by the system page by page, which costs
    as much as filling it.
    """

    def __init__(self, capacity: int = 1 << 16) -> None:
        self._columns = {name: np.empty(capacity, kind) for name, kind in _BUFFER_TYPES.items()}
        self._values: dict[str, list[tuple[slice, pa.Array]]] = {}
        self._length = 0

    def clear(self, expected: int = 0) -> None:
        """Forget all events, and make room for as many as are expected: growing leaves holes in memory."""
        self._length = 0
        if expected > len(self._columns["subject"]):
            self._columns = {}
            self._columns = {name: np.empty(expected, kind) for name, kind in _BUFFER_TYPES.items()}
        self._values = {name: [] for name in TEXT_COLUMNS}

    def extend(self, count: int) -> dict[str, npt.NDArray[Any]]:
        """Room for `count` more events: the columns' new rows, to be filled."""
        start, stop = self._length, self._length + count
        for name, column in self._columns.items():
            if len(column) < stop:
                larger = np.empty(max(stop, len(column) * 5 // 4), column.dtype)
                larger[:start] = column[:start]
                self._columns[name] = larger
        self._length = stop
        return {name: column[start:stop] for name, column in self._columns.items()}

    def put_texts(self, name: str, rows: dict[str, npt.NDArray[Any]], texts: Texts | None) -> None:
        """Fill a text column of the last rows given out; None for null."""
        if texts is None:
            rows[name].fill(-1)
            return
        rows[name][:] = texts.positions
        self._values[name].append((slice(self._length - len(rows[name]), self._length), texts.values))

    def events(self) -> Events:
        """All events as views of the buffer: they hold until it is cleared."""
        columns = {name: column[: self._length] for name, column in self._columns.items()}
        texts = {name: self._unite(columns[name], name) for name in TEXT_COLUMNS}
        return Events(
            table=columns["table"],
            subject=columns["subject"],
            time=columns["time"],
            code=columns["code"],
            number=columns["number"],
            precision=columns["precision"],
            linked=columns["linked"],
            ints={name: columns[name] for name in INT_COLUMNS},
            texts=texts,
        )

    def _unite(self, positions: Int32s, name: str) -> Texts:
        """Bring the statements' distinct texts onto one list."""
        kind = EVENT_SCHEMA.field(name).type
        lists = [values.cast(kind) for _, values in self._values[name]]
        union = pa.chunked_array(lists, kind).combine_chunks().dictionary_encode()
        new = union.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        at = 0
        for rows, values in self._values[name]:
            own = np.append(new[at : at + len(values)], np.int32(-1))
            positions[rows] = own[positions[rows]]
            at += len(values)
        return Texts(positions, union.dictionary)


def with_nulls(values: npt.NDArray[Any], null: npt.NDArray[np.bool_], kind: pa.DataType) -> pa.Array:
    """An Arrow array over the values themselves, null where `null` says so.

    `pyarrow.array(values, mask=null)` does the same at 3.6 ns a value; this costs 0.1.
    """
    valid = pa.py_buffer(np.packbits(~null, bitorder="little")) if null.any() else None
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(np.ascontiguousarray(values))])


def masked(values: Int64s, kind: pa.DataType) -> pa.Array:
    """An Arrow array of int64 or timestamps in which `NULL` is null."""
    return with_nulls(values, values == NULL, kind)
