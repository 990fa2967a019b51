"""Names in a DuckDB session whose rows change from part to part: the tables, and views that are read repeatedly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from ehrtraj import recipes as recipe_files


class Slot:
    """A registered name whose rows change from part to part, so that prepared statements stay valid."""

    def __init__(self, schema: pa.Schema) -> None:
        self._empty = schema.empty_table()
        self.rows = self._empty

    def clear(self) -> None:
        """Remove the rows."""
        self.rows = self._empty

    def __arrow_c_schema__(self) -> object:
        return self._empty.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.rows.__arrow_c_stream__(requested_schema)


@dataclass
class EvaluatedView:
    """A view that is evaluated once for each part, when it is first read.

    Attributes:
        name: name of the view.
        sql: its SELECT.
        tables: full names of the tables that it reads, directly or through other views.
        slot: its rows, registered under its name.
        current: whether the rows are those of the part's tables.
    """

    name: str
    sql: str
    tables: set[str]
    slot: Slot
    current: bool = False

    def clear(self) -> None:
        """Remove the rows."""
        self.slot.clear()
        self.current = False


def slot_of_view(connection: duckdb.DuckDBPyConnection, name: str, sql: str) -> Slot | None:
    """Register a slot for the rows of a view under the name of the view.

    Returns:
        The slot; None, and nothing is registered, if Arrow lacks a type of the view, such as HUGEINT.

    Raises:
        duckdb.Error: if DuckDB rejects the SQL.
    """
    view = connection.sql(sql)
    slot = Slot(view.limit(0).to_arrow_table().schema)
    connection.register(name, slot)
    if connection.table(name).types == view.types:
        return slot
    connection.unregister(name)
    return None


def read_repeatedly(views: Mapping[str, str], queries: list[str]) -> set[str]:
    """Return the views that more than one query or other view reads.

    Args:
        views: SQL of all views, by name.
        queries: all SQL that may read them.
    """
    readers = [recipe_files.mentioned(sql, views) for sql in queries]
    readers += [recipe_files.mentioned(sql, views) - {name} for name, sql in views.items()]
    return {name for name in views if sum(name in read for read in readers) > 1}
