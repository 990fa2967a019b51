"""Read and check the tables that a user's overlay adds. Errors name the file and line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from ehrtraj.errors import RecipeError
from ehrtraj.files import names_in, read_csv_lines
from ehrtraj.release.schema import ARROW_TYPES, TABLE_FIELDS, Table, declared_tables, table_of
from ehrtraj.user_files import UserFile

if TYPE_CHECKING:
    from ehrtraj.recipes import Recipe

_TYPE_NAMES = {kind: name for name, kind in ARROW_TYPES.items()}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_COLUMN_FIELDS = ("module", "table", "column", "type")


def read_custom_tables(folder: UserFile, known: Mapping[str, Table], recipes: Mapping[str, Recipe]) -> dict[str, Table]:
    """Return the tables that a user's overlay adds. They use the same patient key as the source.

    Args:
        folder: overlay folder, which may contain `tables.csv` and `columns.csv`.
        known: tables of the source.
        recipes: of the overlay; some may declare their table.

    Raises:
        RecipeError: if a line cannot be used.
    """
    any_patient_table = next(table for table in known.values() if table.kind == "patient")
    columns = _custom_columns(folder)
    custom: dict[str, Table] = {}
    for where, row in [*_listed_tables(folder), *_added_tables(known, recipes)]:
        table = table_of(row, columns.get(f"{row['module']}/{row['table']}", {}))
        _check_table(table, where, any_patient_table, [*known.values(), *custom.values()])
        custom[table.full_name] = table
    if unknown := sorted(set(columns) - set(custom)):
        raise RecipeError(
            f"{folder / 'columns.csv'} contains columns of {', '.join(unknown)}: declare the table in tables.csv, or "
            "with -- keys: in its recipe"
        )
    return custom


def _listed_tables(folder: UserFile) -> list[tuple[str, dict[str, str]]]:
    lines = _read_custom(folder, "tables.csv", TABLE_FIELDS)
    return [(f"{folder / 'tables.csv'}, line {number}", row) for number, row in lines]


def _added_tables(known: Mapping[str, Table], recipes: Mapping[str, Recipe]) -> list[tuple[str, dict[str, str]]]:
    """Return the tables that recipes declare, except the source's: a copied recipe keeps the original's header."""
    added = []
    for where, row in declared_tables(recipes):
        declared = table_of(row, {})
        same = known.get(declared.full_name)
        if same is None:
            added.append((where, row))
        elif (declared.key_columns, declared.duplicate_columns) != (same.key_columns, same.duplicate_columns):
            raise RecipeError(
                f"{where}: the keys of the source's table {same.full_name} cannot be changed: remove the line -- keys:"
            )
    return added


def _check_table(table: Table, where: str, any_patient_table: Table, others: Iterable[Table]) -> None:
    _check_names({"module": table.module, "table": table.name}, ("module", "table"), where)
    if table.kind not in ("patient", "dictionary"):
        raise RecipeError(f"{where}: kind is '{table.kind}', but must be patient or dictionary")
    if any(table.name == other.name for other in others):
        raise RecipeError(
            f"{where}: a table named {table.name} already exists, and SQL uses names without the module. Rename it"
        )
    if lacking := table.lacking_columns:
        raise RecipeError(f"{where}: columns.csv lacks the column {', '.join(lacking)} of {table.full_name}")
    key, kind = any_patient_table.key, any_patient_table.columns[any_patient_table.key]
    if not table.key_columns or (table.kind == "patient" and table.key != key):
        raise RecipeError(f"{where}: key_columns must begin with {key}")
    if table.kind == "patient" and table.columns[key] != kind:
        raise RecipeError(f"{where}: {key} must be a {_TYPE_NAMES[kind]} in columns.csv")


def _read_custom(folder: UserFile, name: str, columns: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Return the lines of a user's file, which must have these columns, or an empty list if it does not exist."""
    if name not in names_in(folder, RecipeError):
        return []
    return read_csv_lines(folder / name, list(columns), RecipeError)


def _custom_columns(folder: UserFile) -> dict[str, dict[str, pa.DataType]]:
    """Return the columns of each table that a user's overlay adds, by the table's full name."""
    columns: dict[str, dict[str, pa.DataType]] = {}
    for number, row in _read_custom(folder, "columns.csv", _COLUMN_FIELDS):
        where = f"{folder / 'columns.csv'}, line {number}"
        if row["type"] not in ARROW_TYPES:
            raise RecipeError(f"{where}: '{row['type']}' is not a valid type: use {', '.join(ARROW_TYPES)}")
        _check_names(row, ("column",), where)
        of_table = columns.setdefault(f"{row['module']}/{row['table']}", {})
        if row["column"].lower() in map(str.lower, of_table):
            raise RecipeError(f"{where}: the column {row['column']} of {row['table']} is listed twice")
        of_table[row["column"]] = ARROW_TYPES[row["type"]]
    return columns


def _check_names(row: dict[str, str], columns: tuple[str, ...], where: str) -> None:
    """Raise an error if a name cannot be used for a column, a file or a folder."""
    for column in columns:
        if not _NAME.fullmatch(row[column]):
            raise RecipeError(
                f"{where}: {column} is '{row[column]}': use letters, digits and _, and begin with a letter"
            )
