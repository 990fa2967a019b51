"""Build the ledger, which accounts for every row that was read, and check it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ehrtraj.errors import LedgerError
from ehrtraj.format.ledger import TableLedger
from ehrtraj.pipeline.stage.staged import StagedTable
from ehrtraj.release.versions import Version
from ehrtraj.sources.source import Source


def make_ledger(
    staged: Iterable[StagedTable],
    shards: Iterable[Mapping[str, Any]],
    event_tables: Iterable[str],
    dictionaries: Iterable[str],
) -> dict[str, TableLedger]:
    """Add up the counts of staging and of all shards.

    Args:
        staged: record of each staged table.
        shards: record of each shard.
        event_tables: tables that become events.
        dictionaries: tables that describe codes.
    """
    event_tables, dictionaries = set(event_tables), set(dictionaries)
    ledger = {}
    for table in staged:
        entry = ledger[table.table] = TableLedger(read=table.rows_read, rejected=Counter(table.rejected))
        good = table.rows_read - sum(table.rejected.values()) - table.not_selected
        if table.not_selected:
            entry.not_selected["other_patients"] = table.not_selected
        if table.table in dictionaries:
            entry.dictionary = good
        elif table.table not in event_tables:
            entry.not_selected["table_not_chosen"] = good
    for shard in shards:
        for name, counts in shard["tables"].items():
            if name in event_tables and name in ledger:
                ledger[name].rejected.update(counts["rejected"])
                ledger[name].became_events += counts["rows"] - sum(counts["rejected"].values())
                ledger[name].events += counts["events"]
    return ledger


def check_balance(ledger: Mapping[str, TableLedger]) -> None:
    """Check that the ledger accounts for every row.

    Raises:
        LedgerError: if the rows of a table are not all accounted for exactly once.
    """
    if missing := {name: entry.missing() for name, entry in ledger.items() if entry.missing()}:
        listed = ", ".join(f"{name}: {rows:+,}" for name, rows in missing.items())
        raise LedgerError(
            f"the ledger does not balance (rows read minus rows accounted for: {listed}). Nothing was published. "
            "This is a bug in ehrtraj, please report it"
        )


def rows_read(ledger: Mapping[str, TableLedger], project: str, source: Source) -> dict[str, int]:
    """Return the number of rows read from each table of one download, by bare table name."""
    return {
        name.rpartition("/")[2]: entry.read
        for name, entry in ledger.items()
        if source.project_of(name.partition("/")[0]) == project
    }


def compare_with_published(
    ledger: Mapping[str, TableLedger], version: Version, source: Source
) -> dict[str, tuple[int, int]]:
    """Return the tables of a download in which the number of rows read differs from the published number.

    Returns:
        Rows read and rows published by bare table name; empty if the version of the release is uncertain.
    """
    published = source.published_row_counts(version.project).get(version.text, {}) if version.claimed else {}
    read = rows_read(ledger, version.project, source)
    return {n: (read[n], rows) for n, rows in published.items() if n in read and read[n] != rows}
