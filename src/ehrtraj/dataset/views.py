"""The standard views of `Dataset.sql`: SQL of the source over the events of a dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import polars as pl
import polars.selectors as cs

from ehrtraj.dataset.layout import DatasetLayout
from ehrtraj.errors import RecipeError, SettingsError
from ehrtraj.runtime.session import is_one_select, quoted
from ehrtraj.sources.source import source_of


@dataclass(frozen=True)
class StandardViews:
    """What the standard views of a dataset are made of.

    Attributes:
        sql: SELECT of each view, by name; none of them reads another one.
        concepts: lists of the items and drugs of each concept, by name of the table.
        flags: bit of each flag.
        clock: the dataset's clock.
    """

    sql: Mapping[str, str]
    concepts: Mapping[str, pl.DataFrame]
    flags: Mapping[str, int]
    clock: str

    def create(self, connection: duckdb.DuckDBPyConnection, query: str) -> None:
        """Create the macros, and those views whose names occur in a query, over the view `events`.

        Each view takes DuckDB 8 ms, even if it is not read.

        Raises:
            RecipeError: if a view of a custom source is not a valid SELECT.
        """
        connection.execute(_has_flag(self.flags))
        for name, table in self.concepts.items():
            connection.register(name, table)
        replaced = " REPLACE (event_time AS time)" if self.clock == "available" else ""
        connection.execute(f"CREATE VIEW happened AS SELECT *{replaced} FROM events")
        words = set(re.findall(r"\w+", query.lower()))
        for name in sorted(words & self.sql.keys()):
            _create(connection, name, self.sql[name])


def standard_views(layout: DatasetLayout) -> StandardViews:
    """Return the standard views of a dataset.

    There are none if the dataset was built with a custom source that has none, or whose folder no longer exists.
    """
    try:
        source = source_of(layout.manifest)
        sql, lists = source.standard_views, source.concept_lists
    except SettingsError:
        sql, lists = {}, {}
    concepts = {
        name: pl.DataFrame(lines).with_columns(cs.string().replace("", None)) for name, lines in lists.items() if lines
    }
    return StandardViews(sql, concepts, layout.flags, layout.clock)


def _create(connection: duckdb.DuckDBPyConnection, name: str, sql: str) -> None:
    try:
        if not is_one_select(connection, sql):
            raise RecipeError(f"the view views/{name}.sql must be a single SELECT")
        connection.execute(f"CREATE VIEW {name} AS {sql}")
    except duckdb.Error as error:
        raise RecipeError(f"DuckDB rejected the view views/{name}.sql: {error}") from None


def _has_flag(flags: Mapping[str, int]) -> str:
    whens = " ".join(f"WHEN {quoted(name)} THEN {bit}" for name, bit in flags.items())
    unknown = "error('there is no flag ''' || name || '''')"
    return f"CREATE MACRO has_flag(flags, name) AS (flags & CASE name {whens} ELSE {unknown} END) <> 0"
