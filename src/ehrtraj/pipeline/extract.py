"""Extract: run the recipes over the staged tables of one shard, in DuckDB."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj import recipes as recipe_files
from ehrtraj import rules
from ehrtraj.pipeline.duplicates import find_duplicates
from ehrtraj.pipeline.events import INT_COLUMNS, NULL, PRECISIONS, TEXT_COLUMNS, Events, Int64s, Texts, one_array, to_int64
from ehrtraj.pipeline.rejects import RejectWriter
from ehrtraj.errors import LedgerError, RecipeError
from ehrtraj.recipes import Recipe, Statement
from ehrtraj.release.schema import Table

_CASTS = {
    "subject_id": "BIGINT",
    "time": "TIMESTAMP",
    "numeric_value": "DOUBLE",
    "time_precision": "time_precision",
    "code_description": "VARCHAR",
    "available_time": "TIMESTAMP",
    **dict.fromkeys(("hadm_id", "stay_id", "flags", "source_key", "link_id"), "BIGINT"),
    **dict.fromkeys(("text_value", "unit", "raw_value", "raw_unit"), "VARCHAR"),
}
_EVENT_COLUMNS = {*_CASTS, "item", "domain"}
# connection.sql() plans a query twice, 4 ms for some; connection.execute() copies its result once. DuckDB 2.0 warns
# of the second, which is the cheaper for few rows.
_MANY_ROWS = 100_000
_LARGEST_FLOAT = float(np.finfo(np.float32).max)


@dataclass
class TableCount:
    """What became of one table's rows in a part.

    Attributes:
        rows: rows staged.
        set_aside: rows set aside here, by reason.
        events: events made.
    """

    rows: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    events: int = 0


@dataclass
class Codes:
    """Codes met in a part, and how to spell them.

    Attributes:
        names: each code.
        ranks: the rank of each code's domain.
        descriptions: what the source's rows call a code.
    """

    names: list[str] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)
    descriptions: dict[str, str] = field(default_factory=dict)
    _positions: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, rank: int) -> int:
        """Position of a code, which is added where it is new."""
        position = self._positions.setdefault(name, len(self.names))
        if position == len(self.names):
            self.names.append(name)
            self.ranks.append(rank)
        return position


class Extractor:
    """A DuckDB session that runs the recipes. One a process, used for one part of a shard after another."""

    def __init__(
        self,
        source: str,
        tables: Mapping[str, Table],
        wanted: Sequence[str],
        memory: int,
        recipes: Mapping[str, Recipe] | None = None,
    ) -> None:
        """Open a session.

        Args:
            source: whose recipes to use.
            tables: patient tables of the source, by full name.
            wanted: full names of the tables to make events of.
            memory: bytes DuckDB may use.
            recipes: instead of the source's own.
        """
        self.connection = duckdb.connect(
            config={"threads": 1, "memory_limit": f"{memory >> 20}MiB", "preserve_insertion_order": True}
        )
        self._tables = tables
        self._wanted = list(wanted)
        self._recipes = recipe_files.recipes(source) if recipes is None else recipes
        self._wrapped: dict[tuple[str, int], tuple[str, list[str], list[str]]] = {}
        values = " ".join(f"WHEN '{name}' THEN {value}" for name, value in rules.flags().items())
        self.connection.execute(
            f"CREATE MACRO flag(name) AS CASE name {values} ELSE error('unknown flag: ' || name) END::BIGINT"
        )
        self.connection.execute(f"CREATE TYPE time_precision AS ENUM ({', '.join(map(repr, PRECISIONS))})")
        self.connection.execute(recipe_files.helper("macros", source))
        self._ranks = {name: d.rank for name, d in rules.domains().items()}

    def load(self, staged: Mapping[str, pa.Table], rejects: Mapping[str, RejectWriter]) -> dict[str, TableCount]:
        """Make the part's tables known under their bare names, without the rows that are set aside.

        Args:
            staged: rows by full table name; a table that is not there is empty.
            rejects: where each table's rows that are set aside go.

        Returns:
            By full table name, rows and rows set aside.
        """
        counts = {}
        for name, table in self._tables.items():
            rows = staged.get(name)
            rows = table.schema.empty_table() if rows is None else rows
            count = counts[name] = TableCount(rows.num_rows)
            conditions = []
            if rows.num_rows and len(extra := find_duplicates(rows, table.duplicate_columns)):
                keep = np.ones(rows.num_rows, np.bool_)
                keep[extra] = False
                count.set_aside["exact_duplicate"] = len(extra)
                if name in rejects:
                    rejects[name].write_rows(rows.take(pa.array(extra)), "exact_duplicate")
                rows = rows.append_column("_keep", pa.array(keep))
                conditions.append("_keep")
            self.connection.register(f"_{table.name}", rows)
            hidden = "* EXCLUDE (_keep)" if conditions else "*"
            where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
            self.connection.execute(f'CREATE OR REPLACE VIEW "{table.name}" AS SELECT {hidden} FROM "_{table.name}"{where}')
        for name in self._wanted:
            if counts[name].rows:
                self._set_aside(self._tables[name], counts[name], rejects.get(name))
        return counts

    def _set_aside(self, table: Table, count: TableCount, rejects: RejectWriter | None) -> None:
        """Take the rows out that the recipe says cannot become an event."""
        before: list[str] = []
        found = False
        view = f'"{table.name}"'
        for reason, condition in self._recipes[table.full_name].set_aside:
            where = " AND ".join([f"({condition})", *(f"({c}) IS NOT TRUE" for c in before)])
            before.append(condition)
            rows = self._arrow(f"SELECT * FROM {view} WHERE {where}", table.full_name)
            if rows.num_rows:
                found = True
                count.set_aside[reason] += rows.num_rows
                if rejects:
                    rejects.write_rows(rows, reason)
        if found:
            where = " AND ".join(f"({c}) IS NOT TRUE" for c in before)
            kept = self._arrow(f"SELECT * FROM {view} WHERE {where}", table.full_name)
            self.connection.register(f"_{table.name}", kept)
            self.connection.execute(f'CREATE OR REPLACE VIEW {view} AS SELECT * FROM "_{table.name}"')

    def _arrow(self, sql: str, what: str, rows: int = 0) -> pa.Table:
        try:
            if rows > _MANY_ROWS:
                return self.connection.sql(sql).to_arrow_table()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                return self.connection.execute(sql).to_arrow_table()
        except duckdb.Error as error:
            raise RecipeError(f"recipe {what}: DuckDB says: {error}") from error

    def helper(self, name: str, source: str) -> pa.Table:
        """The result of one of the SQL files beside the recipes, over the loaded tables."""
        return self._arrow(recipe_files.helper(name, source), name)

    def run(self, counts: Mapping[str, TableCount], codes: Codes) -> list[Events]:
        """Run all statements over the loaded tables.

        Args:
            counts: of `load`; events are counted into it.
            codes: receives the codes that are met.

        Raises:
            LedgerError: if a statement marked `[every row]` does not yield one event for each row.
            RecipeError: if DuckDB cannot run a statement or it breaks the contract.
        """
        found = []
        for table_index, name in enumerate(self._wanted):
            count = counts[name]
            rows = count.rows - count.set_aside.total()
            if not rows:
                continue
            for statement_index, statement in enumerate(self._recipes[name].statements):
                result = self._statement(name, statement_index, statement, rows)
                if statement.every_row and result.num_rows != rows:
                    raise LedgerError(
                        f"{name}: {rows:,} rows became {result.num_rows:,} events where each must become one "
                        f"('{statement.about}'). The recipe multiplies or loses rows, most likely in a join"
                    )
                count.events += result.num_rows
                if result.num_rows:
                    found.append(self._events(table_index, name, statement_index, statement, result, codes))
        return found

    def _statement(self, name: str, index: int, statement: Statement, rows: int) -> pa.Table:
        sql, _, _ = self._wrap(name, index, statement)
        return self._arrow(sql, name, rows)

    def _wrap(self, name: str, index: int, statement: Statement) -> tuple[str, list[str], list[str]]:
        """The statement with its columns cast, all its columns, and those that are attributes."""
        if known := self._wrapped.get((name, index)):
            return known
        try:
            columns = self.connection.sql(statement.sql).columns
        except duckdb.Error as error:
            raise RecipeError(f"recipe {name}, '{statement.about}': DuckDB says: {error}") from error
        for needed in ("subject_id", "time"):
            if needed not in columns:
                raise RecipeError(f"recipe {name}, '{statement.about}' does not select {needed}")
        attributes = [c for c in columns if c not in _EVENT_COLUMNS]
        parts = []
        for column in columns:
            if column in _CASTS:
                parts.append(f'"{column}"::{_CASTS[column]} AS "{column}"')
            elif column != "domain":
                parts.append(f'"{column}"')
        wrapped = (f"SELECT {', '.join(parts)} FROM ({statement.sql})", columns, attributes)
        self._wrapped[name, index] = wrapped
        return wrapped

    def _events(
        self, table_index: int, name: str, index: int, statement: Statement, result: pa.Table, codes: Codes
    ) -> Events:
        _, columns, attributes = self._wrap(name, index, statement)
        n = result.num_rows
        time = to_int64(result["time"])
        static = re.search(r"NULL(::TIMESTAMP)?\s+AS\s+time\b", statement.sql, re.IGNORECASE) is not None
        if not static and (nulls := int((time == NULL).sum())):
            raise RecipeError(
                f"recipe {name}, '{statement.about}' yields {nulls:,} events without a time: set such rows aside "
                "(-- set aside: no_time | ...)"
            )
        ints = {
            c: to_int64(result[c]) if c in columns else np.full(n, 0 if c == "flags" else NULL, np.int64)
            for c in INT_COLUMNS
        }
        if (ints["flags"] == NULL).any():
            raise RecipeError(f"recipe {name}, '{statement.about}' yields null flags: use coalesce(..., 0)")
        _settle_available_time(ints, time, selected="available_time" in columns)
        texts = {c: Texts.encode(result[c]) for c in TEXT_COLUMNS if c in columns}
        if attributes:
            texts["attributes"] = self._attributes(result.select(attributes))
        number = self._numbers(result, ints["flags"], texts)
        precision = np.zeros(n, np.uint8)
        if "time_precision" in columns:
            precision = one_array(result["time_precision"]).indices.to_numpy(zero_copy_only=False).astype(np.uint8)
        return Events(
            table=np.full(n, table_index, np.uint8),
            subject=to_int64(result["subject_id"]),
            time=time,
            code=self._code(statement.domain, result, codes),
            number=number,
            precision=precision,
            linked=np.full(n, "hadm_id" in columns, np.bool_),
            ints=ints,
            texts=texts,
        )

    def _code(self, domain: str, result: pa.Table, codes: Codes) -> npt.NDArray[np.int32]:
        if domain not in self._ranks:
            raise RecipeError(f"the domain {domain} is not in rules/domains.csv")
        rank = self._ranks[domain]
        bare = codes.add(domain, rank) if "item" not in result.column_names else None
        if bare is not None:
            return np.full(result.num_rows, bare, np.int32)
        items = Texts.encode(result["item"])
        spelled = [codes.add(f"{domain}//{item}", rank) for item in items.values.to_pylist()]
        if (items.positions < 0).any():
            spelled.append(codes.add(domain, rank))
        code = np.array(spelled, np.int32)[items.positions]
        if "code_description" in result.column_names:
            self._describe(result, code, codes)
        return code

    @staticmethod
    def _describe(result: pa.Table, code: npt.NDArray[np.int32], codes: Codes) -> None:
        pairs = pa.table({"code": pa.array(code), "text": result["code_description"]}).group_by("code")
        for row in pairs.aggregate([("text", "min")]).to_pylist():
            if row["text_min"] is not None:
                name = codes.names[row["code"]]
                codes.descriptions[name] = min(row["text_min"], codes.descriptions.get(name, row["text_min"]))

    def _numbers(
        self, result: pa.Table, flags: Int64s, texts: dict[str, Texts]
    ) -> npt.NDArray[np.float32]:
        n = result.num_rows
        if "numeric_value" not in result.column_names:
            return np.full(n, np.nan, np.float32)
        column = result["numeric_value"]
        wide = (pc.fill_null(column, np.nan) if column.null_count else column).to_numpy()
        large = np.abs(wide) > _LARGEST_FLOAT
        if large.any():
            flags |= np.where(large, rules.flags()["number_out_of_range"], 0)
            spelled = pc.if_else(pa.array(large), one_array(column).cast(pa.string()), None)
            texts["raw_value"] = Texts.encode(pa.chunked_array([spelled]))
            wide = np.where(large, np.nan, wide)
        return wide.astype(np.float32)

    def _attributes(self, columns: pa.Table) -> Texts:
        """One JSON object for each distinct combination of the columns' values, null where all are null."""
        key = np.zeros(columns.num_rows, np.int64)
        size = 1
        for column in columns.columns:
            encoded = Texts.encode(column)
            width = len(encoded.values) + 1
            if size * width >= 2**62:
                dense = Texts.encode(pa.chunked_array([pa.array(key)]))
                key, size = dense.positions.astype(np.int64), len(dense.values)
            key = key * width + (encoded.positions + 1)
            size *= width
        combined = Texts.encode(pa.chunked_array([pa.array(key)]))
        first = np.empty(len(combined.values), np.int64)
        first[combined.positions[::-1]] = np.arange(columns.num_rows - 1, -1, -1)
        self.connection.register("_attributes", columns.take(pa.array(first)))
        spelled = one_array(self._arrow(_attributes_sql(columns.column_names), "attributes", len(first))["json"])
        # The combinations are distinct, so are their objects; one of them may have no value at all.
        empty = spelled.is_null().to_numpy(zero_copy_only=False)
        new = np.where(empty, -1, np.cumsum(~empty) - 1).astype(np.int32)
        return Texts(new[combined.positions], spelled.drop_null())


def _attributes_sql(names: Sequence[str]) -> str:
    parts = [
        f"""CASE WHEN "{n}" IS NOT NULL THEN '"{n}":' || to_json("{n}")::VARCHAR END""" for n in names
    ]
    return f"SELECT nullif('{{' || concat_ws(',', {', '.join(parts)}) || '}}', '{{}}') AS json FROM _attributes"


def _settle_available_time(ints: dict[str, Int64s], time: Int64s, *, selected: bool) -> None:
    """Give every event with a time an available_time that is not before it, and say so where the source did not."""
    available = ints["available_time"]
    if not selected:
        ints["available_time"] = time.copy()
        return
    unknown = (available == NULL) & (time != NULL)
    early = ~unknown & (available < time)
    if unknown.any():
        ints["flags"] = ints["flags"] | np.where(unknown, rules.flags()["available_assumed"], 0)
    if early.any():
        ints["flags"] = ints["flags"] | np.where(early, rules.flags()["available_before_time"], 0)
    ints["available_time"] = np.maximum(available, time)


