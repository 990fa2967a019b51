"""Write events as Parquet files that any MEDS 0.4 reader can read."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrtraj.format.arrays import with_nulls
from ehrtraj.format.events import event_schema
from ehrtraj.format.names import ROW_GROUP
from ehrtraj.storage.base import Storage
from ehrtraj.storage.parquet import ParquetOutput

# Only patients with more rows are divided between row groups.
_LARGEST_ROW_GROUP = 1 << 17
# pyarrow looks at its page after each batch: 1,024 rows, the default, take 2 % longer.
_BATCH = 1 << 16
# For these columns pyarrow uses a dictionary if values repeat. The others are stored plain, since dictionaries cost
# more than they save for values that rarely repeat (209 instead of 248 ns per event for all columns, 8.8 instead of
# 11.6 bytes).
_REPEATING = ["subject_id", "hadm_id", "stay_id", "flags", "numeric_value"]


def row_groups(starts: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Divide the events of patients into row groups.

    Args:
        starts: position of each patient's first event, followed by the end of the last one.

    Yields:
        Start and end of each row group.
    """
    at, stop = int(starts[0]), int(starts[-1])
    while at < stop:
        complete = int(np.searchsorted(starts, at + ROW_GROUP).clip(max=len(starts) - 1))
        end = min(int(starts[complete]), at + _LARGEST_ROW_GROUP)
        yield at, end
        at = end


def in_order(positions: npt.NDArray[np.int32], values: pa.Array, kind: pa.DataType) -> pa.DictionaryArray:
    """Return texts as an Arrow dictionary of the values that occur, in order of occurrence.

    The dictionary therefore depends only on the events.

    Args:
        positions: position of each text in `values`; -1 for null.
        values: distinct texts.
        kind: type of the texts.
    """
    valid = np.flatnonzero(positions >= 0)
    valid_positions = positions[valid]
    first = np.full(len(values), len(positions), np.int64)
    first[valid_positions[::-1]] = valid[::-1]
    used = np.flatnonzero(first < len(positions))
    used = used[np.argsort(first[used])]
    new = np.empty(len(values), np.int32)
    new[used] = np.arange(len(used), dtype=np.int32)
    indices = np.zeros(len(positions), np.int32)
    indices[valid] = new.take(valid_positions)
    return pa.DictionaryArray.from_arrays(
        with_nulls(indices, positions < 0, pa.int32()), values.take(pa.array(used)).cast(kind)
    )


class EventFile:
    """A data file that is being written. It appears under its name with `close`."""

    def __init__(self, storage: Storage, name: str, clock: str) -> None:
        """Prepare to write. The file is created with the first row group.

        Args:
            storage: storage that receives the file.
            name: name of the file.
            clock: `event` or `available`.
        """
        self._storage = storage
        self._name = name
        self._schema = event_schema(clock)
        self._output: ParquetOutput | None = None

    def write(self, rows: pa.Table) -> None:
        """Append a row group.

        Args:
            rows: events with the columns of `event_schema`; texts may be dictionaries.
        """
        if self._output is None:
            # Statistics are written only for columns that readers can prune by: for all columns, they would take 45 of
            # 150 ns per row.
            self._output = ParquetOutput(
                self._storage,
                self._name,
                rows.schema,
                compression="zstd",
                compression_level=1,
                store_schema=False,
                use_dictionary=_REPEATING + [f.name for f in rows.schema if pa.types.is_dictionary(f.type)],
                write_statistics=["subject_id", "time", "available_time"],
                write_batch_size=_BATCH,
                # DuckDB skips the row groups that cannot contain a code.
                bloom_filter_options={"code": {"ndv": 4000, "fpp": 0.05}},
            )
        self._output.write(rows)

    def close(self) -> None:
        """Finish the file. Without events, there is none."""
        if self._output is not None:
            # The columns were passed as dictionaries, but readers must see the types that MEDS requires.
            described = base64.b64encode(self._schema.serialize().to_pybytes()).decode()
            self._output.close({"ARROW:schema": described})

    def abandon(self) -> None:
        """Discard what was written. Does nothing after `close`."""
        if self._output is not None:
            self._output.abandon()
