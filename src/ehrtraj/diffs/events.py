"""Compare the events of the same patients in two datasets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from ehrtraj.dataset.layout import DataFile
from ehrtraj.dataset.reading import read_events
from ehrtraj.runtime.progress import ShareReport, no_report
from ehrtraj.runtime.session import duckdb_interrupts, open_session

EXAMPLES = 10
# Memory of the database of one chunk in bytes.
_DATABASE_BYTES = 300_000_000
# Share of the time of a chunk to read its events; most of the rest is to compare those that differ.
_READ_SHARE = 0.3
_ABOUT = ("subject_id", "time", "code", "source_table", "source_key")

Span = tuple[DataFile, int, int]
"""A data file, the position of the first event and the number of events."""


@dataclass(frozen=True)
class Example:
    """One event that differs.

    Attributes:
        what: `only_a`, `only_b` or `changed`.
        event: subject_id, time, code, source_table and source_key.
        columns: for a changed event, the values in A and in B of each column that differs.
    """

    what: str
    event: dict[str, Any]
    columns: dict[str, tuple[Any, Any]] = field(default_factory=dict)


@dataclass
class EventsDiff:
    """Differences between the events of the same patients.

    Attributes:
        compared: number of events of A that were compared.
        only_a: number of events that only A has, by source table.
        only_b: number of events that only B has, by source table.
        changed: number of events that differ only in some columns, by source table.
        columns: number of changed events in which a column differs, by source table and column.
        patients: number of patients with any of these differences.
        reordered: number of patients with the same events in another order.
        examples: the first differences.
    """

    compared: int = 0
    only_a: Counter[str] = field(default_factory=Counter)
    only_b: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    columns: Counter[tuple[str, str]] = field(default_factory=Counter)
    patients: int = 0
    reordered: int = 0
    examples: list[Example] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether there are no differences."""
        return not (self.patients or self.reordered)

    def add(self, other: EventsDiff) -> None:
        """Add the differences between the events of other patients."""
        self.compared += other.compared
        self.only_a += other.only_a
        self.only_b += other.only_b
        self.changed += other.changed
        self.columns += other.columns
        self.patients += other.patients
        self.reordered += other.reordered
        self.examples += other.examples[: EXAMPLES - len(self.examples)]


def diff_spans(
    spans_a: Sequence[Span],
    spans_b: Sequence[Span],
    columns: Sequence[str],
    folder: Path,
    *,
    report: ShareReport = no_report,
) -> EventsDiff:
    """Compare the events of some patients.

    Args:
        spans_a: their locations in A, in the order of subject_id.
        spans_b: their locations in B, in the same order.
        columns: columns to compare, which both datasets have.
        folder: private folder of this chunk for data that does not fit in memory.
        report: receives how much is done.

    Raises:
        DatasetError: if a file cannot be read.
    """
    a, b = (pl.concat([read_events(*span, columns) for span in spans]) for spans in (spans_a, spans_b))
    report(_READ_SHARE)
    if a.equals(b):
        return EventsDiff(compared=a.height)
    return diff_events(a, b, folder)


def diff_events(a: pl.DataFrame, b: pl.DataFrame, folder: Path | None = None) -> EventsDiff:
    """Compare the events of some patients, with the same columns and in the same order of subject_id.

    Args:
        a: events of one dataset.
        b: events of the other.
        folder: folder for data that does not fit in memory; without one, everything must fit.
    """
    found = EventsDiff(compared=a.height)
    unequal = _unequal_patients(a, b)
    a, b = (frame.filter(pl.col("subject_id").is_in(unequal)) for frame in (a, b))
    memory = None if folder is None else _DATABASE_BYTES
    with duckdb_interrupts(), open_session(threads=1, memory=memory, spill=folder, ordered=False) as connection:
        for name, frame in (("a", a), ("b", b)):
            connection.register(name, frame.to_arrow())
        connection.execute("CREATE TABLE rest_a AS SELECT * FROM a EXCEPT ALL SELECT * FROM b")
        connection.execute("CREATE TABLE rest_b AS SELECT * FROM b EXCEPT ALL SELECT * FROM a")
        differing = connection.sql(
            "SELECT count(*) FROM (SELECT subject_id FROM rest_a UNION SELECT subject_id FROM rest_b)"
        ).fetchall()
        found.patients = int(differing[0][0])
        found.reordered = len(unequal) - found.patients
        _count_changed(connection, a.columns, found)
        for name, counts in (("a", found.only_a), ("b", found.only_b)):
            rest = connection.sql(f"SELECT source_table, count(*) FROM rest_{name} GROUP BY 1").fetchall()
            counts.update(dict(rest))
            found.examples += _unpaired(connection, name)
    found.examples = found.examples[:EXAMPLES]
    return found


