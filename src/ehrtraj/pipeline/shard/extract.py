"""Extract: run the recipes over the staged tables of one shard, in DuckDB."""

from __future__ import annotations

import errno
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj import recipes as recipe_files
from ehrtraj import rules
from ehrtraj.errors import LedgerError
from ehrtraj.format import keys
from ehrtraj.format.arrays import one_array
from ehrtraj.format.events import PRECISIONS
from ehrtraj.pipeline.rejected import RejectWriter
from ehrtraj.pipeline.shard.convert import EVENT_CASTS, Codes, append_events, type_problem
from ehrtraj.pipeline.shard.duplicates import find_duplicates
from ehrtraj.pipeline.shard.events import EventBuffer
from ehrtraj.pipeline.shard.notes import NoteWriter
from ehrtraj.pipeline.shard.standardise import Standardiser
from ehrtraj.recipes import Recipe, Statement
from ehrtraj.recipes.allowed import SqlLocation
from ehrtraj.release.schema import Table
from ehrtraj.runtime.session import open_session
from ehrtraj.sources.source import Source

_MANY_ROWS = 60_000
MOST_SECONDS = 3600
"""Maximum time of one statement over one part of a shard; ours take seconds."""


@dataclass
class TableCount:
    """What became of one table's rows in a part.

    Attributes:
        rows: rows staged.
        rejected: rejected rows here, by reason.
        events: events made.
    """

    rows: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    events: int = 0


def known_codes(
    connection: duckdb.DuckDBPyConnection, dictionaries: Mapping[str, pa.Table], source: Source
) -> pa.Table:
    """Return the codes that the release's dictionaries have: columns `event_type` and `item` of `dictionaries.sql`.

    Args:
        connection: a session that has the macros.
        dictionaries: of the release, by bare name; those it lacks are empty.
        source: whose `dictionaries.sql` to use.
    """
    absent = {t.name: t.schema.empty_table() for t in source.tables_of("dictionary").values()}
    for name, rows in {**absent, **dictionaries}.items():
        connection.register(name, rows)
    found = connection.sql(source.helper("dictionaries")).to_arrow_table()
    for name in absent:
        connection.unregister(name)
    return found


