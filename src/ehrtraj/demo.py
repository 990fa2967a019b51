"""`ehrtraj demo`: invented patients, built, and one of them shown, without any download."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ehrtraj.config import resolve
from ehrtraj.pipeline.run import BuildResult, run
from ehrtraj.release.detect import SYNTHETIC_MARKER
from ehrtraj.show import ConsoleReporter, show_result
from ehrtraj.synth.run import synth
from ehrtraj.synth.show import ConsoleSynthReporter, show_synth

# Enough that the build has something to set aside and to flag, as a real release has.
_DEFECTS = 0.002
_SHOWN_EVENTS = 40
_SHOWN_OF_A_KIND = 3


def demo(folder: Path, patients: int, max_cpus: int | None) -> BuildResult:
    """Make a synthetic release in `folder`, build it, and print the summary and one patient's trajectory.

    What an earlier demo made there is taken as it is.

    Raises:
        EhrtrajError: if the folder holds something else or cannot be written.
    """
    release = folder / "release"
    if not (release / SYNTHETIC_MARKER).is_file():
        made = synth(release, patients=patients, defects=_DEFECTS, max_cpus=max_cpus, reporter=ConsoleSynthReporter())
        show_synth(made)
        sys.stdout.write("\n")
    given = {"data_dir": release, "output": folder / "trajectories", "trajectory_version": "v1", "max_cpus": max_cpus}
    settings, _ = resolve(given, None)
    result = run(settings, ConsoleReporter())
    show_result(result)
    show_patient(result.path, _someone(result.path))
    _show_next_steps(release, result.path)
    return result


def _someone(dataset: Path) -> int:
    """Return the patient whose number of events is in the middle of those who had an ICU stay."""
    events = pl.scan_parquet(dataset / "data" / "**" / "*.parquet")
    critical = events.filter(pl.col("source_table") == "icu/icustays").select("subject_id").unique().collect()
    subjects = pl.read_parquet(dataset / "metadata" / "subjects.parquet").sort("event_count", "subject_id")
    among = subjects.join(critical, on="subject_id", how="semi", maintain_order="left")
    chosen = among if among.height else subjects
    return int(chosen["subject_id"][chosen.height // 2])


def show_patient(dataset: Path, subject_id: int) -> None:
    """Print the beginning of a patient's trajectory: the first event of each code, a few of each kind at a time."""
    about = pl.read_parquet(dataset / "metadata" / "subjects.parquet").row(
        by_predicate=pl.col("subject_id") == subject_id, named=True
    )
    codes = pl.read_parquet(dataset / "metadata" / "codes.parquet", columns=["code", "description"])
    file = dataset / "data" / about["split"] / f"{about['shard']}.parquet"
    events = pl.read_parquet(file).filter(pl.col("subject_id") == subject_id)
    first = events.unique("code", keep="first", maintain_order=True).join(
        codes, on="code", how="left", maintain_order="left"
    )
    kind = pl.col("code").str.split("//").list.first()
    shown = first.filter(pl.int_range(pl.len()).over("time", kind) < _SHOWN_OF_A_KIND).head(_SHOWN_EVENTS)
    table = Table("time", "code", "value", "", box=None, pad_edge=False, header_style="bold")
    for event in shown.iter_rows(named=True):
        table.add_row(*(escape(cell) for cell in _cells(event)))
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(
        f"\n[bold]Patient {subject_id}[/bold], {about['sex']}, born {about['birth_year']}: {events.height:,} events of "
        f"{first.height:,} codes. Each code's first event, a few of a kind at a time:"
    )
    console.print(table)


def _cells(event: dict[str, object]) -> tuple[str, str, str, str]:
    time, number, text = event["time"], event["numeric_value"], event["text_value"]
    value = str(text or "")[:24] if number is None else f"{number:g} {event['unit'] or ''}"
    when = "always" if time is None else f"{time:%Y-%m-%d %H:%M}"
    return when, str(event["code"])[:44], value.strip(), str(event["description"] or "")[:40]


def _show_next_steps(release: Path, dataset: Path) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print("\n[bold]Next[/bold]")
    for command, why in (
        (f"ehrtraj build {release} -o {dataset.parent} -t icu --icu-only", "the same with ICU patients only"),
        ("ehrtraj synth bigger --patients 2000 --defects 0.01", "more patients, with more faults to clean"),
        ("ehrtraj build YOUR/mimiciv/3.1 -o trajectories -t v1", "your own download of MIMIC-IV"),
    ):
        console.print(f"  {escape(command)}", style="cyan", soft_wrap=True)
        console.print(f"      {why}", style="dim")
    console.print(
        f"  python -c \"import polars as pl; print(pl.read_parquet('{dataset}/data/**/*.parquet'))\"",
        style="cyan", soft_wrap=True,
    )  # fmt: skip
