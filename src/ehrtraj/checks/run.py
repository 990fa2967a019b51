"""Run all checks of a dataset and return the report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ehrtraj.arguments import checked
from ehrtraj.checks import books, metadata, patients, periods
from ehrtraj.checks.findings import Findings
from ehrtraj.checks.invariants import INVARIANTS
from ehrtraj.checks.scan import ScanJob, scan
from ehrtraj.checks.tables import open_tables
from ehrtraj.checks.tally import FileTally
from ehrtraj.dataset.database import Database
from ehrtraj.dataset.layout import check_format
from ehrtraj.errors import DatasetError
from ehrtraj.format import names
from ehrtraj.format.ledger import SCHEMA as LEDGER_SCHEMA
from ehrtraj.format.source import SourceFacts
from ehrtraj.paths import dataset_errors
from ehrtraj.runtime.limits import ResourceLimits, find_limits
from ehrtraj.runtime.memory import PeakMemory
from ehrtraj.runtime.processes import stream_tasks
from ehrtraj.runtime.progress import Share, TaskTally
from ehrtraj.runtime.sizes import DEFAULT, Sizes
from ehrtraj.storage.files import temporary_folder

# Starting a process takes half a second: fewer bytes than this are read in the current process.
_WORTH_PROCESSES = 50 << 20
# Other files are hashed together with the data files if they are larger than this; smaller ones take no time.
_WORTH_A_TASK = 1 << 20
# Maximum memory of a worker process and of this process in bytes, measured.
_WORKER_BYTES = 350_000_000
_BASE_BYTES = 300_000_000

Progress = Callable[[int, int], None]
"""A function that receives the number of bytes read and of all bytes."""

STEPS = 5
"""Number of steps after reading the data files, which also count as bytes in the progress."""
# Time of these steps as a share of reading, measured with 16,000 synthetic patients.
_SHARE_OF_STEPS = 0.03


@dataclass(frozen=True)
class CheckReport:
    """The result of a check.

    Attributes:
        path: folder of the dataset.
        ours: whether ehrtraj built it; other datasets are checked only against the rules of MEDS.
        patients: number of patients with events.
        events: number of events.
        files: number of data files.
        findings: violated invariants.
        notes: limits that differ from the requested ones, and why.
        foreign: hidden files and folders in the dataset that other programs keep there. They are not checked.
        seconds: wall time in seconds.
        peak_memory: maximum memory of all processes in bytes.
    """

    path: Path
    ours: bool
    patients: int
    events: int
    files: int
    findings: Findings = field(default_factory=Findings)
    notes: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    seconds: float = 0.0
    peak_memory: int = 0

    @property
    def broken(self) -> list[str]:
        """Violated invariants, in the order of `INVARIANTS`."""
        return [name for name in INVARIANTS if name in self.findings.counts]

    @property
    def kept(self) -> list[str]:
        """Invariants that were checked and hold."""
        return [n for n in INVARIANTS if n not in self.findings.counts and n not in self.findings.skipped]

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs: each invariant with its state, count and first places."""
        findings = self.findings
        invariants: dict[str, dict[str, Any]] = {}
        for name, invariant in INVARIANTS.items():
            state = "kept" if name in self.kept else "broken" if name in self.broken else "not applicable"
            invariants[name] = {"scope": invariant.scope, "invariant": invariant.words, "state": state}
            if name in findings.counts:
                places = [vars(place) for place in findings.places[name]]
                invariants[name] |= {"count": findings.counts[name], "first": places}
            elif name in findings.skipped:
                invariants[name] |= {"because": findings.skipped[name]}
        return {
            "dataset": str(self.path),
            "made_by_ehrtraj": self.ours,
            "patients": self.patients,
            "events": self.events,
            "files": self.files,
            "foreign": list(self.foreign),
            "invariants": invariants,
        }


