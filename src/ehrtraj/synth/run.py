"""Write a synthetic release: draw blocks of patients in parallel and append them to the files in order."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import polars as pl
import psutil

from ehrtraj import interrupt
from ehrtraj.errors import OutputError, SettingsError
from ehrtraj.format.manifest import refuse_in_dataset
from ehrtraj.release.versions import SYNTHETIC_MARKER
from ehrtraj.runtime.limits import capped_cpus
from ehrtraj.runtime.memory import PeakMemory
from ehrtraj.runtime.processes import stream_tasks
from ehrtraj.runtime.progress import Share, ShareReport, TaskTally, no_report
from ehrtraj.storage.files import private_files
from ehrtraj.storage.owned import MARKER, claim, is_claimed, remove_claimed
from ehrtraj.storage.safe import refuse_link
from ehrtraj.synth import defects
from ehrtraj.synth.failures.truth import FILE as TRUTH
from ehrtraj.synth.failures.truth import TruthFile, truth_of
from ehrtraj.synth.life import draw_block
from ehrtraj.synth.releases import (
    RELEASES,
    ReleaseDifferences,
    included_subjects,
    patients_per_block,
    read_differences,
    tables_not_drawn,
    with_released_deaths,
)
from ehrtraj.synth.tables import (
    charting,
    coding,
    emergency,
    encounters,
    fluids,
    labs,
    microbiology,
    notes,
    omr,
    orders,
)
from ehrtraj.synth.write import GzipFile, TablePart, pack
from ehrtraj.version import __version__

MAX_PATIENTS = 370_000
"""The range of subject_ids has ten million numbers and each patient takes 27. The full release has 364,627 patients."""

_KIND = "synth"

# Share of the time of a block until its rows are drawn; the rest is to write them as CSV and compress them.
_DRAWN_SHARE = 0.5
# Labs come before charting, which copies some of their results.
_MODULES: tuple[ModuleType, ...] = (
    encounters, labs, microbiology, omr, orders, coding, charting, fluids, emergency, notes,
)  # fmt: skip
_ABOUT = """A synthetic release in the form of MIMIC-IV {release}, made by ehrtraj {version}.

