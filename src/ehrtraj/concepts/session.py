"""Compute concepts in DuckDB, for the patients of one data file or for one patient at a time."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa

from ehrtraj.concepts.header import AVAILABLE, Header
from ehrtraj.concepts.library import Concept, ConceptLibrary
from ehrtraj.concepts.lists import macros, tables
from ehrtraj.concepts.views import CODES, DECIMAL_VALUE, concept_codes, happened_view, with_bits
from ehrtraj.errors import DatasetError, OutputError, RecipeError, SettingsError
from ehrtraj.runtime.progress import ShareReport, no_report
from ehrtraj.runtime.session import duckdb_interrupts, open_session, quoted
from ehrtraj.suggestions import did_you_mean

CLOCKS = ("event", "available")
_HAPPENED, _RARE = re.compile(r"\bhappened\b"), "happened_rarely"
# An event type with a larger share of all events is not copied.
_RARE_SHARE = 0.08
FILE = "__file"
"""Name of the column with the number of the patient's data file, in subjects and in results by file."""


@dataclass(frozen=True)
class ConceptMode:
    """How concepts are computed.

    Attributes:
        clock: `event` if the time of a value is when it happened, `available` if it is when it became known.
        as_mimic_code: whether to reproduce mimic-code where it differs.
    """

    clock: str = "event"
    as_mimic_code: bool = False

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            SettingsError: if they are invalid or contradict each other.
        """
        if self.clock not in CLOCKS:
            raise SettingsError(
                f"clock is '{self.clock}'{did_you_mean(self.clock, CLOCKS)}: it must be one of {', '.join(CLOCKS)}"
            )
        if self.as_mimic_code and self.clock != "event":
            raise SettingsError("mimic-code knows only the clock event: omit --clock, or --as-mimic-code")


class ConceptSession:
    """A DuckDB session in which concepts are computed. `load` gives it the events of some patients.

    Attributes:
        library: all concepts.
        seconds: time of each view and concept so far, without the time of those that it needs.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        library: ConceptLibrary,
        flags: dict[str, int],
        mode: ConceptMode,
        codes: Sequence[str] | None = None,
    ) -> None:
        """Create the macros.

        Args:
            connection: a new session.
            library: all concepts.
            flags: bit of each flag of the dataset.
            mode: how concepts are computed.
            codes: all codes of the dataset; by default they are found in the events.
        """
        self._connection = connection
        self.library = library
        self._flags = flags
        self._mode = mode
        self.seconds: dict[str, float] = {}
        self._created: dict[str, str] = {}
        self._columns: dict[str, list[str]] = {}
        self._prepared: set[str] = set()
        self._is_complete = False
        self._codes = None if codes is None else pl.DataFrame({"code": codes})
        connection.execute(DECIMAL_VALUE)
        connection.execute(f"CREATE MACRO as_mimic_code() AS {str(mode.as_mimic_code).lower()}")
        connection.execute(f"CREATE MACRO clock() AS {quoted(mode.clock)}")

    def _prepare(self, words: Collection[str]) -> None:
        """Create those lists and macros that SQL with these words uses: creating all takes DuckDB 50 ms."""
        words = set(words) - self._prepared
        for name, table in tables(self.library.lists, words).items():
            self._connection.register("lines", table)
            self._connection.execute(f"CREATE TABLE {name} AS FROM lines")
            self._connection.unregister("lines")
        for name, statement in macros(self.library.lists):
            if name in words:
                self._connection.execute(statement)
        self._prepared |= words

    def load(
        self,
        events: Sequence[Path] | pl.DataFrame,
        subjects: pl.DataFrame,
        dataset_clock: str,
        *,
        complete: bool = False,
    ) -> None:
        """Replace the patients of the session.

        Args:
            events: data files, or all events of some patients.
            subjects: the rows of subjects.parquet of those patients whose concepts are computed.
            dataset_clock: the dataset's clock.
            complete: whether the files contain no other patients. Each view is then read without comparing patients,
                and views of rare events from a copy of these events.
        """
        self.clear()
        self._connection.execute(f"DROP TABLE IF EXISTS {CODES}")
        self._is_complete = complete
        self._connection.register("subjects", subjects)
        if isinstance(events, pl.DataFrame):
            self._connection.register("given_events", events)
            read = "given_events"
        else:
            read = f"read_parquet([{', '.join(quoted(str(path)) for path in events)}])"
        chosen = read if complete else f"(FROM {read} WHERE subject_id IN (SELECT subject_id FROM subjects))"
        with _explained():
            self._connection.execute(happened_view(chosen, dataset_clock, self._mode.clock))

    def clear(self) -> None:
        """Drop what was computed."""
        for name in list(reversed(self._created)):
            self._drop(name)

    def compute(
        self,
        names: Collection[str],
        known_until: datetime | None = None,
        *,
        by_file: bool = False,
        inline: bool = False,
        report: ShareReport = no_report,
    ) -> Iterator[tuple[Concept, pa.Table]]:
        """Compute concepts of the loaded patients.

        Args:
            names: names of the concepts to return.
            known_until: time at which the events were cut; rows that are complete only later are left out.
            by_file: sort the rows by the column `FILE` of the subjects first, and add it.
            inline: do not store a view that only one concept reads, once. For a few concepts that use a part of a
                view, this is faster; sums of floats can differ in the last digit.
            report: receives the share of the views and concepts that are computed.

        Yields:
            A concept with its rows, sorted by patient, time and the columns that identify a row.

        Raises:
            RecipeError: if the SQL of a concept or view is not valid.
            DatasetError: if a data file is damaged.
            OutputError: if memory and the disk are not sufficient.
        """
        with _explained():
            yield from self._compute(names, known_until, report, by_file=by_file, inline=inline)

    def _compute(
        self,
        names: Collection[str],
        known_until: datetime | None,
        report: ShareReport,
        *,
        by_file: bool,
        inline: bool,
    ) -> Iterator[tuple[Concept, pa.Table]]:
        needed = self.library.with_needs(names)
        last_use = {needed_name: concept.name for concept in needed for needed_name in concept.header.needs}
        views = self.library.views_of(needed)
        self._prepare({word for concept in needed for word in concept.words}.union(*map(self.library.words_of, views)))
        if any(CODES in self.library.words_of(name) for name in views):
            self._prepare({"concept_items"})
            self._find_codes()
        rare = self._copy_rare_events(views) if self._is_complete else frozenset()
        steps = len(views) + len(needed)
        for done, name in enumerate(views, 1):
            kind = "VIEW" if inline and sum(concept.words[name] for concept in needed) == 1 else "TABLE"
            sql = self._used_columns(name, needed)
            if name in rare:
                sql = _HAPPENED.sub(_RARE, sql)
            self._create(name, sql, f"view {name}", kind)
            report(done / steps)
        if rare:
            self._drop(_RARE)
        for done, concept in enumerate(needed, len(views) + 1):
            self._create(concept.name, self._checked(concept, known_until), f"concept {concept.name}")
            report(done / steps)
            if concept.name in names:
                yield concept, self._rows(concept, by_file=by_file)
            for last in [name for name, user in last_use.items() if user == concept.name]:
                self._drop(last)
            if concept.name not in last_use:
                self._drop(concept.name)

    def _copy_rare_events(self, views: Sequence[str]) -> frozenset[str]:
        """Copy the events of all views that read only rare event types, and return these views.

        Each pass over a file decodes the columns of all its events. 40 copies of the demo: one copy and twelve views of
        it take half the time of twelve views of the file.
        """
        query = "SELECT split_part(code, '//', 1) AS event_type, count(*) FROM happened GROUP BY event_type"
        counts: dict[str, int] = dict(self._connection.execute(query).fetchall())
        most = sum(counts.values()) * _RARE_SHARE
        read = {name: self.library.event_types_of(name, counts) for name in views}
        rare = frozenset(name for name, types in read.items() if types and all(counts[one] <= most for one in types))
        if len(rare) > 1:
            types = sorted(set().union(*(read[name] for name in rare)))
            words = set().union(*(self.library.words_of(name) for name in rare))
            columns = [f'"{c}"' for c in self._connection.sql("FROM happened LIMIT 0").columns if c in words]
            listed = ", ".join(map(quoted, types))
            where = f"split_part(code, '//', 1) IN ({listed})"
            self._create(_RARE, f"SELECT {', '.join(columns)} FROM happened WHERE {where}", "copy of events")
            return rare
        return frozenset()

    def _find_codes(self) -> None:
        """Create the table of codes with a concept. Without the codes of the dataset, those of the events are used."""
        if self._codes is not None:
            self._connection.register("dataset_codes", self._codes)
        codes = "happened" if self._codes is None else "dataset_codes"
        self._connection.execute(f"CREATE TABLE IF NOT EXISTS {CODES} AS {concept_codes(codes)}")

    def _drop(self, name: str) -> None:
        self._connection.execute(f"DROP {self._created.pop(name)} {name}")

    def _used_columns(self, view: str, concepts: Sequence[Concept]) -> str:
        """Return the SQL of a view without the columns that no concept names: reading all takes three times as long."""
        sql = with_bits(self.library.views[view], self._flags)
        if view not in self._columns:
            self._columns[view] = self._connection.sql(f"FROM ({sql}) LIMIT 0").columns
        words = set().union(*(concept.words for concept in concepts if view in concept.words))
        used = [f'"{name}"' for name in self._columns[view] if name.lower() in words]
        return f"SELECT {', '.join(used or ['true AS nothing'])} FROM ({sql})"

    def _checked(self, concept: Concept, known_until: datetime | None) -> str:
        """Return the SQL of a concept with the columns of its header, in their types."""
        columns = ", ".join(
            f'CAST("{column.name}" AS {column.type}) AS "{column.name}"' for column in concept.header.columns
        )
        cut = "" if known_until is None else f" WHERE {AVAILABLE} <= TIMESTAMP {quoted(str(known_until))}"
        return f"SELECT {columns} FROM ({concept.sql}) AS computed{cut}"

    def _create(self, name: str, sql: str, what: str, kind: str = "TABLE") -> None:
        begun = time.monotonic()
        sql = with_bits(sql, self._flags)
        try:
            with duckdb_interrupts():
                self._connection.execute(f"CREATE TEMP {kind} {name} AS {sql}")
        except (duckdb.BinderException, duckdb.ParserException, duckdb.CatalogException) as error:
            raise RecipeError(f"DuckDB rejected the {what}: {error}") from None
        except (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException) as error:
            raise RecipeError(f"the {what} failed: {error}") from None
        self._created[name] = kind
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun

    def _rows(self, concept: Concept, *, by_file: bool) -> pa.Table:
        columns = _selected(concept.header, self._mode)
        # With the clock `event`, the columns of `row` identify a row. Sorting by all columns takes four times as long.
        more = [] if self._mode.clock == "event" else [column.name for column in concept.header.columns]
        order = [f'"{n}"' for n in dict.fromkeys(["subject_id", concept.header.start, *concept.header.row, *more])]
        table = concept.name
        if by_file:
            table = f"{table} JOIN (SELECT subject_id, {FILE} FROM subjects) USING (subject_id)"
            columns, order = [*columns, FILE], [FILE, *order]
        with duckdb_interrupts():
            query = f"SELECT {', '.join(columns)} FROM {table} ORDER BY {', '.join(order)}"
            return self._connection.sql(query).to_arrow_table()


