"""Check that the folder of a source is complete and consistent. The tests check the packaged sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from ehrtraj.errors import RecipeError
from ehrtraj.recipes import HELPERS
from ehrtraj.release.schema import SUBJECT_ID
from ehrtraj.sources.declaration import FILE

if TYPE_CHECKING:
    from ehrtraj.sources.source import Source

_REQUIRED = ("tables.csv", "projects.csv", "rules/event_types.csv", *(f"recipes/{name}.sql" for name in HELPERS))


def check_source(source: Source) -> None:
    """Check that a build can use a source. Its SQL is checked together with that of overlays.

    Raises:
        RecipeError: if a file is missing, or a role or a table names something that does not exist.
    """
    if missing := [name for name in _REQUIRED if not (source.folder / name).is_file()]:
        raise RecipeError(f"{source.folder} is incomplete: these files are missing: {', '.join(missing)}")
    patients, tables = source.roles.patients, source.tables_of("patient")
    for role in filter(None, (patients, source.roles.encounters, *source.roles.stays)):
        if role.table not in tables:
            raise RecipeError(f"{source.folder / FILE}: {role.table} is not a table of the kind patient in tables.csv")
        if role.key not in tables[role.table].columns:
            raise RecipeError(f"{source.folder / FILE}: {role.table} has no column {role.key}")
    kind = tables[patients.table].columns[patients.key]
    if not (pa.types.is_string(kind) or pa.types.is_integer(kind)) or (
        patients.key == SUBJECT_ID and kind != pa.int64()
    ):
        raise RecipeError(
            f"{source.folder / FILE}: the key {patients.key} of {patients.table} must be a bigint, an integer or a "
            f"string; a key named {SUBJECT_ID} must be a bigint"
        )
    for name, table in tables.items():
        if table.key != patients.key or table.columns.get(table.key) != kind:
            raise RecipeError(
                f"{source.folder / 'tables.csv'}: key_columns of {name} must begin with {patients.key}, which must "
                f"have the same type as in {patients.table}"
            )
