"""Contradictions and repetitions: times outside the stay or after death, overlapping stays, copied results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrtraj import rules
from ehrtraj.pipeline.shard.copied_results import _match
from ehrtraj.rules.copied_results import copied_results
from ehrtraj.rules.items import ItemFlags
from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")

SUBJECT = 10_000_001
HADM, STAY = 20_000_001, 30_000_001
PATIENT = {"subject_id": SUBJECT, "gender": "F", "anchor_age": 60, "anchor_year": 2150}
ADMISSION = {
    "subject_id": SUBJECT,
    "hadm_id": HADM,
    "admittime": "2150-01-10 12:00:00",
    "dischtime": "2150-01-15 12:00:00",
    "edregtime": "2150-01-10 08:00:00",
    "edouttime": "2150-01-10 13:00:00",
    "admission_type": "URGENT",
}
ICU = {
    "subject_id": SUBJECT,
    "hadm_id": HADM,
    "stay_id": STAY,
    "first_careunit": "MICU",
    "last_careunit": "MICU",
    "intime": "2150-01-11 06:00:30",
    "outtime": "2150-01-12 06:00:30",
}
BASE = {"hosp/patients": [PATIENT], "hosp/admissions": [ADMISSION], "icu/icustays": [ICU]}

Build = Callable[..., Any]


def charted(time: str, item: int = 220045, value: float = 80, **columns: Any) -> dict[str, Any]:
    row = {"subject_id": SUBJECT, "hadm_id": HADM, "stay_id": STAY, "charttime": time, "storetime": time}
    return row | {"itemid": item, "value": str(value), "valuenum": value, "valueuom": "bpm"} | columns


def lab(number: int, time: str, item: int = 50983, value: float = 140, **columns: Any) -> dict[str, Any]:
    row = {"labevent_id": number, "subject_id": SUBJECT, "hadm_id": HADM, "specimen_id": 7_000 + number}
    row |= {"charttime": time, "storetime": time, "itemid": item, "value": str(value), "valuenum": value}
    return row | columns


def test_an_event_outside_the_stay_that_its_row_names_is_flagged_and_kept(build_rows: Build) -> None:
    times = {
        "2150-01-11 06:00:00": False,  # the minute in which the stay begins
        "2150-01-11 05:59:00": True,
        "2150-01-12 06:00:00": False,
        "2150-01-12 06:01:00": True,
        "2151-01-12 06:00:00": True,  # a year off
    }
    events = build_rows(BASE | {"icu/chartevents": [charted(t) for t in times]})
    got = {str(e["time"]): "outside_stay" in e["flags"] for e in events.of(SUBJECT, "CHART//220045")}
    assert got == times
    assert all((e["hadm_id"], e["stay_id"]) == (HADM, STAY) for e in events.of(SUBJECT, "CHART//220045"))


def test_the_time_in_the_emergency_department_belongs_to_the_admission(build_rows: Build) -> None:
    rows = [lab(1, "2150-01-10 08:00:00"), lab(2, "2150-01-10 07:59:00"), lab(3, "2150-01-15 12:01:00")]
    inferred = lab(4, "2150-01-20 12:00:00", hadm_id=None)
    events = build_rows(BASE | {"hosp/labevents": [*rows, inferred]})
    got = {e["source_key"]: "outside_stay" in e["flags"] for e in events.of(SUBJECT, "LAB//")}
    assert got == {1: False, 2: True, 3: True, 4: False}


def test_a_date_is_compared_with_the_days_of_the_stay(build_rows: Build) -> None:
    rows = [
        {
            "subject_id": SUBJECT,
            "hadm_id": HADM,
            "seq_num": n,
            "chartdate": day,
            "icd_code": "0BH17EZ",
            "icd_version": 10,
        }
        for n, day in enumerate(("2150-01-10", "2150-01-15", "2150-01-09", "2150-01-16"))
    ]
    events = build_rows(BASE | {"hosp/procedures_icd": rows})
    got = [(f"{e['time']:%d}", "outside_stay" in e["flags"]) for e in events.of(SUBJECT, "PROCEDURE//")]
    assert got == [("09", True), ("10", False), ("15", False), ("16", True)]


def test_planned_times_are_not_compared_with_the_stay(build_rows: Build) -> None:
    order = {"subject_id": SUBJECT, "hadm_id": HADM, "pharmacy_id": 5, "drug": "Aspirin", "drug_type": "MAIN"}
    order |= {"starttime": "2150-01-15 08:00:00", "stoptime": "2150-02-15 08:00:00"}
    events = build_rows(BASE | {"hosp/prescriptions": [order]})
    assert [e["flags"] & {"outside_stay"} for e in events.of(SUBJECT) if e["source_table"] == "hosp/prescriptions"] == [
        set(),
        set(),
    ]
    assert MIMIC.planned <= set(MIMIC.event_types)


@pytest.mark.parametrize(("hour", "late"), [("00:00:00", False), ("11:00:59", False), ("23:59:00", True)])
def test_events_in_a_later_minute_than_the_death_are_flagged(build_rows: Build, hour: str, late: bool) -> None:
    died = ADMISSION | {"deathtime": "2150-01-15 11:00:00", "hospital_expire_flag": 1, "discharge_location": "DIED"}
    patient = PATIENT | {"dod": "2150-01-15"}
    rows = [lab(1, f"2150-01-15 {hour}"), lab(2, f"2150-01-16 {hour}")]
    events = build_rows({"hosp/patients": [patient], "hosp/admissions": [died], "hosp/labevents": rows})
    assert ["after_death" in e["flags"] for e in events.of(SUBJECT, "LAB//")] == [late, True]
    others = {e["code"] for e in events.of(SUBJECT) if "after_death" in e["flags"] and not e["code"].startswith("LAB")}
    assert others == {"DISCHARGE//DIED"}, "an hour after the death"


def test_events_in_overlapping_admissions_are_flagged(build_rows: Build) -> None:
    second = ADMISSION | {"hadm_id": HADM + 1, "admittime": "2150-01-14 12:00:00", "dischtime": "2150-01-18 12:00:00"}
    third = ADMISSION | {"hadm_id": HADM + 2, "admittime": "2150-01-18 12:00:00", "dischtime": "2150-01-19 12:00:00"}
    rows = [ADMISSION, *(a | {"edregtime": None, "edouttime": None} for a in (second, third))]
    events = build_rows({"hosp/patients": [PATIENT], "hosp/admissions": rows})
    got = {
        (e["hadm_id"] - HADM, e["code"].split("//")[0]) for e in events.of(SUBJECT) if "overlapping_stay" in e["flags"]
    }
    # During the first admission, it is not known that the second will begin before its end.
    assert got == {(0, "DISCHARGE"), (1, "ADMISSION"), (1, "DISCHARGE")}


def test_overlapping_icu_stays_and_one_that_outlasts_the_admission(build_rows: Build) -> None:
    second = ICU | {"stay_id": STAY + 1, "intime": "2150-01-11 20:00:00", "outtime": "2150-01-15 13:00:00"}
    events = build_rows(BASE | {"icu/icustays": [ICU, second]})
    flags = {(e["stay_id"] - STAY, e["code"].split("//")[0]): e["flags"] for e in events.of(SUBJECT) if e["stay_id"]}
    assert ["overlapping_stay" in flags[key] for key in ((0, "ICU_START"), (0, "ICU_END"), (1, "ICU_START"))] == [
        False,
        True,
        True,
    ]
    assert [n for (n, event_type), f in flags.items() if "end_after_discharge" in f] == [1]


# ---- copied results -------------------------------------------------------------------------------------------------


def test_a_result_copied_into_the_chart_is_linked_and_both_are_kept(build_rows: Build) -> None:
    same, other, elsewhere = "2150-01-11 08:00:00", "2150-01-11 09:00:00", "2150-01-11 10:00:00"
    labs = [lab(1, same), lab(2, same, value=150, specimen_id=7_900), lab(3, other)]
    chart = [
        charted(same, 220645, 140, valueuom=None),
        charted(other, 220645, 139, valueuom=None),  # another number
        charted(elsewhere, 220645, 140, valueuom=None),  # another time
        charted(same, 220045, 140),  # another item
    ]
    events = build_rows(BASE | {"hosp/labevents": labs, "icu/chartevents": chart})
    assert len(events.of(SUBJECT, "LAB//50983")) == 3
    copies = [e for e in events.of(SUBJECT, "CHART//") if "copied_result" in e["flags"]]
    assert [(str(e["time"]), e["code"], e["link_id"]) for e in copies] == [(same, "CHART//220645", 7_001)]
    assert len(events.of(SUBJECT, "CHART//")) == 4


def test_a_height_charted_in_inches_and_in_centimetres_is_linked(build_rows: Build) -> None:
    time = "2150-01-11 08:00:00"
    chart = [charted(time, 226707, 68, valueuom="Inch"), charted(time, 226730, 173, valueuom="cm")]
    events = build_rows(BASE | {"icu/chartevents": chart})
    inches, centimetres = events.one(SUBJECT, "CHART//226707"), events.one(SUBJECT, "CHART//226730")
    assert ("copied_result" in inches["flags"], "copied_result" in centimetres["flags"]) == (True, False)
    assert inches["link_id"] == centimetres["link_id"] is not None


def test_nothing_is_marked_in_a_build_as_written(build_rows: Build) -> None:
    time = "2150-01-11 08:00:00"
    rows = {
        "hosp/labevents": [lab(1, time)],
        "icu/chartevents": [charted(time, 220645, 140), charted("2155-01-01", 220645)],
    }
    events = build_rows(BASE | rows, standardise=False)
    assert not [e for e in events.of(SUBJECT) if e["flags"] & {"copied_result", "outside_stay"}]


VALUES = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([1.0, 1.4, 2.0, 5.0])), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(VALUES, VALUES, st.sampled_from([0.0, 0.5]))
def test_a_copied_result_has_an_equal_value_at_its_time(
    copied_result: list[Any], origin: list[Any], tolerance: float
) -> None:
    moment, value = (np.array(column) for column in zip(*copied_result, strict=True))
    of_moment, of_value = (np.array(column) for column in zip(*origin, strict=True))
    found = _match(moment, value, of_moment, of_value, tolerance)
    for (at, number), position in zip(copied_result, found.tolist(), strict=True):
        equals = [i for i, (m, v) in enumerate(origin) if m == at and abs(v - number) <= max(tolerance, 1e-6 * number)]
        assert (position in equals) if equals else position == -1


def test_copied_result_pairs_are_of_known_event_types_and_share_a_unit() -> None:
    lines = MIMIC.rules("copied_results")
    for line in lines:
        assert {line["event_type"], line["of_event_type"]} <= set(MIMIC.event_types), line
        assert line["item"].isdigit(), line
        assert line["of_item"].isdigit(), line
        assert float(line["tolerance"]) >= 0, line
        assert line["source"].strip(), line
    assert len(copied_results(MIMIC.rules)) == len(lines)
    units = {(r["event_type"], r["item"]): r["unit"] for r in MIMIC.rules("units")}
    differ = [
        line
        for line in lines
        if units.get((line["event_type"], line["item"])) != units.get((line["of_event_type"], line["of_item"]))
    ]
    assert differ == []


# ---- codes that carry a flag ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "flag"),
    [
        ("Administered", None),
        ("Delayed Administered", None),
        ("Not Given", "not_a_dose"),
        ("Flushed", "not_a_dose"),
        (None, "not_a_dose"),
        ("Whatever comes next", "dose_unlisted"),
    ],
)
def test_what_is_and_is_not_a_dose(build_rows: Build, entry: str | None, flag: str | None) -> None:
    entry = {
        "subject_id": SUBJECT,
        "emar_id": f"{SUBJECT}-1",
        "emar_seq": 1,
        "event_txt": entry,
        "medication": "Aspirin",
    }
    entry |= {"hadm_id": HADM, "charttime": "2150-01-11 08:00:00", "storetime": "2150-01-11 08:00:00"}
    events = build_rows(BASE | {"hosp/emar": [entry]})
    (event,) = events.of(SUBJECT, "EMAR//")
    assert event["flags"] & {"not_a_dose", "dose_unlisted"} == ({flag} if flag else set())


def test_item_flags_have_sources_and_known_event_types_and_flags() -> None:
    lines = MIMIC.rules("item_flags")
    for line in lines:
        assert line["source"].strip(), line
        assert set(line["event_types"].split()) <= set(MIMIC.event_types), line
        assert line["flag"] in {"", *rules.flags()}, line
    flags = ItemFlags(MIMIC.rules)
    assert flags.of("EMAR_DOSE", "DUE//Aspirin") == rules.flags()["not_a_dose"]
    assert flags.of("LAB", "50912") == 0
