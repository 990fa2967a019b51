"""Writes a synthetic release: blocks of patients drawn in parallel, put together in order."""

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
from ehrtraj.storage.files import private_files
from ehrtraj.storage.owned import MARKER, claim, is_claimed, remove_claimed
from ehrtraj.storage.safe import refuse_link
from ehrtraj.synth import defects
from ehrtraj.synth.life import draw_block
from ehrtraj.synth.releases import (
    RELEASES,
    Shape,
    known_subjects,
    patients_of_block,
    shape,
    tables_not_drawn,
    without_later_deaths,
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

MOST_PATIENTS = 370_000
"""subject_ids are spread over ten million numbers, 27 apart; the full release has 364,627 patients."""

_KIND = "synth"

# Labs before charting, which copies some of them.
_MODULES: tuple[ModuleType, ...] = (
    encounters, labs, microbiology, omr, orders, coding, charting, fluids, emergency, notes,
)  # fmt: skip
_ABOUT = """A synthetic release in the form of MIMIC-IV {release}, made by ehrtraj {version}.

No line of it comes from a patient. It has the tables, columns, item numbers and kinds of faults of MIMIC-IV, and
plausible courses of illness, so that software can be tried and taught with it. It is not a privacy-preserving copy of
real patients and nothing about medicine can be learned from it.
"""


class SynthReporter:
    """Receives the news of the work. This one keeps silent."""

    def note(self, text: str) -> None:
        """A thing the user should know."""

    def begin(self, patients: int) -> None:
        """Work on this many patients begins."""

    def advance(self, patients: int, rows: int) -> None:
        """So many patients more are written, with so many rows."""

    def close(self) -> None:
        """The work ended, in whatever way."""


@dataclass(frozen=True)
class SynthSettings:
    """Everything that decides the bytes of a synthetic release.

    Attributes:
        patients: how many.
        seed: of every draw.
        release: of which release it has the form, see RELEASES.
        defects: for each kind of defect, the share of the rows it could touch that it does touch; 0 is clean.
    """

    patients: int = 1000
    seed: int = 7
    release: str = "3.1"
    defects: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.patients <= MOST_PATIENTS:
            raise SettingsError(f"--patients must be between 1 and {MOST_PATIENTS:,}, not {self.patients:,}")
        if self.seed < 0:
            raise SettingsError(f"--seed must be 0 or more, not {self.seed}")
        if self.release not in RELEASES:
            raise SettingsError(f"--release must be one of {', '.join(RELEASES)}, not {self.release}")
        if not 0 <= self.defects <= 1:
            raise SettingsError(f"--defects is a share between 0 and 1, not {self.defects}")


@dataclass(frozen=True)
class SynthResult:
    """What was written.

    Attributes:
        path: the folder.
        settings: what was asked for.
        rows: rows by file, as `hosp/labevents`.
        bytes: size of all files.
        defects: how many defects were planted.
        seconds: how long it took.
        peak_memory: most bytes held by all processes together.
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
    """One block, written: a part of each file, and the answers to its defects."""

    patients: int
    parts: dict[str, TablePart]
    answers: pl.DataFrame


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

    Args:
        out: folder to write; must not exist yet, or be empty.
        patients: how many, up to 370,000. The first ones stay the same however many there are.
        seed: of every draw. The same settings give the same bytes, whatever the processors.
        release: `1.0`, `2.2`, `3.0` or `3.1`: the same patients, less what the release lacks. Releases before 3.0
            pass over those first seen from 2020 on.
        defects: for each kind of defect in `catalog/defects.csv`, the share of the rows it could touch that it does
            touch; with any, `answers.parquet` says what was planted where and what the right event is.
        max_cpus: most processes at work at once; all by default.
        reporter: told about progress.

    Returns:
        What was written: rows by file, bytes, seconds, memory.

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
    with private_files(), _unfinished(path) as folder, PeakMemory() as memory:
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
def _unfinished(path: Path) -> Iterator[Path]:
    """Give a folder beside `path` that takes its name when all went well, and is gone when it did not."""
    folder = path.parent / f".{path.name}.{os.getpid()}.unfinished"
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise OutputError(f"{path} is already there: name another folder, or remove it first")
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
    """Remove what runs left that were killed before they could."""
    for folder in path.parent.glob(f".{path.name}.*.unfinished"):
        owner = folder.name.split(".")[-2]
        if owner.isdigit() and not psutil.pid_exists(int(owner)) and is_claimed(folder, _KIND):
            remove_claimed(folder)


def _write(folder: Path, settings: SynthSettings, cpus: int, reporter: SynthReporter) -> tuple[dict[str, int], int]:
    form = shape(settings.release)
    files: dict[str, GzipFile] = {}
    answers: list[pl.DataFrame] = []
    try:
        for table, frame in _dictionaries().items():
            if table not in form.absent:
                files[table] = GzipFile(folder / f"{form.file(table)}.csv.gz")
                files[table].append(pack(form.conform(table, frame), header=True))
                files[table].append(pack(form.conform(table, frame)))
        for table, columns in tables_not_drawn(settings.release, {*files, *_empty_tables(), *form.absent}).items():
            files[table] = GzipFile(folder / f"{table}.csv.gz")
            files[table].append(pack(pl.DataFrame(schema=dict.fromkeys(columns, pl.String)), header=True))
        reporter.begin(settings.patients)
        for block in _blocks(settings, cpus):
            for table, part in block.parts.items():
                if table not in files:
                    files[table] = GzipFile(folder / f"{form.file(table)}.csv.gz")
                    files[table].append(_header(form, table))
                files[table].append(part)
            answers.append(block.answers)
            reporter.advance(block.patients, sum(part.rows for part in block.parts.values()))
        sums = {f"{form.file(table)}.csv.gz": file.finish() for table, file in files.items()}
    finally:
        for file in files.values():
            file.abandon()
    planted = pl.concat(answers)
    if settings.defects:
        planted.write_parquet(folder / "answers.parquet")
    _write_about(folder, settings, sums)
    return {form.file(table): file.rows for table, file in sorted(files.items())}, planted.height


def _write_about(folder: Path, settings: SynthSettings, sums: dict[str, str]) -> None:
    lines = "".join(f"{checksum} {name}\n" for name, checksum in sorted(sums.items()))
    (folder / "SHA256SUMS.txt").write_text(lines, encoding="utf-8", newline="\n")
    about = _ABOUT.format(release=settings.release, version=__version__)
    (folder / "README.txt").write_text(about, encoding="utf-8", newline="\n")
    made = {**vars(settings), "ehrtraj": __version__}
    (folder / SYNTHETIC_MARKER).write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8", newline="\n")


def _blocks(settings: SynthSettings, cpus: int) -> Iterator[_BlockParts]:
    """Draw all blocks, several at a time, and give them in order."""
    whole = patients_of_block(settings.release)
    sizes = [min(whole, settings.patients - first) for first in range(0, settings.patients, whole)]
    if min(cpus, len(sizes)) == 1:
        yield from (_draw(settings, number, size) for number, size in enumerate(sizes))
        return
    tasks = ((number, (settings, number, size)) for number, size in enumerate(sizes))
    # Blocks that are done wait for an earlier one: few, since all take about as long.
    done: dict[int, _BlockParts] = {}
    following = 0
    for number, block in stream_tasks(_draw, tasks, min(cpus, len(sizes))):
        done[number] = block
        while following in done:
            yield done.pop(following)
            following += 1


def _draw(settings: SynthSettings, number: int, size: int) -> _BlockParts:
    form = shape(settings.release)
    tables, answers = _tables(settings, number, size)
    parts = {table: pack(form.conform(table, frame)) for table, frame in tables.items() if table not in form.absent}
    return _BlockParts(size, parts, _renamed(answers, form))


def _tables(settings: SynthSettings, number: int, size: int) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Draw every table of a block, and plant its defects."""
    block = draw_block(settings.seed, number)
    tables: dict[str, pl.DataFrame] = {}
    for module in _MODULES:
        drawn = module.draw(block)
        block.cache.update(drawn)
        tables.update(drawn)
    known = known_subjects(block, settings.release, size)
    if known is not None:
        tables = {name: frame.filter(pl.col("subject_id").is_in(known.implode())) for name, frame in tables.items()}
    tables["hosp/patients"] = without_later_deaths(tables["hosp/patients"], block, settings.release)
    return defects.plant(tables, block.streams.rng("defects"), settings.defects)


def _renamed(answers: pl.DataFrame, form: Shape) -> pl.DataFrame:
    """Name the tables of answers as the release does, and leave out those it lacks."""
    kept = answers.filter(~pl.col("table").is_in(list(form.absent)))
    return kept.with_columns(pl.col("table").replace(form.files))


@cache
def _empty_tables() -> dict[str, pl.DataFrame]:
    """Return all tables of patients without rows."""
    return {table: frame.clear() for table, frame in _tables(SynthSettings(1), 0, 1)[0].items()}


def _header(form: Shape, table: str) -> TablePart:
    return pack(form.conform(table, _empty_tables()[table]), header=True)


def _dictionaries() -> dict[str, pl.DataFrame]:
    """Return the tables that are the same for all patients; those that several modules fill, put together."""
    found: dict[str, list[pl.DataFrame]] = {}
    for module in _MODULES:
        if hasattr(module, "dictionaries"):
            for table, frame in module.dictionaries().items():
                found.setdefault(table, []).append(frame)
    return {
        table: pl.concat(frames).unique(maintain_order=True).sort(frames[0].columns[:2])
        for table, frames in found.items()
    }
