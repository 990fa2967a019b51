"""Whether ledger, rejects and manifest agree with the files, and whether files are whole and private."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
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
from ehrtraj.format.names import APPLIED, DATA, DATASET_JSON, EVENT_TYPES, FLAGS, LEDGER, MANIFEST, NOTES

_SEPARATE = "text_separate"
"""Flag of events whose text lies in notes/."""

APPLIED_COLUMNS = ("rule", "source_table", "events")

_EVENTS = "SELECT source_table, sum(events)::BIGINT AS events"
# A higher one is in no event: flags are 64 bits.
_HIGHEST_BIT = 2**63 - 1


def read_object(root: Path, name: str, findings: Findings) -> dict[str, Any] | None:
    """Read a JSON object; None, and a finding, where it is not there or broken."""
    try:
        content = json.loads((root / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        findings.one("readable", "is not there", name)
        return None
    except (OSError, ValueError) as error:
        findings.one("readable", f"is no JSON: {error}", name)
        return None
    if not isinstance(content, dict):
        findings.one("readable", "is no JSON object", name)
        return None
    return content


def check_dataset_json(content: Mapping[str, Any], findings: Findings) -> None:
    """dataset.json by MEDS' schema, which lets unknown keys pass: they are looked for here."""
    if (why := refusal(meds.DatasetMetadataSchema, content)) is not None:
        findings.one("dataset_json", why, DATASET_JSON)
    for key in sorted(set(content) - set(meds.DatasetMetadataSchema.schema()["properties"])):
        findings.one("dataset_json", f"'{key}' is none of its keys", DATASET_JSON)


def flag_values(content: Mapping[str, Any], findings: Findings) -> dict[str, int]:
    """Value of each flag in flags.json; each must be one bit of its own."""
    values: dict[str, int] = {}
    for name, about in content.items():
        value = about.get("value") if isinstance(about, dict) else None
        if not isinstance(value, int) or value <= 0 or value & (value - 1) or value in values.values():
            findings.one("flags", f"{name} has the value {value}, which is no bit of its own", FLAGS)
        else:
            values[name] = value
    return values


def event_types(content: Mapping[str, Any], findings: Findings) -> dict[str, EventType]:
    """The kinds of events in event_types.json."""
    try:
        return from_json(content)
    except ValueError as error:
        findings.one("event_types", str(error), EVENT_TYPES)
        return {}


def check_ledger(ledger: pa.Table, tables: Database | None, root: Path, findings: Findings) -> None:
    """The ledger adds up, and its events and rejected rows are those in the files.

    Args:
        ledger: of the dataset.
        tables: what its data files hold; None where it could not be counted by table.
        root: of the dataset.
        findings: receives what is wrong.
    """
    rows: dict[str, Counter[str]] = {}
    events: Counter[str] = Counter()
    aside: dict[str, Counter[str]] = {}
    for line in ledger.to_pylist():
        rows.setdefault(line["table"], Counter())[line["outcome"]] += line["rows"]
        events[line["table"]] += line["events"] or 0
        if line["outcome"] == "rejected":
            aside.setdefault(line["table"], Counter())[line["reason"]] += line["rows"]
    for table, counts in rows.items():
        rest = counts.total() - counts["read"]
        if rest != counts["read"]:
            findings.one("ledger", f"{table}: {counts['read']:,} rows read, {rest:,} accounted for", LEDGER)
    _check_rejects(aside, root, findings)
    if tables is None:
        return
    seen = Counter(dict(tables.rows(f"{_EVENTS} FROM marks WHERE source_table IS NOT NULL GROUP BY ALL")))
    for name in sorted(set(events) | set(seen)):
        if events[name] != seen[name]:
            words = f"{name}: {events[name]:,} events in the ledger, {seen[name]:,} in the files"
            findings.one("ledger_events", words, LEDGER)


def _check_rejects(aside: Mapping[str, Counter[str]], root: Path, findings: Findings) -> None:
    there = {f"rejected/{p.name}" for p in (root / "rejected").glob("*.parquet")}
    wanted = {f"rejected/{table.rpartition('/')[2]}.parquet": reasons for table, reasons in aside.items()}
    for file in sorted(there | set(wanted)):
        said, kept = wanted.get(file, Counter()), Counter[str]()
        if file in there:
            try:
                kept = _counts(root / file, "reason")
            except (pa.ArrowInvalid, KeyError, OSError) as error:
                findings.one("readable", str(error).partition("\n")[0], file)
                continue
        for reason in sorted(set(said) | set(kept)):
            if said[reason] != kept[reason]:
                words = f"{kept[reason]:,} rows {reason}; {said[reason]:,} in the ledger"
                findings.one("rejected", words, file)


def _counts(path: Path, column: str) -> Counter[str]:
    counts: Counter[str] = Counter()
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=[column]):
            counts.update(batch[column].to_pylist())
    return counts