def _unequal_patients(a: pl.DataFrame, b: pl.DataFrame) -> list[int]:
    parts_b = b.partition_by("subject_id", as_dict=True, maintain_order=True)
    parts_a = a.partition_by("subject_id", as_dict=True, maintain_order=True)
    unequal = [who for who, events in parts_a.items() if who not in parts_b or not events.equals(parts_b[who])]
    return [int(who[0]) for who in (*unequal, *(who for who in parts_b if who not in parts_a))]


def _count_changed(connection: duckdb.DuckDBPyConnection, columns: Sequence[str], found: EventsDiff) -> None:
    """Pair events that are in only one dataset with those in only the other, count the pairs, and remove them.

    Two events are one changed event if they come from the same row, identified by its key, or by time if its table has
    no key. A row can become several events of different event types.
    """
    place = "subject_id, source_table, split_part(code, '//', 1)"
    for keyed, key in (("source_key IS NOT NULL", f"{place}, source_key"), ("source_key IS NULL", f"{place}, time")):
        for name in ("a", "b"):
            connection.execute(
                f"CREATE OR REPLACE TABLE numbered_{name} AS SELECT *, row_number() OVER "
                f"(PARTITION BY {key} ORDER BY {', '.join(columns)}) AS nth, rowid AS place FROM rest_{name} "
                f"WHERE {keyed}"
            )
        named = ["a.subject_id = b.subject_id", "a.source_table = b.source_table", "a.nth = b.nth"]
        named += ["split_part(a.code, '//', 1) = split_part(b.code, '//', 1)"]
        named.append("a.source_key = b.source_key" if "NOT" in keyed else "a.time IS NOT DISTINCT FROM b.time")
        connection.execute(
            "CREATE OR REPLACE TABLE pairs AS SELECT a.place AS place_a, b.place AS place_b, "
            + ", ".join(f"a.{c} AS a_{c}, b.{c} AS b_{c}" for c in columns)
            + f" FROM numbered_a a JOIN numbered_b b ON {' AND '.join(named)}"
        )
        differs = ", ".join(f"count(*) FILTER (a_{c} IS DISTINCT FROM b_{c})" for c in columns)
        for table, pairs, *each in connection.sql(
            f"SELECT a_source_table, count(*), {differs} FROM pairs GROUP BY 1 ORDER BY 1"
        ).fetchall():
            found.changed[table] += pairs
            found.columns.update({(table, c): n for c, n in zip(columns, each, strict=True) if n})
        found.examples += _pairs(connection, columns)
        for name in ("a", "b"):
            connection.execute(f"DELETE FROM rest_{name} WHERE rowid IN (SELECT place_{name} FROM pairs)")


def _pairs(connection: duckdb.DuckDBPyConnection, columns: Sequence[str]) -> Iterator[Example]:
    order = ", ".join(f"a_{c}" for c in columns)
    rows = connection.sql(f"SELECT * FROM pairs ORDER BY {order} LIMIT {EXAMPLES}").pl()
    for row in rows.iter_rows(named=True):
        values = {c: (row[f"a_{c}"], row[f"b_{c}"]) for c in columns}
        about = {name: values[name][0] for name in _ABOUT if name in values}
        yield Example("changed", about, {c: (x, y) for c, (x, y) in values.items() if x != y})


def _unpaired(connection: duckdb.DuckDBPyConnection, name: str) -> Iterator[Example]:
    rows = connection.sql(f"SELECT {', '.join(_ABOUT)} FROM rest_{name} ORDER BY ALL LIMIT {EXAMPLES}").pl()
    for row in rows.iter_rows(named=True):
        yield Example(f"only_{name}", row)
