"""One check of a dataset, from its folder to the report."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ehrtraj.checks import books, metadata, patients
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

# Starting processes costs half a second each: less than this is read in this one.
_WORTH_PROCESSES = 50 << 20
# What is no data file is read beside them if it is larger; the others take no time.
_WORTH_A_TASK = 1 << 20
# Most bytes of a worker process and of this one beside it, measured.
_WORKER_BYTES = 350_000_000
_BASE_BYTES = 300_000_000

Progress = Callable[[int, int], None]
"""Is told of bytes read and of all bytes."""

STEPS = 5
"""Steps after the data files are read, which progress counts as bytes too."""
# What all of them take, as a share of reading: measured with 16,000 synthetic patients.
_SHARE_OF_STEPS = 0.03


@dataclass(frozen=True)
class CheckReport:
    """What a check found.

    Attributes:
        path: the dataset.
        ours: whether it was made by ehrtraj: others are held to the rules of MEDS alone.
        patients: number of patients with events.
        events: number of events.
        files: number of data files.
        findings: what is wrong.
        notes: which limits are not as asked for, and why.
        seconds: wall time.
        peak_memory: most bytes held by all processes together.
    """

    path: Path
    ours: bool
    patients: int
    events: int
    files: int
    findings: Findings = field(default_factory=Findings)
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    peak_memory: int = 0

    @property
    def broken(self) -> list[str]:
        """Promises that do not hold, in the order of `INVARIANTS`."""
        return [name for name in INVARIANTS if name in self.findings.counts]

    @property
    def kept(self) -> list[str]:
        """Promises that were looked at and hold."""
        return [n for n in INVARIANTS if n not in self.findings.counts and n not in self.findings.skipped]

    def to_json(self) -> dict[str, Any]:
        """The report for programs: each invariant with its state, count and first places."""
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
            "invariants": invariants,
        }


def check(
    dataset: str | Path,
    *,
    max_cpus: int | None = None,
    memory_limit: str | int | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Verify every invariant about a dataset on its files. The same as `ehrtraj check`.

    A dataset of MEDS that ehrtraj did not make is held to the rules of MEDS alone. Files are read piece by piece, and
    what is counted is kept in a private temporary folder (`TMPDIR`): memory does not grow with the dataset.

    Args:
        dataset: its folder.
        max_cpus: maximum number of CPU cores; all usable cores by default, and never more.
        memory_limit: maximum memory of all processes, such as `4GB`, the default; at least `1GB`.
        progress: receives the number of bytes read and of all bytes; the last steps count as bytes too.

    Raises:
        DatasetError: if there is no dataset there, or one of another format.
        SettingsError: if a limit cannot be used.
        OutputError: if the temporary folder is full.
    """
    begun = time.monotonic()
    limits = find_limits(max_cpus, memory_limit)
    root = Path(dataset).expanduser()
    with dataset_errors():
        files = _data_files(root)
    with PeakMemory() as memory, tempfile.TemporaryDirectory(prefix="ehrtraj-check-") as spill:
        findings = Findings()
        ours = _is_ours(root)
        manifest = (books.read_object(root, names.MANIFEST, findings) if ours else None) or {}
        if manifest:
            check_format(root, manifest)
        job = _job(root, manifest, findings, Path(spill), ours=ours)
        sizes = dict(files) | {file: size for file, size in _others(job) if size > _WORTH_A_TASK}
        advance = _Advance(progress, sum(sizes.values()))
        scanned = _scan_all(job, sorted(files), sizes, limits, advance)
        findings.take(scanned.findings)
        with open_tables(job.spill, sorted(files), limits) as tables:
            advance.step()
            counts = _check_beside(root, job, manifest, tables, scanned, findings, advance)
        advance.finish()
    return CheckReport(
        path=root,
        ours=ours,
        patients=counts,
        events=scanned.events,
        files=len(files),
        findings=findings,
        notes=limits.notes,
        seconds=time.monotonic() - begun,
        peak_memory=memory.peak,
    )


def _data_files(root: Path) -> dict[str, int]:
    """Sizes of all data files by their path in the dataset."""
    if not root.is_dir():
        raise DatasetError(f"{root}: there is no such folder")
    files = {p.relative_to(root).as_posix(): p.stat().st_size for p in sorted((root / names.DATA).rglob("*.parquet"))}
    if not files:
        versions = [p.name for p in sorted(root.iterdir()) if (p / "data").is_dir()]
        hint = f"; datasets in it: {', '.join(versions)}" if versions else ""
        raise DatasetError(f"{root} is no dataset: it has no Parquet file in data/{hint}")
    return files


