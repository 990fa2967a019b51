"""The columns of events in memory while a shard is built.

Numbers are plain numpy arrays with a sentinel for null, and texts are positions in a list of distinct texts: sorting
then moves only 4 bytes per text, and texts are not materialised before they are written.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrtraj.format.arrays import Int32s, Int64s, Texts, distinct_positions
from ehrtraj.format.events import EVENT_SCHEMA, INT_COLUMNS, TEXT_COLUMNS


@dataclass
class Events:
    """Events, column by column.

    Attributes:
        table: position of the source table among the build's tables, for each event.
        subject: subject_id.
        time: microseconds, `NULL` for static facts.
        code: position in the list of codes.
        number: float32, NaN for null.
        precision: position in `PRECISIONS`.
        linked: whether to infer hadm_id if it is null.
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


def _new_column(length: int, kind: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return an uninitialised column in memory of its own.

    Its unused end takes no memory, and it leaves no gap among other data when it is replaced: two workers take 50 MB
    less than with `numpy.empty`.
    """
    size = max(length * np.dtype(kind).itemsize, 1)
    # Python's default is memory that forked processes would share. Windows has no such choice.
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
    return np.frombuffer(mmap.mmap(-1, size, **private), kind, length)


class EventBuffer:
    """Memory for the events of one part, filled statement by statement and reused for the next part.

    All parts of a worker use the same memory: the system provides new memory page by page, which takes as long as
    filling it.
    """

    def __init__(self, capacity: int = 1 << 16) -> None:
        self._columns = {name: _new_column(capacity, kind) for name, kind in _BUFFER_TYPES.items()}
        self._values: dict[str, list[tuple[slice, pa.Array]]] = {}
        self._length = 0

    def clear(self, expected: int = 0) -> None:
        """Remove all events, and allocate memory for the expected number and some more, since growing copies them."""
        self._length = 0
        if expected > len(self._columns["subject"]):
            self._columns = {}
            self._columns = {name: _new_column(expected * 5 // 4, kind) for name, kind in _BUFFER_TYPES.items()}
        self._values = {name: [] for name in TEXT_COLUMNS}

    def extend(self, count: int) -> dict[str, npt.NDArray[Any]]:
        """Add `count` events and return the new rows of each column, which the caller must fill."""
        start, stop = self._length, self._length + count
        for name, column in self._columns.items():
            if len(column) < stop:
                larger = _new_column(max(stop, len(column) * 5 // 4), column.dtype)
                larger[:start] = column[:start]
                self._columns[name] = larger
        self._length = stop
        return {name: column[start:stop] for name, column in self._columns.items()}

    def put_texts(self, name: str, rows: dict[str, npt.NDArray[Any]], texts: Texts | None) -> None:
        """Fill a text column of the rows that were added last; None for null."""
        if texts is None:
            rows[name].fill(-1)
            return
        rows[name][:] = texts.positions
        self._values[name].append((slice(self._length - len(rows[name]), self._length), texts.values))

    def subjects(self) -> Int64s:
        """Return the subject_id of each event."""
        return self._columns["subject"][: self._length]

    def copy(self, other: EventBuffer, rows: npt.NDArray[np.intp]) -> None:
        """Add events of another buffer.

        Args:
            other: the other buffer.
            rows: positions of the events in it, ascending.
        """
        added = self.extend(len(rows))
        start = self._length - len(rows)
        for name, column in added.items():
            other._columns[name].take(rows, out=column, mode="clip")
        for name in TEXT_COLUMNS:
            for chosen, values in other._values[name]:
                first, end = np.searchsorted(rows, [chosen.start, chosen.stop]).tolist()
                if first < end:
                    used, positions = distinct_positions(added[name][first:end], len(values))
                    added[name][first:end] = positions
                    self._values[name].append((slice(start + first, start + end), values.take(pa.array(used))))

    def events(self) -> Events:
        """Return all events as views of the buffer, which are valid until it is cleared."""
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
        """Merge the statements' lists of distinct texts into one list."""
        kind = EVENT_SCHEMA.field(name).type
        lists = [values.cast(kind) for _, values in self._values[name]]
        union = pa.chunked_array(lists, kind).combine_chunks().dictionary_encode()
        new = union.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        at = 0
        for rows, values in self._values[name]:
            new_positions = np.append(new[at : at + len(values)], np.int32(-1))
            positions[rows] = new_positions.take(positions[rows])
            at += len(values)
        return Texts(positions, union.dictionary)
