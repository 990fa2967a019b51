"""Compare the events of the same patients in two datasets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from ehrtraj.dataset.database import duckdb_interrupts
from ehrtraj.dataset.layout import DataFile
from ehrtraj.dataset.reading import read_events
from ehrtraj.runtime.session import open_session

EXAMPLES = 10
# Of the database of one piece.
_DATABASE_BYTES = 300_000_000
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
    """What differs between the events of the same patients.

    Attributes:
        compared: events of A that were looked at.
        only_a: events that A alone has, by source table.
        only_b: events that B alone has, by source table.
        changed: events of which only some columns differ, by source table.
        columns: in how many changed events a column differs, by source table and column.
        patients: patients with any of these.
        reordered: patients who have the same events in another order.
        examples: the first few.
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
        """Whether nothing differs."""
        return not (self.patients or self.reordered)

    def add(self, other: EventsDiff) -> None:
        """Add what differs between the events of other patients."""
        self.compared += other.compared
        self.only_a += other.only_a
        self.only_b += other.only_b
        self.changed += other.changed
        self.columns += other.columns
        self.patients += other.patients
        self.reordered += other.reordered
        self.examples += other.examples[: EXAMPLES - len(self.examples)]


def diff_spans(spans_a: Sequence[Span], spans_b: Sequence[Span], columns: Sequence[str], folder: Path) -> EventsDiff:
    """Compare the events of some patients.

    Args:
        spans_a: where they are in A, in the order of subject_id.
        spans_b: where they are in B, in the same order.
        columns: to compare: those that both datasets have.
        folder: private, of this piece alone; receives what does not fit in memory.

    Raises:
        DatasetError: if a file cannot be read.
    """
    a, b = (pl.concat([read_events(*span, columns) for span in spans]) for spans in (spans_a, spans_b))
    if a.equals(b):
        return EventsDiff(compared=a.height)
    return diff_events(a, b, folder)


def diff_events(a: pl.DataFrame, b: pl.DataFrame, folder: Path | None = None) -> EventsDiff:
    """Compare the events of some patients, which have the same columns, by subject_id in the same order.

    Args:
        a: events of one dataset.
        b: events of the other.
        folder: receives what does not fit in memory; without one, all has to.
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
            found.examples += _lone(connection, name)
    found.examples = found.examples[:EXAMPLES]
    return found


def _unequal_patients(a: pl.DataFrame, b: pl.DataFrame) -> list[int]:
    there = b.partition_by("subject_id", as_dict=True, maintain_order=True)
    parts = a.partition_by("subject_id", as_dict=True, maintain_order=True)
    unequal = [who for who, events in parts.items() if who not in there or not events.equals(there[who])]
    return [int(who[0]) for who in (*unequal, *(who for who in there if who not in parts))]


def _count_changed(connection: duckdb.DuckDBPyConnection, columns: Sequence[str], found: EventsDiff) -> None:
    """Pair events that are in one dataset alone with those of the other, and take the pairs away.

    Two are one changed event where they come from the same row: by the row's own key, or by time where its table has
    none. A row can become several events, of different event types.
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


def _lone(connection: duckdb.DuckDBPyConnection, name: str) -> Iterator[Example]:
    rows = connection.sql(f"SELECT {', '.join(_ABOUT)} FROM rest_{name} ORDER BY ALL LIMIT {EXAMPLES}").pl()
    for row in rows.iter_rows(named=True):
        yield Example(f"only_{name}", row)
