"""Export the patients of one data file, and list the files that were written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj.dataset.export.job import ExportJob, Patients
from ehrtraj.dataset.export.lines import csv_header, offsets_of
from ehrtraj.dataset.export.source import RowReader, chunks
from ehrtraj.dataset.export.space import ExportSpace
from ehrtraj.dataset.export.units import Unit, units_of
from ehrtraj.dataset.export.write import BLOCK, text_lines, write_all, write_units
from ehrtraj.format.arrays import NULL

BATCH_ROWS = 1 << 20
"""Rows whose places are held in memory at once."""

INDEX_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("subject_id", pa.int64()),
        pa.field("hadm_id", pa.int64()),
        pa.field("stay_id", pa.int64()),
        pa.field("split", pa.string(), nullable=False),
        pa.field("events", pa.int64(), nullable=False),
        pa.field("history_events", pa.int64(), nullable=False),
        pa.field("first_time", pa.timestamp("us")),
        pa.field("last_time", pa.timestamp("us")),
        pa.field("bytes", pa.int64(), nullable=False),
    ]
)
"""Columns of the index: a row for each file. Times are those of the file's own events, without history."""


def export_patients(job: ExportJob, patients: Patients) -> pa.Table:
    """Write the files of some patients, and then their marker.

    Args:
        job: about the export.
        patients: of one data file.

    Returns:
        Their part of the index, which is also the marker's content.

    Raises:
        DatasetError: if the data file cannot be read.
        OSError: if a file cannot be written.
    """
    with closing(RowReader(patients.file.path, dictionaries=job.format != "parquet")) as reader:
        lines = _whole_file(job, patients, reader) if job.per == "shard" else _unit_files(job, patients, reader)
    index = pa.Table.from_pylist(lines, schema=INDEX_SCHEMA)
    marker = ExportSpace(job.output).marker(patients.name)
    temporary = marker.with_suffix(".writing")
    pq.write_table(index, temporary)
    temporary.replace(marker)
    return index


def _unit_files(job: ExportJob, patients: Patients, reader: RowReader) -> list[dict[str, object]]:
    space = ExportSpace(job.output)
    folders: set[str] = set()
    lines = []
    for spans in chunks(patients.rows):
        rows = reader.rows(spans)
        for units in _batches(units_of(job, rows, spans)):
            space.announce(patients.name, (f"{unit.path}.{job.format}" for unit in units))
            sizes = write_units(job, rows, units, folders)
            lines += [_line(job, patients, unit, size) for unit, size in zip(units, sizes, strict=True)]
    return lines


def _batches(units: Iterable[Unit], size: int = BATCH_ROWS) -> Iterator[list[Unit]]:
    """Units with about `size` rows together: with history, those of one patient can have a hundred times its events."""
    batch: list[Unit] = []
    rows = 0
    for unit in units:
        batch.append(unit)
        rows += len(unit.rows)
        if rows >= size:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch


def _line(job: ExportJob, patients: Patients, unit: Unit, size: int) -> dict[str, object]:
    return {
        "path": f"{unit.path}.{job.format}",
        "subject_id": unit.subject_id,
        "hadm_id": unit.hadm_id,
        "stay_id": unit.stay_id,
        "split": patients.file.split,
        "events": len(unit.rows),
        "history_events": unit.history,
        "first_time": None if unit.first_time == NULL else unit.first_time,
        "last_time": None if unit.last_time == NULL else unit.last_time,
        "bytes": size,
    }


def _whole_file(job: ExportJob, patients: Patients, reader: RowReader) -> list[dict[str, object]]:
    """Write all patients into one file, `train/00007.jsonl`."""
    name = f"{patients.file.split}/{patients.file.shard}.{job.format}"
    path = job.output / name
    ExportSpace(job.output).announce(patients.name, [name])
    path.parent.mkdir(parents=True, exist_ok=True)
    if job.format == "parquet":
        copy_parquet(_tables(reader, patients), path)
    else:
        _write_lines(job, _tables(reader, patients), path)
    line = {"path": name, "split": patients.file.split, "events": patients.events, "history_events": 0}
    return [line | {"bytes": path.stat().st_size}]


def _tables(reader: RowReader, patients: Patients) -> Iterator[pa.Table]:
    """The events of some patients, piece by piece."""
    for spans in chunks(patients.rows):
        rows = reader.rows(spans)
        for at in range(0, rows.num_rows, BLOCK):
            yield rows.slice(at, BLOCK)


def _write_lines(job: ExportJob, tables: Iterable[pa.Table], path: Path) -> None:
    before, closing = {"json": (b'{"events": [\n', b"\n]}\n")}.get(job.format, (b"", b""))
    with path.open("wb", buffering=0) as file:
        for number, rows in enumerate(tables):
            if job.format == "csv" and number == 0:
                before = csv_header(rows.column_names)
            write_all(file.fileno(), memoryview(before))
            data, at = offsets_of(text_lines(job, rows))
            # The last object of a JSON document has no comma behind it.
            write_all(file.fileno(), data[int(at[0]) : int(at[-1]) - (2 if job.format == "json" else 0)])
            before = b",\n" if job.format == "json" else b""
        write_all(file.fileno(), memoryview(closing))


def copy_parquet(tables: Iterable[pa.Table], path: Path) -> int:
    """Write events into one Parquet file, a row group for each table.

    Returns:
        Number of events.
    """
    writer: pq.ParquetWriter | None = None
    events = 0
    try:
        for rows in tables:
            if writer is None:
                writer = pq.ParquetWriter(path, rows.schema, compression="zstd", compression_level=1)
            writer.write_table(rows)
            events += rows.num_rows
    finally:
        if writer is not None:
            writer.close()
    return events


def copy_all(parts: Iterable[Patients], path: Path, told: Callable[[Patients], None]) -> int:
    """Write the events of many data files into one Parquet file.

    Args:
        parts: patients of each data file.
        path: of the result.
        told: is called with each part that is done.

    Returns:
        Number of events.

    Raises:
        DatasetError: if a data file cannot be read.
    """

    def tables() -> Iterator[pa.Table]:
        for patients in parts:
            with closing(RowReader(patients.file.path, dictionaries=False)) as reader:
                yield from _tables(reader, patients)
            told(patients)

    return copy_parquet(tables(), path)