def _is_ours(root: Path) -> bool:
    if (root / names.MANIFEST).is_file() or (root / names.LEDGER).is_file():
        return True
    try:
        about = json.loads((root / names.DATASET_JSON).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(about, dict) and about.get("etl_name") == "ehrtraj"


def _job(root: Path, manifest: Mapping[str, Any], findings: Findings, spill: Path, *, ours: bool) -> ScanJob:
    content = books.read_object(root, names.FLAGS, findings) if ours else None
    return ScanJob(
        root=root,
        ours=ours,
        source=_source(root, findings) if ours else SourceFacts(),
        clock=manifest.get("settings", {}).get("clock", "event"),
        flags=books.flag_values(content or {}, findings),
        hashed=frozenset(manifest.get("contents", {})),
        spill=spill,
    )


def _source(root: Path, findings: Findings) -> SourceFacts:
    """What a dataset keeps of its source; nothing, and a finding, where that cannot be read."""
    event_types = books.event_types(books.read_object(root, names.EVENT_TYPES, findings) or {}, findings)
    content = books.read_object(root, names.SOURCE, findings)
    try:
        return SourceFacts(event_types=event_types) if content is None else SourceFacts.from_json(content, event_types)
    except ValueError as error:
        findings.one("readable", str(error), names.SOURCE)
        return SourceFacts(event_types=event_types)


@dataclass
class _Scanned:
    """What the data files hold together, beside the tables.

    Attributes:
        events: in all files.
        whole: whether all columns of all files could be counted.
        hashes: size and SHA-256 of each file.
        findings: what is wrong in single files.
    """

    events: int = 0
    whole: bool = True
    hashes: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)

    def add(self, account: FileTally) -> None:
        """Add a file."""
        self.events += account.events
        self.whole = self.whole and account.whole
        self.hashes[account.file] = account.bytes, account.sha256
        self.findings.take_in_order(account.findings)


class _Advance:
    """How far the check is, in bytes."""

    def __init__(self, progress: Progress | None, to_read: int) -> None:
        self._progress = progress
        self._step = int(to_read * _SHARE_OF_STEPS) // STEPS
        self._done, self._total = 0, to_read + STEPS * self._step

    def add(self, size: int) -> None:
        """Count bytes that were read."""
        self._done += size
        if self._progress is not None:
            self._progress(self._done, self._total)

    def step(self) -> None:
        """Count one of the steps."""
        self.add(self._step)

    def finish(self) -> None:
        """Count what was left out because it does not apply."""
        self.add(self._total - self._done)


def _scan_all(
    job: ScanJob, files: Sequence[str], sizes: Mapping[str, int], limits: ResourceLimits, advance: _Advance
) -> _Scanned:
    """Read all data files, `files`, and the others of `sizes`."""
    numbers = {file: number for number, file in enumerate(files)}
    workers = limits.workers(_WORKER_BYTES, _BASE_BYTES) if sum(sizes.values()) > _WORTH_PROCESSES else 1
    # The largest first, so that none is left alone at the end.
    order = sorted(sizes, key=lambda f: (-sizes[f], f))
    tasks = ((file, (job, file, numbers.get(file))) for file in order)
    scanned = _Scanned()
    for file, account in stream_tasks(scan, tasks, min(workers, len(order))):
        scanned.add(account)
        advance.add(sizes[file])
    return scanned


def _others(job: ScanJob) -> Iterator[tuple[str, int]]:
    """Files that hold no events but are in the manifest, with their sizes."""
    for path in job.root.rglob("*"):
        name = path.relative_to(job.root).as_posix()
        if name in job.hashed and not name.startswith(f"{names.DATA}/") and path.is_file():
            yield name, path.stat().st_size


def _check_beside(
    root: Path,
    job: ScanJob,
    manifest: Mapping[str, Any],
    tables: Database,
    scanned: _Scanned,
    findings: Findings,
    advance: _Advance,
) -> int:
    """Check everything that is not seen in one data file alone.

    Returns:
        Number of patients.
    """
    patients.check_pieces(tables, findings)
    counted = tables.one("SELECT count(*) FROM patients")
    codes = metadata.check_codes(root, tables, findings)
    if codes is None:
        findings.skip("there is no codes.parquet", "codes_schema", "codes_unique", "codes_covered", "code_counts")
    if job.ours or (root / names.SPLITS).is_file():
        patients.check_splits(root, tables, findings, ours=job.ours)
    else:
        findings.skip("there is no subject_splits.parquet", "splits_schema", "one_split", "splits_covered")
    about = books.read_object(root, names.DATASET_JSON, findings)
    if about is not None:
        books.check_dataset_json(about, findings)
    if not job.ours:
        own = [name for name, invariant in INVARIANTS.items() if invariant.scope == "ehrtraj"]
        findings.skip("the dataset was not made by ehrtraj", *own)
        return counted
    if codes is not None and scanned.whole:
        standardised = bool(manifest.get("settings", {}).get("standardise"))
        metadata.check_ehrtraj_codes(codes, tables, findings, job.source.ranks, standardised=standardised)
    advance.step()
    patients.check_encounters(tables, findings, manifest.get("unverified", []))
    patients.check_split_hashes(tables, findings, manifest.get("settings", {}).get("seed"))
    patients.check_subjects(root, tables, findings)
    advance.step()
    ledger = metadata.read_table(root, names.LEDGER, findings, *LEDGER_SCHEMA.names)
    if ledger is not None:
        books.check_ledger(ledger, tables if scanned.whole else None, root, findings)
    if manifest:
        observed = tables.one("SELECT count(*) FROM seen")
        books.check_summary(manifest, counted, scanned.events, observed, findings)
        applied = metadata.read_table(root, names.APPLIED, findings, *books.APPLIED_COLUMNS)
        if applied is not None and scanned.whole:
            books.check_applied(applied, tables, job.flags, findings)
        if scanned.whole:
            books.check_notes(root, tables, job.flags, findings)
        advance.step()
        books.check_hashes(root, manifest.get("contents"), scanned.hashes, findings)
    books.check_private(root, findings)
    return counted
