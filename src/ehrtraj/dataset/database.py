"""An in-memory DuckDB database with limits: data that does not fit is written to a private folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ehrtraj.errors import OutputError
from ehrtraj.runtime.session import duckdb_interrupts, open_session

# DuckDB exceeds its limit, because it does not count all of its memory.
_SHARE = 0.8
_FETCHED = 1 << 12


class Database:
    """Statements and queries, one at a time."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Use an open connection."""
        self._connection = connection

    def execute(self, statement: str, values: Sequence[object] = ()) -> None:
        """Run a statement."""
        with duckdb_interrupts():
            self._connection.execute(statement, values)

    def rows(self, query: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield all rows of a query, fetched in batches. Consume them before the next query."""
        with duckdb_interrupts():
            self._connection.execute(query, values)
        while True:
            with duckdb_interrupts():
                rows = self._connection.fetchmany(_FETCHED)
            if not rows:
                return
            yield from rows

    def one(self, query: str, values: Sequence[object] = ()) -> int:
        """Return the number that a query returns; 0 for null."""
        ((value,),) = self.rows(query, values)
        return int(value or 0)

    def insert(self, statement: str, piece: pa.Table) -> None:
        """Run a statement that reads Arrow rows under the name `piece`."""
        self._connection.register("piece", piece)
        try:
            self.execute(statement)
        finally:
            self._connection.unregister("piece")


@contextmanager
def open_database(folder: Path, memory: int, cpus: int) -> Iterator[Database]:
    """Open an empty database.

    Args:
        folder: private folder for data that does not fit in memory; the caller removes it.
        memory: maximum number of bytes.
        cpus: maximum number of threads.

    Raises:
        OutputError: if the disk or the memory is not sufficient.
    """
    try:
        limit = int(memory * _SHARE)
        with open_session(threads=cpus, memory=limit, spill=folder, folders=[folder], ordered=False) as connection:
            yield Database(connection)
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        reason = str(error).partition("\n")[0]
        raise OutputError(
            f"the database in {folder} ran out of space: {reason}. Set a larger --memory-limit, or set TMPDIR to a "
            "folder with more space"
        ) from None
