"""Descriptions of a source's tables, read from the source's data files and from a user's overlay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from ehrtraj.errors import RecipeError
from ehrtraj.release.history import History, read_lines
from ehrtraj.user_files import File

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
SUBJECT_ID = "subject_id"
"""The column that identifies the patient of each event and each staged row."""
TABLE_FIELDS = ("module", "table", "kind", "key_columns", "duplicate_columns")
"""Columns of `tables.csv`."""


@dataclass(frozen=True)
class Table:
    """One table of a source.

    Attributes:
        module: folder that contains it in the newest release.
        name: file name without ending.
        kind: `patient` tables become events, `dictionary` tables describe codes, `no_patients` tables are not read.
        columns: column names and Arrow types, in the order of the newest release.
        key_columns: columns without which the table cannot be used.
        duplicate_columns: columns in which rows must agree to be candidates for exact duplicates.
        places: modules that contain it in any release; empty if that is only `module`.
        aliases: names of each renamed column in all releases, newest first.
        dropped: columns of older releases that contained no information.
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
        """The column that every row needs: in a patient table, the patient's key."""
        return self.key_columns[0]

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the staged table: its columns, plus `subject_id` if the patient's key is another column."""
        added = {} if self.kind != "patient" or self.key == SUBJECT_ID else {SUBJECT_ID: pa.int64()}
        return pa.schema(list((self.columns | added).items()))

    @property
    def lacking_columns(self) -> list[str]:
        """Key columns and duplicate columns that the table does not have."""
        return [c for c in (*self.key_columns, *self.duplicate_columns) if c not in self.columns]

    def names_of(self, column: str) -> tuple[str, ...]:
        """Return the names of a column in all releases, newest first."""
        return self.aliases.get(column, (column,))


def read_tables(folder: File, history: History, recipes: Mapping[str, Recipe]) -> dict[str, Table]:
    """Return all tables of a source by full name: those of `tables.csv` in its order, then those of the recipes.

    Args:
        folder: of the source, which contains `tables.csv`.
        history: of the source's releases.
        recipes: of the source; some may declare their table.

    Raises:
        RecipeError: if a table has no usable columns, or is declared twice.
    """
    found: dict[str, Table] = {}
    listed = [(f"{folder / 'tables.csv'}", row) for row in read_lines(folder / "tables.csv")]
    for where, row in listed + declared_tables(recipes):
        name = f"{row['module']}/{row['table']}"
        was = history.tables.get(name)
        if was is None:
            raise RecipeError(f"{where}: no release has columns of {name}")
        if name in found:
            raise RecipeError(f"{where}: {name} is already declared: remove its line in tables.csv, or its keys here")
        if unknown := [t for t in was.columns.values() if t not in ARROW_TYPES]:
            raise RecipeError(
                f"{folder / 'releases'}: '{unknown[0]}' is not a valid type: use {', '.join(ARROW_TYPES)}"
            )
        table = table_of(row, {c: ARROW_TYPES[t] for c, t in was.columns.items()})
        if lacking := table.lacking_columns:
            raise RecipeError(f"{where}: no release has a column {', '.join(lacking)} of {name}")
        renamed = {column: names for column, names in was.names.items() if len(names) > 1}
        found[name] = replace(table, places=was.places, aliases=renamed, dropped=was.dropped)
    return found


def declared_tables(recipes: Mapping[str, Recipe]) -> list[tuple[str, dict[str, str]]]:
    """Return the tables that recipes declare: a location for messages, and a line like those of `tables.csv`.

    Args:
        recipes: by the full name of their table.
    """
    found = []
    for name, recipe in recipes.items():
        if recipe.keys is not None:
            module, _, table = name.partition("/")
            keys, duplicates = map(" ".join, recipe.keys)
            row = dict(zip(TABLE_FIELDS, (module, table, "patient", keys, duplicates), strict=True))
            found.append((recipe.file or f"recipe {name}", row))
    return found


def table_of(row: Mapping[str, str], columns: dict[str, pa.DataType]) -> Table:
    """Return the table that a line of `tables.csv` describes.

    Args:
        row: the line.
        columns: column names and types of the table.
    """
    return Table(
        module=row["module"],
        name=row["table"],
        kind=row["kind"],  # type: ignore[arg-type]  # checked by a test for packaged files, and for overlays
        columns=columns,
        key_columns=tuple(row["key_columns"].split()),
        duplicate_columns=tuple(row["duplicate_columns"].split()),
    )
