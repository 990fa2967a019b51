"""What the demo shows of its dataset: a patient, and what to try next."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ehrtraj.cli.show.screen import line, out
from ehrtraj.cli.show.trajectory import show_trajectory
from ehrtraj.dataset.trajectory import Trajectory

_SHOWN_LINES = 45
_SHOWN_OF_A_KIND = 3


def show_someone(trajectory: Trajectory) -> None:
    """Print the beginning of a patient's trajectory."""
    screen = out()
    screen.print()
    screen.print("One of them; the first event of each code, a few of a kind at a time:")
    screen.print()
    show_trajectory(screen, _beginning(trajectory), most=_SHOWN_LINES)


def _beginning(trajectory: Trajectory) -> Trajectory:
    """Return the first event of each code, a few of a kind at a time, so that some lines show what there is."""
    kind = pl.col("code").str.split("//").list.first()
    first = trajectory.filter(pl.col("code").is_first_distinct())
    return first.filter(pl.int_range(pl.len()).over("time", kind) < _SHOWN_OF_A_KIND)


def show_next_steps(release: Path, dataset: Path, subject_id: int) -> None:
    """Print commands to try."""
    screen = out()
    screen.print()
    screen.print(line(("Next", "bold")))
    for command, why in (
        (f"ehrtraj show {dataset} {subject_id} --code 'LAB//*'", "all laboratory results of this patient"),
        (f"ehrtraj info {dataset}", "what the dataset holds"),
        (f"ehrtraj build {release} -o {dataset.parent} -t icu --icu-only", "the same with ICU patients only"),
        ("ehrtraj synth bigger --patients 2000 --defects 0.01", "more patients, with more faults to clean"),
        ("ehrtraj build YOUR/mimiciv/3.1 -o trajectories -t v1", "your own download of MIMIC-IV"),
    ):
        screen.print(f"  {command}", style="cyan", soft_wrap=True)
        screen.print(f"      {why}", style="dim")
    python = f"import ehrtraj; print(ehrtraj.open('{dataset}')[{subject_id}].admissions)"
    screen.print(f'  python -c "{python}"', style="cyan", soft_wrap=True)
