"""DuckDB sessions: opened in one module, with limits, a private spill folder and no access to anything else."""

from __future__ import annotations

import ast
import stat
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

from ehrtraj.dataset.query import run_sql
from ehrtraj.errors import OutputError, SettingsError
from ehrtraj.runtime.session import forget_freed_blocks, is_one_select, open_session, quoted

SOURCE = Path(__file__).resolve().parents[2] / "src" / "ehrtraj"


def duckdb_functions(text: str) -> set[str]:
    """Return the functions of DuckDB that a module uses: `duckdb.connect`, `duckdb.sql` and others open connections."""
    tree = ast.parse(text)
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "duckdb"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("duckdb", "_duckdb"):
            used.update(alias.name for alias in node.names)
        if isinstance(node, ast.Import):
            used.update(
                alias.name
                for alias in node.names
                if alias.name.startswith("duckdb.") or ("duckdb" in alias.name and alias.asname)
            )
    return {name for name in used if not name[0].isupper() and name != "__version__"}


def test_only_one_module_opens_connections() -> None:
    found = {
        str(path.relative_to(SOURCE)): names
        for path in SOURCE.rglob("*.py")
        if (names := duckdb_functions(path.read_text(encoding="utf-8")))
    }
    # `_seam.submit` opens none: it runs a statement of an open session.
    assert found == {"runtime/session.py": {"connect"}, "runtime/prepared.py": {"_seam"}}
    for sneaky in ("import duckdb\nduckdb.sql('x')", "from duckdb import connect", "import duckdb as d\nd.connect()"):
        assert duckdb_functions(sneaky), sneaky


def test_data_that_does_not_fit_in_memory_is_spilled_to_a_private_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parent = tmp_path / "spill"
    with open_session(threads=1, memory=40 << 20, spill=parent) as connection:
        connection.execute("CREATE TABLE many AS SELECT range AS n, hash(range)::VARCHAR AS text FROM range(1_500_000)")
        assert connection.sql("SELECT count(*) FROM (FROM many ORDER BY text, n)").fetchall() == [(1_500_000,)]
        (folder,) = parent.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert sum(path.stat().st_size for path in folder.iterdir()) > 10 << 20, "nothing was spilled"
    assert list(parent.iterdir()) == []
    assert list(tmp_path.iterdir()) == [parent], "something was written to the current folder"


def test_a_session_without_a_spill_folder_uses_the_system_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ZeroDivisionError), open_session() as connection:
        found = connection.sql("SELECT current_setting('temp_directory')").fetchall()
        assert Path(found[0][0]).parent == tmp_path
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_spill_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match=r"cannot create a spill folder in .*file/spill"),
        open_session(spill=tmp_path / "file" / "spill"),
    ):
        pass


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """Return a session that may read one file, and this file."""
    folder = tmp_path_factory.mktemp("locked")
    (folder / "allowed.csv").write_text("a\n1\n")
    (folder / "secret.csv").write_text("a\n2\n")
    with open_session(threads=1, memory=10**9, readable=[folder / "allowed.csv"]) as connection:
        yield connection, folder


ESCAPES = (
    "FROM read_csv('{folder}/secret.csv')",
    "FROM '{folder}/secret.csv'",
    "FROM read_text('{folder}/secret.csv')",
    "FROM read_blob('/etc/hostname')",
    "FROM glob('{folder}/*')",
    "FROM sniff_csv('{folder}/secret.csv')",
    "FROM read_csv('{folder}/*.csv')",
    "FROM read_csv('{folder}/../{name}/secret.csv')",
    "FROM parquet_metadata('{folder}/secret.csv')",
    "FROM read_parquet('http://127.0.0.1:9/x.parquet')",
    "FROM read_csv('s3://bucket/x.csv')",
    "COPY (SELECT 1) TO '{folder}/out.csv'",
    "WITH w AS (COPY (SELECT 1) TO '{folder}/out.csv') SELECT * FROM w",
    "EXPORT DATABASE '{folder}/out'",
    "IMPORT DATABASE '{folder}'",
    "ATTACH '{folder}/out.db'",
    "ATTACH 'http://127.0.0.1:9/x.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{folder}/secret.csv'",
    "SET threads = 2",
    "RESET threads",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "SET temp_directory = '{folder}'",
    "PRAGMA memory_limit = '1TB'",
    "FROM enable_logging(storage = 'file', storage_path = '{folder}/log')",
    "FROM enable_profiling(save_location = '{folder}/profile')",
    "PRAGMA enable_profiling",
    "CREATE PERSISTENT SECRET s (TYPE http)",
    "SELECT getenv('HOME')",
    "FROM visible",
    "FROM query('FROM read_text(''{folder}/secret.csv'')')",
    "FROM json_execute_serialized_sql(json_serialize_sql('FROM ''{folder}/secret.csv'''))",
)