class _Slot:
    """A table whose rows change from part to part under one registered name, so that prepared statements stay valid."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self.rows = schema.empty_table()

    def clear(self) -> None:
        self.rows = self._schema.empty_table()

    def __arrow_c_schema__(self) -> object:
        return self._schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.rows.__arrow_c_stream__(requested_schema)


class Extractor:
    """A DuckDB session that runs the recipes. One a process, used for one part of a shard after another."""

    def __init__(
        self,
        source: Source,
        tables: Mapping[str, Table],
        wanted: Sequence[str],
        memory: int,
        spill: Path | None = None,
        recipes: Mapping[str, Recipe] | None = None,
        standardiser: Standardiser | None = None,
        dictionaries: Mapping[str, pa.Table] | None = None,
    ) -> None:
        """Open a session.

        Args:
            source: whose recipes to use.
            tables: patient tables of the source, by full name.
            wanted: full names of the tables to make events of.
            memory: bytes DuckDB may use.
            spill: folder for what does not fit into them.
            recipes: instead of the source's own.
            standardiser: applies the rule tables of numbers; None leaves them as they are.
            dictionaries: of the release, by bare name; those it lacks are empty.
        """
        self._session = ExitStack()
        self.connection = self._session.enter_context(
            open_session(threads=1, memory=memory, spill=spill, seconds=MOST_SECONDS)
        )
        self._source = source
        self._tables = tables
        self._wanted = list(wanted)
        self._standardiser = standardiser
        self._prepared: dict[str, str] = {}
        self._slots = {name: _Slot(table.schema) for name, table in tables.items()}
        for name, slot in self._slots.items():
            self.connection.register(tables[name].name, slot)
        self._recipes = source.recipes if recipes is None else recipes
        self._helpers = {h: source.helper(h) for h in recipe_files.HELPERS_OF_A_SHARD}
        self._wrapped: dict[tuple[str, int], str] = {}
        try:
            self._prepare(dictionaries or {})
        except BaseException:
            self.close()
            raise
        self._schedule = self._plan()

    def _prepare(self, dictionaries: Mapping[str, pa.Table]) -> None:
        """Make everything that statements may use, before the first."""
        values = " ".join(f"WHEN '{name}' THEN {value}" for name, value in rules.flags().items())
        self.connection.execute(
            f"CREATE MACRO flag(name) AS CASE name {values} ELSE error('unknown flag: ' || name) END::BIGINT"
        )
        self.connection.execute(f"CREATE TYPE time_precision AS ENUM ({', '.join(map(repr, PRECISIONS))})")
        self.connection.execute(keys.MACRO)
        try:
            self.connection.execute(self._source.helper("macros"))
        except duckdb.Error as error:
            raise self._place("macros").refused(error) from error
        try:
            known = known_codes(self.connection, dictionaries, self._source)
        except duckdb.Error as error:
            raise self._place("dictionaries").refused(error) from error
        for column in ("event_type", "item"):
            if column not in known.column_names or known[column].type != pa.string():
                raise self._place("dictionaries").wrong(f"must select {column} as VARCHAR")
        self._known = {
            event_type: one_array(known.filter(pc.equal(known["event_type"], event_type))["item"])
            for event_type in pc.unique(known["event_type"]).to_pylist()
        }
        for name, sql in self._source.views.items():
            self._create_view(name, sql)
        for recipe in self._recipes.values():
            for statement in recipe.statements:
                if statement.event_type not in self._source.event_types:
                    raise self._place(recipe.table, line=statement.line).wrong(
                        f"the event type {statement.event_type} is not in event_types.csv, neither in that of the "
                        "package nor in your own, and no recipe declares it: add a line "
                        f"'-- event type: {statement.event_type} | RANK | MEANING | SOURCE'"
                    )

    def run(
        self,
        read: Callable[[str], pa.Table],
        rejects: Mapping[str, RejectWriter],
        buffer: EventBuffer,
        codes: Codes,
        notes: NoteWriter | None = None,
    ) -> tuple[dict[str, TableCount], dict[str, pa.Table]]:
        """Run all recipes over the tables of one part.

        A table is read when the first recipe needs it and let go after the last, so that the large ones are not in
        memory together.

        Args:
            read: the part's rows of a table by its full name; of a table the release lacks, none.
            rejects: where each table's rejected rows go.
            buffer: receives the events.
            codes: receives the codes that are met.
            notes: receives the texts of notes, which then are not in the events; None leaves them there.

        Returns:
            The account of each table, and the results of `encounters.sql`, `subjects.sql` and `stays.sql`.

        Raises:
            LedgerError: if a statement marked `[every row]` does not yield one event for each row.
            RecipeError: if DuckDB cannot run a statement or it breaks the contract.
        """
        counts: dict[str, TableCount] = {}
        about: dict[str, pa.Table] = {}
        try:
            for step, (needed, finished) in enumerate(self._schedule):
                for name in needed:
                    counts[name] = self._load(self._tables[name], read(name), rejects.get(name))
                # Before any statement, of whichever recipe, sees the rows.
                for name in self._wanted:
                    if name in needed and counts[name].rows:
                        self._rejected(self._tables[name], counts[name], rejects.get(name))
                if step < len(self._wanted):
                    self._run_recipe(step, counts, rejects, buffer, codes, notes)
                else:
                    about = {h: self._arrow(sql, h) for h, sql in self._helpers.items()}
                for name in finished:
                    self._slots[name].clear()
        finally:
            for slot in self._slots.values():
                slot.clear()
        return counts, about

    def bind(self) -> None:
        """Have DuckDB look at every statement and condition, without running any.

        Raises:
            RecipeError: if it refuses one, or a statement breaks the contract.
        """
        for name, recipe in self._recipes.items():
            for index, statement in enumerate(recipe.statements):
                self._wrap(name, index, statement)
            table = self._tables[name].name
            for reason, condition in recipe.rejected:
                try:
                    self.connection.sql(f'SELECT ({condition})::BOOLEAN FROM "{table}"')
                except duckdb.Error as error:
                    raise self._place(name, f"condition of {reason}").refused(error) from error

    def _place(self, name: str, part: str = "", line: int = 1) -> SqlLocation:
        """Where SQL comes from: a recipe by the full name of its table, a helper or a view."""
        what = f"recipe {name}, {part}" if part else f"recipe {name}"
        folder = self._source.overlay_recipes
        own = {} if folder is None else recipe_files.overlay_sql(folder)
        file = self._recipes[name].file if name in self._recipes else str(own.get(name, ""))
        if own and not file:
            what += f" (of the package, over views and macros of {folder})"
        return SqlLocation(what, file, line)

    def _create_view(self, name: str, sql: str) -> None:
        try:
            self.connection.execute(f'CREATE VIEW "{name}" AS {sql}')
        except duckdb.Error as error:
            raise self._place(f"{recipe_files.VIEWS}/{name}").refused(error) from error

    def _reads(self, sql: str) -> set[str]:
        """Full names of the tables that SQL reads."""
        by_name = {t.name: full for full, t in self._tables.items()}
        return {by_name[n] for n in self._source.tables_read(sql, by_name)}

    def _plan(self) -> list[tuple[list[str], list[str]]]:
        """For each recipe, and for the helpers at the end, the tables to load before and to let go after."""
        uses = [{name, *self._reads(self._recipes[name].sql)} for name in self._wanted]
        uses.append(self._reads("\n".join(self._helpers.values())))
        for used in uses:
            for name in [n for n in used if n in self._wanted]:
                conditions = "\n".join(condition for _, condition in self._recipes[name].rejected)
                used.update(self._reads(conditions))
        steps = []
        for step, used in enumerate(uses):
            before = set().union(*uses[:step])
            after = set().union(*uses[step + 1 :])
            steps.append((sorted(used - before), sorted(used - after)))
        return steps

    def _load(self, table: Table, rows: pa.Table, rejects: RejectWriter | None) -> TableCount:
        """Make a table's rows visible under its bare name, without its exact duplicates."""
        count = TableCount(rows.num_rows)
        if rows.num_rows and len(extra := find_duplicates(rows, table.duplicate_columns)):
            keep = np.ones(rows.num_rows, np.bool_)
            keep[extra] = False
            count.rejected["exact_duplicate"] = len(extra)
            if rejects:
                rejects.write_rows(rows.take(pa.array(extra)), "exact_duplicate")
            rows = rows.filter(pa.array(keep))
        self._slots[table.full_name].rows = rows
        return count

    def _run_recipe(
        self,
        step: int,
        counts: Mapping[str, TableCount],
        rejects: Mapping[str, RejectWriter],
        buffer: EventBuffer,
        codes: Codes,
        notes: NoteWriter | None,
    ) -> None:
        name = self._wanted[step]
        count = counts[name]
        if not count.rows:
            return
        rows = count.rows - count.rejected.total()
        if not rows:
            return
        for index, statement in enumerate(self._recipes[name].statements):
            result = self._statement(name, index, statement, rows)
            if statement.every_row and result.num_rows != rows:
                raise LedgerError(
                    f"{name}: {rows:,} rows became {result.num_rows:,} events where each must become one "
                    f"('{statement.about}'). The recipe multiplies or loses rows, most likely in a join"
                )
            if self._recipes[name].file:
                self._check_subjects(name, statement, result)
            count.events += result.num_rows
            if notes is not None and self._recipes[name].separate:
                result = notes.take_texts(name, result)
            if result.num_rows:
                append_events(buffer, codes, step, statement, result, self._standardiser, self._known)

    def _check_subjects(self, name: str, statement: Statement, result: pa.Table) -> None:
        """Refuse events of patients whom no row of the table is about: they would land in the wrong shard."""
        known = pc.unique(self._slots[name].rows["subject_id"])
        if not pc.all(pc.is_in(result["subject_id"], value_set=known), min_count=0).as_py():
            raise self._place(name, f"'{statement.about}'", statement.line).wrong(
                "an event has a subject_id that no row of the table has: select the table's own"
            )

    def _rejected(self, table: Table, count: TableCount, rejects: RejectWriter | None) -> None:
        """Take the rows out that the recipe says cannot become an event."""
        rules_of = self._recipes[table.full_name].rejected
        if not rules_of:
            return
        # One question for all conditions first: mostly no row meets any.
        cases = " ".join(f"WHEN ({condition}) THEN {i}" for i, (_, condition) in enumerate(rules_of))
        anyone = f'SELECT CASE {cases} END AS rule, * FROM "{table.name}" WHERE rule IS NOT NULL'
        out = self._arrow(anyone, table.full_name)
        if not out.num_rows:
            return
        for i, (reason, _) in enumerate(rules_of):
            rows = out.filter(pc.equal(out["rule"], i)).drop_columns("rule")
            if rows.num_rows:
                count.rejected[reason] += rows.num_rows
                if rejects:
                    rejects.write_rows(rows, reason)
        kept = self._arrow(f'SELECT * FROM "{table.name}" WHERE CASE {cases} END IS NULL', table.full_name)
        self._slots[table.full_name].rows = kept

    def _arrow(self, sql: str, what: str, rows: int = 0, line: int = 1) -> pa.Table:
        """The result of a query over about so many rows.

        Planning a recipe's statement takes DuckDB 3 ms, more than running it over few rows. A prepared statement is
        planned once for all shards, but its result is copied once more (DuckDB 2.0 warns of it), at 50 ns a row.
        """
        try:
            if rows > _MANY_ROWS:
                return self.connection.sql(sql).to_arrow_table()
            if sql not in self._prepared:
                self._prepared[sql] = f"statement_{len(self._prepared)}"
                self.connection.execute(f"PREPARE {self._prepared[sql]} AS {sql}")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                return self.connection.execute(f"EXECUTE {self._prepared[sql]}").to_arrow_table()
        except duckdb.Error as error:
            if "No space left on device" in str(error):
                raise OSError(errno.ENOSPC, str(error)) from error
            raise self._place(what, line=line).refused(error) from error

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def _statement(self, name: str, index: int, statement: Statement, rows: int) -> pa.Table:
        return self._arrow(self._wrap(name, index, statement), name, rows, statement.line)

    def _wrap(self, name: str, index: int, statement: Statement) -> str:
        """The statement with its columns cast."""
        if known := self._wrapped.get((name, index)):
            return known
        place = self._place(name, f"'{statement.about}'", statement.line)
        try:
            relation = self.connection.sql(place.padded(statement.sql))
            columns = relation.columns
        except duckdb.Error as error:
            raise place.refused(error, padded=True) from error
        for needed in ("subject_id", "time"):
            if needed not in columns:
                raise place.wrong(f"does not select {needed}")
        for column, kind in zip(columns, relation.types, strict=True):
            if problem := type_problem(column, str(kind)):
                raise place.wrong(problem)
        parts = []
        for column in columns:
            if column in EVENT_CASTS:
                parts.append(f'"{column}"::{EVENT_CASTS[column]} AS "{column}"')
            elif column != "event_type":
                parts.append(f'"{column}"')
        wrapped = self._wrapped[name, index] = f"SELECT {', '.join(parts)} FROM ({statement.sql})"
        return wrapped