@checked
def check(
    dataset: str | Path,
    *,
    max_cpus: int | None = None,
    memory_limit: str | int | None = None,
    progress: Progress | None = None,
    sizes: Sizes = DEFAULT,
) -> CheckReport:
    """Verify all invariants of a dataset on its files. The same as `ehrtraj check`.

    A MEDS dataset that ehrtraj did not build is checked only against the rules of MEDS. Files are read in batches, and
    counts are kept in a private temporary folder (`TMPDIR`), so memory does not grow with the dataset.

    Args:
        dataset: folder of the dataset.
        max_cpus: maximum number of CPU cores; all usable cores by default, and never more.
        memory_limit: maximum memory of all processes, such as `4GB`, the default; at least `1GB`.
        progress: receives the number of bytes read and of all bytes; the last steps also count as bytes.
        sizes: batch sizes.

    Raises:
        DatasetError: if it is not a dataset, or has another format.
        SettingsError: if a limit cannot be used.
        OutputError: if the temporary folder is full.
    """
    begun = time.monotonic()
    limits = find_limits(max_cpus, memory_limit)
    root = Path(dataset).expanduser()
    with dataset_errors():
        files = _data_files(root)
    with PeakMemory() as memory, temporary_folder("ehrtraj-check-") as spill:
        findings = Findings()
        from_ehrtraj = _is_from_ehrtraj(root)
        manifest = (books.read_object(root, names.MANIFEST, findings) if from_ehrtraj else None) or {}
        if manifest:
            check_format(root, manifest)
        job = _job(root, manifest, findings, spill, sizes, from_ehrtraj=from_ehrtraj)
        to_read = files | {file: size for file, size in _others(job) if size > _WORTH_A_TASK}
        advance = _Advance(progress, sum(to_read.values()))
        scanned = _scan_all(job, sorted(files), to_read, limits, advance)
        findings.take(scanned.findings)
        with open_tables(job.spill, sorted(files), limits) as tables:
            advance.step()
            counts = _check_across_files(root, job, manifest, tables, scanned, findings, advance)
        advance.finish()
    return CheckReport(
        path=root,
        ours=from_ehrtraj,
        patients=counts,
        events=scanned.events,
        files=len(files),
        findings=findings,
        notes=limits.notes,
        foreign=tuple(books.foreign(root, manifest.get("contents", {}))) if from_ehrtraj else (),
        seconds=time.monotonic() - begun,
        peak_memory=memory.peak,
    )


def _data_files(root: Path) -> dict[str, int]:
    """Return the sizes of all data files by their path in the dataset."""
    if not root.is_dir():
        raise DatasetError(f"the folder {root} does not exist")
    files = {p.relative_to(root).as_posix(): p.stat().st_size for p in sorted((root / names.DATA).rglob("*.parquet"))}
    if not files:
        versions = [p.name for p in sorted(root.iterdir()) if (p / "data").is_dir()]
        hint = f". It contains the datasets {', '.join(versions)}: check one of them" if versions else ""
        raise DatasetError(f"{root} is not a dataset: it has no Parquet files in data/{hint}")
    return files


def _is_from_ehrtraj(root: Path) -> bool:
    if (root / names.MANIFEST).is_file() or (root / names.LEDGER).is_file():
        return True
    try:
        about = json.loads((root / names.DATASET_JSON).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and about.get("etl_name") == "ehrtraj"


def _job(
    root: Path, manifest: Mapping[str, Any], findings: Findings, spill: Path, sizes: Sizes, *, from_ehrtraj: bool
) -> ScanJob:
    content = books.read_object(root, names.FLAGS, findings) if from_ehrtraj else None
    return ScanJob(
        root=root,
        from_ehrtraj=from_ehrtraj,
        source=_source(root, findings) if from_ehrtraj else SourceFacts(),
        clock=manifest.get("settings", {}).get("clock", "event"),
        flags=books.flag_values(content or {}, findings),
        hashed=frozenset(manifest.get("contents", {})),
        spill=spill,
        sizes=sizes,
        period=periods.period_event_type(manifest),
    )


def _source(root: Path, findings: Findings) -> SourceFacts:
    """Return the facts about the source stored in a dataset. If they cannot be read, add a finding."""
    event_types = books.event_types(books.read_object(root, names.EVENT_TYPES, findings) or {}, findings)
    content = books.read_object(root, names.SOURCE, findings)
    try:
        return SourceFacts(event_types=event_types) if content is None else SourceFacts.from_json(content, event_types)
    except ValueError as error:
        findings.one("readable", str(error), names.SOURCE)
        return SourceFacts(event_types=event_types)


@dataclass
class _Scanned:
    """Combined result of reading the data files, without the tables.

    Attributes:
        events: number of events in all files.
        complete: whether all columns of all files could be counted.
        hashes: size and SHA-256 of each file.
        findings: violations in single files.
    """

    events: int = 0
    complete: bool = True
    hashes: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)

    def add(self, tally: FileTally) -> None:
        """Add the tally of a file."""
        self.events += tally.events
        self.complete = self.complete and tally.complete
        self.hashes[tally.file] = tally.bytes, tally.sha256
        self.findings.take_in_order(tally.findings)


