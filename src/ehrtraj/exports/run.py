"""Run an export, from a dataset to its files and their index."""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj.arguments import checked
from ehrtraj.dataset.dataset import Dataset, open_dataset
from ehrtraj.errors import SettingsError
from ehrtraj.exports import formats
from ehrtraj.exports.job import ExportJob, PatientGroup, Per
from ehrtraj.exports.lines import csv_header, csv_lines
from ehrtraj.exports.space import INDEX, METADATA, ExportSpace, fingerprint_of, open_export_space
from ehrtraj.exports.worker import INDEX_SCHEMA, export_patients, write_single
from ehrtraj.format import names
from ehrtraj.paths import real
from ehrtraj.release.asked import number_or_file
from ehrtraj.release.subjects import SubjectsFound, find_subjects
from ehrtraj.results import ExportResult
from ehrtraj.runtime.limits import capped_cpus
from ehrtraj.runtime.memory import PeakMemory
from ehrtraj.runtime.processes import lean_memory, stream_tasks
from ehrtraj.runtime.progress import Share, TaskTally
from ehrtraj.runtime.sizes import DEFAULT, Sizes
from ehrtraj.suggestions import did_you_mean
from ehrtraj.version import __version__

# Starting a process takes half a second, in which this many events are written.
_WORTH_PROCESSES = 300_000

Progress = Callable[[int, int], None]
"""Receives the number of events written, and of all events."""


@checked
def export(
    dataset: str | Path | Dataset,
    output: str | Path,
    *,
    per: Per = "patient",
    format: str | None = None,  # the name of the option
    single: bool = False,
    history: bool = False,
    outside: bool = True,
    excel: bool = False,
    split: str | None = None,
    subjects: str | Path | int | None = None,
    max_cpus: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    sizes: Sizes = DEFAULT,
) -> ExportResult:
    """Write a file for each patient, admission, ICU stay or shard. The same as `ehrtraj export`.

    If an export was interrupted, call this function again with the same arguments to resume it.

    Args:
        dataset: folder of a dataset, or an open one; of `ds.filter(...)`, only the selected patients are exported.
        output: folder for the files: new, empty, or containing an export to resume or replace.
        per: unit that has a file: `patient`, `admission`, `icustay` or `shard`.
        format: file format, one that `ehrtraj export --help` lists; `jsonl` by default.
        single: write one Parquet file with all events instead.
        history: include in each file the events known before the admission or stay began.
        outside: write the events outside of any admission or stay, to one file per patient.
        excel: in CSV, put an apostrophe before texts that a spreadsheet would treat as a formula. It changes the texts.
        split: only patients in this split: `train`, `tuning` or `held_out`.
        subjects: a file of subject_ids, or a number of patients to sample.
        max_cpus: maximum number of CPU cores to use; all usable ones by default.
        overwrite: replace an existing export in `output`.
        progress: receives the number of events written, and the number of all events.
        sizes: batch sizes.

    Raises:
        EhrtrajError: if the export fails; the message explains what to do.
    """
    started = time.monotonic()
    _check_settings(per, single=single, history=history, outside=outside)
    kind = _check_format(format, single=single, excel=excel)
    cpus, note = capped_cpus(max_cpus)
    selected, requested = _select(dataset, split, subjects)
    subjects_note = requested.describe(str(selected.path)) if requested else None
    notes = tuple(text for text in (note, subjects_note) if text)
    target = Path(output).expanduser()
    if real(target).is_relative_to(real(selected.path)):
        raise SettingsError(f"{target} is inside the dataset, which must not be changed: choose another --output")
    job = ExportJob(
        target, per, kind, history, outside, selected.flags, selected.layout.source.icu_modules, excel, sizes
    )
    groups = [
        PatientGroup(file, tuple(patients.select("subject_id", "position", "n_events").rows()))
        for file, patients in selected.patients_by_file()
    ]
    fingerprint = _fingerprint(selected, job, single=single)
    inputs = [selected.path] if subjects is None else [selected.path, Path(str(subjects)).expanduser()]
    lean_memory()
    with PeakMemory() as memory, open_export_space(target, inputs) as space:
        if (done := space.finished(fingerprint)) is not None and not overwrite:
            return ExportResult(target, True, **done["summary"], notes=notes, requested=requested)
        resumed = space.prepare(fingerprint, overwrite=overwrite)
        tally = _Tally(progress, groups)
        index = _export_single(job, groups, space, tally) if single else _export_groups(job, groups, space, cpus, tally)
        summary = {
            "files": index.num_rows,
            "patients": len(selected),
            "events": sum(index["events"].to_pylist()) - sum(index["history_events"].to_pylist()),
            "bytes": sum(index["bytes"].to_pylist()),
        }
        _copy_metadata(selected.path, target)
        (target / INDEX).write_bytes(csv_header(INDEX_SCHEMA.names) + "".join(csv_lines(index).to_pylist()).encode())
        space.finish(_describe(selected, job, fingerprint, summary, requested))
    seconds = time.monotonic() - started
    return ExportResult(
        target,
        False,
        **summary,
        seconds=seconds,
        peak_memory=memory.peak,
        resumed=resumed,
        notes=notes,
        requested=requested,
    )


