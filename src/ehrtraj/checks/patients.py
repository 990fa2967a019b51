"""Check that patients, admissions, splits and subjects.parquet agree with the events of all files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import meds
import numpy as np

from ehrtraj.checks.findings import Finding, Findings
from ehrtraj.checks.metadata import has_columns, listed
from ehrtraj.checks.official import refusal
from ehrtraj.checks.rows import shown_time
from ehrtraj.checks.tables import first, load
from ehrtraj.checks.tally import ENCOUNTERS
from ehrtraj.dataset.database import Database
from ehrtraj.format import splits
from ehrtraj.format.arrays import NULL
from ehrtraj.format.names import SPLITS, SUBJECTS

_SPLIT_NAMES = (meds.train_split, meds.tuning_split, meds.held_out_split)
SUBJECT_COLUMNS = ("subject_id", "split", "shard", "position", "n_events", "first_time", "last_time")
_SUBJECT_TYPES = {name: "VARCHAR" if name in ("split", "shard") else "BIGINT" for name in SUBJECT_COLUMNS}
# Number of patients whose splits are computed at a time.
_AT_ONCE = 1 << 14

# The last line of a patient is used, at the position of the first.
_CHOSEN_SPLITS = """
SELECT subject_id, arg_max(split, "row") AS split, min("row") AS place FROM splits
WHERE subject_id IS NOT NULL AND split IS NOT NULL GROUP BY subject_id
"""
_SUBJECTS = f"""
SELECT l.subject_id, l.split, l.shard, l.position, l.n_events,
    coalesce(l.first_time, {NULL}), coalesce(l.last_time, {NULL}), l."row",
    p.name, p.position, p.events, p.first_time, p.last_time, s.split
FROM subjects l LEFT JOIN patients p USING (subject_id) LEFT JOIN chosen_splits s USING (subject_id)
ORDER BY l."row"
"""


def check_pieces(tables: Database, findings: Findings) -> None:
    """Check that a patient's events are in one file and contiguous."""
    again = """
        SELECT f.name, r.position, r.subject_id, r.file FROM runs r JOIN held h USING (subject_id, file)
        JOIN files f ON f.number = r.file WHERE h.runs > 1 AND r.position > h.position
    """
    rows, count = first(tables, again, "file, position")
    places = [Finding("events of other patients are in between", file, at, who) for file, at, who, _ in rows]
    findings.add("contiguous", places, count)
    twice = """
        SELECT p.name AS first_file, f.name, h.position, h.subject_id, h.file
        FROM held h JOIN patients p USING (subject_id) JOIN files f ON f.number = h.file WHERE h.file <> p.file
    """
    rows, count = first(tables, twice, "file, position")
    places = [Finding(f"is also in {other}", file, at, who) for other, file, at, who, _ in rows]
    findings.add("one_file", places, count)


def check_encounters(tables: Database, findings: Findings, unverified: Collection[str]) -> None:
    """Check that no admission or stay belongs to two patients.

    Args:
        tables: database with the counts of the data files.
        findings: receives the violations.
        unverified: columns whose owners the build could not know, because their tables were not in the release.
    """
    for kind, name in enumerate(ENCOUNTERS):
        if name in unverified:
            findings.skip(f"the release had no table with the patient of each {name}", "encounters")
            continue
        shared = """
            SELECT encounter, subject_id, before FROM (
                SELECT *, lag(subject_id) OVER (PARTITION BY encounter ORDER BY subject_id) AS before
                FROM (SELECT DISTINCT encounter, subject_id FROM encounters WHERE kind = $1 AND encounter IN (
                    SELECT encounter FROM encounters WHERE kind = $1 GROUP BY encounter
                    HAVING min(subject_id) <> max(subject_id)))
            ) WHERE before IS NOT NULL
        """
        rows, count = first(tables, shared, "encounter, subject_id", [kind])
        places = [
            Finding(f"{name} {encounter} also belongs to patient {before}", None, None, who)
            for encounter, who, before in rows
        ]
        findings.add("encounters", places, count)


def check_splits(root: Path, tables: Database, findings: Findings, *, from_ehrtraj: bool) -> None:
    """Check subject_splits.parquet against MEDS. Creates the table `chosen_splits`, one split per patient."""
    table = load(tables, root, SPLITS, "splits", {"subject_id": "BIGINT", "split": "VARCHAR"}, findings)
    if table is None:
        return
    if (why := refusal(meds.SubjectSplitSchema, table)) is not None:
        findings.one("splits_schema", why, SPLITS)
    if not {"subject_id", "split"} <= set(table.column_names):
        return
    tables.execute("CREATE OR REPLACE TABLE chosen_splits AS " + _CHOSEN_SPLITS)
    known = list(_SPLIT_NAMES)
    unknown = "SELECT DISTINCT split FROM splits WHERE subject_id IS NOT NULL AND split NOT IN (SELECT unnest(?))"
    listed("splits_schema", findings, first(tables, unknown, "split", [known]), "'{}' is not a valid split", SPLITS)
    again = """
        SELECT subject_id, min("row") AS place FROM splits WHERE subject_id IS NOT NULL AND split IS NOT NULL
        GROUP BY subject_id HAVING count(*) > 1
    """
    listed("one_split", findings, first(tables, again, "place"), "patient {} is listed more than once", SPLITS)
    lacking = "SELECT subject_id FROM patients ANTI JOIN chosen_splits USING (subject_id)"
    listed("splits_covered", findings, first(tables, lacking, "subject_id"), "patient {} is missing", SPLITS)
    if from_ehrtraj:
        more = "SELECT subject_id FROM chosen_splits ANTI JOIN patients USING (subject_id)"
        listed("splits_covered", findings, first(tables, more, "subject_id"), "patient {} has no events", SPLITS)


