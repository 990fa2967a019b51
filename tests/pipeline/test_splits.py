"""Splits of a build by choice: shares, a file, or calendar periods."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ehrtraj
from ehrtraj.errors import SettingsError
from ehrtraj.format.splits import SPLITS, HashSplits, ListedSplits, parse_splits, split_of, splits_from_json
from ehrtraj.storage.files import private_files

GROUPS = {1: "2008 - 2010", 2: "2011 - 2013", 3: "2014 - 2016", 4: None, 5: "2008 - 2010"}
STAY = {"admittime": "2150-03-01 08:00", "dischtime": "2150-03-05 12:00"}
TABLES = {
    "hosp/patients": [
        {"subject_id": who, "gender": "F", "anchor_age": 40, "anchor_year": 2150, "anchor_year_group": group}
        for who, group in GROUPS.items()
    ],
    "hosp/admissions": [{"subject_id": who, "hadm_id": who} | STAY for who in GROUPS],
}


def splits_in(dataset: Path) -> dict[int, str]:
    """Return the split of each patient, which is the same in all places."""
    ds = ehrtraj.open(dataset)
    listed = dict(ds.subjects.select("subject_id", "split").rows())
    assert dict(pl.read_parquet(dataset / "metadata" / "subject_splits.parquet").rows()) == listed
    for file in ds.files:
        assert {listed[who] for who in pl.read_parquet(file.path)["subject_id"]} == {file.split}
    return listed


def test_shares_are_those_of_the_hash(release: Path, tmp_path: Path) -> None:
    built = ehrtraj.build(release, tmp_path, "v1", max_cpus=1, splits=(0.3, 0.3, 0.4), seed=5).path
    found = splits_in(built)
    ids = np.array(list(found))
    assert list(found.values()) == [SPLITS[index] for index in split_of(ids, 5, (0.3, 0.6))]
    assert set(found.values()) == set(SPLITS)
    result = ehrtraj.check(built, max_cpus=1)
    assert (result.broken, "split_hash" in result.kept) == ([], True)
    assert json.loads((built / "manifest.json").read_text())["settings"]["splits"] == "0.3,0.3,0.4"


def test_a_split_that_disagrees_with_the_shares_is_found(release: Path, tmp_path: Path) -> None:
    built = ehrtraj.build(release, tmp_path, "v1", max_cpus=1, splits="0.3,0.3,0.4").path
    manifest = built / "manifest.json"
    manifest.write_text(manifest.read_text().replace("0.3,0.3,0.4", "0.4,0.3,0.3"))
    assert "split_hash" in ehrtraj.check(built, max_cpus=1).broken


@pytest.mark.parametrize("notes", ["inline", "separate"])
def test_a_file_assigns_the_splits(release: Path, tmp_path: Path, notes: str) -> None:
    ids = sorted(ehrtraj.open(ehrtraj.build(release, tmp_path, "all", max_cpus=1).path))
    chosen = {who: SPLITS[place % 3] for place, who in enumerate(ids)}
    file = tmp_path / "splits.csv"
    pl.DataFrame({"split": [*chosen.values(), "train"], "subject_id": [*chosen, 999]}).write_csv(file)
    built = ehrtraj.build(release, tmp_path, "v1", max_cpus=1, splits=file, notes=notes).path
    assert splits_in(built) == chosen
    for texts in built.glob("notes/*/*.parquet"):
        assert {chosen[who] for who in pl.read_parquet(texts)["subject_id"]} == {texts.parent.name}
    result = ehrtraj.check(built, max_cpus=1)
    assert (result.broken, "split_hash" in result.kept, "split_folders" in result.kept) == ([], False, True)
    pl.DataFrame({"subject_id": ids[:-1], "split": "train"}).write_csv(file)
    with pytest.raises(SettingsError, match=rf"has no split for 1 of 8 patients of the build, such as {ids[-1]}"):
        ehrtraj.build(release, tmp_path, "v2", max_cpus=1, splits=file)
    some = ehrtraj.build(release, tmp_path, "v3", max_cpus=1, splits=file, icu_only=True)
    assert set(splits_in(some.path).values()) == {"train"}


def test_another_content_of_the_file_is_another_build(release: Path, tmp_path: Path) -> None:
    """A dataset of the same name is only kept if the splits are the same, whatever the file's name."""
    ids = list(ehrtraj.open(ehrtraj.build(release, tmp_path, "all", max_cpus=1).path))
    prints = []
    for split in ("train", "tuning", "train"):
        file = tmp_path / f"{len(prints)}.csv"
        pl.DataFrame({"subject_id": ids, "split": split}).write_csv(file)
        built = ehrtraj.build(release, tmp_path, f"v{len(prints)}", max_cpus=1, splits=file).path
        prints.append(json.loads((built / "manifest.json").read_text())["fingerprint"]["settings"]["splits"])
    assert prints[0] == prints[2] != prints[1]


