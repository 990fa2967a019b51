"""Read one data file from end to end: its findings and its account."""

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

# Read at a time of each column, so that the size of a row group does not matter.
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
    """What all data files of a dataset have in common.

    Attributes:
        root: of the dataset.
        ours: whether it was made by ehrtraj, and keeps more invariants than MEDS asks for.
        source: what the dataset keeps of its source.
        clock: `event` or `available`.
        flags: value of each flag by name.
        hashed: files for which there is a SHA-256 to compare with.
        spill: private folder that receives what is counted.
    """

    root: Path
    ours: bool
    source: SourceFacts
    clock: str
    flags: Mapping[str, int]
    hashed: frozenset[str]
    spill: Path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read piece by piece."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def scan(job: ScanJob, file: str, number: int | None) -> FileTally:
    """Look at every event of a data file. What is counted by patient and code goes into `job.spill`.

    Args:
        job: about the dataset.
        file: its path in the dataset.
        number: its place in the order of the data files; None for a file that holds no events and is only hashed.

    Returns:
        The file's account, with what is wrong.
    """
    account = FileTally(file)
    path = job.root / file
    try:
        account.bytes = path.stat().st_size
        if file in job.hashed:
            account.sha256 = sha256_of(path)
        if number is None:
            return account
        with pq.ParquetFile(path) as plain:
            schema = plain.schema_arrow
        _check_schema(job, schema, account)
        if all(name in schema.names for name in _CORE):
            _read(job, path, schema, account, number)
    except (pa.ArrowInvalid, OSError) as error:
        account.findings.one("readable", _first_line(error), file)
    return account


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _check_schema(job: ScanJob, schema: pa.Schema, account: FileTally) -> None:
    if (why := refusal(meds.DataSchema, schema)) is not None:
        account.findings.one("schema", why, account.file)
    wanted = event_schema(job.clock)
    if job.ours and schema.remove_metadata() != wanted:
        account.findings.one("columns", _difference(schema, wanted), account.file)


def _difference(schema: pa.Schema, wanted: pa.Schema) -> str:
    if lacking := [n for n in wanted.names if n not in schema.names]:
        return f"no column {', '.join(lacking)}"
    if more := [n for n in schema.names if n not in wanted.names]:
        return f"column {', '.join(more)} is none of an event's"
    for field in wanted:
        if not schema.field(field.name).equals(field):
            return f"column {field.name} is {schema.field(field.name)}, not {field}"
    return "the columns are in another order"


def _read(job: ScanJob, path: Path, schema: pa.Schema, account: FileTally, number: int) -> None:
    wanted = event_schema(job.clock)
    ours = job.ours and all(n in schema.names and schema.field(n).type == wanted.field(n).type for n in wanted.names)
    if job.ours and not ours:
        account.whole = False
        account.findings.skip("a file has other columns", *_OF_ALL_COLUMNS)
    columns = wanted.names if ours else list(_CORE)
    known_flags = 0
    for value in job.flags.values():
        known_flags |= value
    # Closed even where the file ends in an error: what was read until then counts.
    with (
        contextlib.closing(Counts(job.spill, number)) as counts,
        pq.ParquetFile(path, read_dictionary=text_columns(schema), buffer_size=_BUFFER_BYTES) as file,
    ):
        for rows in read_rows(file, account.file, columns):
            rows = with_valid_texts(rows if ours else _as_meds(rows), account.findings)
            check_not_null(rows, account.findings)
            check_time_order(rows, account.findings)
            if ours:
                check_total_order(rows, account.findings, job.source)
                check_values(rows, account.findings, known_flags, job.clock)
            account.events += len(rows) - rows.before
            counts.add(rows, dict(job.flags))
        if ours:
            _check_once(counts, account)


def _as_meds(rows: EventBatch) -> EventBatch:
    """The core columns in MEDS' types, so that what they say can be looked at where a file has others."""
    table = rows.table
    kinds = {"subject_id": pa.int64(), "time": pa.timestamp("us"), "code": pa.dictionary(pa.int32(), pa.string())}
    for name, kind in kinds.items():
        at = table.column_names.index(name)
        if table[name].type != kind:
            table = table.set_column(at, name, table[name].cast(kind, safe=False))
    return EventBatch(rows.file, rows.start, rows.before, table)


def _check_once(counts: Counts, account: FileTally) -> None:
    """Nobody is born or dies twice: as many events as patients."""
    for code, (events, patients) in counts.once.items():
        if events != patients:
            words = f"{events:,} events {code} of {patients:,} patients"
            account.findings.one("births_and_deaths", words, account.file)
