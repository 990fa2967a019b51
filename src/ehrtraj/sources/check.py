"""Whether the folder of a source is complete and agrees with itself. The tests check those of the package."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from ehrtraj.errors import RecipeError
from ehrtraj.recipes import HELPERS
from ehrtraj.release.schema import SUBJECT_ID
from ehrtraj.sources.declaration import FILE

if TYPE_CHECKING:
    from ehrtraj.sources.source import Source

_NEEDED = ("tables.csv", "projects.csv", "rules/event_types.csv", *(f"recipes/{name}.sql" for name in HELPERS))


def check_source(source: Source) -> None:
    """Check that a source can be built with; its SQL is checked where a build checks that of an overlay.

    Raises:
        RecipeError: if a file is missing, or a role or a table names what is not there.
    """
    if missing := [name for name in _NEEDED if not (source.folder / name).is_file()]:
        raise RecipeError(f"{source.folder} is not complete: it has no {', '.join(missing)}")
    patients, tables = source.roles.patients, source.tables_of("patient")
    for role in filter(None, (patients, source.roles.encounters, *source.roles.stays)):
        if role.table not in tables:
            raise RecipeError(f"{source.folder / FILE}: {role.table} is not a table of kind patient in tables.csv")
        if role.key not in tables[role.table].columns:
            raise RecipeError(f"{source.folder / FILE}: {role.table} has no column {role.key}")
    kind = tables[patients.table].columns[patients.key]
    if not (pa.types.is_string(kind) or pa.types.is_integer(kind)) or (
        patients.key == SUBJECT_ID and kind != pa.int64()
    ):
        raise RecipeError(
            f"{source.folder / FILE}: the key {patients.key} of {patients.table} must be a bigint, an integer or a "
            f"string, and if it is named {SUBJECT_ID}, a bigint"
        )
    for name, table in tables.items():
        if table.key != patients.key or table.columns.get(table.key) != kind:
            raise RecipeError(
                f"{source.folder / 'tables.csv'}: key_columns of {name} must begin with {patients.key}, a column of "
                f"the same type as in {patients.table}"
            )