def test_periods_assign_the_splits(build_rows: Callable[..., Any]) -> None:
    dataset = build_rows(TABLES, splits="temporal").dataset
    assert splits_in(dataset) == {1: "train", 2: "tuning", 3: "held_out", 4: "train", 5: "train"}
    result = ehrtraj.check(dataset, max_cpus=1)
    assert (result.broken, "split_periods" in result.kept, "split_hash" in result.kept) == ([], True, False)
    cohort = ehrtraj.open(dataset).cohort("admission")
    assert cohort.split("temporal").frame.equals(cohort.frame)


MOVES = {
    "a later period in an earlier split": (
        {3: "tuning"}, ["split is tuning, but patients of 2014 - 2016 are in held_out"]
    ),
    "an earlier period in a later split": (
        {5: "held_out"}, ["split is held_out, but patients of 2008 - 2010 are in train"]
    ),
    "an unknown period in a later split": (
        {4: "held_out"}, ["split is held_out, but patients of an unknown period are in train"]
    ),
    "two periods exchanged": (
        {2: "held_out", 3: "tuning"},
        [
            "split is held_out, but patients of 2011 - 2013 are in tuning",
            "split is tuning, but patients of 2014 - 2016 are in held_out",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MOVES)
def test_splits_that_disagree_with_the_periods_are_found(
    build_rows: Callable[..., Any], tmp_path: Path, what: str
) -> None:
    """The patients are moved everywhere, so that only their periods show that the splits are wrong."""
    moves, expected = MOVES[what]
    splits = {1: "train", 2: "tuning", 3: "held_out", 4: "train", 5: "train"} | moves
    file = tmp_path / "splits.csv"
    pl.DataFrame({"subject_id": list(splits), "split": list(splits.values())}).write_csv(file)
    dataset = build_rows(TABLES, splits=file).dataset
    assert ehrtraj.check(dataset, max_cpus=1).broken == []
    call_temporal(dataset)
    result = ehrtraj.check(dataset, max_cpus=1)
    assert result.broken == ["split_periods"]
    assert [place.words for place in result.findings.places["split_periods"]] == expected
    assert [place.subject_id for place in result.findings.places["split_periods"]] == sorted(moves)


def call_temporal(dataset: Path) -> None:
    """Record in the manifest that the splits of a dataset are by time."""
    manifest = json.loads((dataset / "manifest.json").read_text())
    manifest["settings"]["splits"] = "temporal"
    with private_files():
        (dataset / "manifest.json").write_text(json.dumps(manifest))


def test_splits_by_time_of_one_period_are_found(build_rows: Callable[..., Any]) -> None:
    dataset = build_rows({name: [row for row in rows if row["subject_id"] in (1, 5)] for name, rows in TABLES.items()})
    call_temporal(dataset.dataset)
    places = ehrtraj.check(dataset.dataset, max_cpus=1).findings.places["split_periods"]
    assert [place.words for place in places] == [
        "splits by time need patients of at least two periods, but there is only 2008 - 2010"
    ]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, "the dataset has no ANCHOR_YEAR_GROUP events, and the splits are by time"),
        ({"source_folder": "nowhere"}, "the source of the dataset does not state which event is a patient's period"),
    ],
)
def test_splits_by_time_without_periods_are_not_verified(
    build_rows: Callable[..., Any], change: dict[str, str], why: str
) -> None:
    dataset = build_rows({"hosp/admissions": TABLES["hosp/admissions"]}).dataset
    call_temporal(dataset)
    manifest = json.loads((dataset / "manifest.json").read_text())
    manifest["release"] |= change
    (dataset / "manifest.json").write_text(json.dumps(manifest))
    result = ehrtraj.check(dataset, max_cpus=1)
    assert (result.broken, result.findings.skipped["split_periods"]) == ([], why)


