"""Estimate what a build needs, before it starts."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from ehrtraj.config import Settings, module_folders
from ehrtraj.engines.base import Need
from ehrtraj.engines.local import BASE_BYTES, LocalEngine
from ehrtraj.pipeline.plan.rows import TableRows, expected_rows
from ehrtraj.pipeline.plan.share import PatientShare, patient_share
from ehrtraj.pipeline.plan.tables import choose_tables
from ehrtraj.release.completeness import listed
from ehrtraj.release.detect import detect
from ehrtraj.release.found import Release
from ehrtraj.runtime.limits import capped_cpus
from ehrtraj.runtime.sizes import DEFAULT
from ehrtraj.sources.source import Source

# Measured with a synthetic release of full size, 3.1 with ED and notes, on 2 cores: 881 million rows took 1,486 s of
# CPU time, and the result 9.97 GB.
_CPU_SECONDS_A_ROW = 1486 / 881e6
_RESULT_BYTES_A_ROW = 9.97e9 / 881e6
# Share of the memory that a build reserves for its processes: this release took 1.67 of 2.0 GB.
_USED_MEMORY = 1.67 / 2.0
# Files of the build without the result, when an earlier version staged all tables: 14.6 GB for 879 million rows.
_STAGED_BYTES_A_ROW = 14.6e9 / 879e6
# Share of the CPU time that reading takes, also for rows of patients that are not selected: measured with a synthetic
# release of 4.9 million rows, of which 15.3 s for all patients and 2.9 s for one patient, without the start.
_READING = 0.19
# With large tables cut into slices, the slices of a few shards and the small tables are on the disk: 1.34 GB at most.
_SLICED_BYTES = 1_500_000_000
# Start of the program, search for the release, and publishing: measured on the demo.
_FIXED_SECONDS = 3.0
# With this many shards for each worker, large tables are cut into slices.
_SHARDS_OF_A_WORKER = 2


@dataclass(frozen=True)
class TablePreview:
    """A table that a build reads.

    Attributes:
        table: full name.
        file: its file.
        bytes: size of the file.
        rows: number of its rows.
        rows_known: see `TableRows`.
        events: whether its rows become events; otherwise it describes codes, or others join it.
    """

    table: str
    file: str
    bytes: int
    rows: int
    rows_known: str
    events: bool


@dataclass(frozen=True)
class SelectedPatients:
    """The patients that `--subjects` and `--icu-only` select.

    Attributes:
        selected: number of selected patients.
        everyone: number of all patients of the release.
        rows: approximate number of rows of the selected patients and of the tables without patients.
    """

    selected: int
    everyone: int
    rows: int


@dataclass(frozen=True)
class Estimate:
    """What a build needs, approximately.

    Attributes:
        cpu_cores: number of cores that it uses.
        seconds: duration on an idle machine.
        memory_bytes: maximum memory of all processes.
        build_disk_bytes: disk space that it needs until it ends, including the result.
        result_disk_bytes: size of the dataset.
    """

    cpu_cores: int
    seconds: float
    memory_bytes: int
    build_disk_bytes: int
    result_disk_bytes: int


@dataclass(frozen=True)
class BuildPreview:
    """What a build would read and need.

    Attributes:
        data_dir: folder of the release.
        source: title of the source.
        release: version of the release.
        tables: tables that are read.
        missing_tables: known tables that the modules of the release lack.
        missing_modules: known modules that are absent.
        patients: the selected patients; None if all are selected, or if they are not counted.
        estimate: what the build needs.
        free_memory_bytes: memory that is free now.
        free_disk_bytes: free space on the disk of the output.
        notes: what the user should know.
        warnings: what may prevent the build, or make its result incomplete.
    """

    data_dir: Path
    source: str
    release: str
    tables: tuple[TablePreview, ...]
    missing_tables: tuple[str, ...]
    missing_modules: tuple[str, ...]
    patients: SelectedPatients | None
    estimate: Estimate
    free_memory_bytes: int
    free_disk_bytes: int
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables)

    def to_json(self) -> dict[str, Any]:
        """Return the preview for programs."""
        return {**asdict(self), "data_dir": str(self.data_dir), "rows": self.rows}


def preview(
    settings: Settings,
    source: Source,
    need: Need,
    explain: Callable[[Path], AbstractContextManager[None]],
    hints: Callable[[Path], Iterable[str]],
) -> BuildPreview:
    """Estimate what a build with these settings reads and needs. Nothing is written.

    Args:
        settings: settings of the build.
        source: source of the release.
        need: what the task of one shard needs.
        explain: context manager around the search for the release, which adds advice to its errors.
        hints: returns notes about the release in a folder.

    Raises:
        ReleaseError: if there is no release, or it lacks a requested table, or the file of subjects is invalid.
        SettingsError: if a setting names something that does not exist, or no patients are left.
        OSError: if a file cannot be read.
    """
    cpus, note = capped_cpus(settings.max_cpus)
    with explain(settings.data_dir):
        release = detect(settings.data_dir, source, modules=module_folders(settings, source))
        selection = choose_tables(release, settings)
    rows = {name: expected_rows(release, name) for name in selection.staged}
    tables = tuple(_table(release, name, rows[name], events=name in selection.event_tables) for name in rows)
    workers = LocalEngine(cpus, settings.memory_limit).at_once(need)
    read = sum(table.rows for table in tables)
    share = patient_share(release, settings)
    patients = None if share is None else _selected(release, tables, share)
    estimate = _estimate(read, workers, need, selected=None if patients is None else patients.rows)
    memory, disk = psutil.virtual_memory().available, shutil.disk_usage(_existing(settings.output)).free
    return BuildPreview(
        data_dir=release.root,
        source=source.title,
        release=release.version,
        tables=tables,
        missing_tables=release.missing,
        missing_modules=release.absent_modules,
        patients=patients,
        estimate=estimate,
        free_memory_bytes=memory,
        free_disk_bytes=disk,
        notes=(*([note] if note else []), *release.notes, *hints(release.root), *selection.notes),
        warnings=(
            *release.warnings,
            *selection.warnings,
            *_about_patients(settings, share),
            *_truncated(rows),
            *_other_sizes(rows),
            *_too_little(estimate, memory, disk, settings.output),
        ),
    )


def _table(release: Release, name: str, rows: TableRows, *, events: bool) -> TablePreview:
    return TablePreview(name, release.where(name), release.files[name].size, rows.rows, rows.known, events)


def _selected(release: Release, tables: Iterable[TablePreview], share: PatientShare) -> SelectedPatients:
    rows = sum(one.rows * share.of(release.files[one.table].table) for one in tables)
    return SelectedPatients(share.selected, share.everyone, round(rows))


def _estimate(rows: int, workers: int, need: Need, *, selected: int | None = None) -> Estimate:
    """Return what a build needs.

    Args:
        rows: rows that it reads.
        workers: number of workers.
        need: what the task of one shard needs.
        selected: rows of the selected patients; None if all are selected.
    """
    kept = rows if selected is None else selected
    result, staged = round(kept * _RESULT_BYTES_A_ROW), round(kept * _STAGED_BYTES_A_ROW)
    # Large tables are cut into slices only if all patients are selected.
    is_sliced = selected is None and rows > _SHARDS_OF_A_WORKER * workers * DEFAULT.shard_rows
    busy = _busy(kept, workers)
    of_a_worker = round(need.memory * min(1.0, kept / DEFAULT.shard_rows))
    reading = _READING * rows / _busy(rows, workers)
    return Estimate(
        cpu_cores=workers,
        seconds=_FIXED_SECONDS + (reading + (1 - _READING) * kept / busy) * _CPU_SECONDS_A_ROW,
        memory_bytes=round(_USED_MEMORY * (BASE_BYTES + busy * of_a_worker)),
        build_disk_bytes=result + (min(staged, _SLICED_BYTES) if is_sliced else staged),
        result_disk_bytes=result,
    )


def _busy(rows: int, workers: int) -> int:
    """Return how many workers have work: a shard is built by one worker, and a small release has few shards."""
    return max(1, min(workers, round(rows / DEFAULT.shard_rows)))


def _about_patients(settings: Settings, share: PatientShare | None) -> list[str]:
    """Return a warning if the selected patients are not counted, or not all of them are in the release."""
    if share is not None:
        text = share.requested and share.requested.describe("this release")
        return [text] if text and share.requested and not share.requested.complete else []
    if settings.subjects is None and not settings.icu_only:
        return []
    return [
        "no table lists the patients of this release: the estimates are for all patients, not for those of --subjects "
        "and --icu-only"
    ]


def _truncated(rows: Mapping[str, TableRows]) -> list[str]:
    names = [name for name, one in rows.items() if one.is_truncated]
    return [f"these files are truncated: {listed(names)}. Download them again"] if names else []


def _other_sizes(rows: Mapping[str, TableRows]) -> list[str]:
    other = [f"{name} ({one.rows:,}, not {one.published:,})" for name, one in rows.items() if one.published is not None]
    if not other:
        return []
    return [
        f"these files do not have as many rows as this release has: {listed(other)}. They are truncated, or only a "
        "part of the release"
    ]


def _too_little(estimate: Estimate, memory: int, disk: int, output: Path) -> list[str]:
    warnings = []
    if estimate.memory_bytes > memory:
        warnings.append(
            f"the build needs about {estimate.memory_bytes / 1e9:.1f} GB of memory, but {memory / 1e9:.1f} GB are "
            "free: choose a smaller --max-cpus or --memory-limit"
        )
    if estimate.build_disk_bytes > disk:
        warnings.append(
            f"the build needs about {estimate.build_disk_bytes / 1e9:.1f} GB of disk space, but the disk of {output} "
            f"has {disk / 1e9:.1f} GB: free some space, or choose another --output"
        )
    return warnings


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder
