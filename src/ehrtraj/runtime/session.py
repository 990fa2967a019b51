"""Open DuckDB connections with limited resources, a private spill folder and no access to anything else.

No other module opens DuckDB connections. By default, DuckDB spills into `.tmp` in the current folder, installs and
loads extensions when a query needs one, and lets SQL read and write any file and use any Python variable. None of this
is possible in a session opened here.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from ehrtraj.errors import OutputError

_PREFIX = "ehrtraj-spill-"
_WRITES = re.compile(r"\b(copy|insert|update|delete)\b", re.IGNORECASE)
# Quotes inside a string literal of the query are escaped, so no literal can match this.
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
    lasting: bool = False,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an in-memory DuckDB session whose settings cannot be changed.

    SQL in the session can read only the registered tables, `readable` and `folders`: no other files, no network, no
    extensions, no Python variables. SQL can also write to `readable`: check SQL of a user with `is_one_select` first.

    Args:
        threads: maximum number of threads; None for all cores.
        memory: bytes that DuckDB may use before it spills; None for most of the machine's memory.
        spill: parent of the session's private spill folder; None for the system's folder for temporary files.
        readable: files that SQL may read, under exactly these paths.
        folders: folders whose files SQL may read and write; only for SQL of the package.
        seconds: maximum time of one query; None for no limit.
        ordered: whether to keep the order of rows if a query does not sort them. Without it, DuckDB uses less memory.
        lasting: whether to allow `forget_freed_blocks`, and with it any change of the memory limit.

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
            config["memory_limit"] = _limit(memory)
        with duckdb.connect(config=config) as connection:
            # In Jupyter without ipywidgets DuckDB has no progress bar, and refuses even to turn it off.
            with suppress(duckdb.InvalidInputException):
                connection.execute("SET enable_progress_bar = false")
            if seconds is not None:
                connection.execute(f"SET max_execution_time = {seconds * 1000}")
            connection.execute(f"SET allowed_paths = [{', '.join(quoted(str(path)) for path in readable)}]")
            connection.execute(f"SET allowed_directories = [{', '.join(quoted(str(path)) for path in folders)}]")
            # The spill folder must be set before this line: afterwards DuckDB does not accept another one.
            connection.execute("SET enable_external_access = false")
            if lasting:
                connection.execute("SET allowed_configs = ['memory_limit']")
            connection.execute("SET lock_configuration = true")
            yield connection
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _limit(memory: int) -> str:
    return f"{memory >> 20}MiB"


def forget_freed_blocks(connection: duckdb.DuckDBPyConnection, memory: int) -> None:
    """Let DuckDB forget the blocks of memory that it has freed.

    DuckDB 2.0 keeps a list of the blocks that it could write to disk, and removes the freed ones only when the list is
    long: after 80 shards of a build, it takes 45 MB, spread over memory that nothing else can use. It also removes them
    when it has too little memory. This function therefore asks for a limit that DuckDB refuses, which takes 4 ms.

    Args:
        connection: a session that was opened with `lasting`.
        memory: its memory limit in bytes, which does not change.
    """
    with duckdb_interrupts():
        # The search writes unused data to the spill folder. If that fails, because the disk is full, nothing is lost.
        with suppress(duckdb.OutOfMemoryException, duckdb.IOException):
            connection.execute("SET memory_limit = '1KB'")
        connection.execute(f"SET memory_limit = '{_limit(memory)}'")


@contextmanager
def duckdb_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt for Ctrl-C during a query: DuckDB turns it into a RuntimeError."""
    try:
        yield
    except (RuntimeError, duckdb.InterruptException) as error:
        if isinstance(error, duckdb.InterruptException) or str(error) == "Query interrupted":
            raise KeyboardInterrupt from None
        raise


def is_one_select(connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
    """Return whether SQL is a single SELECT that writes nothing.

    A SELECT can write: DuckDB 2.0 classifies `WITH w AS (COPY ... TO 'file') SELECT ...` as a SELECT, and it replaces
    a file that the session may read.

    Raises:
        duckdb.Error: if the SQL does not parse.
    """
    statements = connection.extract_statements(sql)
    if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
        return False
    if not _WRITES.search(sql):
        return True
    # The tree is searched as text: a query can be nested more deeply than Python's JSON parser supports.
    ((tree,),) = connection.execute("SELECT json_serialize_sql(?)::VARCHAR", [statements[0].query]).fetchall()
    return not _NOT_SERIALISED.match(tree) and not _WRITING_NODE.search(tree)


def _private_folder(parent: Path | None) -> str:
    """Create a folder that only the user can read (mkdtemp: 0700)."""
    try:
        if parent is not None:
            parent.mkdir(parents=True, exist_ok=True)
        return tempfile.mkdtemp(prefix=_PREFIX, dir=None if parent is None else os.fspath(parent.absolute()))
    except OSError as error:
        where = "the folder for temporary files (set TMPDIR to another folder)" if parent is None else str(parent)
        raise OutputError(f"cannot create a spill folder in {where}: {error.strerror or error}") from None


def quoted(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
