"""Properties of all events of the hand-made release, and the events of intensive care, written out by hand."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ehrtraj
from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")

SEPSIS, DIED, HOSPICE, OLDEST = 10900116, 10900234, 10900352, 10900471
CLINIC, OVERLAP, BORROWED, VISIT = 10900598, 10900613, 10900727, 10900845
SEPSIS_HADM, SEPSIS_STAY = 29000116, 39000116

LEFT = "INPUT_START", "INGREDIENT_START", "ICU_PROCEDURE_START", "DRUG_ORDER_START", "PHARMACY_START"
RIGHT = "INPUT_END", "INGREDIENT_END", "ICU_PROCEDURE_END", "DRUG_ORDER_END", "PHARMACY_END"
INTERVALS = [*zip(LEFT, RIGHT, strict=True), ("TRANSFER", "TRANSFER_OUT"), ("ICU_START", "ICU_END")]


@pytest.fixture(scope="module")
def trajectories(
    release: Path, tmp_path_factory: pytest.TempPathFactory, trajectories_of: Callable[[Path], Any]
) -> Any:
    """The events as the recipes alone make them: with the numbers and units of the rows."""
    folder = tmp_path_factory.mktemp("raw")
    return trajectories_of(ehrtraj.build(release, folder, "v1", max_cpus=1, standardise=False).path)


@pytest.fixture
def build_rows(build_rows: Callable[..., Any]) -> Callable[..., Any]:
    """As `build_rows`, with the numbers and units of the rows."""
    return partial(build_rows, standardise=False)


def at(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def is_(event: dict[str, Any], **expected: object) -> None:
    """Hold an event to what is expected of it; times are given as text."""
    for name, value in expected.items():
        if name in ("time", "available_time") and isinstance(value, str):
            value = at(value)
        if name == "numeric_value" and value is not None:
            value = pytest.approx(value, rel=1e-6)
        assert event[name] == value, f"{event['code']}: {name} is {event[name]!r}, not {value!r}"


# All events -------------------------------------------------------------------------------------------------


def test_every_event_with_a_time_is_available_and_never_before_it(trajectories: Any) -> None:
    for event in trajectories.events:
        if event["time"] is None:
            assert event["available_time"] is None
        else:
            assert event["available_time"] is not None, event
            assert event["available_time"] >= event["time"], event


def test_only_facts_about_the_patient_have_no_time(trajectories: Any) -> None:
    static = Counter(e["code"].split("//")[0] for e in trajectories.events if e["time"] is None)
    assert static == {"GENDER": 8, "ANCHOR_YEAR_GROUP": 8}


def test_every_table_of_patients_is_the_source_of_events(trajectories: Any, handmade: ModuleType) -> None:
    tables = {e["source_table"] for e in trajectories.events}
    assert tables == {name for name in handmade.release_rows() if MIMIC.tables[name].kind == "patient"}


def test_attributes_are_json_objects_with_something_in_them(built: Path, read_events: Any) -> None:
    texts = {text for text in read_events(built)["attributes"].to_pylist() if text is not None}
    assert len(texts) > 50
    for text in texts:
        assert isinstance(json.loads(text), dict), text
        assert json.loads(text), "null where there is nothing to say"


def test_nothing_of_an_event_is_an_empty_text(trajectories: Any) -> None:
    for event in trajectories.events:
        for name in ("text_value", "unit", "raw_value", "raw_unit"):
            assert event[name] is None or event[name].strip(), event
        assert all(value is not None and value != "" for value in event["attributes"].values()), event


# icustays ---------------------------------------------------------------------------------------------------


def test_a_stay_in_intensive_care_starts_in_its_first_unit_and_ends_in_its_last(trajectories: Any) -> None:
    start = trajectories.one(SEPSIS, "ICU_START//Medical Intensive Care Unit (MICU)")
    end = trajectories.one(SEPSIS, "ICU_END//Surgical Intensive Care Unit (SICU)")
    is_(start, time="2153-04-12 09:17:23", stay_id=SEPSIS_STAY, link_id=SEPSIS_STAY, attributes={})
    is_(end, time="2153-04-14 16:05:40", stay_id=SEPSIS_STAY, link_id=SEPSIS_STAY, attributes={})


# Intensive care ---------------------------------------------------------------------------------------------


def test_a_charted_value_has_number_unit_stay_and_two_clocks(trajectories: Any) -> None:
    is_(
        trajectories.one(SEPSIS, "CHART//220277"),
        time="2153-04-12 09:30",
        available_time="2153-04-12 11:14",
        numeric_value=89,
        text_value=None,
        unit="%",
        hadm_id=SEPSIS_HADM,
        stay_id=SEPSIS_STAY,
        flags=set(),
    )
    is_(
        trajectories.one(SEPSIS, "CHART//223762"),
        flags={"available_assumed"},
        available_time="2153-04-13 16:00",
    )
    is_(trajectories.one(SEPSIS, "CHART//220179"), numeric_value=82, flags={"charted_with_warning"})


def test_a_charted_text_says_more_than_its_number(trajectories: Any) -> None:
    is_(trajectories.one(SEPSIS, "CHART//223900"), numeric_value=1, text_value="No Response-ETT", unit=None)
    is_(
        trajectories.one(SEPSIS, "CHART//220001"),
        numeric_value=None,
        text_value="Urinary tract infection (UTI)",
        time="2153-04-13 16:00:37",
        time_precision="second",
    )


def test_a_charted_date_is_said_at_its_charting(trajectories: Any) -> None:
    line = trajectories.one(SEPSIS, "CHART_DATE//224288")
    is_(line, time="2153-04-12 12:00", available_time="2153-04-12 12:31", flags=set())
    assert line["attributes"] == {"value": "2153-04-12 10:40:00", "valueuom": "Date and Time"}
    catheter = trajectories.one(SEPSIS, "CHART_DATE//229352")
    is_(catheter, time="2153-04-12 12:00", flags={"charted_with_warning"})
    assert catheter["attributes"] == {"value": "2153-04-11 00:00:00", "valueuom": "Date"}


def test_each_change_of_a_rate_is_a_start_and_an_end_of_one_chain(trajectories: Any) -> None:
    starts = trajectories.of(SEPSIS, "INPUT_START//221906")
    ends = trajectories.of(SEPSIS, "INPUT_END//221906")
    assert [(str(e["time"]), e["numeric_value"], e["unit"], e["source_key"]) for e in starts] == [
        ("2153-04-12 10:05:00", pytest.approx(0.1), "mcg/kg/min", 61000001),
        ("2153-04-12 11:30:00", pytest.approx(0.22), "mcg/kg/min", 61000002),
        ("2153-04-13 02:00:00", pytest.approx(0.06), "mcg/kg/min", 61000003),
    ]
    assert [(str(e["time"]), e["numeric_value"], e["unit"], e["source_key"]) for e in ends] == [
        ("2153-04-12 11:30:00", pytest.approx(0.60775), "mg", 61000001),
        ("2153-04-13 02:00:00", pytest.approx(13.6851), "mg", 61000002),
        ("2153-04-13 09:30:00", pytest.approx(1.9305), "mg", 61000003),
    ]
    assert {e["link_id"] for e in starts + ends} == {61000001}
    assert [e["attributes"]["statusdescription"] for e in ends] == [
        "ChangeDose/Rate",
        "ChangeDose/Rate",
        "FinishedRunning",
    ]
    # Stored at 10:31, but the amount was not known before the end: nothing is wrong with that.
    is_(ends[0], available_time="2153-04-12 11:30", flags=set())
    is_(ends[2], available_time="2153-04-13 09:41")
    assert starts[0]["attributes"]["patientweight"] == 71.5


def test_what_is_mixed_into_a_bag_says_so(trajectories: Any) -> None:
    fluid = trajectories.one(SEPSIS, "INPUT_START//225943")
    drug = trajectories.of(SEPSIS, "INPUT_START//221906")[0]
    assert fluid["source_key"] == drug["source_key"]
    assert fluid["attributes"]["ordercomponenttypedescription"] == "Additives Ampoule"
    assert drug["attributes"]["ordercomponenttypedescription"] == "Main order parameter"


def test_a_push_has_an_amount_and_no_rate(trajectories: Any) -> None:
    is_(trajectories.one(SEPSIS, "INPUT_START//225893"), numeric_value=None, unit=None)
    is_(trajectories.one(SEPSIS, "INPUT_END//225893"), numeric_value=1, unit="dose")


def test_an_input_that_ends_before_it_starts_is_kept_and_flagged(trajectories: Any) -> None:
    is_(trajectories.one(SEPSIS, "INPUT_START//221744"), time="2153-04-14 09:00", flags=set())
    end = trajectories.one(SEPSIS, "INPUT_END//221744")
    is_(end, time="2153-04-14 08:00", flags={"end_before_start"}, available_time="2153-04-14 09:02")
    is_(end, link_id=61000014)


def test_ingredients_belong_to_their_input(trajectories: Any) -> None:
    bolus = trajectories.one(SEPSIS, "INPUT_START//225828", source_key=61000011)
    start = trajectories.one(SEPSIS, "INGREDIENT_START//220490")
    end = trajectories.one(SEPSIS, "INGREDIENT_END//220490")
    is_(start, time="2153-04-12 10:10", numeric_value=2000, unit="mL/hour")
    is_(end, time="2153-04-12 10:40", available_time="2153-04-12 10:40", numeric_value=1000, unit="ml")
    for event in (start, end):
        is_(event, source_key=bolus["source_key"], link_id=bolus["link_id"])
    assert bolus["link_id"] == 61000010


def test_outputs(trajectories: Any) -> None:
    events = trajectories.of(SEPSIS, "OUTPUT//226559")
    assert [(e["numeric_value"], e["unit"]) for e in events] == [(20, "mL"), (35, "mL"), (240, "mL")]
    is_(events[1], time="2153-04-12 12:00", available_time="2153-04-12 12:00", flags={"available_before_time"})


def test_ventilation_starts_and_ends_and_its_duration_is_known_at_the_end(trajectories: Any) -> None:
    start = trajectories.one(SEPSIS, "ICU_PROCEDURE_START//225792")
    end = trajectories.one(SEPSIS, "ICU_PROCEDURE_END//225792")
    is_(start, time="2153-04-12 10:20", numeric_value=None, unit=None)
    is_(end, time="2153-04-13 15:45", available_time="2153-04-13 15:46", numeric_value=1765, unit="min")
    assert start["source_key"] == end["source_key"] == 62000002
    line = trajectories.one(SEPSIS, "ICU_PROCEDURE_START//225752")["attributes"]
    assert (line["location"], line["locationcategory"]) == ("Right Radial", "Invasive Arterial")
    is_(trajectories.one(SEPSIS, "ICU_PROCEDURE_END//224385"), numeric_value=1, unit=None)


# Intervals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "end"), INTERVALS)
def test_both_ends_of_an_interval_are_joined(trajectories: Any, start: str, end: str) -> None:
    def keys(event_type: str) -> Counter[Any]:
        # The care unit of a stay can differ between start and end; all other ends have the item of their start.
        return Counter(
            (
                e["subject_id"],
                e["link_id"],
                e["source_key"],
                None if event_type.startswith(("ICU_START", "ICU_END")) else e["code"][len(event_type) :],
            )
            for e in trajectories.events
            if e["code"].startswith(f"{event_type}//")
        )

    ends = keys(end)
    assert ends
    assert all(link is not None for _, link, _, _ in ends)
    assert ends <= keys(start), "an end without its start"


def test_no_interval_of_the_release_lost_an_end(trajectories: Any, handmade: ModuleType) -> None:
    rows = handmade.release_rows()
    ends = {
        "INPUT_END": ("icu/inputevents", "endtime"),
        "INGREDIENT_END": ("icu/ingredientevents", "endtime"),
        "ICU_PROCEDURE_END": ("icu/procedureevents", "endtime"),
        "DRUG_ORDER_END": ("hosp/prescriptions", "stoptime"),
        "PHARMACY_END": ("hosp/pharmacy", "stoptime"),
        "TRANSFER_OUT": ("hosp/transfers", "outtime"),
        "ICU_END": ("icu/icustays", "outtime"),
    }
    counted = Counter(e["code"].split("//")[0] for e in trajectories.events)
    for event_type, (table, column) in ends.items():
        assert counted[event_type] == sum(row.get(column) is not None for row in rows[table]), event_type


# Rejected rows -----------------------------------------------------------------------------------


def rejects(dataset: Path, table: str) -> list[dict[str, Any]]:
    return pq.read_table(dataset / "rejected" / f"{table}.parquet").to_pylist()


def test_exact_duplicates_are_rejected_whole_and_one_stays(trajectories: Any, built: Path) -> None:
    charted = trajectories.of(SEPSIS, "CHART//220045", time=at("2153-04-12 12:00"))
    # The fourth was stored at another time.
    assert [str(e["available_time"]) for e in charted] == ["2153-04-12 12:05:00", "2153-04-12 12:20:00"]
    rows = rejects(built, "chartevents")
    assert len(rows) == 2
    for row in rows:
        assert row == {
            "reason": "exact_duplicate",
            "detail": None,
            "line": None,
            "text": None,
            "subject_id": SEPSIS,
            "hadm_id": SEPSIS_HADM,
            "stay_id": SEPSIS_STAY,
            "caregiver_id": 90011,
            "charttime": at("2153-04-12 12:00"),
            "storetime": at("2153-04-12 12:05"),
            "itemid": 220045,
            "value": "109",
            "valuenum": 109.0,
            "valueuom": "bpm",
            "warning": None,
        }
    assert [(r["reason"], r["result_name"]) for r in rejects(built, "omr")] == [("exact_duplicate", "BMI (kg/m2)")]


def test_no_other_row_was_rejected(built: Path, handmade: ModuleType) -> None:
    tables = {table.rpartition("/")[2] for table, _ in handmade.REJECTED}
    assert sorted(p.stem for p in (built / "rejected").iterdir()) == sorted(tables)


def test_the_ledger_accounts_for_every_row(built: Path, handmade: ModuleType) -> None:
    ledger = pq.read_table(built / "ledger.parquet").to_pylist()
    rows = handmade.release_rows()
    for table in {line["table"] for line in ledger}:
        lines = [line for line in ledger if line["table"] == table]
        assert [line["rows"] for line in lines if line["outcome"] == "read"] == [len(rows[table])]
        assert sum(line["rows"] for line in lines if line["outcome"] != "read") == len(rows[table])
    assert {line["table"] for line in ledger} == {name for name in rows if MIMIC.tables[name].kind != "no_patients"}
    rejected = {(line["table"], line["reason"]): line["rows"] for line in ledger if line["outcome"] == "rejected"}
    assert rejected == handmade.REJECTED


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f'1,{SEPSIS},,1,50983,,2153-04-12 00:00:00,,1,1,"never closed,,,,,', "broken_quote"),
        (f"1,{SEPSIS},,1,50983,,2153-02-30 00:00:00,,1,1,,,,,,", "not_a_time"),
        (f"1,{SEPSIS},,1,50983,,2153-04-12 00:00:00,,1", "wrong_number_of_fields"),
        ("1,,,1,50983,,2153-04-12 00:00:00,,1,1,,,,,,", "no_subject_id"),
    ],
)
def test_a_line_that_cannot_be_read_costs_a_build_that_line_alone(
    handmade: ModuleType,
    tmp_path: Path,
    built: Path,
    read_events: Callable[[Path], pa.Table],
    line: str,
    reason: str,
) -> None:
    handmade.write_release(tmp_path / "mine", plain=True)
    file = tmp_path / "mine" / "hosp" / "labevents.csv"
    header, rest = file.read_text(encoding="utf-8").split("\n", 1)
    file.write_text(f"{header}\n{line}\n{rest}", encoding="utf-8")
    result = ehrtraj.build(tmp_path / "mine", tmp_path / "out", "mine", max_cpus=1)
    assert read_events(result.path).equals(read_events(built))
    bad, no_time = rejects(result.path, "labevents")
    assert (bad["reason"], bad["line"], bad["text"]) == (reason, 2, line)
    assert bad["subject_id"] is None
    assert no_time["reason"] == "no_time"
    account = result.ledger["hosp/labevents"]
    assert account.read == len(handmade.release_rows()["hosp/labevents"]) + 1
    assert account.rejected == {reason: 1, "no_time": 1}


# Metadata ---------------------------------------------------------------------------------------------------


def test_codes_are_described_by_the_release_s_own_dictionaries(built: Path, trajectories: Any) -> None:
    codes = {row["code"]: row for row in pq.read_table(built / "metadata" / "codes.parquet").to_pylist()}
    assert set(codes) == {e["code"] for e in trajectories.events}
    counts = Counter(e["code"] for e in trajectories.events)
    patients = {(e["code"], e["subject_id"]) for e in trajectories.events}
    for code, row in codes.items():
        assert row["n_events"] == counts[code]
        assert row["n_subjects"] == sum(c == code for c, _ in patients)
        assert row["description"]
    assert codes["LAB//50813"]["description"] == "Lactate, Blood, Blood Gas"
    assert codes["LAB//50813"]["unit"] == "mmol/L"
    assert codes["CHART//220045"]["description"] == "Heart Rate"
    assert codes["INPUT_END//221906"]["description"] == "Norepinephrine"
    assert codes["DIAGNOSIS//ICD10CM//A41.9"]["description"] == "Sepsis, unspecified organism"
    assert codes["DIAGNOSIS//ICD10CM//A41.9"]["parent_codes"] == ["ICD10CM/A41.9"]
    assert codes["PROCEDURE//ICD9PROC//79.35"]["parent_codes"] == ["ICD9Proc/79.35"]
    assert codes["HCPCS//45380"]["parent_codes"] == ["CPT4/45380"]
    assert codes["HCPCS//G0378"]["parent_codes"] == ["HCPCS/G0378"]
    assert codes["HCPCS//G0378"]["description"] == "Hospital observation service, per hour"
    assert codes["MICRO//ANTIBIOTIC//90018"]["description"] == "CEFTRIAXONE"


def test_each_patient_is_described(built: Path, trajectories: Any) -> None:
    subjects = {row["subject_id"]: row for row in pq.read_table(built / "metadata" / "subjects.parquet").to_pylist()}
    assert sorted(subjects) == [SEPSIS, DIED, HOSPICE, OLDEST, CLINIC, OVERLAP, BORROWED, VISIT]
    for subject, row in subjects.items():
        times = [e["time"] for e in trajectories.of(subject) if e["time"] is not None]
        assert row["n_events"] == len(trajectories.of(subject))
        assert (row["first_time"], row["last_time"]) == (min(times), max(times))
        file = built / "data" / row["split"] / f"{row['shard']}.parquet"
        ids = pq.read_table(file, columns=["subject_id"])["subject_id"].to_pylist()
        assert ids.index(subject) == row["position"]
    assert subjects[DIED]["death_time"] == at("2139-11-07 18:22")
    assert subjects[HOSPICE]["death_time"] == at("2128-03-17 23:59:59")
    assert subjects[SEPSIS]["death_time"] is None
    assert subjects[SEPSIS]["followup_end"] == at("2154-04-18 13:45")
    assert subjects[CLINIC]["followup_end"] is None
    assert (subjects[SEPSIS]["sex"], subjects[SEPSIS]["birth_year"]) == ("F", 2086)
    assert [s for s, row in subjects.items() if row["age_top_coded"]] == [OLDEST]


# The other clock and the other form -------------------------------------------------------------------------


def test_with_the_clock_of_availability_time_is_when_it_was_known(
    release: Path, tmp_path: Path, trajectories: Any, read_events: Callable[[Path], pa.Table]
) -> None:
    dataset = ehrtraj.build(release, tmp_path, "known", max_cpus=1, clock="available").path
    known = read_events(dataset).to_pylist()
    assert all(e["time"] == e["available_time"] for e in known)

    def same(events: list[dict[str, Any]], time: str) -> Counter[Any]:
        return Counter((e["subject_id"], e["code"], e[time], e["available_time"], e["hadm_id"]) for e in events)

    assert same(known, "event_time") == same(trajectories.events, "time")


def test_a_release_of_plain_files_gives_the_same_events(
    handmade: ModuleType, tmp_path: Path, built: Path, read_events: Callable[[Path], pa.Table]
) -> None:
    handmade.write_release(tmp_path / "plain", plain=True)
    assert {p.suffix for p in (tmp_path / "plain").rglob("*.*")} == {".csv"}
    dataset = ehrtraj.build(tmp_path / "plain", tmp_path / "out", "plain", max_cpus=1).path
    assert read_events(dataset).equals(read_events(built))