class _Advance:
    """Progress of the check in bytes."""

    def __init__(self, progress: Progress | None, to_read: int) -> None:
        self._progress = progress
        self._step = int(to_read * _SHARE_OF_STEPS) // STEPS
        self._done, self._total = 0, to_read + STEPS * self._step

    def reach(self, read: int) -> None:
        """Set the number of bytes read."""
        self.add(read - self._done)

    def add(self, size: int) -> None:
        """Count bytes read."""
        self._done += size
        if self._progress is not None:
            self._progress(self._done, self._total)

    def step(self) -> None:
        """Count one of the steps."""
        self.add(self._step)

    def finish(self) -> None:
        """Count the remaining steps, which do not apply."""
        self.add(self._total - self._done)


def _scan_all(
    job: ScanJob, files: Sequence[str], sizes: Mapping[str, int], limits: ResourceLimits, advance: _Advance
) -> _Scanned:
    """Read all data files (`files`) and hash the other files of `sizes`."""
    numbers = {file: number for number, file in enumerate(files)}
    workers = limits.workers(_WORKER_BYTES, _BASE_BYTES) if sum(sizes.values()) > _WORTH_PROCESSES else 1
    # Start with the largest, so that no large file remains at the end.
    order = sorted(sizes, key=lambda f: (-sizes[f], f))
    tasks = ((file, (job, file, numbers.get(file))) for file in order)
    scanned = _Scanned()
    progress = TaskTally(sizes)
    to_read = sum(sizes.values())

    def report(file: str, share: Share) -> None:
        progress.reach(file, share)
        advance.reach(progress.done_of(to_read))

    for file, tally in stream_tasks(scan, tasks, min(workers, len(order)), report):
        scanned.add(tally)
        progress.finish(file)
        advance.reach(progress.done_of(to_read))
    return scanned


def _others(job: ScanJob) -> Iterator[tuple[str, int]]:
    """Yield the files of the manifest that contain no events, with their sizes."""
    for path in job.root.rglob("*"):
        name = path.relative_to(job.root).as_posix()
        if name in job.hashed and not name.startswith(f"{names.DATA}/") and path.is_file():
            yield name, path.stat().st_size


def _check_across_files(
    root: Path,
    job: ScanJob,
    manifest: Mapping[str, Any],
    tables: Database,
    scanned: _Scanned,
    findings: Findings,
    advance: _Advance,
) -> int:
    """Run all checks that need more than a single data file.

    Returns:
        Number of patients.
    """
    patients.check_pieces(tables, findings)
    patient_count = tables.one("SELECT count(*) FROM patients")
    codes = metadata.check_codes(root, tables, findings)
    if codes is None:
        findings.skip("codes.parquet is missing", "codes_schema", "codes_unique", "codes_covered", "code_counts")
    if job.from_ehrtraj or (root / names.SPLITS).is_file():
        patients.check_splits(root, tables, findings, from_ehrtraj=job.from_ehrtraj)
    else:
        findings.skip("subject_splits.parquet is missing", "splits_schema", "one_split", "splits_covered")
    about = books.read_object(root, names.DATASET_JSON, findings)
    if about is not None:
        books.check_dataset_json(about, findings)
    if not job.from_ehrtraj:
        not_of_meds = [name for name, invariant in INVARIANTS.items() if invariant.scope == "ehrtraj"]
        findings.skip("the dataset was not built by ehrtraj", *not_of_meds)
        return patient_count
    if codes is not None and scanned.complete:
        standardised = bool(manifest.get("settings", {}).get("standardise"))
        metadata.check_ehrtraj_codes(codes, tables, findings, job.source.ranks, standardised=standardised)
    advance.step()
    patients.check_encounters(tables, findings, manifest.get("unverified", []))
    patients.check_split_hashes(tables, findings, manifest.get("settings", {}))
    periods.check_split_periods(tables, findings, manifest, job.period)
    patients.check_subjects(root, tables, findings)
    advance.step()
    ledger = metadata.read_table(root, names.LEDGER, findings, *LEDGER_SCHEMA.names)
    if ledger is not None:
        books.check_ledger(ledger, tables if scanned.complete else None, root, findings)
    if manifest:
        observed = tables.one("SELECT count(*) FROM seen")
        books.check_summary(manifest, patient_count, scanned.events, observed, findings)
        applied = metadata.read_table(root, names.APPLIED, findings, *books.APPLIED_COLUMNS)
        if applied is not None and scanned.complete:
            books.check_applied(applied, tables, job.flags, findings)
        if scanned.complete:
            books.check_notes(root, tables, job.flags, findings)
        advance.step()
        books.check_hashes(root, manifest.get("contents"), scanned.hashes, findings)
    if any((root / folder).is_dir() for folder in names.CONCEPT_FOLDERS):
        # Most datasets have none, and the import takes 0.2 s.
        from ehrtraj.checks.concepts import check_concepts

        check_concepts(root, findings)
    books.check_private(root, manifest.get("contents", {}), findings)
    return patient_count
