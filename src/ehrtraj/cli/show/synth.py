"""Output of `ehrtraj synth`."""

from __future__ import annotations

from ehrtraj import interrupt
from ehrtraj.cli.show.activity import Activity
from ehrtraj.cli.show.screen import note, out
from ehrtraj.cli.show.screen import result as print_result
from ehrtraj.cli.show.table import Table, name_column, number_column
from ehrtraj.readable import duration, size
from ehrtraj.synth.run import SynthReporter, SynthResult


class ConsoleSynthReporter(SynthReporter):
    """Shows the progress of a synthetic release. Notes go to stderr."""

    def __init__(self) -> None:
        self._activity = Activity()
        self._patients = self._total = self._rows = 0
        self._share = 0.0

    def note(self, text: str) -> None:
        note(text, self._activity.screen)

    def begin(self, patients: int) -> None:
        self._total = patients
        self._activity.begin("generating patients")
        self._show()

    def reach(self, share: float) -> None:
        interrupt.check()
        self._share = share
        self._show()

    def advance(self, patients: int, rows: int) -> None:
        interrupt.check()
        self._patients += patients
        self._rows += rows
        self._share = max(self._share, self._patients / self._total)
        self._show()

    def _show(self) -> None:
        done = f"{self._patients:,} of {self._total:,} patients, {self._rows:,} rows"
        self._activity.update(self._share, done=done)

    def close(self) -> None:
        self._activity.close()


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
    print_result(
        (f"{settings.patients:,} synthetic patients, {total:,} rows", "bold"),
        f" in the format of MIMIC-IV {settings.release} in {duration(result.seconds)}, peak memory "
        f"{size(result.peak_memory)}, {size(result.bytes)} on disk",
    )
    if settings.defects:
        console.print(f"{result.defects:,} planted defects, listed in {result.path / 'answers.parquet'}")
    console.print(f"release: {result.path}")
    console.print("These patients are not copies of real ones, and teach nothing about medicine.", style="dim")
