"""`ehrtraj demo`: invented patients, built, and one of them shown, without any download."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ehrtraj.api import build_with
from ehrtraj.cli.show.screen import line, out
from ehrtraj.config import resolve
from ehrtraj.dataset.dataset import Dataset, open_dataset
from ehrtraj.dataset.show import show_trajectory
from ehrtraj.dataset.trajectory import Trajectory
from ehrtraj.pipeline.result import BuildResult
from ehrtraj.release.detect import SYNTHETIC_MARKER
from ehrtraj.show import ConsoleReporter, show_result, show_warnings
from ehrtraj.synth.run import synth
from ehrtraj.synth.show import ConsoleSynthReporter, show_synth

# Enough that the build has something to reject and to flag, as a real release has.
_DEFECTS = 0.002
_SHOWN_LINES = 45
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
        out().print()
    given = {"data_dir": release, "output": folder / "trajectories", "trajectory_version": "v1", "max_cpus": max_cpus}
    settings, origins = resolve(given, None)
    result = build_with(settings, ConsoleReporter(), origins)
    show_result(result)
    show_warnings(result)
    someone = _someone(open_dataset(result.path))
    screen = out()
    screen.print()
    screen.print("One of them; the first event of each code, a few of a kind at a time:")
    screen.print()
    show_trajectory(screen, _beginning(someone), most=_SHOWN_LINES)
    _show_next_steps(release, result.path, someone.subject_id)
    return result


def _someone(ds: Dataset) -> Trajectory:
    """Return the patient whose number of events is in the middle of those who had an ICU stay."""
    critical = ds.filter(having="ICU_START*")
    among = (critical if len(critical) else ds).subjects.sort("n_events", "subject_id")
    return ds[int(among["subject_id"][among.height // 2])]


def _beginning(trajectory: Trajectory) -> Trajectory:
    """Return the first event of each code, a few of a kind at a time, so that some lines show what there is."""
    kind = pl.col("code").str.split("//").list.first()
    first = trajectory.filter(pl.col("code").is_first_distinct())
    return first.filter(pl.int_range(pl.len()).over("time", kind) < _SHOWN_OF_A_KIND)


def _show_next_steps(release: Path, dataset: Path, subject_id: int) -> None:
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