def test_the_periods_are_those_of_the_patients_of_the_build(build_rows: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "subjects.txt").write_text("1\n2\n4\n")
    dataset = build_rows(TABLES, splits="temporal", subjects=tmp_path / "subjects.txt").dataset
    assert splits_in(dataset) == {1: "train", 2: "held_out", 4: "train"}
    (tmp_path / "subjects.txt").write_text("1\n5\n")
    with pytest.raises(SettingsError, match="at least two periods, but there is only 2008 - 2010"):
        build_rows(TABLES, splits="temporal", subjects=tmp_path / "subjects.txt")


def test_of_several_rows_of_a_patient_the_kept_one_has_its_period(build_rows: Callable[..., Any]) -> None:
    """The recipe compares complete rows, so the row with the earliest period need not be the one that is kept."""
    first = next(row for row in TABLES["hosp/patients"] if row["subject_id"] == 3)
    other = first | {"gender": "Z", "anchor_year_group": "2008 - 2010"}
    tables = TABLES | {"hosp/patients": [other, *TABLES["hosp/patients"]]}
    result = build_rows(tables, splits="temporal")
    assert splits_in(result.dataset) == splits_in(build_rows(TABLES, splits="temporal").dataset)
    assert ehrtraj.check(result.dataset, max_cpus=1).broken == []


def test_a_source_without_periods_has_no_splits_by_time(build_rows: Callable[..., Any]) -> None:
    with pytest.raises(SettingsError, match="splits by time need a table with the period of each patient"):
        build_rows({"hosp/admissions": TABLES["hosp/admissions"]}, splits="temporal")


def test_a_build_with_other_splits_has_the_same_events(release: Path, built: Path, tmp_path: Path) -> None:
    other = ehrtraj.build(release, tmp_path, "v1", max_cpus=1, splits="0,0,1").path
    frames = [ehrtraj.open(path).scan().collect().sort("subject_id", maintain_order=True) for path in (built, other)]
    assert frames[0].equals(frames[1])
    assert Counter(splits_in(other).values()) == {"held_out": 8}


@pytest.mark.parametrize("given", ["0.8,0.2", "0.8,0.1,0.2", "nowhere.csv", "time"])
def test_other_splits_are_refused(release: Path, tmp_path: Path, given: str) -> None:
    with pytest.raises(SettingsError, match=f"splits is '{given}'"):
        ehrtraj.build(release, tmp_path, "v1", max_cpus=1, splits=given)


@given(st.lists(st.integers(0, 100), min_size=2, max_size=2).map(sorted), st.integers(0, 2**40))
def test_documents_keep_splits(cuts: list[int], seed: int) -> None:
    low, high = cuts[0] / 100, cuts[1] / 100
    method = parse_splits(f"{low},{round(high - low, 2)},{round(1 - high, 2)}")
    assert method.upper == (low, high)
    ids = np.arange(1, 50, dtype=np.int64)
    hashed = HashSplits(seed, method.upper)
    assert json.loads(json.dumps(hashed.to_json())) == hashed.to_json()
    assert splits_from_json(json.loads(json.dumps(hashed.to_json()))) == hashed
    listed = ListedSplits(ids[::2], hashed.of(ids[::2]))
    again = splits_from_json(json.loads(json.dumps(listed.to_json())))
    expected = np.where(ids % 2 == 1, hashed.of(ids), 0)
    assert again.of(ids).tolist() == expected.tolist() == listed.of(ids).tolist()


def test_without_listed_patients_all_are_in_train() -> None:
    nobody = ListedSplits(np.empty(0, np.int64), np.empty(0, np.uint8))
    assert nobody.of(np.array([3, 4])).tolist() == [0, 0]
