"""Find out which release lies in a folder: modules, tables, columns and version, all from the files themselves."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from ehrtraj.errors import ReleaseError
from ehrtraj.release import schema
from ehrtraj.release.reader import read_header
from ehrtraj.release.schema import Table

_ENDINGS = (".csv.gz", ".csv")
_SEARCH_DEPTH = 5
SYNTHETIC_MARKER = "ehrtraj-synth.json"
"""File that `ehrtraj synth` leaves in what it makes, so that nobody takes it for the real thing."""
_VERSION_IN_PATH = re.compile(r"\d+\.\d+")


@dataclass(frozen=True)
class TableFile:
    """A table that is there.

    Attributes:
        table: what is known of it.
        path: its file.
        header: column names as the file writes them.
        size: bytes of the file.
        mtime_ns: time of last change.
    """

    table: Table
    path: Path
    header: tuple[str, ...]
    size: int
    mtime_ns: int

    @property
    def present(self) -> dict[str, str]:
        """Known columns that the file has: our name to the file's."""
        written = {name.lower(): name for name in self.header}
        return {c: written[c.lower()] for c in self.table.columns if c.lower() in written}


@dataclass(frozen=True)
class Release:
    """A release on disk.

    Attributes:
        source: `mimiciv`.
        root: folder that holds the modules.
        version: `2.2`, `3.1`, `demo 2.2`, or `unknown` where neither path nor files tell.
        files: tables that are there, by full name.
        missing: full names of known tables that are not there.
        notes: what a user should know, one sentence each.
    """

    source: str
    root: Path
    version: str
    files: dict[str, TableFile]
    missing: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())


def _find(folder: Path, module: str, name: str) -> Path | None:
    for ending in _ENDINGS:
        path = folder / module / f"{name}{ending}"
        if path.is_file():
            return path
    return None


def _is_root(folder: Path, tables: dict[str, Table]) -> bool:
    return any(_find(folder, t.module, t.name) for t in tables.values() if t.kind == "patient")


def _roots(folder: Path, tables: dict[str, Table], depth: int) -> list[Path]:
    if _is_root(folder, tables):
        return [folder]
    if depth == 0:
        return []
    try:
        children = sorted(c for c in folder.iterdir() if c.is_dir() and not c.name.startswith("."))
    except PermissionError:
        return []
    return [root for child in children for root in _roots(child, tables, depth - 1)]


def _find_root(data_dir: Path, tables: dict[str, Table]) -> Path:
    if not data_dir.exists():
        raise ReleaseError(f"no such folder: {data_dir}")
    if not data_dir.is_dir():
        raise ReleaseError(f"{data_dir} is a file: name the folder that holds hosp/ and icu/")
    start = data_dir.parent if data_dir.name in {t.module for t in tables.values()} else data_dir
    roots = _roots(start, tables, _SEARCH_DEPTH)
    if not roots:
        inside = ", ".join(sorted(p.name for p in data_dir.iterdir())[:8]) or "nothing"
        raise ReleaseError(
            f"{data_dir} is not a MIMIC-IV release: neither it nor a folder in it has hosp/patients.csv.gz, "
            f"icu/chartevents.csv.gz or another of its tables (it holds: {inside})"
        )
    if len(roots) > 1:
        listed = "\n  ".join(map(str, roots))
        raise ReleaseError(f"{data_dir} holds several releases; name one of them:\n  {listed}")
    return roots[0]


def _table_file(table: Table, path: Path) -> TableFile:
    header = tuple(read_header(path))
    seen = [h.lower() for h in header]
    if twice := sorted({h for h in seen if seen.count(h) > 1}):
        raise ReleaseError(f"{path}: its first line names {', '.join(twice)} twice")
    if lacking := [c for c in table.key_columns if c.lower() not in seen]:
        shown = ", ".join(header)[:200]
        raise ReleaseError(
            f"{path}: its first line lacks the column {', '.join(lacking)}, without which {table.full_name} cannot be "
            f"read (it has: {shown}). Download the file again, or move it elsewhere to build without it"
        )
    stat = path.stat()
    return TableFile(table, path, header, stat.st_size, stat.st_mtime_ns)


def _version(root: Path) -> str:
    if (marker := root / SYNTHETIC_MARKER).is_file():
        return f"synthetic {json.loads(marker.read_text()).get('release', 'unknown')}"
    is_demo = (root / "demo_subject_id.csv").is_file()
    in_path = [part for part in root.parts if _VERSION_IN_PATH.fullmatch(part)]
    number = in_path[-1] if in_path else "2.2" if is_demo else ""
    return " ".join(filter(None, ("demo" if is_demo else "", number))) or "unknown"


def version_by_counts(rows: dict[str, int], source: str = "mimiciv") -> str | None:
    """The published release whose row counts agree with these for most tables, or None.

    Args:
        rows: rows read by bare table name.
        source: whose published counts to compare with.
    """
    best: tuple[int, str] = (0, "")
    for release, counts in schema.published_row_counts(source).items():
        same = sum(counts.get(name) == n for name, n in rows.items())
        best = max(best, (same, release))
    return best[1] if rows and best[0] * 2 > len(rows) else None


def _notes(files: dict[str, TableFile], root: Path) -> list[str]:
    notes = []
    read = {file.table.module for file in files.values()}
    others = sorted(d.name for d in root.iterdir() if d.is_dir() and d.name not in read and any(d.glob("*.csv*")))
    if others:
        notes.append(f"modules this version does not read, left out: {', '.join(others)}")
    for name, file in files.items():
        if lacking := [c for c in file.table.columns if c not in file.present]:
            notes.append(f"{name} has no column {', '.join(lacking)}: null in this build")
        known = {c.lower() for c in file.table.columns}
        if unknown := [h for h in file.header if h.lower() not in known]:
            notes.append(f"{name} has columns this version does not know, left out: {', '.join(unknown)}")
        if file.path.name.endswith(".gz") and file.path.with_suffix("").is_file():
            notes.append(f"{name} lies there as .csv.gz and as .csv: the .csv.gz is read")
    return notes


def detect(data_dir: Path, source: str = "mimiciv") -> Release:
    """Find the release in `data_dir` or in a folder below it.

    Args:
        data_dir: the release's own folder, a module of it, or one above it such as `physionet.org/`.
        source: whose tables to look for.

    Raises:
        ReleaseError: if there is none, more than one, or a table lacks a key column.
    """
    tables = schema.tables(source)
    root = _find_root(data_dir, tables)
    files: dict[str, TableFile] = {}
    missing = []
    for name, table in tables.items():
        if table.kind == "no_patients":
            continue
        if path := _find(root, table.module, table.name):
            files[name] = _table_file(table, path)
        else:
            missing.append(name)
    return Release(source, root, _version(root), files, tuple(missing), tuple(_notes(files, root)))


def read_subject_file(path: Path) -> list[int]:
    """Subject ids from a text or CSV file: the column `subject_id`, or the first column where there is no header.

    Raises:
        ReleaseError: if the file cannot be read or a line is no number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            rows = [row for row in csv.reader(handle) if row and row[0].strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ReleaseError(f"cannot read the subjects file {path}: {error}") from None
    column = 0
    if rows and not rows[0][0].strip().isdigit():
        names = [c.strip().lower() for c in rows[0]]
        column = names.index("subject_id") if "subject_id" in names else 0
        rows = rows[1:]
    try:
        return [int(row[column]) for row in rows]
    except (ValueError, IndexError):
        raise ReleaseError(f"{path} is not a list of subject_ids: one number a line is needed") from None
