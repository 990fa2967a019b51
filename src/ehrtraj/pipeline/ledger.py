"""The ledger: what became of every row that was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ehrtraj.errors import LedgerError
from ehrtraj.pipeline.stage import StagedTable
from ehrtraj.release import schema
from ehrtraj.release.versions import Version

SCHEMA = pa.schema(
    [
        pa.field("table", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("events", pa.int64()),
    ]
)
"""A line for each table and outcome: `read` is the sum of the others (`events`, `set_aside`, `not_selected`,
`dictionary`). `events` counts the events that the rows of that line became."""


@dataclass
class TableLedger:
    """The account of one table.

    Attributes:
        read: rows in the file.
        became_events: rows that became at least one event.
        events: events they became.
        set_aside: rows that did not, by reason; each is in `rejects/`.
        not_selected: rows left out because the user chose other patients or tables, by reason.
        dictionary: rows of a dictionary, which describe codes.
    """

    read: int = 0
    became_events: int = 0
    events: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    not_selected: Counter[str] = field(default_factory=Counter)
    dictionary: int = 0

    def missing(self) -> int:
        """Rows that are not accounted for; negative if some are accounted for twice."""
        accounted = self.became_events + self.set_aside.total() + self.not_selected.total() + self.dictionary
        return self.read - accounted


def make_ledger(
    staged: Iterable[StagedTable],
    shards: Iterable[Mapping[str, Any]],
    wanted: Iterable[str],
    dictionaries: Iterable[str],
) -> dict[str, TableLedger]:
    """Add up the accounts of staging and of all shards.

    Args:
        staged: the account of each staged table.
        shards: the account of each shard.
        wanted: tables that become events.
        dictionaries: tables that describe codes.
    """
    wanted, dictionaries = set(wanted), set(dictionaries)
    ledger = {}
    for table in staged:
        entry = ledger[table.table] = TableLedger(read=table.rows_read, set_aside=Counter(table.rejected))
        good = table.rows_read - sum(table.rejected.values()) - table.not_selected
        if table.not_selected:
            entry.not_selected["other_patients"] = table.not_selected
        if table.table in dictionaries:
            entry.dictionary = good
        elif table.table not in wanted:
            entry.not_selected["table_not_chosen"] = good
    for shard in shards:
        for name, counts in shard["tables"].items():
            if name in wanted and name in ledger:
                ledger[name].set_aside.update(counts["set_aside"])
                ledger[name].became_events += counts["rows"] - sum(counts["set_aside"].values())
                ledger[name].events += counts["events"]
    return ledger


def check(ledger: Mapping[str, TableLedger]) -> None:
    """Hold the ledger to its identity.

    Raises:
        LedgerError: if the rows of a table are not all accounted for, once each.
    """
    if wrong := {name: entry.missing() for name, entry in ledger.items() if entry.missing()}:
        listed = ", ".join(f"{name}: {rows:+,}" for name, rows in wrong.items())
        raise LedgerError(
            f"the ledger does not hold (rows read less rows accounted for: {listed}). Nothing was published; "
            "this is a defect of ehrtraj, please report it"
        )


def to_table(ledger: Mapping[str, TableLedger]) -> pa.Table:
    """The ledger as `ledger.parquet` holds it."""
    lines: list[tuple[str, str, str | None, int, int | None]] = []
    for name, entry in sorted(ledger.items()):
        lines.append((name, "read", None, entry.read, None))
        if entry.became_events:
            lines.append((name, "events", None, entry.became_events, entry.events))
        if entry.dictionary:
            lines.append((name, "dictionary", None, entry.dictionary, None))
        for outcome, reasons in (("set_aside", entry.set_aside), ("not_selected", entry.not_selected)):
            lines.extend((name, outcome, reason, rows, None) for reason, rows in sorted(reasons.items()) if rows)
    return pa.table([list(column) for column in zip(*lines, strict=True)] if lines else [[]] * 5, schema=SCHEMA)


def rows_read(ledger: Mapping[str, TableLedger], project: str, source: str) -> dict[str, int]:
    """Rows read of the tables of one download, by bare table name."""
    return {
        name.rpartition("/")[2]: entry.read
        for name, entry in ledger.items()
        if schema.project_of(name.partition("/")[0], source) == project
    }


def compare_with_published(
    ledger: Mapping[str, TableLedger], version: Version, source: str
) -> dict[str, tuple[int, int]]:
    """Tables of a download whose rows read differ from what its release is published to have.

    Returns:
        Rows read and rows published by bare table name; empty if the release is not known for sure.
    """
    published = schema.published_row_counts(source, version.project).get(version.text, {}) if version.claimed else {}
    read = rows_read(ledger, version.project, source)
    return {n: (read[n], rows) for n, rows in published.items() if n in read and read[n] != rows}
