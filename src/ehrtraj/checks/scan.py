"""Read one data file completely, and return its findings and counts."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import meds
import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj.checks.official import refusal
from ehrtraj.checks.order import check_time_order, check_total_order
from ehrtraj.checks.rows import EventBatch, read_rows, text_columns
from ehrtraj.checks.tally import Counts, FileTally
from ehrtraj.checks.values import check_not_null, check_values, with_valid_texts
from ehrtraj.format.events import event_schema
from ehrtraj.format.source import SourceFacts
from ehrtraj.runtime.progress import ShareReport, no_report
from ehrtraj.runtime.sizes import DEFAULT, Sizes

# Bytes to read at a time of each column, so that the size of a row group does not matter.
_BUFFER_BYTES = 1 << 20
_CORE = ("subject_id", "time", "code")
_OF_ALL_COLUMNS = (
    "total_order", "no_repeats", "finite", "text", "available_time", "time_precision", "flags", "raw_value",
    "attributes", "encounters", "one_unit", "code_counts", "ledger_events",
    "rules_applied",
    "notes",
)  # fmt: skip


@dataclass(frozen=True)
class ScanJob:
    """Settings for reading all data files of a dataset.

    Attributes:
        root: folder of the dataset.
        from_ehrtraj: whether ehrtraj built it, so that it has more invariants than those of MEDS.
        source: facts about the source that are stored in the dataset.
        clock: `event` or `available`.
        flags: value of each flag by name.
        hashed: files with a SHA-256 to compare with.
        spill: private folder that receives the counts.
        sizes: batch sizes.
        period: event type whose item is a patient's calendar period, if splits depend on it.
    """

    root: Path
    from_ehrtraj: bool
    source: SourceFacts
    clock: str
    flags: Mapping[str, int]
    hashed: frozenset[str]
    spill: Path
    sizes: Sizes = DEFAULT
    period: str | None = None


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, which is read in chunks."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def scan(job: ScanJob, file: str, number: int | None, *, report: ShareReport = no_report) -> FileTally:
    """Check every event of a data file. Counts by patient and code are written to `job.spill`.

    Args:
        job: settings of the dataset.
        file: path of the file in the dataset.
        number: position in the order of the data files; None for a file without events, which is only hashed.
        report: receives the share of the events that were checked.

    Returns:
        The file's tally, with its findings.
    """
    tally = FileTally(file)
    path = job.root / file
    try:
        tally.bytes = path.stat().st_size
        if file in job.hashed:
            tally.sha256 = sha256_of(path)
        if number is None:
            return tally
        with pq.ParquetFile(path) as plain:
            schema = plain.schema_arrow
        _check_schema(job, schema, tally)
        if all(name in schema.names for name in _CORE):
            _read(job, path, schema, tally, number, report)
    except (pa.ArrowInvalid, OSError) as error:
        tally.findings.one("readable", _first_line(error), file)
    return tally


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _check_schema(job: ScanJob, schema: pa.Schema, tally: FileTally) -> None:
    if (why := refusal(meds.DataSchema, schema)) is not None:
        tally.findings.one("schema", why, tally.file)
    expected = event_schema(job.clock)
    if job.from_ehrtraj and schema.remove_metadata() != expected:
        tally.findings.one("columns", _difference(schema, expected), tally.file)


def _difference(schema: pa.Schema, expected: pa.Schema) -> str:
    if lacking := [n for n in expected.names if n not in schema.names]:
        return f"lacks the column {', '.join(lacking)}"
    if more := [n for n in schema.names if n not in expected.names]:
        return f"column {', '.join(more)} is not a column of events"
    for field in expected:
        if not schema.field(field.name).equals(field):
            return f"column {field.name} is {schema.field(field.name)}, but must be {field}"
    return "the columns are in the wrong order"


def _read(job: ScanJob, path: Path, schema: pa.Schema, tally: FileTally, number: int, report: ShareReport) -> None:
    expected = event_schema(job.clock)
    all_columns = job.from_ehrtraj and all(
        n in schema.names and schema.field(n).type == expected.field(n).type for n in expected.names
    )
    if job.from_ehrtraj and not all_columns:
        tally.complete = False
        tally.findings.skip("a file does not have the columns of events", *_OF_ALL_COLUMNS)
    columns = expected.names if all_columns else list(_CORE)
    known_flags = 0
    for value in job.flags.values():
        known_flags |= value
    # Closed even after a read error: the events read until then are counted.
    with (
        contextlib.closing(Counts(job.spill, number, job.sizes.counted_rows, job.period)) as counts,
        pq.ParquetFile(path, read_dictionary=text_columns(schema), buffer_size=_BUFFER_BYTES) as file,
    ):
        for rows in read_rows(file, tally.file, columns, job.sizes.checked_rows):
            rows = with_valid_texts(rows if all_columns else _as_meds(rows), tally.findings)
            check_not_null(rows, tally.findings)
            check_time_order(rows, tally.findings)
            if all_columns:
                check_total_order(rows, tally.findings, job.source)
                check_values(rows, tally.findings, known_flags, job.clock)
            tally.events += len(rows) - rows.before
            counts.add(rows, dict(job.flags))
            report(tally.events / max(file.metadata.num_rows, 1))
        if all_columns:
            _check_once(counts, tally)


def _as_meds(rows: EventBatch) -> EventBatch:
    """Return the core columns in MEDS' types, so that they can be checked in files with other types."""
    table = rows.table
    kinds = {"subject_id": pa.int64(), "time": pa.timestamp("us"), "code": pa.dictionary(pa.int32(), pa.string())}
    for name, kind in kinds.items():
        at = table.column_names.index(name)
        if table[name].type != kind:
            table = table.set_column(at, name, table[name].cast(kind, safe=False))
    return EventBatch(rows.file, rows.start, rows.before, table)


def _check_once(counts: Counts, tally: FileTally) -> None:
    """Check that nobody is born or dies twice: there are as many events as patients."""
    for code, (events, patients) in counts.once.items():
        if events != patients:
            words = f"{events:,} events with the code {code}, but only {patients:,} patients"
            tally.findings.one("births_and_deaths", words, tally.file)
