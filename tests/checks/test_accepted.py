"""Published datasets pass `ehrtraj check`: builds reject or flag contradictory rows, and count them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ehrtraj
from ehrtraj.checks import check
from ehrtraj.runtime.sizes import Sizes
from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")

Row = dict[str, Any]
Rows = dict[str, list[Row]]
Built = Callable[..., tuple[ehrtraj.BuildResult, Any]]

KNOWN = {name: table for name, table in MIMIC.tables.items() if table.kind == "patient"}


@pytest.fixture
def rows(handmade: ModuleType) -> Rows:
    """The rows of the hand-made release for a test to change."""
    return copy.deepcopy({name: list(listed) for name, listed in handmade.release_rows().items()})


@pytest.fixture
def checked(
    handmade: ModuleType,
    tmp_path: Path,
    build_sized: Callable[..., ehrtraj.BuildResult],
    trajectories_of: Callable[[Path], Any],
) -> Built:
    """Function that builds rows in several shards, checks the dataset, and returns the result and the events."""

    def build(rows: Rows, name: str = "v", **settings: Any) -> tuple[ehrtraj.BuildResult, Any]:
        handmade.write_tables(tmp_path / name, rows)
        arguments = {"max_cpus": 1, "allow_incomplete": True} | settings
        result = build_sized(Sizes(shard_rows=4000), tmp_path / name, tmp_path / "out", name, **arguments)
        report = check(result.path, max_cpus=1)
        assert report.broken == [], report.findings.places
        return result, trajectories_of(result.path)

    return build


def patient(subject: int, **more: Any) -> Row:
    return {"subject_id": subject, "gender": "F", "anchor_age": 50, "anchor_year": 2150, "dod": None} | more


def admission(subject: int, hadm: int, **more: Any) -> Row:
    when = {"admittime": "2150-01-01 10:00:00", "dischtime": "2150-01-05 10:00:00"}
    return {"subject_id": subject, "hadm_id": hadm, "admission_type": "URGENT"} | when | more


def stay(subject: int, hadm: int, number: int) -> Row:
    when = {"intime": "2150-01-01 11:00:00", "outtime": "2150-01-02 10:00:00"}
    return {"subject_id": subject, "hadm_id": hadm, "stay_id": number, "first_careunit": "MICU"} | when


@pytest.mark.parametrize("reverse", [False, True])
def test_a_patient_with_several_rows_is_born_once(checked: Built, reverse: bool) -> None:
    """The same row is kept whatever the order of the rows, and the others are in rejected/."""
    people = [patient(1, anchor_age=60), patient(2), patient(1), patient(1, dod="2150-03-01"), patient(1)]
    listed = people[::-1] if reverse else people
    result, found = checked({"hosp/patients": listed, "hosp/admissions": [admission(1, 11), admission(2, 21)]})
    assert dict(result.ledger["hosp/patients"].rejected) == {"duplicate_subject": 2, "exact_duplicate": 1}
    assert found.one(1, "MEDS_BIRTH")["time"].year == 2100
    assert found.one(1, "MEDS_DEATH")["time"].month == 3
    rejects = pq.read_table(result.path / "rejected" / "patients.parquet").to_pylist()
    assert sorted((r["reason"], r["subject_id"], r["anchor_age"], r["dod"]) for r in rejects) == [
        ("duplicate_subject", 1, 50, None), ("duplicate_subject", 1, 60, None), ("exact_duplicate", 1, 50, None),
    ]  # fmt: skip


def test_an_admission_of_two_patients_is_assigned_to_neither(checked: Built) -> None:
    """It is not inferred for events during its time either."""
    lab = {"charttime": "2150-01-02 08:00:00", "itemid": 50931, "value": "3", "valuenum": 3}
    labs = [
        {"subject_id": s, "hadm_id": h, "labevent_id": 10 * s + (h or 0)} | lab for s in (1, 2, 3) for h in (11, None)
    ]
    _, found = checked(
        {
            "hosp/patients": [patient(1), patient(2), patient(3)],
            "hosp/admissions": [admission(1, 11), admission(2, 11), admission(3, 31)],
            "hosp/labevents": labs,
        }
    )
    for subject in (1, 2):
        events = [*found.of(subject, "LAB//50931"), found.one(subject, "ADMISSION//URGENT")]
        assert len(events) == 3
        for event in events:
            assert event["hadm_id"] is None
            assert "hadm_of_other_patient" in event["flags"]
            assert "hadm_inferred" not in event["flags"]
    foreign, inferred = sorted(found.of(3, "LAB//50931"), key=lambda e: "hadm_inferred" in e["flags"])
    assert (foreign["hadm_id"], "hadm_of_other_patient" in foreign["flags"]) == (None, True)
    assert (inferred["hadm_id"], "hadm_inferred" in inferred["flags"]) == (31, True)


def test_a_stay_of_two_patients_is_assigned_to_neither(checked: Built) -> None:
    """Even if one stay is in intensive care and the other in the emergency department."""
    chart = {"charttime": "2150-01-01 12:00:00", "itemid": 220045, "value": "80", "valuenum": 80}
    visit = {"intime": "2150-01-01 08:00:00", "outtime": "2150-01-01 09:00:00"}
    _, found = checked(
        {
            "hosp/patients": [patient(n) for n in (1, 2, 3, 4)],
            "hosp/admissions": [admission(n, 10 * n + 1) for n in (1, 2, 3, 4)],
            "icu/icustays": [stay(1, 11, 301), stay(2, 21, 301), stay(3, 31, 303)],
            "ed/edstays": [{"subject_id": 4, "stay_id": 303} | visit, {"subject_id": 4, "stay_id": 304} | visit],
            "icu/chartevents": [
                {"subject_id": subject, "hadm_id": 10 * subject + 1, "stay_id": number} | chart
                for subject, number in [(1, 301), (2, 301), (3, 303), (3, 304), (3, 399), (4, 399), (4, 304)]
            ],
        }
    )
    charted = [
        (e["subject_id"], e["stay_id"], sorted(f for f in e["flags"] if f.startswith("stay_")))
        for e in found.events
        if e["code"] == "CHART//220045"
    ]
    other, unknown = ["stay_of_other_patient"], ["stay_unknown"]
    assert sorted(charted, key=str) == sorted(
        [
            (1, None, other), (2, None, other), (3, None, other), (3, None, other), (3, 399, unknown),
            (4, 399, unknown), (4, 304, []),
        ],
        key=str,
    )  # fmt: skip
    for subject in (1, 2, 3):
        assert found.one(subject, "ICU_START//MICU")["stay_id"] is None


def test_without_tables_of_stays_no_stay_is_unknown(checked: Built) -> None:
    charted = {"charttime": "2150-01-01 12:00:00", "itemid": 1, "value": "8", "subject_id": 1, "stay_id": 3}
    _, found = checked({"hosp/patients": [patient(1)], "icu/chartevents": [charted]})
    assert found.one(1, "CHART//1")["stay_id"] == 3
    assert not any("stay_unknown" in e["flags"] for e in found.events)


def test_without_admissions_the_patient_of_an_admission_is_unknown(checked: Built) -> None:
    row = {"hadm_id": 5, "charttime": "2150-01-01 12:00:00", "itemid": 50912, "valuenum": 1, "valueuom": "mg/dL"}
    labs = [row | {"labevent_id": who, "subject_id": who} for who in (1, 2)]
    result, found = checked({"hosp/patients": [patient(1), patient(2)], "hosp/labevents": labs})
    assert [found.one(who, "LAB//50912")["hadm_id"] for who in (1, 2)] == [5, 5]
    invariants = check(result.path, max_cpus=1).to_json()["invariants"]
    assert invariants["encounters"]["state"] == "not applicable"
    assert "hadm_id" in invariants["encounters"]["because"]


@pytest.mark.parametrize("settings", [{"standardise": False}, {"clock": "available"}], ids=str)
def test_rows_that_each_differ_in_one_column(checked: Built, rows: Rows, settings: dict[str, Any]) -> None:
    """Add rows to each table in which a single column is changed, emptied or padded: keys, times, numbers, texts."""
    for name, table in KNOWN.items():
        for column, kind in table.columns.items():
            if column != "subject_id":
                rows[name] += [row | {column: other(row.get(column), kind)} for row in rows[name][:2]]
    result, _ = checked(rows, **settings)
    events = pl.read_parquet(result.path / "data" / "**" / "*.parquet")
    assert events["subject_id"].n_unique() == 8


def other(value: Any, kind: pa.DataType) -> Any:
    """Return another value, so similar that rows become the same event if the column reaches no event."""
    if pa.types.is_string(kind):
        return "x" if value is None else f"{value} "
    if value is not None:
        return None
    return "2150-01-01 00:00:00" if pa.types.is_timestamp(kind) else 1


def test_all_equal_events_but_one_are_flagged(checked: Built) -> None:
    """Rows that differ only in columns that reach no event, such as the caregiver."""
    charted = {
        "subject_id": 1, "charttime": "2150-01-01 12:00:00", "storetime": "2150-01-01 12:00:00", "itemid": 220045,
        "value": "80", "valuenum": 80,
    }  # fmt: skip
    later = charted | {"value": "81", "valuenum": 81}
    _, found = checked(
        {
            "hosp/patients": [patient(1)],
            "icu/chartevents": [*(charted | {"caregiver_id": n} for n in (1, 2, 3)), later, charted | {"warning": 1}],
        }
    )
    flags = [(e["numeric_value"], "repeated_event" in e["flags"]) for e in found.of(1, "CHART//220045")]
    assert sorted(flags) == [(80.0, False), (80.0, False), (80.0, True), (80.0, True), (81.0, False)]


def test_contradictory_times_of_stays_and_death(checked: Built, rows: Rows) -> None:
    """Discharges before admissions, two deaths in hospital, transfers that end before they begin."""
    for row in rows["hosp/admissions"]:
        row["admittime"], row["dischtime"] = row["dischtime"], row["admittime"]
        row["deathtime"] = row["dischtime"]
    for row in rows["hosp/transfers"]:
        row["intime"], row["outtime"] = row["outtime"] or row["intime"], row["intime"]
    checked(rows)


KEYS = [
    ("hosp/transfers", "transfer_id"), ("hosp/transfers", "hadm_id"), ("icu/icustays", "hadm_id"),
    ("ed/edstays", "hadm_id"), ("ed/triage", "stay_id"), ("ed/vitalsign", "stay_id"), ("ed/diagnosis", "stay_id"),
    ("icu/chartevents", "stay_id"), ("icu/inputevents", "stay_id"), ("hosp/labevents", "labevent_id"),
    ("hosp/labevents", "hadm_id"), ("hosp/diagnoses_icd", "hadm_id"), ("hosp/poe", "poe_seq"),
    ("hosp/admissions", "hadm_id"), ("icu/icustays", "stay_id"), ("ed/edstays", "stay_id"),
]  # fmt: skip


def test_keys_of_other_patients_in_every_table(checked: Built, rows: Rows) -> None:
    """In each table, a row of one patient has the key of another patient."""
    for name, key in KEYS:
        first = next(row for row in rows[name] if row.get(key) is not None)
        for row in rows[name]:
            if row["subject_id"] != first["subject_id"]:
                row[key] = first[key]
                break
    checked(rows)
