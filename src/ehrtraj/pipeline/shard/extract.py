"""Run the recipes on the staged tables of one shard in DuckDB."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj import recipes as recipe_files
from ehrtraj import rules
from ehrtraj.engines.base import ignore
from ehrtraj.errors import LedgerError
from ehrtraj.format import keys
from ehrtraj.format.arrays import one_array
from ehrtraj.format.events import PRECISIONS
from ehrtraj.pipeline.rejected import RejectWriter
from ehrtraj.pipeline.shard.codes import Codes
from ehrtraj.pipeline.shard.convert import EVENT_CASTS, append_events, type_problem
from ehrtraj.pipeline.shard.duplicates import find_duplicates
from ehrtraj.pipeline.shard.events import EventBuffer
from ehrtraj.pipeline.shard.notes import NoteWriter
from ehrtraj.pipeline.shard.slots import EvaluatedView, Slot, read_repeatedly, slot_of_view
from ehrtraj.pipeline.shard.standardise import Standardiser
from ehrtraj.recipes import Recipe, Statement
from ehrtraj.recipes.allowed import SqlLocation
from ehrtraj.release.schema import Table
from ehrtraj.runtime.prepared import PreparedQueries
from ehrtraj.runtime.profile import CONVERT, DUPLICATES, SQL, measured
from ehrtraj.runtime.progress import Share
from ehrtraj.runtime.session import forget_freed_blocks, open_session
from ehrtraj.sources.source import Source

# Queries on more rows are planned each time, so that their results need not be complete in memory.
_MANY_ROWS = 60_000
# Values (rows times columns) of a large result that become events at a time. 8 million take 2 % more memory.
_RESULT_VALUES = 2 << 20
MOST_SECONDS = 3600
"""Maximum time of one statement on one part of a shard. The statements of the package take seconds."""


@dataclass
class TableCount:
    """Counts of one table's rows in a part.

    Attributes:
        rows: number of staged rows.
        rejected: number of rows rejected at this stage, by reason.
        events: number of events.
    """

    rows: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    events: int = 0

    def add(self, more: TableCount) -> None:
        """Add the counts of other rows of the table."""
        self.rows += more.rows
        self.rejected += more.rejected
        self.events += more.events


def _report_share(report: Callable[[float], None], before: int, rows: int, share: Share) -> None:
    report(before + rows * share)


def known_codes(
    connection: duckdb.DuckDBPyConnection, dictionaries: Mapping[str, pa.Table], source: Source
) -> pa.Table:
    """Return the codes in the release's dictionaries: columns `event_type` and `item` of `dictionaries.sql`.

    Args:
        connection: a session with the macros.
        dictionaries: dictionaries of the release, by bare name; missing dictionaries count as empty.
        source: source with the helper `dictionaries.sql`.
    """
    absent = {t.name: t.schema.empty_table() for t in source.tables_of("dictionary").values()}
    for name, rows in {**absent, **dictionaries}.items():
        connection.register(name, rows)
    codes = connection.sql(source.helper("dictionaries")).to_arrow_table()
    for name in absent:
        connection.unregister(name)
    return codes


class Extractor:
    """A DuckDB session that runs the recipes. Each process has one and uses it for all parts of its shards."""

    def __init__(
        self,
        source: Source,
        tables: Mapping[str, Table],
        event_tables: Sequence[str],
        memory: int,
        spill: Path | None = None,
        recipes: Mapping[str, Recipe] | None = None,
        standardiser: Standardiser | None = None,
        dictionaries: Mapping[str, pa.Table] | None = None,
    ) -> None:
        """Open a session.

        Args:
            source: source with the recipes.
            tables: patient tables of the source, by full name.
            event_tables: full names of the tables that become events.
            memory: bytes that DuckDB may use.
            spill: folder for data that does not fit in this memory.
            recipes: recipes to use instead of those of the source.
            standardiser: applies the rule tables of numbers; None leaves numbers unchanged.
            dictionaries: dictionaries of the release, by bare name; missing dictionaries count as empty.
        """
        self._session = ExitStack()
        self.connection = self._session.enter_context(
            open_session(threads=1, memory=memory, spill=spill, seconds=MOST_SECONDS, lasting=True)
        )
        self._memory = memory
        self._source = source
        self._tables = tables
        self._event_tables = list(event_tables)
        self._standardiser = standardiser
        self._prepared = PreparedQueries(self.connection)
        self._relations: dict[str, duckdb.DuckDBPyRelation] = {}
        self._slots = {name: Slot(table.schema) for name, table in tables.items()}
        self._views: dict[str, EvaluatedView] = {}
        self._views_of: dict[str, list[EvaluatedView]] = {}
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
        """Create the macros, types and views that statements may use."""
        values = " ".join(f"WHEN '{name}' THEN {value}" for name, value in rules.flags().items())
        self.connection.execute(
            f"CREATE MACRO flag(name) AS CASE name {values} ELSE error('unknown flag: ' || name) END::BIGINT"
        )
        self.connection.execute(f"CREATE TYPE time_precision AS ENUM ({', '.join(map(repr, PRECISIONS))})")
        self.connection.execute(keys.MACRO)
        try:
            self.connection.execute(self._source.helper("macros"))
        except duckdb.Error as error:
            raise self._location("macros").refused(error) from error
        try:
            known = known_codes(self.connection, dictionaries, self._source)
        except duckdb.Error as error:
            raise self._location("dictionaries").refused(error) from error
        for column in ("event_type", "item"):
            if column not in known.column_names or known[column].type != pa.string():
                raise self._location("dictionaries").wrong(f"must select {column} as VARCHAR")
        self._known = {
            event_type: one_array(known.filter(pc.equal(known["event_type"], event_type))["item"])
            for event_type in pc.unique(known["event_type"]).to_pylist()
        }
        self._create_views()
        for recipe in self._recipes.values():
            for statement in recipe.statements:
                if statement.event_type not in self._source.event_types:
                    raise self._location(recipe.table, line=statement.line).wrong(
                        f"the event type {statement.event_type} is not in event_types.csv, neither in that of the "
                        "package nor in your overlay's, and no recipe declares it: add a line "
                        f"'-- event type: {statement.event_type} | RANK | MEANING | SOURCE'"
                    )

    def run(
        self,
        read: Callable[[str], pa.Table],
        rejects: Mapping[str, RejectWriter],
        buffer: EventBuffer,
        codes: Codes,
        notes: NoteWriter | None = None,
        report: Callable[[float], None] = ignore,
        *,
        without: Collection[str] = (),
    ) -> tuple[dict[str, TableCount], dict[str, pa.Table]]:
        """Run all recipes on the tables of one part.

        A table is read when the first recipe needs it and released after the last, so that the large tables are not in
        memory at the same time.

        Args:
            read: returns the part's rows of a table, given its full name; no rows if the release lacks the table.
            rejects: writers of each table's rejected rows.
            buffer: receives the events.
            codes: receives the codes.
            notes: receives the texts of notes, which are removed from the events; None leaves them in the events.
            report: receives the number of rows whose recipe has run.
            without: tables of `separate_tables` that are left out: `run_table` runs their recipes.

        Returns:
            The counts of each table, and the results of `encounters.sql`, `subjects.sql` and `stays.sql`.

        Raises:
            LedgerError: if a statement marked `[every row]` does not yield one event for each row.
            RecipeError: if DuckDB cannot run a statement or it breaks the contract.
        """
        counts: dict[str, TableCount] = {}
        about: dict[str, pa.Table] = {}
        done = 0
        try:
            for step, (needed, finished) in enumerate(self._schedule):
                for name in needed:
                    if name not in without:
                        counts[name] = self._load(self._tables[name], read(name), rejects.get(name))
                # Rows are rejected before a statement of any recipe reads them.
                for name in self._event_tables:
                    if name in needed and name in counts and counts[name].rows:
                        self._reject(self._tables[name], counts[name], rejects.get(name))
                if step == len(self._event_tables):
                    about = {h: self._arrow(sql, h) for h, sql in self._helpers.items()}
                elif self._event_tables[step] not in without:
                    count = counts[self._event_tables[step]]
                    reach = partial(_report_share, report, done, count.rows)
                    self._run_recipe(step, count, buffer, codes, notes, reach)
                    done += count.rows
                    report(done)
                for name in finished:
                    self._slots[name].clear()
                    self._clear_views(name)
        finally:
            for slot in self._slots.values():
                slot.clear()
            for view in self._views.values():
                view.clear()
        return counts, about

    @property
    def separate_tables(self) -> set[str]:
        """Full names of the tables that only one recipe reads, which reads no other table, except for notes."""
        return {
            name
            for name, (needed, finished) in zip(self._event_tables, self._schedule, strict=False)
            if needed == finished == [name]
            and self._reads(self._all_sql(name)) <= {name}
            and not self._recipes[name].separate
        }

    def run_table(
        self,
        name: str,
        rows: pa.Table,
        rejects: Mapping[str, RejectWriter],
        buffer: EventBuffer,
        codes: Codes,
    ) -> TableCount:
        """Run the recipe of one of `separate_tables` on some of its rows, and return their counts.

        Args:
            name: full name of the table.
            rows: all rows of some patients.
            rejects: writers of each table's rejected rows.
            buffer: receives the events.
            codes: receives the codes.

        Raises:
            LedgerError: as `run`.
            RecipeError: as `run`.
        """
        try:
            count = self._load(self._tables[name], rows, rejects.get(name))
            if count.rows:
                self._reject(self._tables[name], count, rejects.get(name))
            self._run_recipe(self._event_tables.index(name), count, buffer, codes, None, ignore)
        finally:
            self._slots[name].clear()
            self._clear_views(name)
        return count

    def forget_freed_blocks(self) -> None:
        """Let DuckDB forget the blocks of memory that it has freed. Call this from time to time."""
        forget_freed_blocks(self.connection, self._memory)

    def bind(self) -> None:
        """Let DuckDB bind every statement and condition without running them.

        Raises:
            RecipeError: if DuckDB rejects one, or a statement breaks the contract.
        """
        for name, recipe in self._recipes.items():
            for index, statement in enumerate(recipe.statements):
                self._wrap(name, index, statement)
            table = self._tables[name].name
            for reason, condition in recipe.rejected:
                try:
                    self.connection.sql(f'SELECT ({condition})::BOOLEAN FROM "{table}"')
                except duckdb.Error as error:
                    raise self._location(name, f"condition of {reason}").refused(error) from error

    def _location(self, name: str, part: str = "", line: int = 1) -> SqlLocation:
        """Return the origin of SQL: a recipe, by the full name of its table, a helper or a view."""
        what = f"recipe {name}, {part}" if part else f"recipe {name}"
        folder = self._source.overlay_recipes
        overlay = {} if folder is None else recipe_files.overlay_sql(folder)
        file = self._recipes[name].file if name in self._recipes else str(overlay.get(name, ""))
        if overlay and not file:
            what += f" (of the package, over views and macros of {folder})"
        return SqlLocation(what, file, line)

    def _create_views(self) -> None:
        """Create the views. Those that are read repeatedly are evaluated once for each part, the others each time."""
        views = self._source.views
        queries = list(self._helpers.values())
        for recipe in self._recipes.values():
            queries += [statement.sql for statement in recipe.statements]
            queries.append("\n".join(condition for _, condition in recipe.rejected))
        repeatedly = read_repeatedly(views, queries)
        for name, sql in views.items():
            try:
                slot = slot_of_view(self.connection, name, sql) if name in repeatedly else None
                if slot is None:
                    self.connection.execute(f'CREATE VIEW "{name}" AS {sql}')
                else:
                    self._views[name] = EvaluatedView(name, sql, self._reads(sql), slot)
            except duckdb.Error as error:
                raise self._location(f"{recipe_files.VIEWS}/{name}").refused(error) from error

    def _evaluate_views(self, sql: str) -> None:
        """Evaluate the views that SQL reads, unless their rows are those of the tables."""
        if sql not in self._views_of:
            plain = {name: text for name, text in self._source.views.items() if name not in self._views}
            self._views_of[sql] = [self._views[name] for name in recipe_files.tables_read(sql, self._views, plain)]
        for view in self._views_of[sql]:
            if not view.current:
                view.slot.rows = self._arrow(view.sql, f"{recipe_files.VIEWS}/{view.name}")
                view.current = True

    def _clear_views(self, table: str) -> None:
        """Remove the rows of all views that read a table, given its full name."""
        for view in self._views.values():
            if table in view.tables:
                view.clear()

    def _reads(self, sql: str) -> set[str]:
        """Return the full names of the tables that SQL reads."""
        by_name = {t.name: full for full, t in self._tables.items()}
        return {by_name[n] for n in self._source.tables_read(sql, by_name)}

    def _all_sql(self, name: str) -> str:
        """Return all SQL of a recipe."""
        return "\n".join([self._recipes[name].sql, *(condition for _, condition in self._recipes[name].rejected)])

    def _plan(self) -> list[tuple[list[str], list[str]]]:
        """Return for each recipe, and finally for the helpers, the tables to load before and to release after it."""
        uses = [{name, *self._reads(self._recipes[name].sql)} for name in self._event_tables]
        uses.append(self._reads("\n".join(self._helpers.values())))
        for used in uses:
            for name in [n for n in used if n in self._event_tables]:
                conditions = "\n".join(condition for _, condition in self._recipes[name].rejected)
                used.update(self._reads(conditions))
        steps = []
        for step, used in enumerate(uses):
            before = set().union(*uses[:step])
            after = set().union(*uses[step + 1 :])
            steps.append((sorted(used - before), sorted(used - after)))
        return steps

    def _load(self, table: Table, rows: pa.Table, rejects: RejectWriter | None) -> TableCount:
        """Make a table's rows visible under its bare name, without exact duplicates."""
        count = TableCount(rows.num_rows)
        with measured(DUPLICATES, table.full_name):
            duplicates = find_duplicates(rows, table.duplicate_columns) if rows.num_rows else ()
        if len(duplicates):
            keep = np.ones(rows.num_rows, np.bool_)
            keep[duplicates] = False
            count.rejected["exact_duplicate"] = len(duplicates)
            if rejects:
                rejects.write_rows(rows.take(pa.array(duplicates)), "exact_duplicate")
            rows = rows.filter(pa.array(keep))
        self._slots[table.full_name].rows = rows
        self._clear_views(table.full_name)
        return count

    def _run_recipe(
        self,
        step: int,
        count: TableCount,
        buffer: EventBuffer,
        codes: Codes,
        notes: NoteWriter | None,
        reach: Callable[[Share], None],
    ) -> None:
        name = self._event_tables[step]
        if not count.rows:
            return
        rows = count.rows - count.rejected.total()
        if not rows:
            return
        statements = self._recipes[name].statements
        for index, statement in enumerate(statements):
            events = 0
            for result in self._results(self._wrap(name, index, statement), name, rows, statement.line):
                events += result.num_rows
                if self._recipes[name].file:
                    self._check_subjects(name, statement, result)
                if notes is not None and self._recipes[name].separate:
                    result = notes.take_texts(name, result)
                if result.num_rows:
                    trim = not self._recipes[name].separate
                    with measured(CONVERT, name):
                        append_events(
                            buffer, codes, step, statement, result, self._standardiser, self._known, trim=trim
                        )
                # How many events a statement yields is unknown: most yield about one for each row.
                reach((index + min(events / rows, 1.0)) / len(statements))
            if statement.every_row and events != rows:
                raise LedgerError(
                    f"{name}: {rows:,} rows became {events:,} events, but each row must become one event "
                    f"('{statement.about}'). The recipe multiplies or loses rows, most likely in a join"
                )
            count.events += events

    def _check_subjects(self, name: str, statement: Statement, result: pa.Table) -> None:
        """Check that every event belongs to a patient in the table; otherwise it could be in the wrong shard."""
        known = pc.unique(self._slots[name].rows["subject_id"])
        if not pc.all(pc.is_in(result["subject_id"], value_set=known), min_count=0).as_py():
            raise self._location(name, f"'{statement.about}'", statement.line).wrong(
                "an event has a subject_id that no row of the table has: select the subject_id of the table"
            )

    def _reject(self, table: Table, count: TableCount, rejects: RejectWriter | None) -> None:
        """Remove the rows that the recipe rejects."""
        conditions = self._recipes[table.full_name].rejected
        if not conditions:
            return
        cases = " ".join(f"WHEN ({condition}) THEN {i}" for i, (_, condition) in enumerate(conditions))
        rule = f"CASE {cases} END"
        # Usually no row meets any of the conditions. This query reads only the columns in them.
        if not self._arrow(f'SELECT 1 FROM "{table.name}" WHERE {rule} IS NOT NULL LIMIT 1', table.full_name).num_rows:
            return
        rejected = self._arrow(f'SELECT {rule} AS rule, * FROM "{table.name}" WHERE rule IS NOT NULL', table.full_name)
        for i, (reason, _) in enumerate(conditions):
            rows = rejected.filter(pc.equal(rejected["rule"], i)).drop_columns("rule")
            if rows.num_rows:
                count.rejected[reason] += rows.num_rows
                if rejects:
                    rejects.write_rows(rows, reason)
        kept = self._arrow(f'SELECT * FROM "{table.name}" WHERE {rule} IS NULL', table.full_name)
        self._slots[table.full_name].rows = kept
        self._clear_views(table.full_name)

    def _arrow(self, sql: str, what: str, line: int = 1) -> pa.Table:
        """Return the result of a query on few rows."""
        self._evaluate_views(sql)
        with self._explained(what, line):
            return self._prepared.rows(sql)

    def _results(self, sql: str, what: str, rows: int, line: int) -> Iterator[pa.Table]:
        """Yield the result of a query on `rows` rows, a large one in parts.

        Parts save the memory of the complete result, and the columns of a part stay in the cache while they become
        events.
        """
        if rows <= _MANY_ROWS:
            yield self._arrow(sql, what, line)
            return
        self._evaluate_views(sql)
        with self._explained(what, line):
            if sql not in self._relations:
                self._relations[sql] = self.connection.sql(sql)
            relation = self._relations[sql]
            reader = relation.to_arrow_reader(_RESULT_VALUES // len(relation.columns))
        while True:
            with self._explained(what, line):
                batch = next(reader, None)
            if batch is None:
                return
            yield pa.Table.from_batches([batch])

    @contextmanager
    def _explained(self, what: str, line: int) -> Iterator[None]:
        """Turn an error of DuckDB into one that names the recipe and the line."""
        try:
            with measured(SQL, what):
                yield
        except duckdb.Error as error:
            if "No space left on device" in str(error):
                raise OSError(errno.ENOSPC, str(error)) from error
            raise self._location(what, line=line).refused(error) from error

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def _wrap(self, name: str, index: int, statement: Statement) -> str:
        """Return the statement with its columns cast."""
        if wrapped := self._wrapped.get((name, index)):
            return wrapped
        location = self._location(name, f"'{statement.about}'", statement.line)
        try:
            relation = self.connection.sql(location.padded(statement.sql))
            columns = relation.columns
        except duckdb.Error as error:
            raise location.refused(error, padded=True) from error
        for needed in ("subject_id", "time"):
            if needed not in columns:
                raise location.wrong(f"does not select {needed}")
        for column, kind in zip(columns, relation.types, strict=True):
            if problem := type_problem(column, str(kind)):
                raise location.wrong(problem)
        parts = []
        for column in columns:
            if column in EVENT_CASTS:
                parts.append(f'"{column}"::{EVENT_CASTS[column]} AS "{column}"')
            elif column != "event_type":
                parts.append(f'"{column}"')
        wrapped = self._wrapped[name, index] = f"SELECT {', '.join(parts)} FROM ({statement.sql})"
        return wrapped
