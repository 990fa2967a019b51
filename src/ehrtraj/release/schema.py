"""What is known of a source's tables, read from the data files beside this module and from a user's own folder."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import pyarrow as pa

from ehrtraj.errors import RecipeError
from ehrtraj.files import names_in, read_csv_lines
from ehrtraj.release.history import history, projects

Kind = Literal["patient", "dictionary", "no_patients"]

ARROW_TYPES: dict[str, pa.DataType] = {
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "double": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us"),
}
_TABLE_FIELDS = ("module", "table", "kind", "key_columns", "duplicate_columns")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_COLUMN_FIELDS = ("module", "table", "column", "type")


@dataclass(frozen=True)
class Table:
    """One table of a source.

    Attributes:
        module: folder it lies in, in the newest release.
        name: file name without ending.
        kind: `patient` tables become events, `dictionary` tables describe codes, `no_patients` tables are not read.
        columns: column names and Arrow types, in the order of the newest release.
        key_columns: columns without which the table cannot be used.
        duplicate_columns: columns in which rows must agree to be suspected of being exact duplicates.
        places: modules it lies in, in any release; empty for `module` alone.
        aliases: what a column is called in any release, newest first, where that changed.
        dropped: columns of older releases that said nothing.
    """

    module: str
    name: str
    kind: Kind
    columns: dict[str, pa.DataType]
    key_columns: tuple[str, ...]
    duplicate_columns: tuple[str, ...]
    places: tuple[str, ...] = ()
    aliases: dict[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """`module/name`, as in `source_table` of an event."""
        return f"{self.module}/{self.name}"

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the staged table."""
        return pa.schema(list(self.columns.items()))

    def names_of(self, column: str) -> tuple[str, ...]:
        """What a column is called in any release, newest first."""
        return self.aliases.get(column, (column,))


def _read(source: str, file: str) -> list[dict[str, str]]:
    with (files("ehrtraj.release") / source / file).open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _read_own(folder: Path, name: str, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """The lines of a user's file, which must have these columns; none where there is no such file."""
    if name not in names_in(folder, RecipeError):
        return []
    return read_csv_lines(folder / name, list(columns), RecipeError)


@cache
def tables(source: str = "mimiciv", extra: Path | None = None) -> dict[str, Table]:
    """All tables of a source by full name, in the order of its data file, a user's own behind them.

    Args:
        source: whose tables.
        extra: folder with a user's `tables.csv` and `columns.csv`.

    Raises:
        RecipeError: if a user's file cannot be used.
    """
    known = history(source).tables
    found = {}
    for row in _read(source, "tables.csv"):
        was = known[f"{row['module']}/{row['table']}"]
        table = _table(row, {c: ARROW_TYPES[t] for c, t in was.columns.items()})
        renamed = {column: names for column, names in was.names.items() if len(names) > 1}
        found[table.full_name] = replace(table, places=was.places, aliases=renamed, dropped=was.dropped)
    return found if extra is None else found | _own_tables(extra, found)


def _table(row: dict[str, str], columns: dict[str, pa.DataType]) -> Table:
    return Table(
        module=row["module"],
        name=row["table"],
        kind=row["kind"],  # type: ignore[arg-type]  # checked by the test that walks the data files, and for a user's own
        columns=columns,
        key_columns=tuple(row["key_columns"].split()),
        duplicate_columns=tuple(row["duplicate_columns"].split()),
    )


def _own_tables(folder: Path, known: dict[str, Table]) -> dict[str, Table]:
    """The tables that a user's folder adds, checked."""
    columns: dict[str, dict[str, pa.DataType]] = {}
    for number, row in _read_own(folder, "columns.csv", _COLUMN_FIELDS):
        where = f"{folder / 'columns.csv'}, line {number}"
        if row["type"] not in ARROW_TYPES:
            raise RecipeError(f"{where}: there is no type '{row['type']}'; there are: {', '.join(ARROW_TYPES)}")
        _check_names(row, ("column",), where)
        of_table = columns.setdefault(f"{row['module']}/{row['table']}", {})
        if row["column"].lower() in map(str.lower, of_table):
            raise RecipeError(f"{where}: {row['table']} has the column {row['column']} twice")
        of_table[row["column"]] = ARROW_TYPES[row["type"]]
    own: dict[str, Table] = {}
    for number, row in _read_own(folder, "tables.csv", _TABLE_FIELDS):
        where, name = f"{folder / 'tables.csv'}, line {number}", f"{row['module']}/{row['table']}"
        _check_names(row, ("module", "table"), where)
        if row["kind"] not in ("patient", "dictionary"):
            raise RecipeError(f"{where}: kind is '{row['kind']}': it is patient or dictionary")
        if any(row["table"] == table.name for table in (known | own).values()):
            raise RecipeError(f"{where}: there is a table named {row['table']} already, and names are used bare in SQL")
        table = own[name] = _table(row, columns.get(name, {}))
        listed = (*table.key_columns, *table.duplicate_columns)
        if lacking := [c for c in listed if c not in table.columns]:
            raise RecipeError(f"{where}: columns.csv has no column {', '.join(lacking)} of {name}")
        if not table.key_columns or (table.kind == "patient" and table.key_columns[0] != "subject_id"):
            raise RecipeError(f"{where}: key_columns must begin with subject_id")
        if table.kind == "patient" and table.columns["subject_id"] != pa.int64():
            raise RecipeError(f"{where}: subject_id must be a bigint in columns.csv")
    if unknown := sorted(set(columns) - set(own)):
        raise RecipeError(f"{folder / 'columns.csv'} has columns of {', '.join(unknown)}, which tables.csv lacks")
    return own


def _check_names(row: dict[str, str], columns: tuple[str, ...], where: str) -> None:
    """Refuse a name that could not be one of a column, a file or a folder."""
    for column in columns:
        if not _NAME.fullmatch(row[column]):
            raise RecipeError(f"{where}: {column} is '{row[column]}': use letters, digits and _, a letter first")


def project_of(module: str, source: str = "mimiciv") -> str:
    """The download that a module belongs to; a user's own module is one by itself."""
    return next((p.name for p in projects(source).values() if module in p.modules), module)


@cache
def published_row_counts(source: str = "mimiciv", project: str = "mimiciv") -> dict[str, dict[str, int]]:
    """Rows of each table (bare name) of a download as published, by release."""
    counts: dict[str, dict[str, int]] = {}
    for row in _read(source, "row_counts.csv"):
        if row["project"] == project:
            counts.setdefault(row["release"], {})[row["table"]] = int(row["rows"])
    return counts
