"""Admissions beside the other tables: nothing of their end is known before it, and a rejected row is not used."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pyarrow.parquet as pq

STAY = {"subject_id": 5, "hadm_id": 51}
PATIENT = {"subject_id": 5, "gender": "F", "anchor_age": 60, "anchor_year": 2150}
ADMISSION = STAY | {
    "admittime": "2150-03-01 10:00",
    "dischtime": "2150-03-06 12:00",
    "admission_type": "EW EMER.",
    "admission_location": "EMERGENCY ROOM",
    "discharge_location": "HOME HEALTH CARE",
    "insurance": "Medicare",
    "language": "English",
    "marital_status": "WIDOWED",
    "race": "WHITE",
    "edregtime": "2150-03-01 06:00",
    "edouttime": "2150-03-01 10:30",
    "hospital_expire_flag": 0,
}
DIAGNOSIS = STAY | {"seq_num": 1, "icd_code": "A419", "icd_version": 10}
DISCHARGE = datetime(2150, 3, 6, 12)


def test_what_is_known_at_the_discharge_is_in_no_event_that_is_available_before_it(
    build_rows: Callable[..., Any],
) -> None:
    when = {"charttime": "2150-03-02 06:00", "storetime": "2150-03-02 07:00"}
    icu = STAY | {"stay_id": 38000001}
    rows: dict[str, list[dict[str, Any]]] = {
        "hosp/patients": [PATIENT],
        "hosp/admissions": [ADMISSION],
        "hosp/transfers": [
            STAY | {"transfer_id": 38000001, "eventtype": "admit", "careunit": "MICU", "intime": "2150-03-01 10:00"}
        ],
        "hosp/services": [STAY | {"transfertime": "2150-03-01 10:01", "curr_service": "MED"}],
        "hosp/labevents": [STAY | when | {"labevent_id": 1, "itemid": 50983, "valuenum": 140}],
        "icu/icustays": [icu | {"intime": "2150-03-01 10:00", "outtime": "2150-03-03 09:00"}],
        "icu/chartevents": [icu | when | {"itemid": 220045, "value": "80", "valuenum": 80}],
        "hosp/diagnoses_icd": [DIAGNOSIS],
        "hosp/drgcodes": [STAY | {"drg_type": "HCFA", "drg_code": "871", "description": "SEPTICEMIA"}],
        "hosp/procedures_icd": [STAY | {"chartdate": "2150-03-02", "icd_code": "0BH17EZ", "icd_version": 10}],
        "hosp/hcpcsevents": [STAY | {"chartdate": "2150-03-02", "hcpcs_cd": "99291", "seq_num": 1}],
    }
    events = build_rows(rows).of(5)
    assert {e["source_table"] for e in events} == set(rows)

    def mentions(event: dict[str, Any], secret: str) -> bool:
        return secret in f"{event['code']} {event['text_value']} {event['attributes']}"

    for secret in ("HOME HEALTH CARE", "Medicare", "hospital_expire_flag", "DIAGNOSIS", "DRG", "PROCEDURE", "HCPCS"):
        known = [e["available_time"] for e in events if mentions(e, secret)]
        assert known, f"{secret} is in no event at all"
        assert all(time is not None and time >= DISCHARGE for time in known), secret


def test_a_rejected_admission_is_seen_by_no_recipe(build_rows: Callable[..., Any]) -> None:
    """Nothing may be taken from an admission without its time, neither a death nor a time for its diagnoses."""
    admission = ADMISSION | {"admittime": None, "deathtime": "2150-03-06 12:00", "hospital_expire_flag": 1}
    events = build_rows(
        {"hosp/patients": [PATIENT], "hosp/admissions": [admission], "hosp/diagnoses_icd": [DIAGNOSIS]},
    )
    rejected = {
        table: [row["reason"] for row in pq.read_table(events.dataset / "rejected" / f"{table}.parquet").to_pylist()]
        for table in ("admissions", "diagnoses_icd")
    }
    assert rejected == {"admissions": ["no_time"], "diagnoses_icd": ["no_admission"]}
    assert {e["code"] for e in events.events} == {"GENDER//F", "MEDS_BIRTH"}
