"""The ledger of a dataset accounts for every row that was read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

SCHEMA = pa.schema(
    [
        pa.field("table", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("events", pa.int64()),
    ]
)
"""One line for each table, outcome and reason. The rows of `read` are the sum of the rows of the other outcomes
(`events`, `rejected`, `not_selected`, `dictionary`). The column `events` counts the events made from the rows of a
line."""


@dataclass
class TableLedger:
    """Counts of one table's rows by outcome.

    Attributes:
        read: rows in the file.
        became_events: rows that became at least one event.
        events: events made from these rows.
        rejected: rejected rows by reason; each is in `rejected/`.
        not_selected: rows left out because the user selected other patients or tables, by reason.
        dictionary: rows of a dictionary, which describe codes.
    """

    read: int = 0
    became_events: int = 0
    events: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    not_selected: Counter[str] = field(default_factory=Counter)
    dictionary: int = 0

    def missing(self) -> int:
        """Return the number of rows that are not accounted for; negative if rows are counted twice."""
        accounted = self.became_events + self.rejected.total() + self.not_selected.total() + self.dictionary
        return self.read - accounted


def to_table(ledger: Mapping[str, TableLedger]) -> pa.Table:
    """Return the ledger as the table in `ledger.parquet`."""
    lines: list[tuple[str, str, str | None, int, int | None]] = []
    for name, entry in sorted(ledger.items()):
        lines.append((name, "read", None, entry.read, None))
        if entry.became_events:
            lines.append((name, "events", None, entry.became_events, entry.events))
        if entry.dictionary:
            lines.append((name, "dictionary", None, entry.dictionary, None))
        for outcome, reasons in (("rejected", entry.rejected), ("not_selected", entry.not_selected)):
            lines.extend((name, outcome, reason, rows, None) for reason, rows in sorted(reasons.items()) if rows)
    return pa.table([list(column) for column in zip(*lines, strict=True)] if lines else [[]] * 5, schema=SCHEMA)
