"""What was read, and what became of every row."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ehrtraj.reports.masking import Masking, Shown

EVENTS, DICTIONARY = "became events", "describe codes"
_REJECTED, _NOT_SELECTED = "rejected", "not_selected"
KINDS = ("events", "dictionary", _NOT_SELECTED, _REJECTED)
"""Kinds of outcomes, in the order of the flow diagram."""
_WORDS = {"other_patients": "other patients", "table_not_chosen": "table not chosen", "no_value": "no value"}


@dataclass(frozen=True)
class Outcome:
    """What became of some rows of a table.

    Attributes:
        kind: one of `KINDS`.
        label: what the reader sees, such as `rejected: no_time`.
        rows: number of rows.
    """

    kind: str
    label: str
    rows: Shown


@dataclass(frozen=True)
class TableRows:
    """The rows of one table.

    Attributes:
        name: of the table.
        bytes: size of its file; 0 if it is not known.
        read: rows read.
        became_events: rows that became events.
        rejected: rejected rows.
        not_selected: rows left out on request.
        dictionary: rows that describe codes.
        events: events made from these rows.
        outcomes: the same rows by reason.
    """

    name: str
    bytes: int
    read: Shown
    became_events: Shown
    rejected: Shown
    not_selected: Shown
    dictionary: Shown
    events: Shown
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True)
class Reason:
    """A reason for rejecting rows of a table, with their number."""

    table: str
    reason: str
    rows: Shown


@dataclass(frozen=True)
class LedgerFacts:
    """The ledger of a dataset.

    Attributes:
        tables: the tables, those with most rows first.
        total: all tables together.
        reasons: rejected rows by table and reason.
    """

    tables: tuple[TableRows, ...]
    total: TableRows
    reasons: tuple[Reason, ...]


def ledger_facts(lines: Sequence[dict[str, Any]], files: dict[str, Any], masking: Masking) -> LedgerFacts:
    """Return what became of every row.

    Args:
        lines: rows of ledger.parquet.
        files: entry `files` of the manifest.
        masking: how counts are shown.
    """
    by_table: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        by_table[line["table"]].append(line)
    tables = [_table(name, by_table[name], files.get(name, {}), masking) for name in by_table]
    tables.sort(key=lambda table: (-table.read.size, table.name))
    rejected = [line for line in lines if line["outcome"] == _REJECTED]
    reasons = [Reason(line["table"], line["reason"], masking.count(line["rows"])) for line in rejected]
    return LedgerFacts(
        tables=tuple(tables),
        total=_total(by_table, files, masking),
        reasons=tuple(sorted(reasons, key=lambda one: (-one.rows.size, one.table, one.reason))),
    )


def _counts(lines: Sequence[dict[str, Any]]) -> Counter[str]:
    """Return the rows of a table by outcome; `made` is the number of events."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts[line["outcome"]] += line["rows"]
        counts["made"] += line["events"] or 0
    return counts


def _table(name: str, lines: Sequence[dict[str, Any]], file: dict[str, Any], masking: Masking) -> TableRows:
    counts = _counts(lines)
    parts = {kind: [line["rows"] for line in lines if line["outcome"] == kind] for kind in KINDS}
    everything = [rows for kind in KINDS for rows in parts[kind]]
    outcomes = [_outcome(line, masking) for line in lines if line["outcome"] != "read"]
    return TableRows(
        name=name,
        bytes=int(file.get("bytes", 0)),
        # The rows of a table are shown by kind, and those that are rejected or left out also by reason.
        read=masking.total(counts["read"], everything, [counts[kind] for kind in KINDS]),
        became_events=masking.count(counts["events"]),
        rejected=masking.total(counts[_REJECTED], parts[_REJECTED]),
        not_selected=masking.total(counts[_NOT_SELECTED], parts[_NOT_SELECTED]),
        dictionary=masking.count(counts["dictionary"]),
        events=masking.count(counts["made"]),
        outcomes=tuple(sorted(outcomes, key=lambda one: (KINDS.index(one.kind), one.label))),
    )


def _outcome(line: dict[str, Any], masking: Masking) -> Outcome:
    kind, reason = line["outcome"], line["reason"] or ""
    labels = {
        "events": EVENTS,
        "dictionary": DICTIONARY,
        _NOT_SELECTED: f"left out: {_WORDS.get(reason, reason)}",
        _REJECTED: f"rejected: {reason}",
    }
    return Outcome(kind, labels[kind], masking.count(line["rows"]))


def _total(by_table: dict[str, list[dict[str, Any]]], files: dict[str, Any], masking: Masking) -> TableRows:
    counts = [_counts(lines) for lines in by_table.values()]

    def total(outcome: str) -> Shown:
        parts = [one[outcome] for one in counts]
        return masking.total(sum(parts), parts)

    return TableRows(
        name="all tables",
        bytes=sum(int(files[name]["bytes"]) for name in by_table if name in files),
        read=total("read"),
        became_events=total("events"),
        rejected=total(_REJECTED),
        not_selected=total(_NOT_SELECTED),
        dictionary=total("dictionary"),
        events=total("made"),
        outcomes=(),
    )
