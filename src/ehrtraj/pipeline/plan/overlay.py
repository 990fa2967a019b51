"""A user's own source and overlay, checked before a build reads anything else."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import duckdb

from ehrtraj import recipes
from ehrtraj.pipeline.shard.extract import Extractor
from ehrtraj.recipes.allowed import SqlLocation, check_allowed
from ehrtraj.recipes.columns import problem_of_columns
from ehrtraj.release.schema import SUBJECT_ID
from ehrtraj.rules.overlay import check_overlay_rules
from ehrtraj.sources.check import check_source
from ehrtraj.sources.source import Source
from ehrtraj.user_files import UserFile

_MEMORY = 256 << 20
_COLUMNS = {
    "dictionaries": {"event_type": "VARCHAR", "item": "VARCHAR"},
    "encounters": {"subject_id": "BIGINT", "start": "TIMESTAMP", "stop": "TIMESTAMP", "hadm_id": "BIGINT"},
    "subjects": {
        "subject_id": "BIGINT",
        "sex": "VARCHAR",
        "birth_year": "INTEGER",
        "age_top_coded": "BOOLEAN",
        "death_time": "TIMESTAMP",
        "followup_end": "TIMESTAMP",
    },
    "stays": {"kind": "VARCHAR", "id": "BIGINT", "start": "TIMESTAMP", "stop": "TIMESTAMP"},
    "codes": {"code": "VARCHAR", "description": "VARCHAR"},
}
"""Columns that the build relies on, of each helper."""


def check_overlay(source: Source) -> None:
    """Check a source of the user's own, and what a user's overlay adds to a source.

    Raises:
        RecipeError: if something in them cannot be used; the message names the file and the line.
    """
    if isinstance(source.folder, UserFile):
        check_source(source)
        plain = replace(source, overlay=None)
        check_overlay_recipes(plain, source.folder / "recipes")
        check_overlay_rules(source.folder / "rules", plain.event_types, of_source=True)
    if source.overlay_rules is not None:
        check_overlay_rules(source.overlay_rules, source.event_types)
    if source.overlay_recipes is not None:
        check_overlay_recipes(source, source.overlay_recipes)


def check_overlay_recipes(source: Source, folder: UserFile) -> None:
    """Check that all SQL of a folder may run, and that DuckDB can run it over the tables.

    Args:
        source: whose recipes they are, or whose overlay they are in.
        folder: with a user's own recipes and tables.

    Raises:
        RecipeError: if something cannot be used.
    """
    check_allowed(folder, source.recipes.values())
    patient = source.tables_of("patient")
    with closing(Extractor(source, patient, list(patient), _MEMORY)) as extractor:
        extractor.bind()
        for table in source.tables_of("dictionary").values():
            extractor.connection.register(table.name, table.schema.empty_table())
        for name, path in recipes.overlay_sql(folder).items():
            if name in _COLUMNS:
                _check_helper(extractor.connection, name, path)
            elif name in patient:
                _check_columns(source, name, path)


def _check_columns(source: Source, table: str, path: UserFile) -> None:
    """Check that a recipe uses every column of its table or leaves it out with a reason, as ours do."""
    # A key of another name became subject_id when the table was staged.
    columns = [name for name in source.tables[table].columns if name != source.roles.patients.key or name == SUBJECT_ID]
    if problem := problem_of_columns(source.recipes[table], columns):
        raise SqlLocation(f"recipe {table}", str(path)).wrong(problem)


def _check_helper(connection: duckdb.DuckDBPyConnection, name: str, path: UserFile) -> None:
    """Check that a helper selects the columns that the build relies on."""
    place = SqlLocation(f"recipe {name}", str(path))
    try:
        own = connection.sql(recipes.read_sql(path))
    except duckdb.Error as error:
        raise place.refused(error, padded=True) from error
    found = dict(zip(own.columns, map(str, own.types), strict=True))
    for column, kind in _COLUMNS[name].items():
        if found.get(column) != kind:
            raise place.wrong(f"must select {column} as {kind}, not {found.get(column, 'nothing of this name')}")
