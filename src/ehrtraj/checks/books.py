"""Check that ledger, rejected rows and manifest agree with the files, and that files are complete and private."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import meds
import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj.checks.findings import Finding, Findings
from ehrtraj.checks.official import refusal
from ehrtraj.checks.scan import sha256_of
from ehrtraj.dataset.database import Database
from ehrtraj.format.event_types import EventType, from_json
from ehrtraj.format.names import (
    APPLIED,
    CONCEPT_FOLDERS,
    DATA,
    DATASET_JSON,
    EVENT_TYPES,
    FLAGS,
    LEDGER,
    MANIFEST,
    NOTES,
)

_SEPARATE = "text_separate"
"""Flag of events whose text is in notes/."""

APPLIED_COLUMNS = ("rule", "source_table", "events")

_EVENTS = "SELECT source_table, sum(events)::BIGINT AS events"
# No event can have a higher bit: flags has 64 bits.
_HIGHEST_BIT = 2**63 - 1


def read_object(root: Path, name: str, findings: Findings) -> dict[str, Any] | None:
    """Read a JSON object. If it is missing or damaged, add a finding and return None."""
    try:
        content = json.loads((root / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        findings.one("readable", "does not exist", name)
        return None
    except (OSError, ValueError) as error:
        findings.one("readable", f"is not valid JSON: {error}", name)
        return None
    if not isinstance(content, dict):
        findings.one("readable", "is not a JSON object", name)
        return None
    return content


def check_dataset_json(content: Mapping[str, Any], findings: Findings) -> None:
    """Check dataset.json with MEDS' schema, and for unknown keys, which the schema allows."""
    if (why := refusal(meds.DatasetMetadataSchema, content)) is not None:
        findings.one("dataset_json", why, DATASET_JSON)
    for key in sorted(set(content) - set(meds.DatasetMetadataSchema.schema()["properties"])):
        findings.one("dataset_json", f"'{key}' is not a valid key", DATASET_JSON)


def flag_values(content: Mapping[str, Any], findings: Findings) -> dict[str, int]:
    """Return the value of each flag in flags.json. Each must be a distinct single bit."""
    values: dict[str, int] = {}
    for name, about in content.items():
        value = about.get("value") if isinstance(about, dict) else None
        if not isinstance(value, int) or value <= 0 or value & (value - 1) or value in values.values():
            findings.one("flags", f"{name} has the value {value}, which is not a distinct single bit", FLAGS)
        else:
            values[name] = value
    return values


def event_types(content: Mapping[str, Any], findings: Findings) -> dict[str, EventType]:
    """Return the event types in event_types.json."""
    try:
        return from_json(content)
    except ValueError as error:
        findings.one("event_types", str(error), EVENT_TYPES)
        return {}


def check_ledger(ledger: pa.Table, tables: Database | None, root: Path, findings: Findings) -> None:
    """Check that the ledger is balanced, and that its events and rejected rows agree with the files.

    Args:
        ledger: ledger of the dataset.
        tables: database with the counts of the data files; None if they could not be counted by table.
        root: folder of the dataset.
        findings: receives the violations.
    """
    rows: dict[str, Counter[str]] = {}
    events: Counter[str] = Counter()
    rejected: dict[str, Counter[str]] = {}
    for line in ledger.to_pylist():
        rows.setdefault(line["table"], Counter())[line["outcome"]] += line["rows"]
        events[line["table"]] += line["events"] or 0
        if line["outcome"] == "rejected":
            rejected.setdefault(line["table"], Counter())[line["reason"]] += line["rows"]
    for table, counts in rows.items():
        rest = counts.total() - counts["read"]
        if rest != counts["read"]:
            findings.one(
                "ledger", f"{table}: {counts['read']:,} rows were read, but {rest:,} are accounted for", LEDGER
            )
    _check_rejected(rejected, root, findings)
    if tables is None:
        return
    seen = Counter(dict(tables.rows(f"{_EVENTS} FROM marks WHERE source_table IS NOT NULL GROUP BY ALL")))
    for name in sorted(set(events) | set(seen)):
        if events[name] != seen[name]:
            words = f"{name}: {events[name]:,} events in the ledger, but {seen[name]:,} in the files"
            findings.one("ledger_events", words, LEDGER)


def _check_rejected(rejected: Mapping[str, Counter[str]], root: Path, findings: Findings) -> None:
    existing = {f"rejected/{p.name}" for p in (root / "rejected").glob("*.parquet")}
    in_ledger = {f"rejected/{table.rpartition('/')[2]}.parquet": reasons for table, reasons in rejected.items()}
    for file in sorted(existing | set(in_ledger)):
        expected, found = in_ledger.get(file, Counter()), Counter[str]()
        if file in existing:
            try:
                found = _counts(root / file, "reason")
            except (pa.ArrowInvalid, KeyError, OSError) as error:
                findings.one("readable", str(error).partition("\n")[0], file)
                continue
        for reason in sorted(set(expected) | set(found)):
            if expected[reason] != found[reason]:
                words = f"{found[reason]:,} rows with the reason {reason}, but {expected[reason]:,} in the ledger"
                findings.one("rejected", words, file)


def _counts(path: Path, column: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=[column]):
            counts.update(batch[column].to_pylist())
    return counts


