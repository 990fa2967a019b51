"""SQL over a dataset's files. A query cannot change them or read other files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from ehrtraj.concepts.session import damaged_file
from ehrtraj.concepts.views import DECIMAL_VALUE, StandardViews
from ehrtraj.dataset.parameters import bind_parameters
from ehrtraj.errors import SettingsError
from ehrtraj.runtime.session import is_one_select, open_session, quoted


def run_sql(
    query: str,
    files: Sequence[Path],
    tables: dict[str, pl.DataFrame],
    parameters: Sequence[Any] | dict[str, Any] | None,
    *,
    chosen: bool,
    views: StandardViews | None = None,
    concepts: Mapping[str, Sequence[Path]] | None = None,
    threads: int | None = None,
    spill: Path | None = None,
) -> pl.DataFrame:
    """Run one SELECT; see `Dataset.sql`.

    Args:
        query: query in DuckDB's SQL.
        files: data files, which form the view `events`; none if `events` is among the tables.
        tables: other tables by name, including `subjects`.
        parameters: values for `?`, `$1` or `$name` in the query; floats are bound as FLOAT.
        chosen: whether to include only events of the patients in `subjects`.
        views: standard views that the query can read.
        concepts: files of the stored concepts that the query can read, by name.
        threads: maximum number of threads; all usable cores by default.
        spill: private folder for data that does not fit in memory; by default one in the system's temporary folder.

    Raises:
        SettingsError: if the query is not a single SELECT, or DuckDB rejects it.
        DatasetError: if a data file cannot be read.
    """
    words = set(re.findall(r"\w+", query.lower()))
    used = {name: paths for name, paths in (concepts or {}).items() if name in words}
    readable = [*files, *(path for paths in used.values() for path in paths)]
    with open_session(threads=threads, spill=spill, readable=readable) as connection:
        _check_select(connection, query)
        for name, table in tables.items():
            connection.register(name, table)
        connection.execute(DECIMAL_VALUE)
        if files:
            _make_view(connection, "events", files, chosen=chosen)
        for name, paths in used.items():
            _make_view(connection, name, paths, chosen=chosen)
        if views is not None:
            views.create(connection, query)
        try:
            result: pl.DataFrame = connection.sql(query, params=bind_parameters(parameters)).pl()
        except duckdb.IOException as error:
            raise damaged_file(error) from None
        except duckdb.Error as error:
            # DuckDB has no class of its own for a damaged page.
            if type(error) is duckdb.Error:
                raise damaged_file(error) from None
            raise SettingsError(f"DuckDB rejected the query: {error}") from None
        return result


def _make_view(connection: duckdb.DuckDBPyConnection, name: str, files: Sequence[Path], *, chosen: bool) -> None:
    listed = ", ".join(quoted(str(path)) for path in files)
    where = " WHERE subject_id IN (SELECT subject_id FROM subjects)" if chosen else ""
    try:
        connection.execute(f"CREATE VIEW {name} AS FROM read_parquet([{listed}]){where}")
    except duckdb.Error as error:
        raise damaged_file(error) from None


def _check_select(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    try:
        allowed = is_one_select(connection, query)
    except duckdb.Error as error:
        raise SettingsError(f"the query cannot be parsed: {error}") from None
    if not allowed:
        raise SettingsError("the query was not run: it must be a single SELECT (a PIVOT must name its values with IN)")
