"""Check a custom source and an overlay before a build reads anything else."""

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
"""Columns of each helper that the build relies on."""


def check_overlay(source: Source) -> None:
    """Check a custom source and the overlay of a source, if any.

    Raises:
        RecipeError: if something in them is invalid; the message names the file and the line.
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
    """Check that all SQL in a folder is allowed, and that DuckDB can bind it to the tables.

    Args:
        source: source that the recipes belong to, or to which the overlay applies.
        folder: folder with custom recipes and tables.

    Raises:
        RecipeError: if something is invalid.
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
    """Check that a recipe uses every column of its table or leaves it out with a reason."""
    # A patient key with another name was replaced by subject_id during staging.
    columns = [name for name in source.tables[table].columns if name != source.roles.patients.key or name == SUBJECT_ID]
    if problem := problem_of_columns(source.recipes[table], columns):
        raise SqlLocation(f"recipe {table}", str(path)).wrong(problem)


def _check_helper(connection: duckdb.DuckDBPyConnection, name: str, path: UserFile) -> None:
    """Check that a helper selects the columns that the build relies on."""
    location = SqlLocation(f"recipe {name}", str(path))
    try:
        helper = connection.sql(recipes.read_sql(path))
    except duckdb.Error as error:
        raise location.refused(error, padded=True) from error
    types = dict(zip(helper.columns, map(str, helper.types), strict=True))
    for column, expected in _COLUMNS[name].items():
        if column not in types:
            raise location.wrong(f"must select {column} as {expected}, but it has no column with this name")
        if types[column] != expected:
            raise location.wrong(f"must select {column} as {expected}, not {types[column]}")
