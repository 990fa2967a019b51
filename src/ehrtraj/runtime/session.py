"""The only place that opens DuckDB connections: bounded, with a private spill folder, closed to the outside.

By default DuckDB spills into `.tmp` of the current folder, installs and loads extensions when a query needs one, and
lets SQL read and write any file and use any Python variable. None of that is possible in a session opened here.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from ehrtraj.errors import OutputError

_PREFIX = "ehrtraj-spill-"
_WRITES = re.compile(r"\b(copy|insert|update|delete)\b", re.IGNORECASE)
# Within a text of the query, quotes are escaped: no text looks like this.
_WRITING_NODE = re.compile(r'"type"\s*:\s*"(COPY|INSERT|UPDATE|DELETE)_QUERY_NODE"')
_NOT_SERIALISED = re.compile(r'\{\s*"error"\s*:\s*true')


@contextmanager
def open_session(
    *,
    threads: int | None = None,
    memory: int | None = None,
    spill: Path | None = None,
    readable: Sequence[Path] = (),
    folders: Sequence[Path] = (),
    seconds: int | None = None,
    ordered: bool = True,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory DuckDB session whose settings cannot be changed.

    SQL in it reads the registered tables, `readable` and `folders`, and nothing else: no other file, no network, no
    extension, no Python variable. `readable` can also be written to: pass SQL of a user through `is_one_select` first.

    Args:
        threads: maximum number of threads; None for all cores.
        memory: bytes that DuckDB may use before it spills; None for most of the machine's memory.
        spill: folder for the session's private spill folder; None for the system's folder for temporary files.
        readable: files that SQL may read, under exactly these paths.
        folders: whose files SQL may read and write; for our own SQL only.
        seconds: maximum time of one query; None for no limit.
        ordered: keep rows in their order where a query does not ask for another; without it, memory is smaller.

    Raises:
        OutputError: if the spill folder cannot be created.
    """
    folder = _private_folder(spill)
    try:
        config: dict[str, str | bool | int | float | list[str]] = {
            "temp_directory": folder,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
            "preserve_insertion_order": ordered,
        }
        if threads is not None:
            config["threads"] = threads
        if memory is not None:
            config["memory_limit"] = f"{memory >> 20}MiB"
        with duckdb.connect(config=config) as connection:
            connection.execute("SET enable_progress_bar = false")
            if seconds is not None:
                connection.execute(f"SET max_execution_time = {seconds * 1000}")
            connection.execute(f"SET allowed_paths = [{', '.join(quoted(str(path)) for path in readable)}]")
            connection.execute(f"SET allowed_directories = [{', '.join(quoted(str(path)) for path in folders)}]")
            # After the spill folder: DuckDB allows no other one from here on.
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            yield connection
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_one_select(connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
    """Whether SQL is a single SELECT that writes nothing.

    A SELECT can write: `WITH w AS (COPY ... TO 'file') SELECT ...` is one for DuckDB 2.0, and replaces a file that the
    session may read.

    Raises:
        duckdb.Error: if the SQL does not parse.
    """
    statements = connection.extract_statements(sql)
    if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
        return False
    if not _WRITES.search(sql):
        return True
    # Searched as text: parsed queries can be nested deeper than Python's reader of JSON goes.
    ((tree,),) = connection.execute("SELECT json_serialize_sql(?)::VARCHAR", [statements[0].query]).fetchall()
    return not _NOT_SERIALISED.match(tree) and not _WRITING_NODE.search(tree)


def _private_folder(parent: Path | None) -> str:
    """Create a folder that only the user can read (mkdtemp: 0700)."""
    try:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        return tempfile.mkdtemp(prefix=_PREFIX, dir=None if parent is None else os.fspath(parent.absolute()))
    except OSError as error:
        where = "the folder for temporary files (set TMPDIR to another one)" if parent is None else str(parent)
        raise OutputError(f"cannot create a spill folder in {where}: {error.strerror or error}") from None


def quoted(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