def _check_settings(per: str, *, single: bool, history: bool, outside: bool) -> None:
    if per not in names.UNITS:
        raise SettingsError(
            f"per is '{per}'{did_you_mean(per, names.UNITS)}: it must be one of {', '.join(names.UNITS)}"
        )
    if single and per != "patient":
        raise SettingsError("--single writes all patients to one file: omit --per")
    if per not in ("admission", "icustay"):
        for is_set, option in ((history, "--history"), (not outside, "--no-outside")):
            if is_set:
                raise SettingsError(f"{option} requires --per admission or --per icustay")


def _check_format(kind: str | None, *, single: bool, excel: bool) -> str:
    """Return the name of the format to write.

    Raises:
        SettingsError: if there is no such format, or it contradicts the other settings.
    """
    if kind is not None and kind not in formats.names():
        raise SettingsError(
            f"format is '{kind}'{did_you_mean(kind, formats.names())}: it must be one of {', '.join(formats.names())}"
        )
    known = formats.load_all()
    sheets = {name: form.title for name, form in known.items() if form.spreadsheet}
    if excel and kind not in sheets:
        raise SettingsError(f"--excel applies only to {_either(sheets.values())}: add --format {_either(sheets)}")
    singles = {name: form.title for name, form in known.items() if form.single}
    if single and kind not in (None, *singles):
        raise SettingsError(
            f"--single writes {_either(singles.values())}, not {kind}: omit --format, or export --per shard"
        )
    return kind or (formats.DEFAULT_SINGLE if single else formats.DEFAULT)


def _either(words: Iterable[str]) -> str:
    return " or ".join(words)


def _select(
    dataset: str | Path | Dataset, split: str | None, subjects: str | Path | int | None
) -> tuple[Dataset, SubjectsFound | None]:
    selected = dataset if isinstance(dataset, Dataset) else open_dataset(dataset)
    if split is not None:
        selected = selected.filter(split=split)
    requested = None
    if subjects is not None:
        request = number_or_file(subjects)
        if isinstance(request, int):
            selected = selected.sample(request)
            requested = SubjectsFound("", request, len(selected))
        else:
            existing = selected.subjects["subject_id"].to_numpy()
            place = f"{selected.path}" if split is None else f"the split {split} of {selected.path}"
            found, requested = find_subjects(request, existing, place)
            selected = selected.filter(pl.col("subject_id").is_in(found))
    if not len(selected):
        raise SettingsError(f"the selection contains no patient of {selected.path}: there is nothing to export")
    return selected, requested


def _fingerprint(selected: Dataset, job: ExportJob, *, single: bool) -> dict[str, Any]:
    """Return everything that decides the content of the files."""
    ids = np.ascontiguousarray(selected.subjects["subject_id"].to_numpy())
    return fingerprint_of(
        {
            "ehrtraj": __version__,
            "dataset": hashlib.sha256((selected.path / names.MANIFEST).read_bytes()).hexdigest(),
            "patients": hashlib.sha256(ids.tobytes()).hexdigest(),
            "per": job.per,
            "format": job.format,
            "single": single,
            "history": job.history,
            "outside": job.outside,
            **_excel_setting(job),
        }
    )


