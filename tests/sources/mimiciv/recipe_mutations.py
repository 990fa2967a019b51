"""What a recipe makes of rows when a part of it, or the values of a column, are taken away.

A part whose loss changes nothing is not shown by the example. The statements run in the session of the build, over the
rows as the build has them, but nothing is built.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from ehrtraj.pipeline.shard.extract import Extractor
from ehrtraj.recipes import Recipe, mentioned
from ehrtraj.release.schema import Table
from ehrtraj.sources.source import Source

MEMORY = 1 << 28
IDS = ("subject_id", "hadm_id", "stay_id")
"""Columns that rows of all tables have, whatever a recipe reads of them."""
REFUSED = "refused"
"""The outcome of SQL that DuckDB does not run."""

Position = tuple[str | int, ...]
_NULL = {
    "class": "CONSTANT",
    "type": "VALUE_CONSTANT",
    "alias": "",
    "query_location": 0,
    "query_location_length": 0,
    "literal": {"kind": "NULL_LITERAL", "text": ""},
}


def typed(table: Table, rows: list[dict[str, str]]) -> pa.Table:
    """Rows as the staged table has them."""
    columns = [pa.array([row.get(n) or None for row in rows], pa.string()).cast(k) for n, k in table.columns.items()]
    return pa.table(columns, schema=table.schema)


@contextmanager
def session(source: Source) -> Iterator[duckdb.DuckDBPyConnection]:
    """The session that a build runs recipes in, in which no table has a row and each query evaluates its views."""
    extractor = Extractor(source, source.tables_of("patient"), sorted(source.recipes), MEMORY)
    try:
        for name, sql in source.views.items():
            extractor.connection.unregister(name)
            extractor.connection.execute(f'CREATE OR REPLACE VIEW "{name}" AS {sql}')
        yield extractor.connection
    finally:
        extractor.close()


class Mutator:
    """Runs the changed statements of one recipe."""

    def __init__(
        self, source: Source, connection: duckdb.DuckDBPyConnection, recipe: Recipe, rows: Mapping[str, pa.Table]
    ) -> None:
        """Show the recipe the rows of its example, as the build would.

        Args:
            source: of the recipe.
            connection: a `session`.
            recipe: to change.
            rows: of the example, by the full names of tables.
        """
        self._source = source
        self._connection = connection
        self._recipe = recipe
        self._rows = dict(rows)
        for name in rows:
            self._show(name, rows[name])
        for name in rows:
            if name in source.recipes and name != recipe.table:
                self._reject(source.recipes[name])

    def without_effect(self) -> Iterator[str]:
        """Parts of the recipe whose loss changes nothing, and columns whose values do."""
        outcome = self._outcome()
        reasons = [reason for reason, _ in self._recipe.rejected]
        yield from (f"rejected: {reason}" for reason, rows in zip(reasons, outcome, strict=False) if not rows)
        yield from self._columns_without_effect(outcome)
        self._reject(self._recipe)
        for statement in self._recipe.statements:
            before = self._result(statement.sql)
            for what, sql in mutants(self._connection, statement.sql):
                if self._result(sql) == before:
                    yield f"{statement.event_type}: {what}"
        for name, rows in self._rows.items():
            self._show(name, rows.schema.empty_table())

    def _columns_without_effect(self, before: list[object]) -> Iterator[str]:
        for name, rows in self._rows.items():
            own = name == self._recipe.table
            for column in rows.column_names:
                if column in self._recipe.left_out if own else not self._is_given(name, column):
                    continue
                self._show(name, _blanked(rows, column))
                if self._outcome() == before:
                    yield f"the column {name}.{column}"
            self._show(name, rows)

    def _show(self, name: str, rows: pa.Table) -> None:
        self._connection.register(self._source.tables[name].name, rows)

    def _is_given(self, name: str, column: str) -> bool:
        """Whether the example gives values of another table's column, for the recipe to read."""
        table = self._source.tables[name].name
        is_read = mentioned(self._recipe.sql, (table, column)) == {table, column}
        return is_read and column not in IDS and self._rows[name][column].null_count < self._rows[name].num_rows

    def _outcome(self) -> list[object]:
        """What becomes of the rows: those that each condition rejects, then the result of each statement."""
        table = self._source.tables[self._recipe.table].name
        conditions = [f'FROM "{table}" WHERE ({condition})' for _, condition in self._recipe.rejected]
        return [self._result(sql) for sql in (*conditions, *(s.sql for s in self._recipe.statements))]

    def _reject(self, recipe: Recipe) -> None:
        """Take the rows of a table out that the build rejects before any statement sees them."""
        name = self._source.tables[recipe.table].name
        for _, condition in recipe.rejected:
            good = self._connection.sql(f'SELECT * FROM "{name}" WHERE ({condition}) IS NOT TRUE').to_arrow_table()
            self._rows[recipe.table] = good
            self._show(recipe.table, good)

    def _result(self, sql: str) -> object:
        """The rows of a query, in any order, without what is null or not set."""
        try:
            result = self._connection.execute(sql)
        except duckdb.Error:
            return REFUSED
        columns, rows = [name for name, *_ in result.description], result.fetchall()
        return sorted(repr([pair for pair in zip(columns, row, strict=True) if _is_set(*pair)]) for row in rows)


