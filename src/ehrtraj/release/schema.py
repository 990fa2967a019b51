"""What is known of a source's tables, read from its data files and from a user's own folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from ehrtraj.errors import RecipeError
from ehrtraj.files import names_in, read_csv_lines
from ehrtraj.release.history import History, read_lines
from ehrtraj.user_files import File, UserFile

if TYPE_CHECKING:
    from ehrtraj.recipes import Recipe

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


def read_tables(folder: File, history: History, recipes: Mapping[str, Recipe]) -> dict[str, Table]:
    """All tables of a source by full name: those of its data file in the order of that, then those of its recipes.

    Args:
        folder: of the source, which holds `tables.csv`.
        history: of the source's releases.
        recipes: of the source, some of which may declare their table.

    Raises:
        RecipeError: if a table has no usable columns, or is declared twice.
    """
    found: dict[str, Table] = {}
    listed = [(f"{folder / 'tables.csv'}", row) for row in read_lines(folder / "tables.csv")]
    for where, row in listed + [(where, row) for _, where, row in _declared_tables(recipes)]:
        name = f"{row['module']}/{row['table']}"
        was = history.tables.get(name)
        if was is None:
            raise RecipeError(f"{where}: no release has columns of {name}")
        if name in found:
            raise RecipeError(f"{where}: {name} is declared already: remove its line in tables.csv, or its keys here")
        if unknown := [t for t in was.columns.values() if t not in ARROW_TYPES]:
            raise RecipeError(
                f"{folder / 'releases'}: there is no type '{unknown[0]}'; there are: {', '.join(ARROW_TYPES)}"
            )
        table = _table(row, {c: ARROW_TYPES[t] for c, t in was.columns.items()})
        if lacking := _lacking_columns(table):
            raise RecipeError(f"{where}: no release has a column {', '.join(lacking)} of {name}")
        renamed = {column: names for column, names in was.names.items() if len(names) > 1}
        found[name] = replace(table, places=was.places, aliases=renamed, dropped=was.dropped)
    return found


def _declared_tables(recipes: Mapping[str, Recipe]) -> list[tuple[str, str, dict[str, str]]]:
    """Tables that recipes declare: full name, place for messages, and a line as those of `tables.csv`."""
    found = []
    for name, recipe in recipes.items():
        if recipe.keys is not None:
            module, _, table = name.partition("/")
            keys, same = map(" ".join, recipe.keys)
            row = dict(zip(_TABLE_FIELDS, (module, table, "patient", keys, same), strict=True))
            found.append((name, recipe.file or f"recipe {name}", row))
    return found


def _keys_of(table: Table) -> tuple[str, str]:
    return " ".join(table.key_columns), " ".join(table.duplicate_columns)


def _lacking_columns(table: Table) -> list[str]:
    return [c for c in (*table.key_columns, *table.duplicate_columns) if c not in table.columns]


def _table(row: dict[str, str], columns: dict[str, pa.DataType]) -> Table:
    return Table(
        module=row["module"],
        name=row["table"],
        kind=row["kind"],  # type: ignore[arg-type]  # checked by the test that walks the data files, and for a user's own
        columns=columns,
        key_columns=tuple(row["key_columns"].split()),
        duplicate_columns=tuple(row["duplicate_columns"].split()),
    )


def read_own_tables(folder: UserFile, known: Mapping[str, Table], recipes: Mapping[str, Recipe]) -> dict[str, Table]:
    """The tables that a user's folder adds, checked. Their patients have the same key as those of the source.

    Args:
        folder: with a user's `tables.csv` and `columns.csv`.
        known: tables of the source.
        recipes: of the folder, some of which may declare their table.

    Raises:
        RecipeError: if something in it cannot be used.
    """
    key, kind = next((t.key, t.columns[t.key]) for t in known.values() if t.kind == "patient")
    columns = _own_columns(folder)
    lines = [(f"{folder / 'tables.csv'}, line {n}", row) for n, row in _read_own(folder, "tables.csv", _TABLE_FIELDS)]
    for name, where, row in _declared_tables(recipes):
        # A recipe that replaces the source's may have been copied with all of its header.
        if name not in known:
            lines.append((where, row))
        elif (row["key_columns"], row["duplicate_columns"]) != _keys_of(known[name]):
            raise RecipeError(f"{where}: the keys of {name} are those of the source: remove the line -- keys:")
    own: dict[str, Table] = {}
    for where, row in lines:
        name = f"{row['module']}/{row['table']}"
        _check_names(row, ("module", "table"), where)
        if row["kind"] not in ("patient", "dictionary"):
            raise RecipeError(f"{where}: kind is '{row['kind']}': it is patient or dictionary")
        if any(row["table"] == table.name for table in (*known.values(), *own.values())):
            raise RecipeError(f"{where}: there is a table named {row['table']} already, and names are used bare in SQL")
        table = own[name] = _table(row, columns.get(name, {}))
        if lacking := _lacking_columns(table):
            raise RecipeError(f"{where}: columns.csv has no column {', '.join(lacking)} of {name}")
        if not table.key_columns or (table.kind == "patient" and table.key != key):
            raise RecipeError(f"{where}: key_columns must begin with {key}")
        if table.kind == "patient" and table.columns[key] != kind:
            raise RecipeError(f"{where}: {key} must be a {_NAMES[kind]} in columns.csv")
    if unknown := sorted(set(columns) - set(own)):
        raise RecipeError(
            f"{folder / 'columns.csv'} has columns of {', '.join(unknown)}, which tables.csv lacks and no recipe "
            "declares with -- keys:"
        )
    return own


def _own_columns(folder: UserFile) -> dict[str, dict[str, pa.DataType]]:
    """The columns of each table that a user's folder adds, by the table's full name."""
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
    return columns


def _check_names(row: dict[str, str], columns: tuple[str, ...], where: str) -> None:
    """Refuse a name that could not be one of a column, a file or a folder."""
    for column in columns:
        if not _NAME.fullmatch(row[column]):
            raise RecipeError(f"{where}: {column} is '{row[column]}': use letters, digits and _, a letter first")
