"""One export, from a dataset to its files and their index."""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj.dataset.dataset import Dataset, open_dataset
from ehrtraj.errors import SettingsError
from ehrtraj.exports import formats
from ehrtraj.exports.job import ExportJob, PatientGroup, Per
from ehrtraj.exports.lines import csv_header, csv_lines
from ehrtraj.exports.space import INDEX, METADATA, ExportSpace, exporting, fingerprint_of
from ehrtraj.exports.worker import INDEX_SCHEMA, export_patients, write_single
from ehrtraj.format import names
from ehrtraj.paths import real
from ehrtraj.release.asked import number_or_file
from ehrtraj.release.subjects import SubjectsFound, find_subjects
from ehrtraj.results import ExportResult
from ehrtraj.runtime.limits import capped_cpus
from ehrtraj.runtime.memory import PeakMemory
from ehrtraj.runtime.processes import lean_memory, stream_tasks
from ehrtraj.version import __version__

# Starting a process costs half a second; so many events are written in that time.
_WORTH_PROCESSES = 300_000

Progress = Callable[[int, int], None]
"""Receives the number of events written, and of all events."""


def export(
    dataset: str | Path | Dataset,
    output: str | Path,
    *,
    per: Per = "patient",
    format: str | None = None,  # the option's own name
    single: bool = False,
    history: bool = False,
    outside: bool = True,
    excel: bool = False,
    split: str | None = None,
    subjects: str | Path | int | None = None,
    max_cpus: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExportResult:
    """Write a file for each patient, admission, ICU stay or shard. The same as `ehrtraj export`.

    Resumes an export that was cut short, when called again with the same arguments.

    Args:
        dataset: its folder, or one that is open; of `ds.filter(...)` only the chosen patients are exported.
        output: folder for the files: new, empty, or one with an export to resume or to replace.
        per: what has a file of its own.
        format: of the files, one that `ehrtraj export --help` lists; `jsonl` by default.
        single: one Parquet file with all events instead.
        history: put what was known before an admission or stay began into its file.
        outside: write what belongs to no admission or stay, in a file for each patient.
        excel: in CSV, put an apostrophe before texts that a spreadsheet would take for a formula: it changes them.
        split: only patients of `train`, `tuning` or `held_out`.
        subjects: a file of subject_ids, or how many patients to draw.
        max_cpus: maximum number of CPU cores to use; all usable ones by default.
        overwrite: replace another export in `output`.
        progress: receives the number of events written, and of all events.

    Raises:
        EhrtrajError: with a message that names the way out.
    """
    begun = time.monotonic()
    _check_settings(per, single=single, history=history, outside=outside)
    kind = _check_format(format, single=single, excel=excel)
    cpus, note = capped_cpus(max_cpus)
    chosen, requested = _choose(dataset, split, subjects)
    found = requested.describe(str(chosen.path)) if requested else None
    notes = tuple(text for text in (note, found) if text)
    target = Path(output).expanduser()
    if real(target).is_relative_to(real(chosen.path)):
        raise SettingsError(f"{target} lies in the dataset, which stays as it was built: choose another --output")
    job = ExportJob(target, per, kind, history, outside, chosen.flags, chosen.layout.source.icu_modules, excel)
    groups = [
        PatientGroup(file, tuple(chosen.patients_of(file).select("subject_id", "position", "n_events").rows()))
        for file in chosen.files
    ]
    fingerprint = _fingerprint(chosen, job, single=single)
    inputs = [chosen.path] if subjects is None else [chosen.path, Path(str(subjects)).expanduser()]
    lean_memory()
    with PeakMemory() as memory, exporting(target, inputs) as space:
        if (done := space.finished(fingerprint)) is not None and not overwrite:
            return ExportResult(target, True, **done["summary"], notes=notes, requested=requested)
        resumed = space.prepare(fingerprint, overwrite=overwrite)
        tally = _Tally(progress, sum(group.events for group in groups))
        index = _export_single(job, groups, space, tally) if single else _export_groups(job, groups, space, cpus, tally)
        summary = {
            "files": index.num_rows,
            "patients": len(chosen),
            "events": sum(index["events"].to_pylist()) - sum(index["history_events"].to_pylist()),
            "bytes": sum(index["bytes"].to_pylist()),
        }
        _copy_metadata(chosen.path, target)
        (target / INDEX).write_bytes(csv_header(INDEX_SCHEMA.names) + "".join(csv_lines(index).to_pylist()).encode())
        space.finish(_about(chosen, job, fingerprint, summary, requested))
    seconds = time.monotonic() - begun
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
        raise SettingsError(f"per is '{per}': it is one of {', '.join(names.UNITS)}")
    if single and per != "patient":
        raise SettingsError("a single file has all patients: leave --per out")
    if per not in ("admission", "icustay"):
        for wanted, option in ((history, "--history"), (not outside, "--no-outside")):
            if wanted:
                raise SettingsError(f"{option} is about files per admission or icustay")


def _check_format(kind: str | None, *, single: bool, excel: bool) -> str:
    """Return the name of the format to write, by what was asked for.

    Raises:
        SettingsError: if there is no such format, or it does not fit the other settings.
    """
    if kind is not None and kind not in formats.names():
        raise SettingsError(f"format is '{kind}': it is one of {', '.join(formats.names())}")
    known = formats.load_all()
    sheets = {name: form.title for name, form in known.items() if form.spreadsheet}
    if excel and kind not in sheets:
        raise SettingsError(f"--excel is about {_either(sheets.values())}: give --format {_either(sheets)} with it")
    singles = {name: form.title for name, form in known.items() if form.single}
    if single and kind not in (None, *singles):
        raise SettingsError(
            f"a single file is {_either(singles.values())}, not {kind}: leave --format out, or export --per shard"
        )
    return kind or (formats.DEFAULT_SINGLE if single else formats.DEFAULT)


def _either(words: Iterable[str]) -> str:
    return " or ".join(words)


def _choose(
    dataset: str | Path | Dataset, split: str | None, subjects: str | Path | int | None
) -> tuple[Dataset, SubjectsFound | None]:
    chosen = dataset if isinstance(dataset, Dataset) else open_dataset(dataset)
    if split is not None:
        chosen = chosen.filter(split=split)
    requested = None
    if subjects is not None:
        asked = number_or_file(subjects)
        if isinstance(asked, int):
            chosen = chosen.sample(asked)
            requested = SubjectsFound("", asked, len(chosen))
        else:
            there = chosen.subjects["subject_id"].to_numpy()
            where = f"{chosen.path}" if split is None else f"the split {split} of {chosen.path}"
            found, requested = find_subjects(asked, there, where)
            chosen = chosen.filter(pl.col("subject_id").is_in(found))
    if not len(chosen):
        raise SettingsError(f"no patient of {chosen.path} is left: nothing to export")
    return chosen, requested


def _fingerprint(chosen: Dataset, job: ExportJob, *, single: bool) -> dict[str, Any]:
    """Everything that decides the files."""
    ids = np.ascontiguousarray(chosen.subjects["subject_id"].to_numpy())
    return fingerprint_of(
        {
            "ehrtraj": __version__,
            "dataset": hashlib.sha256((chosen.path / names.MANIFEST).read_bytes()).hexdigest(),
            "patients": hashlib.sha256(ids.tobytes()).hexdigest(),
            "per": job.per,
            "format": job.format,
            "single": single,
            "history": job.history,
            "outside": job.outside,
            **_excel(job),
        }
    )


def _excel(job: ExportJob) -> dict[str, bool]:
    """Named only where it is chosen, so that exports made before it existed are still known."""
    return {"excel": True} if job.excel else {}


class _Tally:
    """Adds up what is done."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self, patients: PatientGroup) -> None:
        self._done += patients.events
        if self._progress is not None:
            self._progress(self._done, self._total)


def _export_groups(
    job: ExportJob, groups: list[PatientGroup], space: ExportSpace, cpus: int, tally: _Tally
) -> pa.Table:
    """Export what is not exported yet, a data file at a time.

    Returns:
        The index, in the order of the data files.
    """
    found: dict[str, pa.Table] = {}
    named = {group.name: group for group in groups}
    for group in groups:
        if (index := _exported(job, space, group)) is not None:
            found[group.name] = index
            tally(group)
    # The largest first, so that none is left alone at the end.
    todo = sorted((g for g in groups if g.name not in found), key=lambda g: -g.events)
    workers = min(cpus, len(todo)) if sum(g.events for g in todo) > _WORTH_PROCESSES else 1
    for name, index in stream_tasks(export_patients, ((group.name, (job, group)) for group in todo), workers):
        found[name] = index
        tally(named[name])
    return pa.concat_tables(found[group.name] for group in groups)


def _exported(job: ExportJob, space: ExportSpace, group: PatientGroup) -> pa.Table | None:
    """The index of patients that an earlier run exported, if all of their files are there in their size."""
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
    write_single(job, form, groups, temporary, tally)
    temporary.replace(path)
    events = sum(group.events for group in groups)
    line = {"path": name, "split": "all", "events": events, "history_events": 0, "bytes": path.stat().st_size}
    return pa.Table.from_pylist([line], schema=INDEX_SCHEMA)


def _copy_metadata(root: Path, target: Path) -> None:
    (target / "metadata").mkdir(exist_ok=True)
    for name in METADATA:
        shutil.copyfile(root / name, target / name)


def _about(
    chosen: Dataset,
    job: ExportJob,
    fingerprint: dict[str, Any],
    summary: dict[str, int],
    requested: SubjectsFound | None,
) -> dict[str, Any]:
    return {
        "dataset": chosen.layout.about,
        "trajectory_version": chosen.layout.manifest.get("trajectory_version"),
        "clock": chosen.layout.clock,
        "per": job.per,
        "format": job.format,
        "history": job.history,
        "outside": job.outside,
        "subjects": requested and requested.to_json(),
        **_excel(job),
        "summary": summary,
        "index": INDEX,
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(),
        "fingerprint": fingerprint,
    }
