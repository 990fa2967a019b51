"""Export the patients of one data file, and list the written files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj.exports import formats
from ehrtraj.exports.data_file import RowReader, chunks
from ehrtraj.exports.format import Format
from ehrtraj.exports.job import ExportJob, PatientGroup
from ehrtraj.exports.space import ExportSpace
from ehrtraj.exports.units import Unit, units_of
from ehrtraj.format.arrays import NULL
from ehrtraj.runtime.progress import Share, ShareReport, no_report

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
"""Columns of the index, which has a row for each file. Times are those of the unit's events, without history."""


def export_patients(job: ExportJob, patients: PatientGroup, *, report: ShareReport = no_report) -> pa.Table:
    """Write the files of some patients, and then their marker.

    Args:
        job: settings of the export.
        patients: patients of one data file.
        report: receives the share of their events that is written.

    Returns:
        Their part of the index, which is also the content of the marker.

    Raises:
        DatasetError: if the data file cannot be read.
        OSError: if a file cannot be written.
    """
    form = formats.load(job.format)
    write = _shard_file if job.per == "shard" else _unit_files
    with closing(RowReader(patients.file.path, dictionaries=form.dictionaries)) as reader:
        lines = write(job, form, patients, reader, report)
    index = pa.Table.from_pylist(lines, schema=INDEX_SCHEMA)
    marker = ExportSpace(job.output).marker(patients.name)
    temporary = marker.with_suffix(".writing")
    pq.write_table(index, temporary)
    temporary.replace(marker)
    return index


def _unit_files(
    job: ExportJob, form: Format, patients: PatientGroup, reader: RowReader, report: ShareReport
) -> list[dict[str, object]]:
    space = ExportSpace(job.output)
    folders: set[str] = set()
    lines, written, events = [], 0, max(patients.events, 1)
    for spans in chunks(patients.rows, job.sizes.exported_events):
        rows = reader.rows(spans)
        for units in _batches(units_of(job, rows, spans), job.sizes.placed_rows):
            paths = [f"{unit.path}.{form.ending}" for unit in units]
            space.announce(patients.name, paths)
            sizes = write_units(job, form, rows, units, folders)
            lines += [_line(patients, *about) for about in zip(units, paths, sizes, strict=True)]
        written += rows.num_rows
        report(written / events)
    return lines


def write_units(job: ExportJob, form: Format, rows: pa.Table, units: Sequence[Unit], folders: set[str]) -> list[int]:
    """Write a file for each unit.

    Args:
        job: settings of the export.
        form: format of the files.
        rows: events of the chunk, to which the positions in the units refer.
        units: units of one chunk.
        folders: folders known to exist; newly created ones are added.

    Returns:
        Size of each file in bytes.
    """
    for unit in units:
        folder = unit.path.rpartition("/")[0]
        if folder not in folders:
            (job.output / folder).mkdir(parents=True, exist_ok=True)
            folders.add(folder)
    return form.write_units(job, rows, units)


def _batches(units: Iterable[Unit], size: int) -> Iterator[list[Unit]]:
    """Group units into batches of about `size` rows. With history, a patient's units can have 100 times its events."""
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


def _line(patients: PatientGroup, unit: Unit, path: str, size: int) -> dict[str, object]:
    return {
        "path": path,
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


def _shard_file(
    job: ExportJob, form: Format, patients: PatientGroup, reader: RowReader, report: ShareReport
) -> list[dict[str, object]]:
    """Write all patients of a data file into one file, such as `train/00007.jsonl`."""
    name = f"{patients.file.split}/{patients.file.shard}.{form.ending}"
    path = job.output / name
    ExportSpace(job.output).announce(patients.name, [name])
    path.parent.mkdir(parents=True, exist_ok=True)
    form.write_tables(job, _tables(job, reader, patients, report), path)
    line = {"path": name, "split": patients.file.split, "events": patients.events, "history_events": 0}
    return [line | {"bytes": path.stat().st_size}]


def _tables(job: ExportJob, reader: RowReader, patients: PatientGroup, report: ShareReport) -> Iterator[pa.Table]:
    """Yield the events of some patients in tables of bounded size."""
    size, written, events = job.sizes.formatted_events, 0, max(patients.events, 1)
    for spans in chunks(patients.rows, job.sizes.exported_events):
        rows = reader.rows(spans)
        for at in range(0, rows.num_rows, size):
            yield rows.slice(at, size)
        written += rows.num_rows
        report(written / events)


def write_single(
    job: ExportJob,
    form: Format,
    groups: Iterable[PatientGroup],
    path: Path,
    report: Callable[[PatientGroup, Share], None],
) -> None:
    """Write the events of many data files into one file.

    Args:
        job: settings of the export.
        form: format of the file.
        groups: patients of each data file.
        path: path of the file.
        report: receives the share that is written of the patients of a data file.

    Raises:
        DatasetError: if a data file cannot be read.
    """

    def tables() -> Iterator[pa.Table]:
        for patients in groups:
            with closing(RowReader(patients.file.path, dictionaries=form.dictionaries)) as reader:
                yield from _tables(job, reader, patients, partial(report, patients))

    form.write_tables(job, tables(), path)