@contextmanager
def _explained() -> Iterator[None]:
    """Raise errors with a way out. DuckDB has no class of its own for a damaged file."""
    try:
        yield
    except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
        reason = str(error).partition("\n")[0]
        if "No space left" in reason or isinstance(error, duckdb.OutOfMemoryException):
            raise OutputError(
                f"the concepts need more space: {reason}. Set a larger --memory-limit, or set TMPDIR to a folder with "
                "more space"
            ) from None
        raise damaged_file(error) from None
    except duckdb.Error as error:
        raise damaged_file(error) from None


def damaged_file(error: duckdb.Error) -> DatasetError:
    """Return the error for a data file that DuckDB cannot read."""
    reason = str(error).partition("\n")[0]
    return DatasetError(
        f"a data file is damaged ({reason}): copy the dataset again, or build it again with --overwrite"
    )


def _selected(header: Header, mode: ConceptMode) -> list[str]:
    """Return the columns of a result: all of them, or those of mimic-code under their names."""
    names = [column.name for column in header.columns]
    if not mode.as_mimic_code:
        return [f'"{name}"' for name in names]
    hidden = header.without | {AVAILABLE}
    return [f'"{name}" AS "{header.renamed.get(name, name)}"' for name in names if name not in hidden]


@contextmanager
def open_concept_session(
    library: ConceptLibrary,
    flags: dict[str, int],
    mode: ConceptMode,
    *,
    files: Sequence[Path] = (),
    codes: Sequence[str] | None = None,
    threads: int | None = None,
    memory: int | None = None,
    spill: Path | None = None,
) -> Iterator[ConceptSession]:
    """Open a session for concepts.

    Args:
        library: all concepts.
        flags: bit of each flag of the dataset.
        mode: how concepts are computed.
        files: data files that it may read.
        codes: all codes of the dataset; by default they are found in the events.
        threads: maximum number of threads; all usable cores by default.
        memory: bytes that DuckDB may use before it spills.
        spill: private folder for data that does not fit in memory.
    """
    with open_session(threads=threads, memory=memory, spill=spill, readable=files) as connection:
        yield ConceptSession(connection, library, flags, mode, codes)
