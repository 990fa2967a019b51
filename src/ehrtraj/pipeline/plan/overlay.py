"""A user's own rules and recipes, checked before a build reads anything else."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import duckdb

from ehrtraj import recipes
from ehrtraj.config import Settings
from ehrtraj.errors import SettingsError
from ehrtraj.pipeline.shard.extract import Extractor
from ehrtraj.recipes.allowed import Place, check_allowed
from ehrtraj.release.schema import tables
from ehrtraj.rules.own import check_own_rules

_MEMORY = 256 << 20
_HELPERS = tuple(name for name in recipes.HELPERS if name != "macros")


def check_own(settings: Settings) -> None:
    """Check the folders of own rules and recipes.

    Raises:
        SettingsError: if one is not there.
        RecipeError: if something in it cannot be used; the message names the file and the line.
    """
    for name, folder in (("rules", settings.rules), ("recipes", settings.recipes)):
        if folder is not None and not folder.is_dir():
            raise SettingsError(f"{name} is {folder}: there is no such folder")
    if settings.rules is not None:
        check_own_rules(settings.rules, settings.recipes)
    if settings.recipes is not None:
        check_own_recipes(settings.recipes)


def check_own_recipes(folder: Path, source: str = "mimiciv") -> None:
    """Check that all SQL of a folder may run, and that DuckDB can run it over the tables.

    Args:
        folder: with a user's own recipes and tables.
        source: whose tables there are besides.

    Raises:
        RecipeError: if something cannot be used.
    """
    check_allowed(folder, source)
    known = tables(source, folder)
    patient = {name: table for name, table in known.items() if table.kind == "patient"}
    with closing(Extractor(source, patient, list(patient), _MEMORY, extra=folder)) as extractor:
        extractor.bind()
        for table in known.values():
            if table.kind == "dictionary":
                extractor.connection.register(table.name, table.schema.empty_table())
        for name, path in recipes.own_sql(folder).items():
            if name in _HELPERS:
                _check_helper(extractor.connection, name, path, source)


def _check_helper(connection: duckdb.DuckDBPyConnection, name: str, path: Path, source: str) -> None:
    """Compare the columns of a user's helper with those of the package's, which the build relies on."""
    ours = connection.sql(recipes.helper(name, source))
    place = Place(f"recipe {name}", str(path))
    try:
        own = connection.sql(recipes.read_sql(path))
    except duckdb.Error as error:
        raise place.refused(error, padded=True) from error
    found = dict(zip(own.columns, map(str, own.types), strict=True))
    for column, kind in zip(ours.columns, map(str, ours.types), strict=True):
        if found.get(column) != kind:
            raise place.wrong(f"must select {column} as {kind}, not {found.get(column, 'nothing of this name')}")
