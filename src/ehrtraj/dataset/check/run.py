"""One check of a dataset, from its folder to the report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ehrtraj.config import usable_cpus
from ehrtraj.dataset import names
from ehrtraj.dataset.check import books, metadata
from ehrtraj.dataset.check.account import Account, Patient
from ehrtraj.dataset.check.findings import Findings
from ehrtraj.dataset.check.promises import PROMISES
from ehrtraj.dataset.check.scan import ScanJob, merge, scan
from ehrtraj.dataset.layout import check_format
from ehrtraj.engines.local import run_tasks
from ehrtraj.errors import DatasetError
from ehrtraj.paths import dataset_errors
from ehrtraj.pipeline.ledger import SCHEMA as LEDGER_SCHEMA
from ehrtraj.pipeline.memory import PeakMemory

# Starting processes costs half a second each: less than this is read in this one.
_WORTH_PROCESSES = 50 << 20

Progress = Callable[[int, int], None]
"""Is told of bytes read and of all bytes."""


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
        seconds: wall time.
        peak_memory: most bytes held by all processes together.
    """

    path: Path
    ours: bool
    patients: int
    events: int
    files: int
    findings: Findings = field(default_factory=Findings)
    seconds: float = 0.0
    peak_memory: int = 0

    @property
    def broken(self) -> list[str]:
        """Promises that do not hold, in the order of `PROMISES`."""
        return [name for name in PROMISES if name in self.findings.counts]

    @property
    def kept(self) -> list[str]:
        """Promises that were looked at and hold."""
        return [n for n in PROMISES if n not in self.findings.counts and n not in self.findings.skipped]

    def to_json(self) -> dict[str, Any]:
        """The report for programs: each promise with its state, count and first places."""
        findings = self.findings
        promises: dict[str, dict[str, Any]] = {}
        for name, promise in PROMISES.items():
            state = "kept" if name in self.kept else "broken" if name in self.broken else "not applicable"
            promises[name] = {"scope": promise.scope, "promise": promise.words, "state": state}
            if name in findings.counts:
                places = [vars(place) for place in findings.places[name]]
                promises[name] |= {"count": findings.counts[name], "first": places}
            elif name in findings.skipped:
                promises[name] |= {"because": findings.skipped[name]}
        return {
            "dataset": str(self.path),
            "made_by_ehrtraj": self.ours,
            "patients": self.patients,
            "events": self.events,
            "files": self.files,
            "promises": promises,
        }


def check(dataset: str | Path, *, max_cpus: int | None = None, progress: Progress | None = None) -> CheckReport:
    """Verify every promise about a dataset on its files. The same as `ehrtraj check`.

    A dataset of MEDS that ehrtraj did not make is held to the rules of MEDS alone. Files are read piece by piece:
    memory does not grow with them.

    Args:
        dataset: its folder.
        max_cpus: most processes at work at once; all usable processors by default.
        progress: is told of bytes read and of all bytes.

    Raises:
        DatasetError: if there is no dataset there, or one of another format.
    """
    begun = time.monotonic()
    root = Path(dataset).expanduser()
    with dataset_errors():
        files = _data_files(root)
    with PeakMemory() as memory:
        findings = Findings()
        ours = _is_ours(root)
        manifest = (books.read_object(root, names.MANIFEST, findings) if ours else None) or {}
        if manifest:
            check_format(root, manifest)
        job = _job(root, manifest, findings, ours=ours)
        accounts = sorted(_scan_all(job, files, max_cpus or usable_cpus(), progress), key=lambda a: a.file)
        findings.take(merge(accounts))
        patients = metadata.check_one_file(accounts, findings)
        _check_beside(root, job, manifest, accounts, patients, findings)
    return CheckReport(
        path=root,
        ours=ours,
        patients=len(patients),
        events=sum(a.events for a in accounts),
        files=len(accounts),
        findings=findings,
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


def _job(root: Path, manifest: Mapping[str, Any], findings: Findings, *, ours: bool) -> ScanJob:
    content = books.read_object(root, names.FLAGS, findings) if ours else None
    return ScanJob(
        root=root,
        ours=ours,
        source=manifest.get("release", {}).get("source", "mimiciv"),
        clock=manifest.get("settings", {}).get("clock", "event"),
        flags=books.flag_values(content or {}, findings),
        hashed=frozenset(manifest.get("contents", {})),
    )


def _scan_all(job: ScanJob, files: Mapping[str, int], cpus: int, progress: Progress | None) -> Iterator[Account]:
    total, done = sum(files.values()), 0
    workers = min(cpus, len(files)) if total > _WORTH_PROCESSES else 1
    # The largest first, so that none is left alone at the end.
    tasks = {file: (job, file) for file in sorted(files, key=lambda f: (-files[f], f))}
    for file, account in run_tasks(scan, tasks, workers):
        done += files[file]
        if progress is not None:
            progress(done, total)
        yield account


def _check_beside(
    root: Path,
    job: ScanJob,
    manifest: Mapping[str, Any],
    accounts: list[Account],
    patients: Mapping[int, tuple[str, Patient]],
    findings: Findings,
) -> None:
    """Everything that is not seen in one data file alone."""
    observed = metadata.all_codes(accounts)
    codes = metadata.read_table(root, names.CODES, findings)
    splits: dict[int, str] = {}
    if codes is not None:
        metadata.check_codes(codes, observed, findings)
    else:
        findings.skip("there is no codes.parquet", "codes_schema", "codes_unique", "codes_covered", "code_counts")
    if job.ours or (root / names.SPLITS).is_file():
        table = metadata.read_table(root, names.SPLITS, findings)
        if table is not None:
            splits = metadata.check_splits(table, patients, findings, ours=job.ours)
    else:
        findings.skip("there is no subject_splits.parquet", "splits_schema", "one_split", "splits_covered")
    about = books.read_object(root, names.DATASET_JSON, findings)
    if about is not None:
        books.check_dataset_json(about, findings)
    if not job.ours:
        own = [name for name, promise in PROMISES.items() if promise.scope == "ehrtraj"]
        findings.skip("the dataset was not made by ehrtraj", *own)
        return
    whole = all(account.whole for account in accounts)
    if codes is not None and whole:
        standardised = bool(manifest.get("settings", {}).get("standardise"))
        metadata.check_own_codes(codes, observed, findings, standardised=standardised)
    metadata.check_encounters(accounts, findings)
    metadata.check_own_splits(splits, patients, findings, manifest.get("settings", {}).get("seed"))
    subjects = metadata.read_table(root, names.SUBJECTS, findings, *metadata.SUBJECT_COLUMNS)
    if subjects is not None:
        metadata.check_subjects(subjects, patients, splits, findings)
    ledger = metadata.read_table(root, names.LEDGER, findings, *LEDGER_SCHEMA.names)
    if ledger is not None:
        books.check_ledger(ledger, accounts if whole else None, root, findings)
    if manifest:
        events = sum(a.events for a in accounts)
        books.check_summary(manifest, len(patients), events, len(observed), findings)
        applied = metadata.read_table(root, names.APPLIED, findings, *books.APPLIED_COLUMNS)
        if applied is not None and whole:
            books.check_applied(applied, accounts, job.flags, findings)
        if whole:
            books.check_notes(root, accounts, job.flags, findings)
        books.check_hashes(root, manifest.get("contents"), accounts, findings)
    books.check_private(root, findings)
