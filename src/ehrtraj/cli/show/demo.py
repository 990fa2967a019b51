"""Output of `ehrtraj demo`: one patient of its dataset, and commands to try next."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ehrtraj.cli.show.screen import line, out
from ehrtraj.cli.show.trajectory import show_trajectory
from ehrtraj.dataset.trajectory import Trajectory

_SHOWN_LINES = 45
_SHOWN_OF_A_TYPE = 3


def show_example_patient(trajectory: Trajectory) -> None:
    """Print the beginning of a patient's trajectory."""
    screen = out()
    screen.print()
    screen.print(
        f"One of these patients. Shown are the first event with each code, and at most {_SHOWN_OF_A_TYPE} events of a "
        "type at the same time:"
    )
    screen.print()
    show_trajectory(screen, _beginning(trajectory), most=_SHOWN_LINES)


def _beginning(trajectory: Trajectory) -> Trajectory:
    """Return the first event with each code, at most a few of a type at a time, so that few lines show many types."""
    event_type = pl.col("code").str.split("//").list.first()
    first = trajectory.filter(pl.col("code").is_first_distinct())
    return first.filter(pl.int_range(pl.len()).over("time", event_type) < _SHOWN_OF_A_TYPE)


def show_next_steps(release: Path, dataset: Path, subject_id: int) -> None:
    """Print commands to try."""
    screen = out()
    screen.print()
    screen.print(line(("Next steps", "bold")))
    for command, purpose in (
        (f"ehrtraj show {dataset} {subject_id} --code 'LAB//*'", "all laboratory results of this patient"),
        (f"ehrtraj info {dataset}", "what the dataset contains"),
        (f"ehrtraj build {release} -o {dataset.parent} -t icu --icu-only", "the same release, ICU patients only"),
        ("ehrtraj synth bigger --patients 2000 --defects 0.01", "more patients, with more defects to clean"),
        ("ehrtraj build YOUR/mimiciv/3.1 -o trajectories -t v1", "your download of MIMIC-IV"),
    ):
        screen.print_command(f"  {command}", style="cyan")
        screen.print(f"      {purpose}", style="dim")
    python = f"import ehrtraj; print(ehrtraj.open('{dataset}')[{subject_id}].admissions)"
    screen.print_command(f'  python -c "{python}"', style="cyan")
