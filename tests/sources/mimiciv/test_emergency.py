"""Events of the emergency department, and visits that are in three tables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pytest

import ehrtraj
from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")

SEPSIS, OLDEST, VISIT = 10900116, 10900471, 10900845
SEPSIS_HADM, OLDEST_HADM = 29000116, 29000471
SEPSIS_ED, OLDEST_ED, VISIT_ED = 39000101, 39000401, 39000801
ARRIVED, LEFT = datetime(2153, 4, 11, 20, 52), datetime(2153, 4, 12, 2, 41)


@pytest.fixture(scope="module")
def clean(release: Path, tmp_path_factory: pytest.TempPathFactory, trajectories_of: Callable[[Path], Any]) -> Any:
    """The hand-made release with its numbers standardised."""
    folder = tmp_path_factory.mktemp("clean")
    tables = "edstays,triage,vitalsign,patients"
    return trajectories_of(ehrtraj.build(release, folder, "v1", max_cpus=1, tables=tables).path)


def is_(event: dict[str, Any], **expected: object) -> None:
    for name, value in expected.items():
        assert event[name] == value, f"{event['code']}: {name} is {event[name]}, not {value}"


# Stays -------------------------------------------------------------------------------------------------------


def test_arrival_and_departure_contain_only_what_was_known_then(trajectories: Any) -> None:
    arrival = trajectories.one(SEPSIS, "ED_ARRIVAL//AMBULANCE")
    departure = trajectories.one(SEPSIS, "ED_DEPARTURE//ADMITTED")
    is_(arrival, time=ARRIVED, available_time=ARRIVED, attributes={"gender": "F"}, flags=set())
    is_(departure, time=LEFT, available_time=LEFT, attributes={}, flags=set())
    for event in (arrival, departure):
        is_(event, hadm_id=SEPSIS_HADM, stay_id=SEPSIS_ED, source_key=SEPSIS_ED, link_id=SEPSIS_ED)


def test_a_stay_without_admission_has_no_hadm_id(trajectories: Any) -> None:
    events = [e for e in trajectories.of(VISIT) if e["source_table"].startswith("ed/")]
    assert len(events) > 10
    assert {e["hadm_id"] for e in events} == {None}
    assert {e["stay_id"] for e in events} == {VISIT_ED}


def test_race_of_a_visit_with_admission_is_flagged_once(trajectories: Any) -> None:
    flags = {e["source_table"]: e["flags"] for e in trajectories.of(SEPSIS, "RACE//WHITE")}
    assert flags == {"ed/edstays": {"same_visit"}, "hosp/admissions": set()}
    is_(trajectories.one(VISIT, "RACE//ASIAN"), flags=set(), source_table="ed/edstays")


def test_a_visit_counts_once_without_the_flagged_events(trajectories: Any) -> None:
    event_types = ("ED_ARRIVAL", "ED_REGISTRATION", "TRANSFER//Emergency Department")
    for subject, visits in ((SEPSIS, 1), (OLDEST, 1), (VISIT, 1), (10900234, 1), (10900598, 0)):
        arrivals = [e for e in trajectories.of(subject) if e["code"].startswith(event_types)]
        assert len([e for e in arrivals if "same_visit" not in e["flags"]]) == visits, subject
        assert len(arrivals) >= 2 * visits


def test_all_records_of_a_visit_have_its_stay_id(trajectories: Any) -> None:
    for code in ("ED_ARRIVAL//AMBULANCE", "ED_REGISTRATION", "ED_OUT", "TRANSFER//Emergency Department"):
        is_(trajectories.one(SEPSIS, code), stay_id=SEPSIS_ED)
    is_(trajectories.one(SEPSIS, "ED_REGISTRATION"), attributes={"transfer_id": SEPSIS_ED})
    # Stays in other units of the hospital are not visits.
    is_(trajectories.one(SEPSIS, "TRANSFER//DISCHARGE"), stay_id=None, flags=set())


def test_a_conflict_is_flagged_in_all_tables_but_not_before_it_is_known(trajectories: Any) -> None:
    for code in ("ED_DEPARTURE//ADMITTED", "ED_OUT", "TRANSFER_OUT//Emergency Department"):
        assert "visit_conflict" in trajectories.one(OLDEST, code)["flags"], code
    for code in ("ED_ARRIVAL//AMBULANCE", "ED_REGISTRATION", "TRANSFER//Emergency Department"):
        assert "visit_conflict" not in trajectories.one(OLDEST, code)["flags"], code


ADMITTED = {
    "subject_id": 5,
    "hadm_id": 51,
    "admittime": "2150-03-02 04:00",
    "dischtime": "2150-03-05 12:00",
    "admission_type": "EW EMER.",
}


@pytest.mark.parametrize(
    ("stay", "matched", "conflict"),
    [
        ({"stay_id": 52, "hadm_id": 51, "intime": "2150-03-01 22:00", "outtime": "2150-03-02 03:00"}, True, False),
        # Matched by the admission, although the arrival differs.
        ({"stay_id": 52, "hadm_id": 51, "intime": "2150-03-01 19:30", "outtime": "2150-03-02 03:00"}, True, True),
        # Matched by its start, although edstays has no admission.
        ({"stay_id": 52, "hadm_id": None, "intime": "2150-03-01 22:20", "outtime": "2150-03-02 03:00"}, True, True),
        # Another visit on the day before.
        ({"stay_id": 52, "hadm_id": None, "intime": "2150-02-28 22:00", "outtime": "2150-03-01 03:00"}, False, False),
    ],
)
def test_a_visit_is_matched_by_its_admission_or_its_start(
    build_rows: Callable[..., Any], stay: dict[str, Any], matched: bool, conflict: bool
) -> None:
    registered = ADMITTED | {"edregtime": "2150-03-01 22:00", "edouttime": "2150-03-02 03:00"}
    found = build_rows(
        {
            "hosp/patients": [{"subject_id": 5, "gender": "M"}],
            "hosp/admissions": [registered],
            "ed/edstays": [{"subject_id": 5, **stay}],
        }
    )
    registration = found.one(5, "ED_REGISTRATION")
    is_(registration, stay_id=52 if matched else None)
    assert ("same_visit" in registration["flags"]) == matched
    arrival = found.one(5, "ED_ARRIVAL//UNKNOWN")
    assert ("visit_conflict" in registration["flags"], "visit_conflict" in arrival["flags"]) == (conflict, conflict)


def test_results_before_an_admission_without_edregtime_belong_to_it(
    build_rows: Callable[..., Any],
) -> None:
    stay = {"subject_id": 5, "stay_id": 52, "hadm_id": 51, "intime": "2150-03-01 22:00", "outtime": "2150-03-02 03:00"}
    found = build_rows(
        {
            "hosp/patients": [{"subject_id": 5, "gender": "M"}],
            "hosp/admissions": [ADMITTED],
            "hosp/labevents": [
                {"labevent_id": 1, "subject_id": 5, "itemid": 50912, "charttime": "2150-03-01 22:30", "valuenum": 1.0}
            ],
            "ed/edstays": [stay],
        }
    )
    is_(found.one(5, "LAB//50912"), hadm_id=51, flags={"hadm_inferred", "available_assumed"})


# Triage and vital signs ---------------------------------------------------------------------------------------


def test_triage_is_at_the_arrival(trajectories: Any) -> None:
    events = [e for e in trajectories.of(SEPSIS) if e["source_table"] == "ed/triage"]
    assert {e["time"] for e in events} == {ARRIVED}
    assert {e["link_id"] for e in events} == {SEPSIS_ED}
    is_(trajectories.one(SEPSIS, "ED_TRIAGE//acuity"), numeric_value=2.0, source_key=SEPSIS_ED)
    is_(trajectories.one(SEPSIS, "CHIEF_COMPLAINT"), text_value="Fever, Altered mental status", numeric_value=None)


def test_vital_signs_have_the_units_of_the_icu_and_keep_the_raw_values(clean: Any) -> None:
    first, second = clean.of(SEPSIS, "ED_VITAL//temperature")
    is_(first, unit="Cel", raw_value="101.3", raw_unit="°F", time=ARRIVED, flags={"unit_converted"})
    assert first["numeric_value"] == pytest.approx((101.3 - 32) / 1.8, abs=1e-4)
    is_(second, unit="Cel", raw_value="100.9", time=datetime(2153, 4, 11, 21, 30))
    pressures = clean.of(SEPSIS, "ED_VITAL//sbp")
    assert [(e["numeric_value"], e["unit"], e["raw_value"]) for e in pressures] == [
        (92.0, "mm[Hg]", None),
        (98.0, "mm[Hg]", None),
        (104.0, "mm[Hg]", None),
    ]


def test_a_temperature_in_celsius_is_kept_and_flagged(clean: Any) -> None:
    event = clean.one(VISIT, "ED_VITAL//temperature")
    assert event["numeric_value"] == pytest.approx(36.8, abs=1e-5)
    assert "unit_inferred" in event["flags"]
    is_(event, unit="Cel", raw_value=None)


def test_an_impossible_number_becomes_null_and_keeps_its_raw_value(clean: Any) -> None:
    wrong = [e for e in clean.of(SEPSIS, "ED_VITAL//heartrate") if e["numeric_value"] is None]
    assert [(e["raw_value"], e["flags"]) for e in wrong] == [("9999", {"sentinel_value"})]


def test_ed_and_icu_vital_signs_share_their_concepts() -> None:

    concepts = {(line["event_type"], line["item"]): line["concept"] for line in MIMIC.rules("concepts")}
    limits = {(line["event_type"], line["item"]): (line["low"], line["high"]) for line in MIMIC.rules("limits")}
    units = {(line["event_type"], line["item"]): line["unit"] for line in MIMIC.rules("units")}
    same = {
        "temperature": "223762",
        "heartrate": "220045",
        "resprate": "220210",
        "o2sat": "220277",
        "sbp": "220179",
        "dbp": "220180",
    }
    for column, item in same.items():
        for table in (concepts, limits, units):
            assert table["ED_VITAL", column] == table["CHART", item], column


def test_pain_becomes_a_number_if_possible_and_other_texts_are_kept(trajectories: Any) -> None:
    found = {(e["numeric_value"], e["text_value"]) for e in trajectories.of(SEPSIS, "ED_VITAL//pain")}
    assert found == {(None, "unable"), (7.0, None), (10.0, "10/10")}
    is_(trajectories.one(VISIT, "ED_VITAL//pain"), numeric_value=None, text_value="5-6")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0), ("10", 10), ("7.5", 7.5), (" 3 ", 3), ("8/10", 8), ("8 out of 10", 8), ("10.0", 10), ("4 / 10", 4),
        ("11", None), ("13", None), ("100", None), ("5-6", None), ("-1", None), ("", None), ("unable", None),
        ("7/100", None), ("10.5", None), ("o", None), (None, None), ("0 asleep", None),
    ],
)  # fmt: skip
def test_pain_scores(text: str | None, number: float | None) -> None:
    with duckdb.connect() as connection:
        connection.execute(MIMIC.helper("macros"))
        assert connection.execute("SELECT pain_score(?)", [text]).fetchone() == (number,)


def test_a_round_of_vital_signs_names_the_rhythm(trajectories: Any) -> None:
    assert [(e["text_value"], e["stay_id"]) for e in trajectories.of(SEPSIS, "ED_ROUND")] == [
        ("Sinus Tachycardia", SEPSIS_ED),
        (None, SEPSIS_ED),
    ]


# Drugs and diagnoses ------------------------------------------------------------------------------------------


def test_home_drugs_are_reported_and_count_once_for_each_drug(trajectories: Any) -> None:
    events = trajectories.of(SEPSIS, "HOME_DRUG//")
    assert [(e["code"], e["attributes"]["etc_rn"], e["flags"]) for e in events] == [
        ("HOME_DRUG//aspirin", 1, set()),
        ("HOME_DRUG//aspirin", 2, {"repeated_drug"}),
        ("HOME_DRUG//lisinopril", 1, set()),
    ]
    is_(events[2], time=datetime(2153, 4, 11, 21, 45), hadm_id=SEPSIS_HADM, stay_id=SEPSIS_ED)
    assert events[2]["attributes"] == {
        "gsn": "000391",
        "ndc": "68180098001",
        "etc_rn": 1,
        "etccode": "00000331",
        "etcdescription": "ACE Inhibitors",
    }


def test_dispensed_drugs_are_separate_events_and_can_be_before_the_arrival(trajectories: Any) -> None:
    events = trajectories.of(SEPSIS, "DISPENSE//")
    assert [(e["code"], e["source_key"], e["flags"]) for e in events] == [
        ("DISPENSE//Acetaminophen", 1, set()),
        ("DISPENSE//CeftriaXONE", 2, set()),
        ("DISPENSE//CeftriaXONE", 2, {"repeated_drug"}),
    ]
    is_(events[0], time=datetime(2153, 4, 11, 20, 50), hadm_id=SEPSIS_HADM, attributes={"gsn_rn": 1, "gsn": "004489"})


def test_diagnoses_of_a_visit_are_available_at_its_end(trajectories: Any) -> None:
    events = trajectories.of(SEPSIS, "ED_DIAGNOSIS//", source_table="ed/diagnosis")
    assert [(e["code"], e["attributes"]) for e in events] == [
        ("ED_DIAGNOSIS//ICD10CM//A41.9", {"seq_num": 1}),
        ("ED_DIAGNOSIS//ICD10CM//N39.0", {"seq_num": 2}),
    ]
    for event in events:
        is_(event, time=LEFT, available_time=LEFT, flags={"available_estimated"}, stay_id=SEPSIS_ED, link_id=SEPSIS_ED)
    padded = trajectories.one(VISIT, "ED_DIAGNOSIS//ICD9CM//845.0")
    is_(padded, stay_id=VISIT_ED, time=datetime(2145, 9, 2, 22, 40))


def test_titles_of_diagnoses_describe_codes_missing_from_dictionaries(built: Path) -> None:
    found = duckdb.sql(
        f"SELECT description FROM '{built / 'metadata' / 'codes.parquet'}' WHERE code = 'ED_DIAGNOSIS//ICD9CM//845.0'"
    ).fetchall()
    assert found == [("SPRAIN OF ANKLE",)]


def test_rows_of_a_stay_missing_from_edstays_are_rejected_or_kept_without_it(
    build_rows: Callable[..., Any], handmade: ModuleType
) -> None:
    stay = {"subject_id": 5, "stay_id": 77}
    found = build_rows(
        {
            "hosp/patients": [{"subject_id": 5, "gender": "M"}],
            "ed/edstays": [{"subject_id": 5, "stay_id": 78, "intime": "2150-03-01 22:00"}],
            "ed/triage": [stay | {"heartrate": 80, "acuity": 3}],
            "ed/vitalsign": [stay | {"charttime": "2150-03-01 22:10", "heartrate": 81}],
            "ed/diagnosis": [stay | {"seq_num": 1, "icd_code": "I10", "icd_version": 10, "icd_title": "HYPERTENSION"}],
        }
    )
    assert [e["numeric_value"] for e in found.of(5, "ED_VITAL//heartrate")] == [81.0]
    assert found.of(5, "ED_TRIAGE//") == found.of(5, "ED_DIAGNOSIS//") == []
    for name in ("triage", "diagnosis"):
        rejects = duckdb.sql(f"SELECT reason, stay_id FROM '{found.dataset / 'rejected' / name}.parquet'").fetchall()
        assert rejects == [("no_stay", 77)]
