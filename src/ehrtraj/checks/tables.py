"""A database of all counts and metadata tables, which uses the disk if memory is not sufficient."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ehrtraj.checks import spill
from ehrtraj.checks.findings import EXAMPLES, Findings
from ehrtraj.dataset.database import Database, open_database
from ehrtraj.format.arrays import NULL
from ehrtraj.runtime.limits import ResourceLimits

# Memory of this process without the database, measured.
_BASE_BYTES = 500_000_000
_BATCH_ROWS = 1 << 14

# A patient's events in one file: contiguous, unless an invariant is violated.
_HELD = f"""
SELECT subject_id, file, min(position) AS position, sum(events)::BIGINT AS events, count(*) AS runs,
    coalesce(arg_min(first_time, position) FILTER (first_time <> {NULL}), {NULL}) AS first_time,
    arg_max(last_time, position) AS last_time
FROM runs GROUP BY subject_id, file
"""
# A patient is counted in the first file that contains it.
_PATIENTS = """
SELECT h.*, f.name, f.folder
FROM held h JOIN (SELECT subject_id, min(file) AS file FROM held GROUP BY subject_id) USING (subject_id, file)
JOIN files f ON f.number = file
"""
_SEEN = "SELECT code, sum(events)::BIGINT AS events, sum(patients)::BIGINT AS patients FROM codes GROUP BY code"
_DETAILED = """
SELECT code, coalesce(list_sort(list(DISTINCT unit) FILTER (unit IS NOT NULL)), []) AS units,
    coalesce(list_sort(list(DISTINCT coalesce(unit, '')) FILTER (numbered)), []) AS number_units,
    coalesce(list_sort(list(DISTINCT source_table) FILTER (source_table IS NOT NULL)), []) AS tables
FROM (SELECT DISTINCT * FROM details) GROUP BY code
"""


@contextmanager
def open_tables(folder: Path, files: Sequence[str], limits: ResourceLimits) -> Iterator[Database]:
    """Open a database with the combined counts of all data files.

    Its tables: `files` (number, name, folder); `runs`, `encounters`, `marks` and `periods` as in `spill.SCHEMAS`;
    `held`, patients by file, and `patients`; `seen` and `detailed`, by code; `chosen_splits`, initially empty; and the
    tables that `load` adds.

    Args:
        folder: private folder with the counts; receives data that does not fit in memory.
        files: names of the data files, in the order of their numbers.
        limits: limits of this command.

    Raises:
        OutputError: if the disk or the memory is not sufficient.
    """
    with open_database(folder, limits.memory - _BASE_BYTES, limits.cpus) as tables:
        _create(tables, folder, files)
        yield tables


def first(tables: Database, query: str, order: str, values: Sequence[object] = ()) -> tuple[list[tuple[Any, ...]], int]:
    """Return the first rows of a query, as many as findings keep examples, and its total number of rows."""
    rows = list(tables.rows(f"SELECT * FROM ({query}) ORDER BY {order} LIMIT {EXAMPLES}", values))
    few = len(rows) < EXAMPLES
    return rows, len(rows) if few else tables.one(f"SELECT count(*) FROM ({query})", values)


def _create(tables: Database, folder: Path, files: Sequence[str]) -> None:
    names = {
        "number": pa.array(range(len(files)), pa.int32()),
        "name": pa.array(files, pa.string()),
        "folder": pa.array([PurePosixPath(file).parent.name for file in files], pa.string()),
    }
    tables.insert("CREATE TABLE files AS SELECT * FROM piece", pa.table(names))
    for name, schema in spill.SCHEMAS.items():
        tables.insert(f"CREATE TABLE no_{name} AS SELECT * FROM piece", schema.empty_table())
        written = next(folder.glob(f"{name}-*.parquet"), None)
        source = f"no_{name}"
        if written is not None:
            pattern = f"{glob.escape(str(folder))}/{name}-*.parquet".replace("'", "''")
            source = f"read_parquet('{pattern}')"
        tables.execute(f"CREATE VIEW {name} AS SELECT * FROM {source}")
    tables.execute("CREATE TABLE chosen_splits (subject_id BIGINT, split VARCHAR, place BIGINT)")
    for name, query in (("held", _HELD), ("patients", _PATIENTS), ("seen", _SEEN), ("detailed", _DETAILED)):
        tables.execute(f"CREATE TABLE {name} AS {query}")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def load(
    tables: Database, root: Path, file: str, name: str, columns: Mapping[str, str | None], findings: Findings
) -> pa.Table | None:
    """Read a metadata table into the database in batches.

    Args:
        tables: database that receives the table, with the column `row`, counted from 0, and the existing ones of
            `columns`.
        root: folder of the dataset.
        file: path of the file in the dataset.
        name: name of the table.
        columns: type of each column, in which invalid values become null; None for the type in the file.
        findings: receives the violations.

    Returns:
        A few rows that contain a null in each column with nulls, for the schemas of MEDS; None if the file cannot be
        read.
    """
    try:
        with pq.ParquetFile(root / file) as opened:
            return _load(tables, opened, name, columns)
    except FileNotFoundError:
        findings.one("readable", "does not exist", file)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, duckdb.InvalidInputException) as error:
        findings.one("readable", _first_line(error), file)
    return None


def _load(tables: Database, file: pq.ParquetFile, name: str, columns: Mapping[str, str | None]) -> pa.Table:
    schema = file.schema_arrow
    present = [column for column in columns if column in schema.names]
    chosen = ", ".join(f"TRY_CAST({c} AS {kind}) AS {c}" if (kind := columns[c]) else c for c in present)
    chosen = ", ".join(['"row"', *([chosen] if chosen else [])])
    tables.execute(f"DROP TABLE IF EXISTS {name}")
    sample = schema.empty_table()
    tables.insert(f"CREATE TABLE {name} AS SELECT {chosen} FROM piece", _plain(sample, present, 0))
    at = 0
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
        piece = pa.Table.from_batches([batch], schema)
        tables.insert(f"INSERT INTO {name} SELECT {chosen} FROM piece", _plain(piece, present, at))
        sample = _with_nulls_of(sample, piece)
        at += piece.num_rows
    return sample


def _plain(table: pa.Table, columns: Sequence[str], at: int) -> pa.Table:
    """Return the columns with row numbers, in types that are the same for all batches: times as integers."""
    plain = {"row": pa.array(range(at, at + table.num_rows), pa.int64())}
    for name in columns:
        column = table[name]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        plain[name] = column
    return pa.table(plain)


def _with_nulls_of(sample: pa.Table, piece: pa.Table) -> pa.Table:
    """Add a row of a batch for each column that has a null there but not yet in the sample."""
    for name in piece.column_names:
        if piece[name].null_count and not sample[name].null_count:
            row = pc.index(piece[name].is_null(), pa.scalar(value=True)).as_py()
            sample = pa.concat_tables([sample, piece.slice(row, 1)])
    return sample
