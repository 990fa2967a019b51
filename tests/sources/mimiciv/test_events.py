"""What is true of all events of the hand-made release, of its ledger and of its metadata."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Callable
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

LEFT = "INPUT_START", "INGREDIENT_START", "ICU_PROCEDURE_START", "DRUG_ORDER_START", "PHARMACY_START"
RIGHT = "INPUT_END", "INGREDIENT_END", "ICU_PROCEDURE_END", "DRUG_ORDER_END", "PHARMACY_END"
INTERVALS = [*zip(LEFT, RIGHT, strict=True), ("TRANSFER", "TRANSFER_OUT"), ("ICU_START", "ICU_END")]


def at(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


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


# Intervals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "end"), INTERVALS)
def test_both_ends_of_an_interval_are_joined(trajectories: Any, start: str, end: str) -> None:
    def keys(event_type: str) -> Counter[Any]:
        # The care unit of a stay can differ between start and end; all other ends have the item of their start. Rates
        # and amounts can have units in their codes.
        return Counter(
            (
                e["subject_id"],
                e["link_id"],
                e["source_key"],
                None if event_type.startswith(("ICU_START", "ICU_END")) else e["code"].split("//")[1],
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
    tally = result.ledger["hosp/labevents"]
    assert tally.read == len(handmade.release_rows()["hosp/labevents"]) + 1
    assert tally.rejected == {reason: 1, "no_time": 1}


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
