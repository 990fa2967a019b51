"""Deaths in the hospital: where the tables disagree, nothing is lost and the disagreement is flagged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pyarrow.parquet as pq
import pytest

PATIENT = {"subject_id": 5, "gender": "F", "anchor_age": 60, "anchor_year": 2150}
ADMISSION = {
    "subject_id": 5,
    "hadm_id": 51,
    "admittime": "2150-03-01 10:00",
    "dischtime": "2150-03-06 12:00",
    "admission_type": "EW EMER.",
    "discharge_location": "DIED",
    "hospital_expire_flag": 1,
}
DISCHARGE = datetime(2150, 3, 6, 12)


def tables(dod: str | None = None, **admission: object) -> dict[str, list[dict[str, Any]]]:
    return {"hosp/patients": [PATIENT | {"dod": dod}], "hosp/admissions": [ADMISSION | admission]}


@pytest.mark.parametrize(
    "admission",
    [{}, {"hospital_expire_flag": 0}, {"discharge_location": "HOME"}, {"discharge_location": " died "}],
)
@pytest.mark.parametrize("dod", [None, "2150-03-04", "2150-03-07", "2150-03-26"])
def test_a_death_without_deathtime_that_no_date_confirms_is_at_the_discharge_and_flagged(
    build_rows: Callable[..., Any], admission: dict[str, Any], dod: str | None
) -> None:
    events = build_rows(tables(dod, **admission))
    death = events.one(5, "HOSPITAL_DEATH")
    assert (death["time"], death["hadm_id"]) == (DISCHARGE, 51)
    assert "death_conflict" in death["flags"]
    if dod is None:
        assert not events.of(5, "MEDS_DEATH")
    else:
        assert "death_conflict" in events.one(5, "MEDS_DEATH")["flags"]


def test_a_death_without_deathtime_on_the_date_of_death_is_at_the_discharge_and_not_flagged(
    build_rows: Callable[..., Any],
) -> None:
    events = build_rows(tables("2150-03-06"))
    for code in ("HOSPITAL_DEATH", "MEDS_DEATH"):
        death = events.one(5, code)
        assert (death["time"], death["time_precision"], death["flags"]) == (DISCHARGE, "minute", set()), code


def test_a_discharge_at_midnight_does_not_give_the_minute_of_death(build_rows: Callable[..., Any]) -> None:
    chart = {"subject_id": 5, "hadm_id": 51, "itemid": 50912, "charttime": "2150-03-06 09:00", "valuenum": 1.0}
    rows = tables("2150-03-06", dischtime="2150-03-06 00:00")
    events = build_rows(rows | {"hosp/labevents": [chart | {"labevent_id": 1}]})
    death = events.one(5, "MEDS_DEATH")
    assert (death["time"], death["time_precision"]) == (datetime(2150, 3, 6, 23, 59, 59), "day")
    assert "after_death" not in events.one(5, "LAB//50912")["flags"]


@pytest.mark.parametrize(("dod", "conflict"), [(None, False), ("2150-03-06", False), ("2150-03-07", True)])
def test_a_deathtime_is_flagged_only_if_the_date_of_death_is_another_day(
    build_rows: Callable[..., Any], dod: str | None, conflict: bool
) -> None:
    events = build_rows(tables(dod, deathtime="2150-03-06 11:30"))
    for code in ("HOSPITAL_DEATH", "MEDS_DEATH"):
        death = events.one(5, code)
        assert death["time"] == datetime(2150, 3, 6, 11, 30)
        assert ("death_conflict" in death["flags"]) == conflict, code


def test_a_patient_who_left_alive_has_no_death_in_the_hospital(build_rows: Callable[..., Any]) -> None:
    events = build_rows(tables("2150-07-01", hospital_expire_flag=0, discharge_location="HOME"))
    assert not events.of(5, "HOSPITAL_DEATH")
    assert events.one(5, "MEDS_DEATH")["flags"] == set()


def test_events_are_compared_with_the_minute_of_death_where_it_is_known(build_rows: Callable[..., Any]) -> None:
    times = ["2150-03-06 08:00:59", "2150-03-06 08:01:00", "2150-03-06 19:00", "2150-03-07 01:00"]
    labs = [
        {"labevent_id": n, "subject_id": 5, "hadm_id": 51, "itemid": 50912, "charttime": time, "valuenum": 1.0}
        for n, time in enumerate(times)
    ]
    rows = tables("2150-03-06", deathtime="2150-03-06 08:00") | {"hosp/labevents": labs}
    late = ["after_death" in e["flags"] for e in build_rows(rows).of(5, "LAB//50912")]
    assert late == [False, True, True, True]


def test_events_are_compared_with_the_day_of_death_where_no_more_is_known(build_rows: Callable[..., Any]) -> None:
    labs = [
        {"labevent_id": n, "subject_id": 5, "itemid": 50912, "charttime": time, "valuenum": 1.0}
        for n, time in enumerate(["2150-07-01 23:00", "2150-07-02 00:00"])
    ]
    billed = [{"subject_id": 5, "hadm_id": 51, "chartdate": "2150-07-01", "hcpcs_cd": "99291", "seq_num": 1}]
    alive = {"hospital_expire_flag": 0, "discharge_location": "HOME"}
    rows = tables("2150-07-01", **alive) | {"hosp/labevents": labs, "hosp/hcpcsevents": billed}
    events = build_rows(rows)
    assert ["after_death" in e["flags"] for e in events.of(5, "LAB//50912")] == [False, True]
    assert "after_death" not in events.one(5, "HCPCS//99291")["flags"]


def test_a_day_that_is_the_day_of_death_is_not_after_it(build_rows: Callable[..., Any]) -> None:
    billed = [{"subject_id": 5, "hadm_id": 51, "chartdate": "2150-03-06", "hcpcs_cd": "99291", "seq_num": 1}]
    rows = tables("2150-03-06", deathtime="2150-03-06 08:00", dischtime="2150-03-07 10:00")
    events = build_rows(rows | {"hosp/hcpcsevents": billed})
    assert "after_death" not in events.one(5, "HCPCS//99291")["flags"]
    assert "after_death" in events.one(5, "DISCHARGE//DIED")["flags"]


def test_the_death_is_the_last_event_of_its_time(build_rows: Callable[..., Any]) -> None:
    lab = {"labevent_id": 1, "subject_id": 5, "hadm_id": 51, "itemid": 50912, "charttime": "2150-03-06 11:30"}
    rows = tables("2150-03-06", deathtime="2150-03-06 11:30", dischtime="2150-03-06 00:00", insurance="Private")
    events = build_rows(rows | {"hosp/labevents": [lab]})
    codes = [e["code"] for e in events.of(5, time=datetime(2150, 3, 6, 11, 30))]
    assert sorted(codes[:-3]) == ["INSURANCE//Private", "LAB//50912"]
    assert codes[-3:] == ["DISCHARGE//DIED", "HOSPITAL_DEATH", "MEDS_DEATH"]


def test_a_date_of_death_alone_is_after_everything_of_that_day(build_rows: Callable[..., Any]) -> None:
    day = "2150-03-17"
    lab = {"labevent_id": 1, "subject_id": 5, "itemid": 50912, "charttime": f"{day} 23:59"}
    measured = {"subject_id": 5, "chartdate": day, "seq_num": 1, "result_name": "eGFR", "result_value": "60"}
    rows = tables(day, hospital_expire_flag=0, discharge_location="HOSPICE")
    events = build_rows(rows | {"hosp/labevents": [lab], "hosp/omr": [measured]}).of(5)
    assert [e["code"] for e in events[-3:]] == ["LAB//50912", "OMR//eGFR", "MEDS_DEATH"]
    assert (events[-1]["hadm_id"], events[-1]["flags"]) == (None, set())


@pytest.mark.parametrize(
    ("dod", "stay", "expected"),
    [
        ("2150-03-09", {"deathtime": "2150-03-06 04:10"}, "2150-03-06 04:10"),
        ("2150-03-06", {}, "2150-03-06 12:00"),
        ("2150-03-06", {"hospital_expire_flag": 0, "discharge_location": "HOME"}, "2150-03-06 23:59:59"),
        (None, {"deathtime": "2150-03-06 04:10"}, "2150-03-06 04:10"),
        (None, {"hospital_expire_flag": 0, "discharge_location": "HOME"}, None),
    ],
)
def test_subjects_have_the_time_of_the_death(
    build_rows: Callable[..., Any], dod: str | None, stay: dict[str, object], expected: str | None
) -> None:
    events = build_rows(tables(dod, **stay))
    time = None if expected is None else datetime.fromisoformat(expected)
    (subject,) = pq.read_table(events.dataset / "metadata" / "subjects.parquet").to_pylist()
    assert subject["death_time"] == time
    assert [e["time"] for e in events.of(5, "MEDS_DEATH")] == [time] * (time is not None)