def _is_set(column: str, value: object) -> bool:
    if column in ("time", "hadm_id"):
        # A statement must select time, null for what is always true. One that selects hadm_id and has none asks the
        # build to infer it.
        return True
    return value is not None and (column, value) not in (("flags", 0), ("time_precision", "second"))


def _blanked(rows: pa.Table, column: str) -> pa.Table:
    at = rows.schema.get_field_index(column)
    return rows.set_column(at, rows.schema.field(at), pa.nulls(rows.num_rows, rows.schema.field(at).type))


# Parts of a statement -------------------------------------------------------------------------------------------------


def mutants(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[tuple[str, str]]:
    """Every statement that lacks one part of this one, with the name of the part."""
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)::VARCHAR", [sql]).fetchall()
    tree = json.loads(text)
    for path, what in _parts(tree):
        changed = json.loads(text)
        _remove(changed, path)
        try:
            ((mutant,),) = connection.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(changed)]).fetchall()
        except duckdb.Error:
            continue  # a SELECT of nothing
        yield f"{what} in {_line(sql, _at(tree, path))}", mutant


def _parts(node: Any, path: Position = ()) -> Iterator[tuple[Position, str]]:
    """Where the parts of a parsed statement are, and what they are."""
    if isinstance(node, list):
        for place, child in enumerate(node):
            yield from _parts(child, (*path, place))
    if not isinstance(node, dict):
        return
    kind = node.get("type")
    if kind == "SELECT_NODE":
        for place, item in enumerate(node["select_list"]):
            yield (*path, "select_list", place), f"selected {item['alias'] or '.'.join(item.get('column_names', '*'))}"
        for clause in ("where_clause", "having", "qualify"):
            if node[clause] is not None:
                yield (*path, clause), clause.removesuffix("_clause").upper()
    elif kind == "CASE_EXPR":
        for place in range(len(node["case_checks"])):
            yield (*path, "case_checks", place), "WHEN"
        if not _says_nothing(node["else_expr"]):
            yield (*path, "else_expr"), "ELSE"
    elif kind == "OPERATOR_COALESCE":
        for place, child in enumerate(node["children"]):
            if child["type"] != "VALUE_CONSTANT":
                yield (*path, "children", place), "argument of coalesce"
    for key, child in node.items():
        yield from _parts(child, (*path, key))


def _says_nothing(expression: Mapping[str, Any]) -> bool:
    """Whether an expression is NULL, or no flag."""
    return expression["type"] == "VALUE_CONSTANT" and expression["literal"]["text"] in ("", "0")


def _remove(tree: Any, path: Position) -> None:
    """Remove a part: a clause becomes none, an ELSE null, a CASE without any WHEN its ELSE."""
    *above, last = path
    parent = _at(tree, above)
    if last == "else_expr":
        parent[last] = _NULL
    elif not isinstance(last, int):
        parent[last] = None
    elif above[-1] == "case_checks" and len(parent) == 1:
        case = _at(tree, above[:-1])
        otherwise = case["else_expr"] | {"alias": case["alias"]}
        case.clear()
        case.update(otherwise)
    else:
        del parent[last]


def _at(tree: Any, path: Sequence[str | int]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _line(sql: str, part: Mapping[str, Any]) -> str:
    """The line of SQL that a part begins in."""
    at = part.get("when_expr", part)["query_location"]
    begins = sql.encode()[:at].decode()
    line = begins.rpartition("\n")[2] + sql[len(begins) :].partition("\n")[0]
    return f"'{' '.join(line.split())}'"