def _excel_setting(job: ExportJob) -> dict[str, bool]:
    """Return the setting `excel` only if it is used, so that exports made before it existed are still recognised."""
    return {"excel": True} if job.excel else {}


class _Tally:
    """Counts the exported events and reports progress."""

    def __init__(self, progress: Progress | None, groups: Sequence[PatientGroup]) -> None:
        self._progress, self._total = progress, sum(group.events for group in groups)
        self._tally = TaskTally({group.name: group.events for group in groups})

    def reach(self, name: str, share: Share) -> None:
        """Report that a share of a group of patients is exported."""
        self._tally.reach(name, share)
        self._show()

    def finish(self, name: str) -> None:
        """Report that a group of patients is exported."""
        self._tally.finish(name)
        self._show()

    def _show(self) -> None:
        if self._progress is not None:
            self._progress(self._tally.done_of(self._total), self._total)


def _export_groups(
    job: ExportJob, groups: list[PatientGroup], space: ExportSpace, cpus: int, tally: _Tally
) -> pa.Table:
    """Export the data files that are not exported yet.

    Returns:
        The index, in the order of the data files.
    """
    indexes: dict[str, pa.Table] = {}
    for group in groups:
        if (index := _earlier_index(job, space, group)) is not None:
            indexes[group.name] = index
            tally.finish(group.name)
    # The largest first, so that the last group to end is a small one.
    todo = sorted((g for g in groups if g.name not in indexes), key=lambda g: -g.events)
    workers = min(cpus, len(todo)) if sum(g.events for g in todo) > _WORTH_PROCESSES else 1
    tasks = ((group.name, (job, group)) for group in todo)
    for name, index in stream_tasks(export_patients, tasks, workers, tally.reach):
        indexes[name] = index
        tally.finish(name)
    return pa.concat_tables(indexes[group.name] for group in groups)


def _earlier_index(job: ExportJob, space: ExportSpace, group: PatientGroup) -> pa.Table | None:
    """Return the index of patients that an earlier run exported, if all of their files exist with the same size."""
    try:
        index = pq.read_table(space.marker(group.name), schema=INDEX_SCHEMA)
        sizes = [os.stat(f"{job.output}/{path}").st_size for path in index["path"].to_pylist()]  # noqa: PTH116  # many
    except (OSError, pa.ArrowInvalid):
        return None
    return index if sizes == index["bytes"].to_pylist() else None


def _export_single(job: ExportJob, groups: list[PatientGroup], space: ExportSpace, tally: _Tally) -> pa.Table:
    form = formats.load(job.format)
    name = f"events.{form.ending}"
    path, temporary = job.output / name, job.output / f"{name}.writing"
    space.announce("single", [name, temporary.name])
    write_single(job, form, groups, temporary, lambda group, share: tally.reach(group.name, share))
    temporary.replace(path)
    events = sum(group.events for group in groups)
    line = {"path": name, "split": "all", "events": events, "history_events": 0, "bytes": path.stat().st_size}
    return pa.Table.from_pylist([line], schema=INDEX_SCHEMA)


def _copy_metadata(root: Path, target: Path) -> None:
    (target / "metadata").mkdir(exist_ok=True)
    for name in METADATA:
        shutil.copyfile(root / name, target / name)


def _describe(
    selected: Dataset,
    job: ExportJob,
    fingerprint: dict[str, Any],
    summary: dict[str, int],
    requested: SubjectsFound | None,
) -> dict[str, Any]:
    """Return the content of export.json."""
    return {
        "dataset": selected.layout.about,
        "trajectory_version": selected.layout.manifest.get("trajectory_version"),
        "clock": selected.layout.clock,
        "per": job.per,
        "format": job.format,
        "history": job.history,
        "outside": job.outside,
        "subjects": requested and requested.to_json(),
        **_excel_setting(job),
        "summary": summary,
        "index": INDEX,
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(),
        "fingerprint": fingerprint,
    }