def check_split_hashes(tables: Database, findings: Findings, settings: Mapping[str, Any]) -> None:
    """Check that splits agree with the hash, and that each patient is in the folder of its split.

    Args:
        tables: database with the counts of the data files.
        findings: receives the violations.
        settings: settings of the build, from the manifest.
    """
    elsewhere = """
        SELECT p.name, p.position, subject_id, s.split, p.file FROM patients p JOIN chosen_splits s USING (subject_id)
        WHERE p.folder <> s.split
    """
    rows, count = first(tables, elsewhere, "file, position")
    places = [Finding(f"its split is {split}", file, at, who) for file, at, who, split, _ in rows]
    findings.add("split_folders", places, count)
    seed, method = settings.get("seed"), str(settings.get("splits", splits.DEFAULT_SPLITS))
    if seed is None:
        findings.skip("the manifest has no seed", "split_hash")
        return
    if (upper := splits.bounds_of(method)) is None:
        findings.skip(f"the splits of the build are those of {method}, and not of a hash", "split_hash")
        return
    for who, split, by_hash in _splits_by_hash(tables, splits.HashSplits(seed, upper)):
        if split != by_hash:
            findings.one("split_hash", f"split is {split}, but the hash gives {by_hash}", SPLITS, who)


def _splits_by_hash(tables: Database, hashed: splits.HashSplits) -> Iterator[tuple[int, str, str]]:
    """Yield each patient with its split and the split of the hash."""
    piece: list[tuple[Any, ...]] = []

    def computed() -> Iterator[tuple[int, str, str]]:
        subjects = np.array([who for who, _ in piece], np.int64)
        for (who, split), index in zip(piece, hashed.of(subjects).tolist(), strict=True):
            yield who, split, splits.SPLITS[index]

    for row in tables.rows("SELECT subject_id, split FROM chosen_splits ORDER BY place"):
        piece.append(row)
        if len(piece) == _AT_ONCE:
            yield from computed()
            piece.clear()
    yield from computed()


def check_subjects(root: Path, tables: Database, findings: Findings) -> None:
    """Check that subjects.parquet has a row for each patient, with the location of its events."""
    table = load(tables, root, SUBJECTS, "subjects", dict(_SUBJECT_TYPES), findings)
    if table is None or not has_columns(table, SUBJECTS, findings, *SUBJECT_COLUMNS):
        return
    again = 'SELECT subject_id, min("row") AS place FROM subjects GROUP BY subject_id HAVING count(*) > 1'
    listed("subjects", findings, first(tables, again, "place"), "patient {} is listed more than once", SUBJECTS)
    for row in tables.rows(_SUBJECTS):
        for place in _wrong_subject(*row):
            findings.add("subjects", [place], 1)
    lacking = "SELECT subject_id FROM patients ANTI JOIN subjects USING (subject_id)"
    listed("subjects", findings, first(tables, lacking, "subject_id"), "patient {} is missing", SUBJECTS)


def _wrong_subject(
    who: int,
    split: str | None,
    shard: str | None,
    position: int | None,
    events: int | None,
    first_time: int,
    last_time: int,
    number: int,
    file: str | None,
    *seen: Any,  # noqa: ANN401  # position, events, first_time, last_time and split, all None without events
) -> Iterator[Finding]:
    if file is None:
        yield Finding("has no events", SUBJECTS, number, who)
        return
    seen_position, seen_events, seen_first, seen_last, seen_split = seen
    listed_place = (f"data/{split}/{shard}.parquet", position, events)
    if listed_place != (file, seen_position, seen_events):
        words = f"{_number(events)} events are listed from row {_number(position)} of {listed_place[0]}"
        seen_words = f"there are {seen_events:,} from row {seen_position:,} of {file}"
        yield Finding(f"{words}, but {seen_words}", SUBJECTS, number, who)
    if seen_split is not None and split != seen_split:
        yield Finding(f"split is {split}, but {seen_split} in {SPLITS}", SUBJECTS, number, who)
    for name, listed_time, value in (("first_time", first_time, seen_first), ("last_time", last_time, seen_last)):
        if listed_time != value:
            words = f"{name} is {shown_time(listed_time)}, but {shown_time(value)} in the data"
            yield Finding(words, SUBJECTS, number, who)


def _number(value: int | None) -> str:
    return "None" if value is None else f"{value:,}"
