"""Write the events of a shard: one data file for each split with patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrtraj.format.arrays import masked, with_nulls
from ehrtraj.format.event_file import EventFile, in_order, row_groups
from ehrtraj.format.events import PRECISIONS, TEXT_COLUMNS, event_schema
from ehrtraj.format.splits import SPLITS
from ehrtraj.pipeline.shard.assemble import OrderedEvents
from ehrtraj.runtime.progress import Share
from ehrtraj.storage.base import Storage


def _used(positions: npt.NDArray[np.int32], values: pa.Array) -> pa.DictionaryArray:
    """Return texts without nulls as an Arrow dictionary of the values that occur, in the order of `values`."""
    occurs = np.zeros(len(values), np.bool_)
    occurs[positions] = True
    new = np.cumsum(occurs, dtype=np.int32) - 1
    return pa.DictionaryArray.from_arrays(pa.array(new.take(positions)), values.filter(pa.array(occurs)))


def _gather(values: npt.NDArray[Any], rows: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
    # All positions are valid, so numpy need not check them ("clip"): 3.8 ns per value, not 5.8 ns as for values[rows].
    return values.take(rows, mode="clip")


class ShardWriter:
    """Writes the events of one shard: one file for each split with patients."""

    def __init__(self, storage: Storage, folder: str, shard: int, tables: Sequence[str], clock: str) -> None:
        """Prepare to write.

        Args:
            storage: storage of the attempt.
            folder: the dataset's `data` folder.
            shard: number of the shard, which is the name of its files.
            tables: full names of the tables; `Events.table` is a position in them.
            clock: `event` or `available`.
        """
        self._storage = storage
        self._names = {split: f"{folder}/{split}/{shard:05d}.parquet" for split in SPLITS}
        self._tables = pa.array(tables, pa.string())
        self._clock = clock
        self._schema = event_schema(clock)
        self._precisions = pa.array(PRECISIONS, pa.string())
        self._writers: dict[str, EventFile] = {}
        self._rows = dict.fromkeys(SPLITS, 0)

    def write(self, part: OrderedEvents, report: Callable[[Share], None]) -> npt.NDArray[np.int64]:
        """Append the events of a part.

        Args:
            part: events of the part.
            report: receives the share of the events that is about to be written.

        Returns:
            The position of each patient's first event in the file.
        """
        positions = part.starts[:-1].copy()
        for index, split in enumerate(SPLITS):
            chosen = np.flatnonzero(part.splits == index)
            if not len(chosen):
                continue
            start, stop = int(part.starts[chosen[0]]), int(part.starts[chosen[-1] + 1])
            positions[chosen] += self._rows[split] - start
            for at, end in row_groups(part.starts[chosen[0] : chosen[-1] + 2]):
                report(at / len(part.order))
                self._append(split, self._columns(part, part.order[at:end]))
            self._rows[split] += stop - start
        return positions

    def _columns(self, part: OrderedEvents, rows: npt.NDArray[np.intp]) -> pa.Table:
        events = part.events
        number = _gather(events.number, rows)
        columns = {
            "subject_id": pa.array(_gather(events.subject, rows)),
            "time": masked(_gather(events.time, rows), pa.timestamp("us")),
            "code": _used(_gather(events.code, rows), part.codes.names),
            "numeric_value": with_nulls(number, np.isnan(number), pa.float32()),
            "time_precision": pa.DictionaryArray.from_arrays(
                _gather(events.precision, rows).view(np.int8), self._precisions
            ),
            "source_table": pa.DictionaryArray.from_arrays(_gather(events.table, rows).view(np.int8), self._tables),
        }
        for name, values in events.ints.items():
            columns[name] = masked(_gather(values, rows), self._schema.field(name).type)
        for name in TEXT_COLUMNS:
            text = events.texts[name]
            columns[name] = in_order(_gather(text.positions, rows), text.values, self._schema.field(name).type)
        if part.event_time is not None:
            columns["event_time"] = masked(_gather(part.event_time, rows), pa.timestamp("us"))
        arrays = [columns[name] for name in self._schema.names]
        fields = [pa.field(f.name, a.type, f.nullable) for f, a in zip(self._schema, arrays, strict=True)]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))

    def _append(self, split: str, rows: pa.Table) -> None:
        if split not in self._writers:
            self._writers[split] = EventFile(self._storage, self._names[split], self._clock)
        self._writers[split].write(rows)

    def close(self) -> None:
        """Finish the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def abandon(self) -> None:
        """Discard files that will not be finished."""
        for writer in self._writers.values():
            writer.abandon()
        self._writers = {}
