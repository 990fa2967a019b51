"""Output of a build: progress bars on a terminal, and a summary at the end."""

from __future__ import annotations

import time
from collections import Counter

import pyarrow.parquet as pq

from ehrtraj import interrupt
from ehrtraj.cli.show.activity import Activity
from ehrtraj.cli.show.screen import detail, line, note, out, warning
from ehrtraj.cli.show.screen import result as print_result
from ehrtraj.cli.show.table import Table, name_column, number_column
from ehrtraj.pipeline.shard.applied import SPELLED
from ehrtraj.readable import duration, release_name, size
from ehrtraj.results import BuildResult
from ehrtraj.runtime.progress import Reporter


class ConsoleReporter(Reporter):
    """Shows the progress of a build. Notes and warnings go to stderr, one line each."""

    def __init__(self) -> None:
        self._activity = Activity()
        self._bytes = self._total_bytes = self._rows = 0
        self._table, self._table_rows, self._begun = "", 0, 0.0
        self._total_shards = self._shards = 0
        self._share = 0.0

    def note(self, text: str) -> None:
        interrupt.check()
        note(text, self._activity.screen)

    def warn(self, text: str) -> None:
        warning(text, self._activity.screen)

    def step(self, text: str) -> None:
        self._begin(text)

    def _begin(self, text: str) -> None:
        self._end_table()
        self._activity.begin(text)

    def staging(self, total_bytes: int) -> None:
        self._bytes, self._total_bytes, self._rows = 0, total_bytes, 0
        self._begin("reading tables")

    def staged(self, table: str, consumed: int, rows: int) -> None:
        interrupt.check()
        if table != self._table:
            self._end_table()
            self._table, self._table_rows, self._begun = table, 0, time.monotonic()
        self._bytes += consumed
        self._rows += rows
        self._table_rows += rows
        self._activity.update(
            self._bytes / self._total_bytes if self._total_bytes else None,
            of=size(self._total_bytes),
            done=f"{self._rows:>13,} rows" if self._activity.on_terminal else f"{table}, {self._rows:,} rows",
            now=f"reading {table:<26}",
        )

    def _end_table(self) -> None:
        """Print what a table took, with --verbose. Tables are read one after another."""
        if self._table:
            seconds = time.monotonic() - self._begun
            detail(f"read {self._table}: {self._table_rows:,} rows, {seconds:.1f} s", self._activity.screen)
        self._table = ""

    def extracting(self, shards: int) -> None:
        self._shards, self._total_shards, self._rows, self._share = 0, shards, 0, 0.0
        self._begin("making events")
        self._show_shards()

    def extracting_share(self, share: float) -> None:
        interrupt.check()
        self._share = share
        self._show_shards()

    def extracted(self, events: int) -> None:
        interrupt.check()
        self._shards += 1
        self._rows += events
        detail(f"shard {self._shards} of {self._total_shards}: {events:,} events", self._activity.screen)
        self._show_shards()

    def _show_shards(self) -> None:
        done = f"shard {self._shards}/{self._total_shards}, {self._rows:,} events"
        self._activity.update(self._share, done=done)

    def exporting(self, what: str) -> None:
        self._begin(f"writing {what}")

    def exported(self, events: int, total: int) -> None:
        interrupt.check()
        self._activity.update(events / total if total else None, done=f"{events:,} events")

    def computing(self) -> None:
        self._begin("computing concepts")

    def computed(self, events: int, total: int) -> None:
        self.exported(events, total)

    def close(self) -> None:
        self._end_table()
        self._activity.close()


def _tables(result: BuildResult) -> Table:
    columns = ("rows read", "became events", "rejected", "not selected", "events")
    table = Table(name_column("table"), *map(number_column, columns))
    total: Counter[str] = Counter()
    for table_name, entry in sorted(result.ledger.items()):
        if entry.dictionary:
            continue
        cells = {
            "read": entry.read,
            "became_events": entry.became_events,
            "rejected": entry.rejected.total(),
            "not_selected": entry.not_selected.total(),
            "events": entry.events,
        }
        total.update(cells)
        table.add(table_name, *(f"{n:,}" for n in cells.values()))
    counts = ("read", "became_events", "rejected", "not_selected", "events")
    table.add("all", *(f"{total[count]:,}" for count in counts), style="bold")
    return table


def _reasons(result: BuildResult) -> Table | None:
    table = Table(name_column("table"), name_column("reason for rejection"), number_column("rows"))
    for table_name, entry in sorted(result.ledger.items()):
        for reason, rows in sorted(entry.rejected.items()):
            table.add(table_name, reason, f"{rows:,}")
    return table if table else None


_MOST_RULES = 6


def _events_by_rule(result: BuildResult) -> str:
    """Return the rules with the most events, with their counts. Spellings of units are too common to be of interest."""
    rows = pq.read_table(result.path / "rules_applied.parquet", columns=["rule", "events"])
    totals = rows.group_by("rule").aggregate([("events", "sum")]).sort_by([("events_sum", "descending")])
    pairs = [
        f"{rule} {events:,}"
        for rule, events in zip(totals["rule"].to_pylist(), totals["events_sum"].to_pylist(), strict=True)
        if rule != SPELLED
    ]
    rest = len(pairs) - _MOST_RULES
    more = f" and {rest} more rule{'s' if rest > 1 else ''}" if rest > 0 else ""
    return ", ".join(pairs[:_MOST_RULES]) + more


def show_result(result: BuildResult) -> None:
    """Print the summary of a build to stdout."""
    screen = out()
    if result.already_there:
        print_result(
            f"{result.path} is already there, built from the same input and settings "
            f"({result.patients:,} patients, {result.events:,} events): nothing was changed"
        )
        return
    screen.print(_tables(result))
    if (reasons := _reasons(result)) is not None:
        screen.print()
        screen.print(reasons)
    screen.print()
    if counts := _events_by_rule(result):
        screen.print(f"events that rules changed or flagged: {counts}")
        screen.print(f"for details, run: ehrtraj rules applied {result.path}")
        screen.print()
    print_result(
        (f"{result.patients:,} patients, {result.events:,} events", "bold"),
        f" from {release_name(result.source, result.release)} in {duration(result.seconds)}, peak memory "
        f"{size(result.peak_memory)}, {size(result.bytes)} on disk",
    )
    screen.print(f"dataset: {result.path}")
    if result.report is not None:
        screen.print(f"report: {result.report}")
    if any(entry.rejected for entry in result.ledger.values()):
        screen.print(f"rejected rows: {result.path / 'rejected'}")


def show_warnings(result: BuildResult) -> None:
    """Print the warnings of a build to stdout, after all other output, where the user sees them."""
    screen = out()
    for text in result.warnings:
        screen.print(line(("WARNING: ", "bold red"), text))
