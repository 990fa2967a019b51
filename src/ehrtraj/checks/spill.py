"""Counts of data files in temporary files, so that memory does not grow with the number of patients, codes or files.

Every data file is summarised in a few small tables. The tables of all files are then queried with DuckDB, which uses
the disk if they do not fit in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj.errors import OutputError

RUNS = "runs"
"""Consecutive events of one patient in a file."""

ENCOUNTERS = "encounters"
"""Admissions and stays with their patients."""

CODES = "codes"
"""Number of events and patients of each code."""

DETAILS = "details"
"""Units and source tables that occur with a code, for events with and without a number."""

MARKS = "marks"
"""Number of events of each source table and combination of flags."""

PERIODS = "periods"
"""Patients with the codes of their calendar periods."""

SCHEMAS: Mapping[str, pa.Schema] = {
    RUNS: pa.schema(
        {
            "file": pa.int32(),
            "subject_id": pa.int64(),
            "position": pa.int64(),
            "events": pa.int64(),
            "first_time": pa.int64(),
            "last_time": pa.int64(),
        }
    ),
    ENCOUNTERS: pa.schema({"kind": pa.int8(), "encounter": pa.int64(), "subject_id": pa.int64()}),
    CODES: pa.schema({"code": pa.string(), "events": pa.int64(), "patients": pa.int64()}),
    DETAILS: pa.schema({"code": pa.string(), "unit": pa.string(), "numbered": pa.bool_(), "source_table": pa.string()}),
    MARKS: pa.schema({"file": pa.int32(), "source_table": pa.string(), "flags": pa.int64(), "events": pa.int64()}),
    PERIODS: pa.schema({"subject_id": pa.int64(), "code": pa.string()}),
}

_SUMS: Mapping[str, tuple[str, ...]] = {
    CODES: ("events", "patients"),
    MARKS: ("events",),
    ENCOUNTERS: (),
    DETAILS: (),
    PERIODS: (),
}
"""Columns that are summed over rows that agree in all other columns. Other tables are kept row by row."""


class Spill:
    """Collects and writes the tables of one data file, in a limited amount of memory."""

    def __init__(self, folder: Path, number: int, pending_rows: int) -> None:
        """Prepare to write.

        Args:
            folder: folder that receives the files.
            number: number of the data file, used in file names.
            pending_rows: maximum number of rows of a table in memory.
        """
        self._folder, self._number, self._pending_rows = folder, number, pending_rows
        self._pending: dict[str, list[pa.Table]] = {name: [] for name in SCHEMAS}
        self._rows = dict.fromkeys(SCHEMAS, 0)
        self._writers: dict[str, pq.ParquetWriter] = {}

    def add(self, name: str, columns: Sequence[Any]) -> None:
        """Add rows to a table.

        Args:
            name: name of the table.
            columns: columns in the order of its schema, as arrays.
        """
        schema = SCHEMAS[name]
        arrays = [_as_array(values, field.type) for values, field in zip(columns, schema, strict=True)]
        self._pending[name].append(pa.Table.from_arrays(arrays, schema=schema))
        self._rows[name] += len(arrays[0])
        if self._rows[name] > self._pending_rows:
            self._combine(name)
            if self._rows[name] > self._pending_rows // 2:
                self._write(name)

    def close(self) -> None:
        """Write the remaining rows and close the files."""
        for name in SCHEMAS:
            if self._rows[name]:
                self._combine(name)
                self._write(name)
        try:
            for writer in self._writers.values():
                writer.close()
        except OSError as error:
            raise self._full(error) from None

    def _full(self, error: OSError) -> OutputError:
        reason = error.strerror or error
        return OutputError(
            f"cannot write temporary files to {self._folder}: {reason}. Set TMPDIR to a folder with more space"
        )

    def _combine(self, name: str) -> None:
        table = pa.concat_tables(self._pending[name])
        if name in _SUMS:
            sums = _SUMS[name]
            keys = [column for column in SCHEMAS[name].names if column not in sums]
            grouped = table.group_by(keys, use_threads=False).aggregate([(column, "sum") for column in sums])
            table = grouped.rename_columns([*keys, *sums]).select(SCHEMAS[name].names)
        self._pending[name], self._rows[name] = [table], table.num_rows

    def _write(self, name: str) -> None:
        try:
            if name not in self._writers:
                path = self._folder / f"{name}-{self._number}.parquet"
                self._writers[name] = pq.ParquetWriter(path, SCHEMAS[name], compression="zstd", write_statistics=False)
            for table in self._pending[name]:
                self._writers[name].write_table(table)
        except OSError as error:
            raise self._full(error) from None
        self._pending[name], self._rows[name] = [], 0


def _as_array(values: Any, kind: pa.DataType) -> pa.Array:  # noqa: ANN401  # an array of Arrow or numpy
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)
