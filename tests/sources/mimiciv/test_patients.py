"""Patients beside their other events: which events come first, how old a patient is, whose age is top-coded."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

PATIENT = {"subject_id": 5, "gender": "F", "anchor_age": 60, "anchor_year": 2150, "anchor_year_group": "2014 - 2016"}


def tables(*times: str, **patient: object) -> dict[str, list[dict[str, Any]]]:
    labs = [
        {"labevent_id": n, "subject_id": 5, "itemid": 50983, "charttime": time, "storetime": time, "valuenum": 140}
        for n, time in enumerate(times)
    ]
    return {"hosp/patients": [PATIENT | patient], "hosp/labevents": labs}


def test_what_is_always_true_of_a_patient_comes_before_all_that_has_a_time(build_rows: Callable[..., Any]) -> None:
    events = build_rows(tables("2150-03-01 10:00")).of(5)
    assert [(e["code"], e["time"] is None) for e in events] == [
        ("GENDER//F", True),
        ("ANCHOR_YEAR_GROUP//2014 - 2016", True),
        ("MEDS_BIRTH", False),
        ("LAB//50983", False),
    ]
    for event in events[:2]:
        assert (event["available_time"], event["hadm_id"], event["flags"]) == (None, None, set())
        assert event["source_table"] == "hosp/patients"


@pytest.mark.parametrize(("age", "year"), [(60, 2150), (91, 2150), (18, 2153)])
def test_whole_years_since_birth_are_the_age_that_mimic_counts(
    build_rows: Callable[..., Any], age: int, year: int
) -> None:
    """MIMIC counts the calendar years since anchor_year: on the first of January everybody is a year older."""
    times = ["2149-06-30 12:00", "2150-01-01 00:00", "2150-12-31 23:59", "2151-01-01 00:00"]
    events = build_rows(tables(*times, anchor_age=age, anchor_year=year))
    birth = events.one(5, "MEDS_BIRTH")["time"]
    ages = [whole_years(birth, lab["time"]) for lab in events.of(5, "LAB//50983")]
    assert ages == [age + 2149 - year, age + 2150 - year, age + 2150 - year, age + 2151 - year]


def whole_years(birth: datetime, time: datetime) -> int:
    before_birthday = (time.month, time.day) < (birth.month, birth.day)
    return time.year - birth.year - before_birthday


def test_only_the_birth_is_flagged_as_top_coded(build_rows: Callable[..., Any]) -> None:
    events = build_rows(tables("2150-03-01 10:00", anchor_age=91)).of(5)
    assert [e["code"] for e in events if "age_top_coded" in e["flags"]] == ["MEDS_BIRTH"]


def test_a_patient_who_is_not_in_patients_is_kept_and_flagged(build_rows: Callable[..., Any]) -> None:
    rows = tables("2150-03-01 10:00")
    lab = rows["hosp/labevents"][0]
    events = build_rows(rows | {"hosp/labevents": [lab, lab | {"subject_id": 6}]})
    (unknown,) = events.of(6)
    assert (unknown["code"], unknown["numeric_value"]) == ("LAB//50983", 140)
    assert unknown["flags"] - events.one(5, "LAB//50983")["flags"] == {"subject_unknown"}
    assert all("subject_unknown" not in e["flags"] for e in events.of(5))
