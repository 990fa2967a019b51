"""Prepared queries: planned once, the same result in both ways, and errors of DuckDB."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest

from ehrtraj.runtime import prepared
from ehrtraj.runtime.prepared import PreparedQueries, run_directly, run_with_a_copy
from ehrtraj.runtime.session import open_session


@pytest.fixture
def session() -> Iterator[duckdb.DuckDBPyConnection]:
    with open_session(threads=1, memory=10**8) as connection:
        connection.execute("CREATE TYPE mood AS ENUM ('low', 'high')")
        connection.execute(
            "CREATE VIEW t AS SELECT i, 'text ' || i AS txt, i / 3 AS x, CASE WHEN i % 2 = 0 THEN 'low'::mood END m,"
            " TIMESTAMP '2180-01-01' + INTERVAL (i) SECOND AS at FROM range(300000) AS r(i)"
        )
        yield connection


@pytest.mark.parametrize("condition", ["true", "i < 5", "false"])
def test_both_ways_give_the_same_table(session: duckdb.DuckDBPyConnection, condition: str) -> None:
    session.execute(f"PREPARE p AS FROM t WHERE {condition}")
    direct, copied = (run(session, "EXECUTE p") for run in (run_directly, run_with_a_copy))
    assert direct.schema == copied.schema
    assert direct.equals(copied)


@pytest.mark.parametrize("direct", [True, False])
def test_a_query_is_planned_once_and_sees_new_rows(
    session: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch, direct: bool
) -> None:
    if not direct:
        # As with another version of DuckDB.
        monkeypatch.setattr(duckdb._seam, "submit", lambda connection, sql: None)
    session.execute("CREATE TABLE n (number INTEGER)")
    queries = PreparedQueries(session)
    assert queries._run is (run_directly if direct else run_with_a_copy)
    for number in range(3):
        assert queries.rows("SELECT sum(number)::BIGINT AS total FROM n") == pa.table(
            {"total": pa.array([sum(range(number)) if number else None], pa.int64())}
        )
        session.execute("INSERT INTO n VALUES (?)", [number])
    ((planned,),) = session.execute("SELECT count(*) FROM duckdb_prepared_statements()").fetchall()
    assert planned == 1
    with pytest.raises(duckdb.BinderException, match="nothing"):
        queries.rows("SELECT nothing FROM n")
    with pytest.raises(duckdb.Error, match="too much"):
        queries.rows("SELECT CASE WHEN number = 2 THEN error('too much') ELSE 'fine' END AS reply FROM n")
    assert queries.rows("SELECT 1 AS one").num_rows == 1


def test_the_installed_version_runs_directly(session: duckdb.DuckDBPyConnection) -> None:
    assert prepared._can_run_directly(session)