@pytest.mark.parametrize("sql", ESCAPES)
def test_sql_does_not_leave_its_session(sql: str, locked: tuple[duckdb.DuckDBPyConnection, Path]) -> None:
    connection, folder = locked
    visible = pl.DataFrame({"a": [3]})
    with pytest.raises(duckdb.Error):
        connection.execute(sql.format(folder=folder, name=folder.name)).fetchall()
    assert {path.name for path in folder.iterdir()} == {"allowed.csv", "secret.csv"}
    assert connection.execute(f"FROM read_csv('{folder}/allowed.csv')").fetchall() == [(1,)]
    assert visible.height == 1


def test_a_file_with_any_name_is_readable(tmp_path: Path) -> None:
    for name in ("it's, here.csv", "a[1]*.csv", "{x}.csv"):
        path = tmp_path / name
        path.write_text("a\n1\n")
        with open_session(readable=[path]) as connection:
            assert connection.execute(f"FROM read_csv({quoted(str(path))})").fetchall() == [(1,)]


def test_an_endless_query_is_stopped() -> None:
    with open_session(threads=1, seconds=1) as connection, pytest.raises(duckdb.Error, match="maximum execution time"):
        connection.sql(
            "SELECT sum(hash(a.range + b.range)) FROM range(1_000_000) AS a, range(10_000_000) AS b"
        ).fetchall()


SELECTS = {
    "SELECT 1": True,
    "FROM range(3) -- copy\n;": True,
    "SELECT 'COPY x TO y' AS \"update\"": True,
    "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r WHERE i < 3) SELECT * FROM r": True,
    'SELECT \'"type":"COPY_QUERY_NODE"\'': True,
    "SELECT 'copy' FROM " + "(FROM " * 400 + "range(1)" + ")" * 400: True,
    "WITH w AS (COPY t TO 'x') FROM " + "(FROM " * 400 + "range(1)" + ")" * 400: False,
    "": False,
    "-- nothing": False,
    "SELECT 1; SELECT 2": False,
    "SELECT 1; COPY t TO 'x'": False,
    "COPY t TO 'x'": False,
    "WITH w AS (COPY t TO 'x') SELECT 1": False,
    "WITH w AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM w": False,
    "WITH w AS (DELETE FROM t RETURNING a) SELECT * FROM w": False,
    "SELECT 1 UNION ALL (WITH w AS (COPY t TO 'x') SELECT 1)": False,
    "WITH a AS (WITH w AS (COPY t TO 'x') SELECT 1) SELECT 1": False,
    "CREATE TABLE u AS SELECT 1": False,
    "SET threads = 1": False,
}


@pytest.mark.parametrize(("sql", "allowed"), SELECTS.items())
def test_one_select_that_writes_nothing(sql: str, allowed: bool) -> None:
    with open_session(threads=1) as connection:
        assert is_one_select(connection, sql) is allowed


def test_a_query_over_a_dataset_cannot_replace_its_files(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pl.DataFrame({"subject_id": [1, 2]}).write_parquet(path)
    before = path.read_bytes()
    query = f"WITH w AS (COPY (SELECT 7 AS subject_id) TO '{path}' (FORMAT parquet, USE_TMP_FILE false)) SELECT 1"
    with pytest.raises(SettingsError, match="must be a single SELECT"):
        run_sql(query, [path], {}, None, chosen=False)
    assert path.read_bytes() == before
    assert run_sql("SELECT count(*) AS n FROM events", [path], {}, None, chosen=False)["n"].to_list() == [2]


@pytest.mark.parametrize("spills", [True, False])
def test_a_session_that_forgets_freed_blocks_keeps_its_data_and_its_limit(tmp_path: Path, *, spills: bool) -> None:
    memory = 100 << 20
    with open_session(threads=1, memory=memory, spill=tmp_path, lasting=True) as connection:
        limit = connection.sql("SELECT current_setting('memory_limit')").fetchall()
        if not spills:
            (folder,) = tmp_path.iterdir()
            folder.rmdir()
            folder.touch()
        connection.execute("CREATE TABLE many AS SELECT range AS n, hash(range)::VARCHAR AS text FROM range(300_000)")
        connection.execute("PREPARE counted AS SELECT count(*) FROM many JOIN many AS other USING (text)")
        for _ in range(3):
            assert connection.execute("EXECUTE counted").fetchall() == [(300_000,)]
            forget_freed_blocks(connection, memory)
        assert connection.sql("SELECT current_setting('memory_limit')").fetchall() == limit
        assert connection.sql("SELECT sum(n) FROM many").fetchall() == [(300_000 * 299_999 // 2,)]
        with pytest.raises(duckdb.InvalidInputException, match="locked"):
            connection.execute("SET threads = 2")
    assert len(list(tmp_path.iterdir())) == (0 if spills else 1)
