"""Output of a build: progress bars on a terminal, and a summary at the end."""

from __future__ import annotations

from collections import Counter

import pyarrow.parquet as pq
from rich.progress import BarColumn, TaskID, TimeRemainingColumn

from ehrtraj import interrupt
from ehrtraj.cli.show.bars import bars, text_column
from ehrtraj.cli.show.readable import duration, release_name, size
from ehrtraj.cli.show.screen import err, line, note, out, warning
from ehrtraj.cli.show.table import Table, name_column, number_column
from ehrtraj.pipeline.shard.applied import SPELLED
from ehrtraj.results import BuildResult
from ehrtraj.runtime.progress import Reporter


class ConsoleReporter(Reporter):
    """Shows progress bars on a terminal. Notes and warnings go to stderr, one line each, in any case."""

    def __init__(self) -> None:
        self._screen = err()
        self._live = self._screen.is_terminal
        self._bars = bars(
            text_column("{task.description}"),
            BarColumn(bar_width=30),
            text_column("{task.fields[done]}"),
            TimeRemainingColumn(compact=True),
            screen=self._screen,
        )
        self._task: TaskID | None = None
        self._rows = 0
        self._total_shards = 0
        self._shards = 0

    def note(self, text: str) -> None:
        interrupt.check()
        note(text, self._screen)

    def warn(self, text: str) -> None:
        warning(text, self._screen)

    def step(self, text: str) -> None:
        if self._live:
            self._begin(text, None, "")

    def _begin(self, text: str, total: float | None, done: str) -> None:
        if not self._live:
            return
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._bars.start()
        self._task = self._bars.add_task(text, total=total, done=done)

    def staging(self, total_bytes: int) -> None:
        self._rows = 0
        self._begin("reading", total_bytes, "")

    def staged(self, table: str, consumed: int, rows: int) -> None:
        interrupt.check()
        self._rows += rows
        if self._task is not None:
            self._bars.update(
                self._task,
                advance=consumed,
                description=f"reading {table:<26}",
                done=f"{self._rows:>13,} rows",
            )

    def extracting(self, shards: int) -> None:
        self._shards, self._total_shards, self._rows = 0, shards, 0
        self._begin("making events", shards, f"shard 0/{shards}")

    def extracted(self, events: int) -> None:
        interrupt.check()
        self._shards += 1
        self._rows += events
        if self._task is not None:
            self._bars.update(
                self._task,
                advance=1,
                done=f"shard {self._shards}/{self._total_shards}, {self._rows:,} events",
            )

    def exporting(self, what: str) -> None:
        self._begin(f"writing {what}", None, "")

    def exported(self, events: int, total: int) -> None:
        interrupt.check()
        if self._task is not None:
            self._bars.update(self._task, completed=events, total=total, done=f"{events:,} events")

    def computing(self) -> None:
        self._begin("computing concepts", None, "")

    def computed(self, events: int, total: int) -> None:
        self.exported(events, total)

    def close(self) -> None:
        if self._task is not None:
            self._bars.stop()


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
        screen.print(
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
    screen.print(
        line(
            (f"{result.patients:,} patients, {result.events:,} events", "bold"),
            f" from {release_name(result.source, result.release)} in {duration(result.seconds)}, peak memory "
            f"{size(result.peak_memory)}, {size(result.bytes)} on disk",
        )
    )
    screen.print(f"dataset: {result.path}")
    if any(entry.rejected for entry in result.ledger.values()):
        screen.print(f"rejected rows: {result.path / 'rejected'}")


def show_warnings(result: BuildResult) -> None:
    """Print the warnings of a build to stdout, after all other output, where the user sees them."""
    screen = out()
    for text in result.warnings:
        screen.print(line(("WARNING: ", "bold red"), text))
