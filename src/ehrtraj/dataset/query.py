"""SQL over a dataset's files, which can neither be changed nor left by a query."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from ehrtraj.errors import DatasetError, SettingsError


def run_sql(
    query: str,
    files: Sequence[Path],
    tables: dict[str, pl.DataFrame],
    parameters: Sequence[Any] | dict[str, Any] | None,
    *,
    chosen: bool,
) -> pl.DataFrame:
    """Run one SELECT; see `Dataset.sql`.

    Args:
        query: in DuckDB's SQL.
        files: data files: the view `events`.
        tables: further tables by name; `subjects` among them.
        parameters: for `?`, `$1` or `$name` in the query.
        chosen: only events of the patients in `subjects`.

    Raises:
        SettingsError: if the query is not one SELECT, or DuckDB refuses it.
        DatasetError: if a data file cannot be read.
    """
    # What does not fit into memory goes into a folder that only the user can read, and that is gone afterwards.
    with (
        tempfile.TemporaryDirectory(prefix="ehrtraj-sql-") as spill,
        duckdb.connect(config={"temp_directory": spill, "python_enable_replacements": False}) as connection,
    ):
        _check_select(query)
        connection.execute("SET enable_progress_bar = false")
        paths = [str(path) for path in files]
        listed = ", ".join(_quoted(path) for path in paths)
        connection.execute(f"SET allowed_paths = [{listed}]")
        # Neither other files, nor the network, nor extensions that would have to be fetched from it.
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        for name, table in tables.items():
            connection.register(name, table)
        _make_view(connection, listed, chosen=chosen)
        try:
            result: pl.DataFrame = connection.sql(query, params=parameters).pl()
        except duckdb.IOException as error:
            raise _unreadable(error) from None
        except duckdb.Error as error:
            raise SettingsError(f"the query was refused: {error}") from None
        return result


def _make_view(connection: duckdb.DuckDBPyConnection, listed: str, *, chosen: bool) -> None:
    where = " WHERE subject_id IN (SELECT subject_id FROM subjects)" if chosen else ""
    try:
        connection.execute(f"CREATE VIEW events AS FROM read_parquet([{listed}]){where}")
    except duckdb.Error as error:
        raise _unreadable(error) from None


def _unreadable(error: duckdb.Error) -> DatasetError:
    reason = str(error).splitlines()[0]
    return DatasetError(
        f"a data file is damaged ({reason}): copy the dataset again, or build it again with --overwrite"
    )


def _check_select(query: str) -> None:
    try:
        statements = duckdb.extract_statements(query)
    except duckdb.Error as error:
        raise SettingsError(f"the query cannot be understood: {error}") from None
    kinds = [statement.type for statement in statements]
    if kinds != [duckdb.StatementType.SELECT]:
        raise SettingsError("a query must be one SELECT (a PIVOT must name its values with IN): nothing was run")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