def check_applied(table: pa.Table, tables: Database, flags: Mapping[str, int], findings: Findings) -> None:
    """rules_applied.parquet has as many events of each flag and table as the files."""
    said: Counter[tuple[str, str]] = Counter()
    for rule, name, events in zip(*(table[c].to_pylist() for c in APPLIED_COLUMNS), strict=True):
        if rule in flags:
            said[rule, name] += events
    seen: Counter[tuple[str, str]] = Counter()
    for flag, bit in flags.items():
        if bit <= _HIGHEST_BIT:
            query = f"{_EVENTS} FROM marks WHERE flags & ? <> 0 AND source_table IS NOT NULL GROUP BY ALL"
            seen.update({(flag, name): events for name, events in tables.rows(query, [bit])})
    for flag, name in sorted(set(said) | set(seen)):
        if said[flag, name] != seen[flag, name]:
            words = f"{flag}, {name}: {said[flag, name]:,} events, in the files {seen[flag, name]:,}"
            findings.one("rules_applied", words, APPLIED)


def check_notes(root: Path, tables: Database, flags: Mapping[str, int], findings: Findings) -> None:
    """Beside each data file, as many texts of each table as it has events that are marked so."""
    if (mark := flags.get(_SEPARATE)) is None:
        findings.skip(f"flags.json does not name {_SEPARATE}", "notes")
        return
    wanted: dict[str, Counter[str]] = {}
    if mark <= _HIGHEST_BIT:
        query = """
            SELECT name, source_table, sum(events)::BIGINT FROM marks JOIN files ON number = file
            WHERE flags & ? <> 0 AND source_table IS NOT NULL GROUP BY ALL
        """
        for name, table, events in tables.rows(query, [mark]):
            wanted.setdefault(name.replace(f"{DATA}/", f"{NOTES}/", 1), Counter())[table] = events
    there = {p.relative_to(root).as_posix() for p in (root / NOTES).rglob("*.parquet")}
    for file in sorted(there | set(wanted)):
        marked, kept = wanted.get(file, Counter()), Counter[str]()
        if file in there:
            try:
                kept = _counts(root / file, "source_table")
            except (pa.ArrowInvalid, KeyError, OSError) as error:
                findings.one("readable", str(error).partition("\n")[0], file)
                continue
        for table in sorted(set(marked) | set(kept)):
            if marked[table] != kept[table]:
                words = f"{kept[table]:,} texts of {table}; {marked[table]:,} events are marked so"
                findings.one("notes", words, file)


def check_summary(manifest: Mapping[str, Any], patients: int, events: int, codes: int, findings: Findings) -> None:
    """The manifest's numbers."""
    said = manifest.get("summary", {})
    for name, value in (("patients", patients), ("events", events), ("codes", codes)):
        if said.get(name) != value:
            findings.one("summary", f"{said.get(name)} {name}, in the files {value}", MANIFEST)


def check_hashes(
    root: Path,
    listed: Mapping[str, Mapping[str, Any]] | None,
    hashes: Mapping[str, tuple[int, str | None]],
    findings: Findings,
) -> None:
    """Each file is the one that was published, and none was added.

    Args:
        root: of the dataset.
        listed: bytes and sha256 of each file by the manifest.
        hashes: the same of the files that were read before.
        findings: receives what is wrong.
    """
    if listed is None:
        findings.skip("the manifest lists no files of the dataset", "hashes")
        return
    there = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()} - {MANIFEST}
    for file in sorted(there - set(listed)):
        findings.one("hashes", "is not in the manifest", file)
    for file, said in listed.items():
        path = root / file
        if file not in there:
            findings.one("readable", "is in the manifest, but not there", file)
            continue
        size, sha256 = hashes.get(file) or (path.stat().st_size, None)
        if size != said["bytes"]:
            findings.one("hashes", f"has {size:,} bytes; {said['bytes']:,} bytes were published", file)
        elif (sha256 or sha256_of(path)) != said["sha256"]:
            findings.one("hashes", "has other contents than were published", file)


def check_private(root: Path, findings: Findings) -> None:
    """Nobody but the owner can read the dataset."""
    if os.name == "nt":
        findings.skip("this system has no such modes", "private")
        return
    for path in _walk(root):
        mode, wanted = stat.S_IMODE(path.lstat().st_mode), 0o700 if path.is_dir() else 0o600
        if mode != wanted:
            place = Finding(f"is {mode:04o}, not {wanted:04o}", path.relative_to(root).as_posix())
            findings.add("private", [place], 1)


def _walk(path: Path) -> Iterator[Path]:
    """A folder and all that is in it, a folder before its content, by name: only one folder's names are in memory."""
    yield path
    if path.is_dir() and not path.is_symlink():
        for inside in sorted(path.iterdir()):
            yield from _walk(inside)
