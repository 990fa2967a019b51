"""Which admission an event belongs to: the one its row names, or the only one that was open at its time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

PATIENT = {"subject_id": 5, "gender": "F", "anchor_age": 60, "anchor_year": 2150}
ADMISSION = {
    "subject_id": 5,
    "hadm_id": 51,
    "admittime": "2150-03-01 12:00",
    "dischtime": "2150-03-06 10:00",
    "admission_type": "EW EMER.",
    "edregtime": "2150-03-01 09:00",
}
INNER = {
    "subject_id": 5,
    "hadm_id": 52,
    "admittime": "2150-03-03 08:00",
    "dischtime": "2150-03-04 16:00",
    "admission_type": "URGENT",
}
OTHER_PATIENT = {"subject_id": 6, "gender": "M"}
OF_OTHER_PATIENT = INNER | {"subject_id": 6, "hadm_id": 61}


def lab(number: int, time: str, **more: object) -> dict[str, object]:
    row = {"labevent_id": number, "subject_id": 5, "itemid": 50983, "charttime": time, "storetime": time}
    return row | {"value": "140", "valuenum": 140, "valueuom": "mEq/L"} | more


def belongs_to(build_rows: Callable[..., Any], rows: dict[str, list[Any]]) -> list[tuple[int | None, set[str]]]:
    """The admission and the flags of each laboratory result, in the order of time."""
    events = build_rows({"hosp/patients": [PATIENT]} | rows)
    return [(e["hadm_id"], e["flags"]) for e in events.of(5, "LAB//50983")]


@pytest.mark.parametrize(
    ("time", "hadm_id"),
    [
        ("2150-03-01 08:59", None),
        ("2150-03-01 09:00", 51),  # registration in the emergency department
        ("2150-03-01 11:59", 51),  # before the admission
        ("2150-03-06 10:00", 51),  # discharge
        ("2150-03-06 10:01", None),
    ],
)
def test_an_admission_lasts_from_registration_to_discharge_inclusive(
    build_rows: Callable[..., Any], time: str, hadm_id: int | None
) -> None:
    rows = {"hosp/admissions": [ADMISSION], "hosp/labevents": [lab(1, time)]}
    assert belongs_to(build_rows, rows) == [(hadm_id, {"hadm_inferred"} if hadm_id else set())]


def test_every_event_of_a_specimen_of_the_emergency_department_belongs_to_the_admission_it_led_to(
    build_rows: Callable[..., Any],
) -> None:
    culture = {
        "subject_id": 5,
        "microevent_id": 1,
        "micro_specimen_id": 7,
        "charttime": "2150-03-01 10:00",
        "storetime": "2150-03-03 08:00",
        "spec_itemid": 70079,
        "org_itemid": 80002,
        "org_name": "ESCHERICHIA COLI",
    }
    rows = {"hosp/patients": [PATIENT], "hosp/admissions": [ADMISSION], "hosp/microbiologyevents": [culture]}
    events = build_rows(rows).of(5, link_id=7)
    assert [e["code"] for e in events] == ["MICRO_SPECIMEN//70079", "MICRO//ORGANISM//80002"]
    assert [(e["hadm_id"], e["flags"]) for e in events] == [(51, {"hadm_inferred"})] * 2


def test_an_admission_without_a_registration_lasts_from_the_stay_that_names_it(build_rows: Callable[..., Any]) -> None:
    stay = {"subject_id": 5, "stay_id": 38000001, "intime": "2150-03-01 09:00", "outtime": "2150-03-01 12:30"}
    rows = {"hosp/admissions": [ADMISSION | {"edregtime": None}], "hosp/labevents": [lab(1, "2150-03-01 09:30")]}
    named = rows | {"ed/edstays": [stay | {"hadm_id": 51}]}
    assert belongs_to(build_rows, named) == [(51, {"hadm_inferred"})]
    assert belongs_to(build_rows, rows | {"ed/edstays": [stay]}) == [(None, set())]


def test_an_event_within_overlapping_admissions_belongs_to_neither(build_rows: Callable[..., Any]) -> None:
    times = ["2150-03-02 07:00", "2150-03-03 20:00", "2150-03-05 07:00", "2150-03-20 07:00"]
    labs = [lab(n, time) for n, time in enumerate(times)]
    found = belongs_to(build_rows, {"hosp/admissions": [ADMISSION, INNER], "hosp/labevents": labs})
    assert found == [(51, {"hadm_inferred"}), (None, {"hadm_ambiguous"}), (51, {"hadm_inferred"}), (None, set())]


def test_an_admission_that_ends_before_it_begins_holds_no_event(build_rows: Callable[..., Any]) -> None:
    admission = INNER | {"admittime": "2150-03-04 10:00", "dischtime": "2150-03-03 09:00"}
    rows = {"hosp/admissions": [admission], "hosp/labevents": [lab(1, "2150-03-03 12:00")]}
    assert belongs_to(build_rows, rows) == [(None, set())]


def test_the_admission_that_a_row_names_is_not_inferred(build_rows: Callable[..., Any]) -> None:
    labs = [lab(1, "2150-03-03 07:00", hadm_id=51)]
    assert belongs_to(build_rows, {"hosp/admissions": [ADMISSION], "hosp/labevents": labs}) == [(51, set())]


def test_the_admission_of_another_patient_is_removed_and_flagged(build_rows: Callable[..., Any]) -> None:
    rows: dict[str, list[Any]] = {
        "hosp/patients": [PATIENT, OTHER_PATIENT],
        "hosp/admissions": [ADMISSION, OF_OTHER_PATIENT],
        "hosp/labevents": [lab(1, "2150-03-03 09:00", hadm_id=61)],
    }
    events = build_rows(rows)
    result = events.one(5, "LAB//50983")
    assert (result["hadm_id"], result["flags"]) == (None, {"hadm_of_other_patient"})
    assert (result["time"], result["numeric_value"]) == (datetime(2150, 3, 3, 9), 140)
    assert events.of(6, "LAB//") == []


def test_an_admission_that_nobody_has_is_kept_and_flagged(build_rows: Callable[..., Any]) -> None:
    labs = [lab(1, "2150-03-03 09:00", hadm_id=29999999)]
    found = belongs_to(build_rows, {"hosp/admissions": [ADMISSION], "hosp/labevents": labs})
    assert found == [(29999999, {"hadm_unknown"})]


def test_a_patient_of_the_clinic_has_events_without_an_admission(build_rows: Callable[..., Any]) -> None:
    measured = {"subject_id": 5, "chartdate": "2150-03-03", "seq_num": 1, "result_name": "eGFR", "result_value": "60"}
    rows = {"hosp/patients": [PATIENT], "hosp/labevents": [lab(1, "2150-03-03 09:00")], "hosp/omr": [measured]}
    events = build_rows(rows).of(5)
    assert {e["source_table"] for e in events} == set(rows)
    assert {e["hadm_id"] for e in events} == {None}


def test_measurements_of_the_clinic_get_no_admission_though_one_was_open(build_rows: Callable[..., Any]) -> None:
    measured = {"subject_id": 5, "chartdate": "2150-03-03", "seq_num": 1, "result_name": "eGFR", "result_value": "60"}
    rows = {"hosp/patients": [PATIENT], "hosp/admissions": [ADMISSION], "hosp/omr": [measured]}
    event = build_rows(rows).one(5, "OMR//eGFR")
    assert event["hadm_id"] is None
    assert not event["flags"] & {"hadm_inferred", "hadm_ambiguous"}


def test_no_event_of_a_visit_without_an_admission_has_one(build_rows: Callable[..., Any]) -> None:
    visit = {"subject_id": 5, "stay_id": 38000001}
    times = {"intime": "2150-02-01 10:00", "outtime": "2150-02-01 15:00"}
    place = {"transfer_id": 38000001, "eventtype": "ED", "careunit": "Emergency Department"}
    radiology = {
        "note_id": "5-RR-1",
        "note_type": "RR",
        "note_seq": 1,
        "charttime": "2150-02-01 11:00",
        "text": "Ankle: no fracture.",
    }
    rows: dict[str, list[Any]] = {
        "hosp/patients": [PATIENT],
        "hosp/admissions": [ADMISSION],
        "hosp/transfers": [
            {"subject_id": 5} | times | place,
            {"subject_id": 5, "transfer_id": 38000002, "eventtype": "discharge", "intime": times["outtime"]},
        ],
        "hosp/labevents": [lab(1, "2150-02-01 12:00")],
        "ed/edstays": [visit | times | {"disposition": "HOME"}],
        "ed/diagnosis": [visit | {"seq_num": 1, "icd_code": "8450", "icd_version": 9, "icd_title": "ANKLE SPRAIN"}],
        "ed/vitalsign": [visit | {"charttime": "2150-02-01 10:30", "heartrate": 80}],
        "note/radiology": [{"subject_id": 5} | radiology],
    }
    dictionary = {"hosp/d_icd_diagnoses": [{"icd_version": 9, "icd_code": "4019", "long_title": "Hypertension"}]}
    events = [e for e in build_rows(rows | dictionary).of(5) if e["time"] is not None]
    during = [e for e in events if datetime(2150, 2, 1) <= e["time"] < datetime(2150, 2, 2)]
    assert {e["source_table"] for e in during} == set(rows) - {"hosp/patients", "hosp/admissions"}
    assert {e["hadm_id"] for e in during} == {None}
    flags = {e["code"]: e["flags"] for e in during if e["flags"]}
    assert flags == {
        "TRANSFER//Emergency Department": {"same_visit"},
        "TRANSFER_OUT//Emergency Department": {"same_visit"},
        "ED_DIAGNOSIS//ICD9CM//845.0": {"available_estimated", "code_unknown"},
        "RADIOLOGY_NOTE//RR": {"available_assumed"},
    }