No line of it comes from a patient. It has the tables, columns, item numbers and kinds of faults of MIMIC-IV, and
plausible courses of illness, so that software can be tried and taught with it. It is not a privacy-preserving copy of
real patients and nothing about medicine can be learned from it.
"""


class SynthReporter:
    """Receive progress reports. This base class ignores them."""

    def note(self, text: str) -> None:
        """Receive a message for the user."""

    def begin(self, patients: int) -> None:
        """Start a run that writes `patients` patients."""

    def advance(self, patients: int, rows: int) -> None:
        """Report that `patients` more patients, with `rows` rows, have been written."""

    def reach(self, share: Share) -> None:
        """Report that this share of all patients has been drawn. It is called more often than `advance`."""

    def close(self) -> None:
        """End the run, whether it succeeded or failed."""


@dataclass(frozen=True)
class SynthSettings:
    """The settings that determine the bytes of a synthetic release.

    Attributes:
        patients: number of patients.
        seed: random seed.
        release: release whose form to use, one of RELEASES.
        defects: for each kind of defect, the share of eligible rows that get it; 0 plants no defects.
    """

    patients: int = 1000
    seed: int = 7
    release: str = "3.1"
    defects: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.patients <= MAX_PATIENTS:
            raise SettingsError(f"--patients must be between 1 and {MAX_PATIENTS:,}, not {self.patients:,}")
        if self.seed < 0:
            raise SettingsError(f"--seed must be 0 or more, not {self.seed}")
        if self.release not in RELEASES:
            raise SettingsError(f"--release must be one of {', '.join(RELEASES)}, not {self.release}")
        if not 0 <= self.defects <= 1:
            raise SettingsError(f"--defects must be between 0 and 1, not {self.defects}")


@dataclass(frozen=True)
class SynthResult:
    """Summary of a synthetic release that was written.

    Attributes:
        path: folder of the release.
        settings: settings it was drawn with.
        rows: number of rows by file, such as `hosp/labevents`.
        bytes: total size of all files.
        defects: number of planted defects.
        seconds: elapsed time.
        peak_memory: peak memory of all processes together, in bytes.
    """

    path: Path
    settings: SynthSettings
    rows: dict[str, int]
    bytes: int
    defects: int
    seconds: float
    peak_memory: int


@dataclass(frozen=True)
class _BlockParts:
    """One drawn block: its part of each file, the answers for its defects, and the truth of its ICU stays."""

    patients: int
    parts: dict[str, TablePart]
    answers: pl.DataFrame
    truth: pl.DataFrame


def synth(
    out: str | Path,
    *,
    patients: int = 1000,
    seed: int = 7,
    release: str = "3.1",
    defects: float = 0.0,
    max_cpus: int | None = None,
    reporter: SynthReporter | None = None,
) -> SynthResult:
    """Write a synthetic release with the modules hosp, icu, ed and note.

    `truth.csv` beside them contains the infections, organ failures and treatments of each ICU stay.

    Args:
        out: folder to write; must be empty or not exist yet.
        patients: number of patients, up to 370,000. The first patients are the same for any number.
        seed: random seed. The same settings give the same bytes, regardless of the number of CPU cores.
        release: `1.0`, `2.2`, `3.0` or `3.1`. All have the same patients, without what the release lacks. Releases
            before 3.0 skip patients who were first seen in 2020 or later.
        defects: for each kind of defect in `catalog/defects.csv`, the share of eligible rows that get it. If it is
            above 0, `answers.parquet` lists every planted defect with its row and the right event.
        max_cpus: maximum number of CPU cores to use; all by default.
        reporter: receives progress reports.

    Returns:
        Summary of the release: rows by file, bytes, seconds, memory.

    Raises:
        SettingsError: if a setting is out of range.
        OutputError: if the folder is in use or cannot be written.
    """
    settings = SynthSettings(patients, seed, release, defects)
    cpus, note = capped_cpus(max_cpus)
    started = time.monotonic()
    reporter = reporter or SynthReporter()
    if note:
        reporter.note(note)
    path = Path(out)
    with private_files(), _folder_until_complete(path) as folder, PeakMemory() as memory:
        try:
            rows, answers = _write(folder, settings, cpus, reporter)
        finally:
            reporter.close()
    return SynthResult(
        path=path,
        settings=settings,
        rows=rows,
        bytes=sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file()),
        defects=answers,
        seconds=time.monotonic() - started,
        peak_memory=memory.peak,
    )


@contextmanager
def _folder_until_complete(path: Path) -> Iterator[Path]:
    """Yield a folder next to `path`. It is renamed to `path` on success and removed on failure."""
    folder = path.parent / f".{path.name}.{os.getpid()}.unfinished"
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise OutputError(f"{path} already exists: choose another folder, or remove it first")
        refuse_link(path)
        refuse_in_dataset(path)
        _remove_leftovers(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        claim(folder, _KIND)
        yield folder
        with interrupt.held():
            if path.exists():
                path.rmdir()
            (folder / MARKER).unlink()
            folder.rename(path)
    except OSError as error:
        raise OutputError(f"cannot write the release to {path}: {error}") from None
    finally:
        with interrupt.held():
            if is_claimed(folder, _KIND):
                remove_claimed(folder)


def _remove_leftovers(path: Path) -> None:
    """Remove unfinished folders of runs that were killed."""
    for folder in path.parent.glob(f".{path.name}.*.unfinished"):
        owner = folder.name.split(".")[-2]
        if owner.isdigit() and not psutil.pid_exists(int(owner)) and is_claimed(folder, _KIND):
            remove_claimed(folder)


def _write(folder: Path, settings: SynthSettings, cpus: int, reporter: SynthReporter) -> tuple[dict[str, int], int]:
    differences = read_differences(settings.release)
    files: dict[str, GzipFile] = {}
    answers: list[pl.DataFrame] = []
    truth = TruthFile(folder / TRUTH)
    try:
        for table, frame in _dictionaries().items():
            if table not in differences.absent:
                files[table] = GzipFile(folder / f"{differences.file(table)}.csv.gz")
                files[table].append(pack(differences.conform(table, frame), header=True))
                files[table].append(pack(differences.conform(table, frame)))
        drawn_tables = {*files, *_empty_tables(), *differences.absent}
        for table, columns in tables_not_drawn(settings.release, drawn_tables).items():
            files[table] = GzipFile(folder / f"{table}.csv.gz")
            files[table].append(pack(pl.DataFrame(schema=dict.fromkeys(columns, pl.String)), header=True))
        reporter.begin(settings.patients)
        for block in _blocks(settings, cpus, reporter.reach):
            for table, part in block.parts.items():
                if table not in files:
                    files[table] = GzipFile(folder / f"{differences.file(table)}.csv.gz")
                    files[table].append(_header(differences, table))
                files[table].append(part)
            answers.append(block.answers)
            truth.append(block.truth)
            reporter.advance(block.patients, sum(part.rows for part in block.parts.values()))
        checksums = {f"{differences.file(table)}.csv.gz": file.finish() for table, file in files.items()}
    finally:
        truth.close()
        for file in files.values():
            file.abandon()
    all_answers = pl.concat(answers)
    if settings.defects:
        all_answers.write_parquet(folder / "answers.parquet")
    _write_descriptions(folder, settings, checksums)
    return {differences.file(table): file.rows for table, file in sorted(files.items())}, all_answers.height


def _write_descriptions(folder: Path, settings: SynthSettings, checksums: dict[str, str]) -> None:
    lines = "".join(f"{checksum} {name}\n" for name, checksum in sorted(checksums.items()))
    (folder / "SHA256SUMS.txt").write_text(lines, encoding="utf-8", newline="\n")
    about = _ABOUT.format(release=settings.release, version=__version__)
    (folder / "README.txt").write_text(about, encoding="utf-8", newline="\n")
    marker = {**vars(settings), "ehrtraj": __version__}
    (folder / SYNTHETIC_MARKER).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8", newline="\n")


def _blocks(settings: SynthSettings, cpus: int, report: ShareReport) -> Iterator[_BlockParts]:
    """Draw all blocks in parallel, and yield them in order."""
    full_size = patients_per_block(settings.release)
    sizes = [min(full_size, settings.patients - first) for first in range(0, settings.patients, full_size)]
    tally = TaskTally(dict(enumerate(sizes)))

    def reach(number: int, share: Share) -> None:
        tally.reach(number, share)
        report(tally.share)

    tasks = ((number, (settings, number, size)) for number, size in enumerate(sizes))
    # Finished blocks wait here for earlier ones. They are few, since all blocks take about the same time.
    finished: dict[int, _BlockParts] = {}
    next_number = 0
    for number, block in stream_tasks(_draw_parts, tasks, min(cpus, len(sizes)), reach):
        tally.finish(number)
        finished[number] = block
        while next_number in finished:
            yield finished.pop(next_number)
            next_number += 1


def _draw_parts(settings: SynthSettings, number: int, size: int, *, report: ShareReport = no_report) -> _BlockParts:
    differences = read_differences(settings.release)
    tables, answers, truth = _draw_tables(settings, number, size, lambda share: report(share * _DRAWN_SHARE))
    rows, packed, parts = sum(frame.height for frame in tables.values()), 0, {}
    for table, frame in tables.items():
        if table not in differences.absent:
            parts[table] = pack(differences.conform(table, frame))
        packed += frame.height
        report(_DRAWN_SHARE + packed / max(rows, 1) * (1 - _DRAWN_SHARE))
    return _BlockParts(size, parts, _conform_answers(answers, differences), truth)


def _draw_tables(
    settings: SynthSettings, number: int, size: int, report: ShareReport = no_report
) -> tuple[dict[str, pl.DataFrame], pl.DataFrame, pl.DataFrame]:
    """Draw every table of a block, and plant its defects; return the tables, the answers and the truth."""
    block = draw_block(settings.seed, number)
    tables: dict[str, pl.DataFrame] = {}
    for done, module in enumerate(_MODULES, 1):
        drawn = module.draw(block)
        block.cache.update(drawn)
        tables.update(drawn)
        report(done / len(_MODULES))
    truth = truth_of(block)
    included = included_subjects(block, settings.release, size)
    if included is not None:
        subjects = included.implode()
        tables = {name: frame.filter(pl.col("subject_id").is_in(subjects)) for name, frame in tables.items()}
        truth = truth.filter(pl.col("subject_id").is_in(subjects))
    tables["hosp/patients"] = with_released_deaths(tables["hosp/patients"], block, settings.release)
    return *defects.plant(tables, block.streams.rng("defects"), settings.defects), truth


def _conform_answers(answers: pl.DataFrame, differences: ReleaseDifferences) -> pl.DataFrame:
    """Rename the tables of answers as the release does, and drop answers for tables it lacks."""
    present = answers.filter(~pl.col("table").is_in(list(differences.absent)))
    return present.with_columns(pl.col("table").replace(differences.files))


@cache
def _empty_tables() -> dict[str, pl.DataFrame]:
    """Return all patient tables without their rows."""
    return {table: frame.clear() for table, frame in _draw_tables(SynthSettings(1), 0, 1)[0].items()}


def _header(differences: ReleaseDifferences, table: str) -> TablePart:
    return pack(differences.conform(table, _empty_tables()[table]), header=True)


def _dictionaries() -> dict[str, pl.DataFrame]:
    """Return the dictionary tables. If several modules contribute to a table, combine their rows."""
    frames_by_table: dict[str, list[pl.DataFrame]] = {}
    for module in _MODULES:
        if hasattr(module, "dictionaries"):
            for table, frame in module.dictionaries().items():
                frames_by_table.setdefault(table, []).append(frame)
    return {
        table: pl.concat(frames).unique(maintain_order=True).sort(frames[0].columns[:2])
        for table, frames in frames_by_table.items()
    }
