"""Multiplying a release: copies are disjoint and ordered, and build to as many times the events."""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import duckdb
import pytest

import ehrtraj

COPIES = 2
# Identifiers of items, staff and codes, not of patients: all copies have the same.
SHARED = ("itemid", "caregiver_id", "provider_id")


@cache
def rows(release: Path, table: str) -> list[dict[str, str]]:
    """The rows of a table as text, in the order of the file. Tests must not change them."""
    with duckdb.connect() as connection:
        found = connection.execute("FROM read_csv(?, all_varchar = true)", [str(release / f"{table}.csv.gz")])
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def tables(release: Path) -> list[str]:
    return sorted(str(path.relative_to(release)).removesuffix(".csv.gz") for path in release.glob("*/*.csv.gz"))


@pytest.fixture(scope="module")
def multiplied(copies: ModuleType, release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copies.multiply(release, tmp_path_factory.mktemp("copies") / "x2", COPIES)


def test_the_tables_are_those_of_the_release(release: Path, multiplied: Path) -> None:
    assert tables(multiplied) == tables(release)
    assert not list(multiplied.rglob("*.part"))


def test_the_first_copy_is_the_release_and_the_second_differs_only_in_identifiers(
    copies: ModuleType, release: Path, multiplied: Path
) -> None:
    identifiers = {copies.PATIENT, *copies.NUMBERS, *copies.BEGIN_WITH_PATIENT}
    for table in tables(release):
        before, after = rows(release, table), rows(multiplied, table)
        if before and copies.PATIENT not in before[0]:
            assert after == before
            continue
        before = sorted(before, key=lambda row: int(row[copies.PATIENT]))
        assert after[: len(before)] == before
        second = after[len(before) :]
        assert [{k: v for k, v in row.items() if k not in identifiers} for row in second] == [
            {k: v for k, v in row.items() if k not in identifiers} for row in before
        ]


def assert_ordered(found: list[dict[str, str]]) -> None:
    patients = [int(row["subject_id"]) for row in found if "subject_id" in row]
    assert all(earlier <= later for earlier, later in pairwise(patients))


def test_rows_are_ordered_by_patient(multiplied: Path) -> None:
    for table in tables(multiplied):
        assert_ordered(rows(multiplied, table))


def test_an_unordered_table_is_ordered_and_a_patient_keeps_the_order_of_rows(
    copies: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "small" / "hosp").mkdir(parents=True)
    (tmp_path / "small" / "hosp" / "admissions.csv").write_text("subject_id,hadm_id\n20,3\n10,2\n20,1\n")
    found = rows(copies.multiply(tmp_path / "small", tmp_path / "x2", COPIES), "hosp/admissions")
    assert [(int(row["subject_id"]), int(row["hadm_id"])) for row in found] == [
        *((10, 2), (20, 3), (20, 1)),
        *((110, 12), (120, 13), (120, 11)),
    ]


def test_no_two_copies_share_an_identifier(release: Path, multiplied: Path) -> None:
    seen = {"first": set(), "second": set()}
    for table in tables(release):
        size, after = len(rows(release, table)), rows(multiplied, table)
        if "subject_id" not in (after or [{}])[0]:
            continue
        columns = [c for c in after[0] if c.endswith("id") and not c.endswith(SHARED)]
        for copy, part in (("first", after[:size]), ("second", after[size:])):
            seen[copy] |= {(column, row[column]) for row in part for column in columns if row[column] is not None}
    assert {column for column, _ in seen["first"]} >= {"subject_id", "hadm_id", "stay_id", "poe_id", "emar_id"}
    assert not seen["first"] & seen["second"]


def test_references_between_tables_are_kept(release: Path, multiplied: Path) -> None:
    for table, column, target in (
        ("hosp/labevents", "hadm_id", "hosp/admissions"),
        ("icu/chartevents", "stay_id", "icu/icustays"),
        ("hosp/emar_detail", "emar_id", "hosp/emar"),
        ("ed/edstays", "stay_id", "hosp/transfers"),
    ):
        other = "transfer_id" if target == "hosp/transfers" else column
        found = []
        for folder in (release, multiplied):
            targets = {row[other] for row in rows(folder, target)}
            found.append(sum(row[column] in targets for row in rows(folder, table)))
        before, after = found
        assert 0 < COPIES * before == after, table


def test_a_multiplied_release_builds_to_as_many_times_the_events(built: Path, multiplied: Path, tmp_path: Path) -> None:
    result = ehrtraj.build(multiplied, tmp_path, "x2", max_cpus=1)
    once, twice = (json.loads((path / "manifest.json").read_text())["summary"] for path in (built, result.path))
    for count in ("patients", "events"):
        assert twice[count] == COPIES * once[count]


def test_an_existing_result_is_kept(copies: ModuleType, release: Path, tmp_path: Path) -> None:
    (tmp_path / "x2").mkdir()
    assert list(copies.multiply(release, tmp_path / "x2", COPIES).iterdir()) == []


def test_a_folder_without_tables_is_refused(copies: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="contains no module"):
        copies.multiply(tmp_path, tmp_path / "x2", COPIES)


def test_copies_of_the_demo_are_disjoint_and_ordered(copies: ModuleType, demo: Path, tmp_path: Path) -> None:
    multiplied = copies.multiply(demo, tmp_path / "x2", COPIES)
    for table, key in (("hosp/admissions", "hadm_id"), ("hosp/emar", "emar_id"), ("icu/icustays", "stay_id")):
        before, after = ([row[key] for row in rows(folder, table)] for folder in (demo, multiplied))
        assert len(after) == COPIES * len(before)
        assert len(set(after)) == COPIES * len(set(before))
        assert_ordered(rows(multiplied, table))
