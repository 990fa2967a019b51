"""The standard views of `Dataset.sql`: SQL of the source over the events of a dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from ehrtraj.concepts.lists import ConceptLists, tables
from ehrtraj.errors import RecipeError, SettingsError
from ehrtraj.runtime.session import is_one_select, quoted
from ehrtraj.sources.source import source_of

# The shortest decimal that stands for a FLOAT is the number that the source wrote, for up to 7 digits.
DECIMAL_VALUE = "CREATE MACRO decimal_value(number) AS TRY_CAST(CAST(number AS VARCHAR) AS DECIMAL(38, 12))"
"""Statement that creates the macro `decimal_value(number)`."""

_HAS_FLAG = re.compile(r"has_flag\(([\w.]+), '(\w+)'\)")

CODES = "concept_codes"
"""Table with the codes whose items have a concept."""


@dataclass(frozen=True)
class StandardViews:
    """What the standard views of a dataset are made of.

    Attributes:
        sql: SELECT of each view, by name; none of them reads another one.
        lists: lists of the items and drugs of each concept, by name of the table.
        flags: bit of each flag.
        clock: the dataset's clock.
    """

    sql: Mapping[str, str]
    lists: ConceptLists
    flags: Mapping[str, int]
    clock: str

    def create(self, connection: duckdb.DuckDBPyConnection, query: str) -> None:
        """Create the macros, and those views whose names occur in a query, over the view `events`.

        Each view takes DuckDB 8 ms, even if it is not read.

        Raises:
            RecipeError: if a view of a custom source is not a valid SELECT.
        """
        connection.execute(has_flag_macro(self.flags))
        for name, table in tables(self.lists).items():
            connection.register(name, table)
        connection.execute(happened_view("events", self.clock))
        words = set(re.findall(r"\w+", query.lower()))
        used = sorted(words & self.sql.keys())
        if CODES in words or any(CODES in self.sql[name] for name in used):
            connection.execute(f"CREATE VIEW {CODES} AS {concept_codes('codes')}")
        for name in used:
            _create(connection, name, self.sql[name])


def standard_views(manifest: Mapping[str, Any], flags: Mapping[str, int], clock: str) -> StandardViews:
    """Return the standard views of a dataset.

    Args:
        manifest: content of its manifest.
        flags: bit of each flag.
        clock: the dataset's clock.

    There are none if the dataset was built with a custom source that has none, or whose folder no longer exists.
    """
    try:
        source = source_of(manifest)
        sql, lists = source.standard_views, source.concept_lists
    except SettingsError:
        sql, lists = {}, {}
    return StandardViews(sql, lists, flags, clock)


def happened_view(events: str, dataset_clock: str, clock: str = "event") -> str:
    """Return the statement that creates the view `happened`: the events with both clocks, for the standard views.

    Args:
        events: table with the events.
        dataset_clock: the dataset's clock.
        clock: `event` if the column `time` is when something happened, `available` if it is when it became known. The
            column `event_time` is always when it happened.
    """
    happened, replaced = ("event_time", "time, event_time") if dataset_clock == "available" else ("time", "time")
    time = "available_time" if clock == "available" else happened
    columns = f"* EXCLUDE ({replaced}), {time} AS time, {happened} AS event_time"
    return f"CREATE OR REPLACE VIEW happened AS SELECT {columns} FROM {events}"


def _create(connection: duckdb.DuckDBPyConnection, name: str, sql: str) -> None:
    try:
        if not is_one_select(connection, sql):
            raise RecipeError(f"the view views/{name}.sql must be a single SELECT")
        connection.execute(f"CREATE VIEW {name} AS {sql}")
    except duckdb.Error as error:
        raise RecipeError(f"DuckDB rejected the view views/{name}.sql: {error}") from None


def concept_codes(codes: str) -> str:
    """Return a SELECT of the codes whose items have a concept, with `event_type`, `item`, `concept` and `method`.

    A join of events on the code takes two thirds of the time of a join on parts of it.

    Args:
        codes: table with a column `code`.
    """
    parts = "split_part(c.code, '//', 1), split_part(c.code, '//', 2)"
    return (
        f"SELECT c.code, i.event_type, i.item, i.concept, i.method FROM (SELECT DISTINCT code FROM {codes}) AS c "
        f"JOIN concept_items AS i ON (i.event_type, i.item) = ({parts})"
    )


def with_bits(sql: str, flags: Mapping[str, int]) -> str:
    """Return SQL in which the bit of each flag replaces the macro `has_flag`, which takes DuckDB 0.3 ms for each use.

    Raises:
        RecipeError: if there is no such flag.
    """

    def replaced(match: re.Match[str]) -> str:
        if match[2] not in flags:
            raise RecipeError(f"there is no flag '{match[2]}'")
        return f"(({match[1]} & {flags[match[2]]}) <> 0)"

    return _HAS_FLAG.sub(replaced, sql)


def has_flag_macro(flags: Mapping[str, int]) -> str:
    """Return the statement that creates the macro `has_flag(flags, name)`.

    Args:
        flags: bit of each flag.
    """
    whens = " ".join(f"WHEN {quoted(name)} THEN {bit}" for name, bit in flags.items())
    unknown = "error('there is no flag ''' || name || '''')"
    return f"CREATE MACRO has_flag(flags, name) AS (flags & CASE name {whens} ELSE {unknown} END) <> 0"
