"""What is known of a source's tables, read from its data files and from a user's own folder."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal

import pyarrow as pa

from ehrtraj.errors import RecipeError
from ehrtraj.files import names_in, read_csv_lines
from ehrtraj.release.history import History, read_lines
from ehrtraj.user_files import File, UserFile

Kind = Literal["patient", "dictionary", "no_patients"]

ARROW_TYPES: dict[str, pa.DataType] = {
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "double": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us"),
}
_NAMES = {kind: name for name, kind in ARROW_TYPES.items()}
SUBJECT_ID = "subject_id"
"""The column of every event and staged row that says whose it is."""
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
    def key(self) -> str:
        """The column without which a row is of nobody: of a table of patients, the patient's key."""
        return self.key_columns[0]

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the staged table: its columns, and `subject_id` where the patient's key is another column."""
        added = {} if self.kind != "patient" or self.key == SUBJECT_ID else {SUBJECT_ID: pa.int64()}
        return pa.schema(list((self.columns | added).items()))

    def names_of(self, column: str) -> tuple[str, ...]:
        """What a column is called in any release, newest first."""
        return self.aliases.get(column, (column,))


def _read_own(folder: UserFile, name: str, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """The lines of a user's file, which must have these columns; none where there is no such file."""
    if name not in names_in(folder, RecipeError):
        return []
    return read_csv_lines(folder / name, list(columns), RecipeError)


def read_tables(folder: File, history: History, own: UserFile | None = None) -> dict[str, Table]:
    """All tables of a source by full name, in the order of its data file, a user's own behind them.

    Args:
        folder: of the source, which holds `tables.csv`.
        history: of the source's releases.
        own: folder with a user's `tables.csv` and `columns.csv`.

    Raises:
        RecipeError: if a table has no usable columns, or a user's file cannot be used.
    """
    found = {}
    for row in read_lines(folder / "tables.csv"):
        was = history.tables.get(f"{row['module']}/{row['table']}")
        if was is None:
            raise RecipeError(f"{folder / 'tables.csv'}: no release has columns of {row['module']}/{row['table']}")
        if unknown := [t for t in was.columns.values() if t not in ARROW_TYPES]:
            raise RecipeError(
                f"{folder / 'releases'}: there is no type '{unknown[0]}'; there are: {', '.join(ARROW_TYPES)}"
            )
        table = _table(row, {c: ARROW_TYPES[t] for c, t in was.columns.items()})
        renamed = {column: names for column, names in was.names.items() if len(names) > 1}
        found[table.full_name] = replace(table, places=was.places, aliases=renamed, dropped=was.dropped)
    return found if own is None else found | _own_tables(own, found)


def _table(row: dict[str, str], columns: dict[str, pa.DataType]) -> Table:
    return Table(
        module=row["module"],
        name=row["table"],
        kind=row["kind"],  # type: ignore[arg-type]  # checked by the test that walks the data files, and for a user's own
        columns=columns,
        key_columns=tuple(row["key_columns"].split()),
        duplicate_columns=tuple(row["duplicate_columns"].split()),
    )


def _own_tables(folder: UserFile, known: dict[str, Table]) -> dict[str, Table]:
    """The tables that a user's folder adds, checked. Their patients have the same key as those of the source."""
    key, kind = next((t.key, t.columns[t.key]) for t in known.values() if t.kind == "patient")
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
        if not table.key_columns or (table.kind == "patient" and table.key != key):
            raise RecipeError(f"{where}: key_columns must begin with {key}")
        if table.kind == "patient" and table.columns[key] != kind:
            raise RecipeError(f"{where}: {key} must be a {_NAMES[kind]} in columns.csv")
    if unknown := sorted(set(columns) - set(own)):
        raise RecipeError(f"{folder / 'columns.csv'} has columns of {', '.join(unknown)}, which tables.csv lacks")
    return own


def _check_names(row: dict[str, str], columns: tuple[str, ...], where: str) -> None:
    """Refuse a name that could not be one of a column, a file or a folder."""
    for column in columns:
        if not _NAME.fullmatch(row[column]):
            raise RecipeError(f"{where}: {column} is '{row[column]}': use letters, digits and _, a letter first")
