"""Output of `ehrtraj synth`."""

from __future__ import annotations

from rich.progress import BarColumn, TaskID, TimeRemainingColumn

from ehrtraj import interrupt
from ehrtraj.cli.show.bars import bars, text_column
from ehrtraj.cli.show.readable import duration, size
from ehrtraj.cli.show.screen import err, line, out
from ehrtraj.cli.show.table import Table, name_column, number_column
from ehrtraj.synth.run import SynthReporter, SynthResult


class ConsoleSynthReporter(SynthReporter):
    """Shows one progress bar on a terminal. Notes go to stderr in any case."""

    def __init__(self) -> None:
        screen = self._screen = err()
        self._bars = bars(
            text_column("{task.description}"),
            BarColumn(bar_width=30),
            text_column("{task.completed:,} of {task.total:,} patients, {task.fields[rows]:,} rows"),
            TimeRemainingColumn(compact=True),
            screen=screen,
        )
        self._task: TaskID | None = None
        self._rows = 0

    def note(self, text: str) -> None:
        self._screen.print(line(("note: ", "yellow"), text))

    def begin(self, patients: int) -> None:
        self._bars.start()
        self._task = self._bars.add_task("generating patients", total=patients, rows=0)

    def advance(self, patients: int, rows: int) -> None:
        interrupt.check()
        self._rows += rows
        if self._task is not None:
            self._bars.update(self._task, advance=patients, rows=self._rows)

    def close(self) -> None:
        self._bars.stop()


def show_synth(result: SynthResult) -> None:
    """Print a summary of the release to stdout: rows by module, and a caution."""
    console = out()
    settings = result.settings
    table = Table(name_column("module"), number_column("tables"), number_column("rows"))
    modules: dict[str, list[int]] = {}
    for table_name, rows in result.rows.items():
        modules.setdefault(table_name.split("/")[0], []).append(rows)
    for module, counts in modules.items():
        table.add(module, str(len(counts)), f"{sum(counts):,}")
    console.print(table)
    console.print()
    total = sum(result.rows.values())
    console.print(
        line(
            (f"{settings.patients:,} synthetic patients, {total:,} rows", "bold"),
            f" in the format of MIMIC-IV {settings.release} in {duration(result.seconds)}, peak memory "
            f"{size(result.peak_memory)}, {size(result.bytes)} on disk",
        )
    )
    if settings.defects:
        console.print(f"{result.defects:,} planted defects, listed in {result.path / 'answers.parquet'}")
    console.print(f"release: {result.path}")
    console.print("These patients are not copies of real ones, and teach nothing about medicine.", style="dim")
