"""`ehrtraj demo`: generate synthetic patients, build a dataset from them and show one, without any download."""

from __future__ import annotations

from pathlib import Path

from ehrtraj.api import build_with
from ehrtraj.cli.show.build import ConsoleReporter, show_result, show_warnings
from ehrtraj.cli.show.demo import show_example_patient, show_next_steps
from ehrtraj.cli.show.screen import out
from ehrtraj.cli.show.synth import ConsoleSynthReporter, show_synth
from ehrtraj.config import resolve
from ehrtraj.dataset.dataset import Dataset, open_dataset
from ehrtraj.dataset.trajectory import Trajectory
from ehrtraj.release.versions import SYNTHETIC_MARKER
from ehrtraj.results import BuildResult
from ehrtraj.synth.run import synth

# High enough that the build has rows to reject and events to flag, as with a real release.
_DEFECTS = 0.002


def demo(folder: Path, patients: int, max_cpus: int | None) -> BuildResult:
    """Generate a synthetic release in `folder`, build it, and print the summary and one patient's trajectory.

    A release that an earlier demo wrote to `folder` is used as it is.

    Raises:
        EhrtrajError: if the folder contains other files or cannot be written.
    """
    release = folder / "release"
    if not (release / SYNTHETIC_MARKER).is_file():
        summary = synth(
            release, patients=patients, defects=_DEFECTS, max_cpus=max_cpus, reporter=ConsoleSynthReporter()
        )
        show_synth(summary)
        out().print()
    values = {"data_dir": release, "output": folder / "trajectories", "trajectory_version": "v1", "max_cpus": max_cpus}
    settings, origins = resolve(values, None)
    result = build_with(settings, ConsoleReporter(), origins)
    show_result(result)
    show_warnings(result)
    patient = example_patient(open_dataset(result.path))
    show_example_patient(patient)
    show_next_steps(release, result.path, patient.subject_id)
    return result


def example_patient(ds: Dataset) -> Trajectory:
    """Return the patient with the median number of events among those who had an ICU stay, or among all if none had."""
    icu_patients = ds.filter(having=ds.codes.filter(event_type="ICU_START")["code"].to_list())
    candidates = (icu_patients if len(icu_patients) else ds).subjects.sort("n_events", "subject_id")
    return ds[int(candidates["subject_id"][candidates.height // 2])]
