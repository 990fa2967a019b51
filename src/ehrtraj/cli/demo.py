"""`ehrtraj demo`: invented patients, built, and one of them shown, without any download."""

from __future__ import annotations

from pathlib import Path

from ehrtraj.api import build_with
from ehrtraj.cli.show.build import ConsoleReporter, show_result, show_warnings
from ehrtraj.cli.show.demo import show_next_steps, show_someone
from ehrtraj.cli.show.screen import out
from ehrtraj.cli.show.synth import ConsoleSynthReporter, show_synth
from ehrtraj.config import resolve
from ehrtraj.dataset.dataset import Dataset, open_dataset
from ehrtraj.dataset.trajectory import Trajectory
from ehrtraj.release.versions import SYNTHETIC_MARKER
from ehrtraj.results import BuildResult
from ehrtraj.synth.run import synth

# Enough that the build has something to reject and to flag, as a real release has.
_DEFECTS = 0.002


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
    show_someone(someone)
    show_next_steps(release, result.path, someone.subject_id)
    return result


def _someone(ds: Dataset) -> Trajectory:
    """Return the patient whose number of events is in the middle of those who had an ICU stay."""
    critical = ds.filter(having="ICU_START*")
    among = (critical if len(critical) else ds).subjects.sort("n_events", "subject_id")
    return ds[int(among["subject_id"][among.height // 2])]