def check_applied(table: pa.Table, tables: Database, flags: Mapping[str, int], findings: Findings) -> None:
    """Check that rules_applied.parquet has the same number of events of each flag and table as the files."""
    recorded: Counter[tuple[str, str]] = Counter()
    for rule, name, events in zip(*(table[c].to_pylist() for c in APPLIED_COLUMNS), strict=True):
        if rule in flags:
            recorded[rule, name] += events
    seen: Counter[tuple[str, str]] = Counter()
    for flag, bit in flags.items():
        if bit <= _HIGHEST_BIT:
            query = f"{_EVENTS} FROM marks WHERE flags & ? <> 0 AND source_table IS NOT NULL GROUP BY ALL"
            seen.update({(flag, name): events for name, events in tables.rows(query, [bit])})
    for flag, name in sorted(set(recorded) | set(seen)):
        if recorded[flag, name] != seen[flag, name]:
            words = f"{flag}, {name}: {recorded[flag, name]:,} events, but {seen[flag, name]:,} in the files"
            findings.one("rules_applied", words, APPLIED)


def check_notes(root: Path, tables: Database, flags: Mapping[str, int], findings: Findings) -> None:
    """Check that each data file has as many texts of each table in notes/ as events with the flag."""
    if (bit := flags.get(_SEPARATE)) is None:
        findings.skip(f"flags.json does not contain {_SEPARATE}", "notes")
        return
    flagged: dict[str, Counter[str]] = {}
    if bit <= _HIGHEST_BIT:
        query = """
            SELECT name, source_table, sum(events)::BIGINT FROM marks JOIN files ON number = file
            WHERE flags & ? <> 0 AND source_table IS NOT NULL GROUP BY ALL
        """
        for name, table, events in tables.rows(query, [bit]):
            flagged.setdefault(name.replace(f"{DATA}/", f"{NOTES}/", 1), Counter())[table] = events
    existing = {p.relative_to(root).as_posix() for p in (root / NOTES).rglob("*.parquet")}
    for file in sorted(existing | set(flagged)):
        expected, found = flagged.get(file, Counter()), Counter[str]()
        if file in existing:
            try:
                found = _counts(root / file, "source_table")
            except (pa.ArrowInvalid, KeyError, OSError) as error:
                findings.one("readable", str(error).partition("\n")[0], file)
                continue
        for table in sorted(set(expected) | set(found)):
            if expected[table] != found[table]:
                words = f"{found[table]:,} texts of {table}, but {expected[table]:,} events are flagged"
                findings.one("notes", words, file)


def check_summary(manifest: Mapping[str, Any], patients: int, events: int, codes: int, findings: Findings) -> None:
    """Check the numbers in the manifest."""
    summary = manifest.get("summary", {})
    for name, value in (("patients", patients), ("events", events), ("codes", codes)):
        if summary.get(name) != value:
            findings.one("summary", f"{summary.get(name)} {name}, but {value} in the files", MANIFEST)


def foreign(root: Path, listed: Iterable[str]) -> list[str]:
    """Return the hidden files and folders in a dataset that other programs keep there, such as a cache.

    Args:
        root: folder of the dataset.
        listed: files of the dataset, from the manifest.
    """
    published = {file.partition("/")[0] for file in listed}
    hidden = (p for p in root.iterdir() if p.name.startswith(".") and p.name not in published)
    return sorted(f"{p.name}/" if p.is_dir() else p.name for p in hidden)


def check_hashes(
    root: Path,
    listed: Mapping[str, Mapping[str, Any]] | None,
    hashes: Mapping[str, tuple[int, str | None]],
    findings: Findings,
) -> None:
    """Check that each file is the published one, and that no files were added, except foreign ones.

    Args:
        root: folder of the dataset.
        listed: bytes and sha256 of each file from the manifest.
        hashes: size and SHA-256 of the files that were read before.
        findings: receives the violations.
    """
    if listed is None:
        findings.skip("the manifest does not list the files of the dataset", "hashes")
        return
    existing = {p.relative_to(root).as_posix() for p in _own_content(root, listed) if p.is_file()} - {MANIFEST}
    # Computed concepts have an index of their own, see `check_concepts`.
    existing -= {name for name in existing if name.partition("/")[0] in CONCEPT_FOLDERS}
    for file in sorted(existing - set(listed)):
        findings.one("hashes", "is not in the manifest", file)
    for file, recorded in listed.items():
        path = root / file
        if file not in existing:
            findings.one("readable", "is in the manifest, but does not exist", file)
            continue
        size, sha256 = hashes.get(file) or (path.stat().st_size, None)
        if size != recorded["bytes"]:
            findings.one("hashes", f"has {size:,} bytes, but {recorded['bytes']:,} bytes were published", file)
        elif (sha256 or sha256_of(path)) != recorded["sha256"]:
            findings.one("hashes", "has different content than the published file", file)


def check_private(root: Path, listed: Iterable[str], findings: Findings) -> None:
    """Check that only the owner can read the dataset. The mode of its folder also protects foreign files in it."""
    if os.name == "nt":
        findings.skip("this system has no POSIX file modes", "private")
        return
    for path in (root, *_own_content(root, listed)):
        mode, expected = stat.S_IMODE(path.lstat().st_mode), 0o700 if path.is_dir() else 0o600
        if mode != expected:
            place = Finding(f"has mode {mode:04o}, but must have {expected:04o}", path.relative_to(root).as_posix())
            findings.add("private", [place], 1)


def _own_content(root: Path, listed: Iterable[str]) -> Iterator[Path]:
    """Yield everything in a dataset except foreign files and folders."""
    others = {name.rstrip("/") for name in foreign(root, listed)}
    for path in sorted(root.iterdir()):
        if path.name not in others:
            yield from _walk(path)


def _walk(path: Path) -> Iterator[Path]:
    """Yield a folder and its content by name, folders before their content. Only one folder's names are in memory."""
    yield path
    if path.is_dir() and not path.is_symlink():
        for inside in sorted(path.iterdir()):
            yield from _walk(inside)
