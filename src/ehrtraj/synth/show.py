"""What making a synthetic release shows on the screen."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ehrtraj.show import duration, size
from ehrtraj.synth.run import SynthReporter, SynthResult


class ConsoleSynthReporter(SynthReporter):
    """One bar on a terminal, nothing elsewhere."""

    def __init__(self) -> None:
        console = self._console = Console(stderr=True, soft_wrap=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed:,} of {task.total:,} patients, {task.fields[rows]:,} rows"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._rows = 0

    def note(self, text: str) -> None:
        self._console.print(Text.assemble(("note: ", "yellow"), text))

    def begin(self, patients: int) -> None:
        self._bars.start()
        self._task = self._bars.add_task("inventing patients", total=patients, rows=0)

    def advance(self, patients: int, rows: int) -> None:
        self._rows += rows
        if self._task is not None:
            self._bars.update(self._task, advance=patients, rows=self._rows)

    def close(self) -> None:
        self._bars.stop()


def show_synth(result: SynthResult) -> None:
    """Print what was written to stdout: rows by module, and what it is not."""
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    settings = result.settings
    table = Table("module", "tables", box=None, pad_edge=False, header_style="bold")
    table.add_column("rows", justify="right")
    modules: dict[str, list[int]] = {}
    for name, rows in result.rows.items():
        modules.setdefault(name.split("/")[0], []).append(rows)
    for module, counts in modules.items():
        table.add_row(module, str(len(counts)), f"{sum(counts):,}")
    console.print(table)
    console.print()
    total = sum(result.rows.values())
    console.print(
        f"[bold]{settings.patients:,} invented patients, {total:,} rows[/bold] in the form of MIMIC-IV "
        f"{settings.release} in {duration(result.seconds)}, at most {size(result.peak_memory)} of memory, "
        f"{size(result.bytes)} on disk"
    )
    if settings.defects:
        console.print(
            f"{result.defects:,} planted defects, with answers: {escape(str(result.path / 'answers.parquet'))}"
        )
    console.print(f"release: {escape(str(result.path))}", soft_wrap=True)
    console.print("Not a copy of real patients, and nothing to learn medicine from.", style="dim")
