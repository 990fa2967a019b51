"""Scores: figures of the demo, and edge cases computed by hand."""

from __future__ import annotations

import csv
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ehrtraj.concepts.session import ConceptMode

from .conftest import events_of, icu_stay
from .scoring import Event, chart, figures, gas, heart_rates, infusion, lab, moment, urine

Compute = Callable[..., pl.DataFrame]
AVAILABLE, THEIR_WAY = ConceptMode("available"), ConceptMode(as_mimic_code=True)
POINTS = Path(__file__).resolve().parents[2] / "src" / "ehrtraj" / "concepts" / "points.csv"


def test_points_have_a_source_and_can_be_reached() -> None:
    with POINTS.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert all(line["source"] for line in lines)
    for component, group in groupby(lines, key=lambda line: (line["score"], line["component"])):
        conditions = [tuple(line[bound] for bound in ("above", "at_least", "below", "at_most")) for line in group]
        assert len(set(conditions)) == len(conditions), component
        assert all(any(condition) for condition in conditions[:-1]), f"{component}: only the last line holds for all"
    assert len({(line["score"], line["component"]) for line in lines}) == len(
        list(groupby(lines, key=lambda line: (line["score"], line["component"])))
    ), "lines of a component are together"


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        ("sofa", "sofa_24hours", (12255, 61489.0)),
        ("first_day_sofa", "sofa", (140, 678.0)),
        ("sirs", "sirs", (140, 368.0)),
        ("qsofa", "qsofa_24hours", (12255, 24492.0)),
        ("news2", "news2", (12255, 61261.0)),
        ("sapsii", "sapsii", (140, 5086.0)),
        ("apsiii", "apsiii", (140, 6513.0)),
        ("lods", "lods", (140, 613.0)),
        ("oasis", "oasis", (140, 4339.0)),
        ("icu_hourly", "creatinine", (12255, 18446.6)),
        ("oxygenation", "invasive", (1087, 503.0)),
        ("first_day_ventilation", "ventilated", (140, 60.0)),
        ("first_day_rrt", "dialysis_present", (140, 6.0)),
        ("weight_since", "weight", (570, 51767.7)),
    ],
)
def test_figures_of_the_demo(demo_concept: Compute, name: str, column: str, expected: tuple[int, float]) -> None:
    assert figures(demo_concept(name), column) == expected


@pytest.mark.parametrize(
    ("name", "keys", "column", "rows"),
    [
        ("sofa", ["stay_id", "hr"], "sofa_24hours", 347),
        ("sapsii", ["stay_id"], "sapsii", 19),
        ("apsiii", ["stay_id"], "apsiii", 25),
        ("lods", ["stay_id"], "lods", 55),
        ("oasis", ["stay_id"], "oasis", 22),
        ("sirs", ["stay_id"], "sirs", 0),
    ],
)
def test_rows_of_the_demo_that_differ_from_mimic_code(
    demo_concept: Compute, name: str, keys: list[str], column: str, rows: int
) -> None:
    both = demo_concept(name).join(demo_concept(name, THEIR_WAY), on=keys, suffix="_theirs")
    assert both.height == demo_concept(name).height
    assert both.filter(pl.col(column) != pl.col(f"{column}_theirs")).height == rows


def hour_of(rows: pl.DataFrame, hr: int) -> dict[str, Any]:
    return rows.filter(hr=hr).row(0, named=True)


NOREPINEPHRINE, DOPAMINE, DOBUTAMINE = "221906", "221662", "221653"


@pytest.mark.parametrize(
    ("events", "component", "points"),
    [
        ([lab("bilirubin", "02:30", 1.2)], "liver", 1),
        ([lab("bilirubin", "02:30", 12.0)], "liver", 4),
        ([lab("platelet", "02:30", 150.0)], "coagulation", 0),
        ([lab("platelet", "02:30", 19.0)], "coagulation", 4),
        ([lab("creatinine", "02:30", 3.5)], "renal", 3),
        ([lab("creatinine", "02:30", 1.2, hadm_id=None)], "renal", 1),
        ([chart("mbp", "02:30", 69.0)], "cardiovascular", 1),
        ([chart("mbp", "02:30", 70.0)], "cardiovascular", 0),
        (infusion(NOREPINEPHRINE, "02:10", "04:00", 0.1), "cardiovascular", 3),
        (infusion(NOREPINEPHRINE, "02:10", "04:00", 0.11), "cardiovascular", 4),
        (infusion(NOREPINEPHRINE, "02:10", "02:50", 0.11), "cardiovascular", None),
        (infusion(NOREPINEPHRINE, "02:10", None, 0.11), "cardiovascular", 4),
        (infusion(DOPAMINE, "02:10", "04:00", 5.0), "cardiovascular", 2),
        (infusion(DOBUTAMINE, "02:10", "04:00", 20.0), "cardiovascular", 2),
        (gas("02:30", po2=80.0, fio2=40.0), "respiration", 2),
        ([*gas("02:30", po2=78.0, fio2=40.0), chart("device", "01:00", "Endotracheal tube")], "respiration", 3),
        ([*gas("02:30", po2=78.0, fio2=40.0), chart("device", "01:00", "Nasal cannula")], "respiration", 2),
        ([], "cns", None),
    ],
)
def test_points_of_sofa(concept_of: Compute, events: list[Event], component: str, points: int | None) -> None:
    row = hour_of(concept_of("sofa", events_of(*icu_stay(), *heart_rates(0, 3), *events)), 2)
    assert row["time"] == moment("03:00")
    assert row[component] == points
    assert row["sofa_24hours"] == (points or 0)


def test_an_hour_of_sofa_begins_after_and_ends_at_the_full_hour(concept_of: Compute) -> None:
    results = [lab("bilirubin", "02:00", 6.0), lab("creatinine", "02:01", 5.0)]
    rows = concept_of("sofa", events_of(*icu_stay(), *heart_rates(0, 3), *results))
    assert [(row["liver"], row["renal"]) for row in (hour_of(rows, 1), hour_of(rows, 2))] == [(3, None), (None, 4)]


def test_the_highest_points_of_24_hours_count(concept_of: Compute) -> None:
    charted = [chart("heart_rate", "00:30", 80.0), chart("heart_rate", "02 02:30", 80.0)]
    rows = concept_of("sofa", events_of(*icu_stay(), *charted, lab("bilirubin", "00:45", 6.0)))
    found = {row["hr"]: row["liver_24hours"] for row in rows.iter_rows(named=True)}
    assert (found[0], found[23], found[24]) == (3, 3, 0)


def test_sofa_of_an_hour_contains_what_was_known(concept_of: Compute) -> None:
    late = lab("bilirubin", "02:30", 6.0, available_time="2150-01-01 04:30")
    running = infusion(NOREPINEPHRINE, "02:10", "02:50", 0.2, available_time="2150-01-01 04:10")
    events = events_of(*icu_stay(), *heart_rates(0, 5), late, *running)
    happened, known = concept_of("sofa", events), concept_of("sofa", events, AVAILABLE)
    assert [hour_of(happened, hr)["liver"] for hr in (2, 4)] == [3, None]
    assert [hour_of(known, hr)["liver"] for hr in (2, 4)] == [None, 3]
    assert hour_of(happened, 2)["available_time"] == moment("04:30")
    assert hour_of(known, 2)["available_time"] == moment("03:00")
    assert [hour_of(happened, hr)["cardiovascular"] for hr in (2, 3)] == [None, None]
    assert [hour_of(known, hr)["cardiovascular"] for hr in (2, 3, 4)] == [4, 4, None]


@pytest.mark.parametrize(
    ("ratio", "device", "points", "theirs"),
    [(250.0, "Endotracheal tube", 2, 0), (150.0, "Endotracheal tube", 3, 3), (250.0, "Nasal cannula", 2, 2)],
)
def test_oxygenation_of_the_first_day(concept_of: Compute, ratio: float, device: str, points: int, theirs: int) -> None:
    tube = [chart("device", time, device) for time in ("01:00", "02:00", "03:00")]
    modes = [chart("mode", time, "CMV/ASSIST") for time in ("01:00", "02:00", "03:00") if device.startswith("Endo")]
    events = events_of(*icu_stay(), *tube, *modes, *gas("02:30", po2=ratio * 0.4, fio2=40.0))
    assert concept_of("first_day_sofa", events)["respiration"].item() == points
    assert concept_of("first_day_sofa", events, THEIR_WAY)["respiration"].item() == theirs


@pytest.mark.parametrize(
    ("events", "sirs"),
    [
        ([], 0),
        ([chart("temperature", "01:00", 35.9), chart("heart_rate", "01:00", 91.0)], 2),
        ([chart("temperature", "01:00", 38.0), chart("heart_rate", "01:00", 90.0)], 0),
        ([chart("resp_rate", "01:00", 20.0), *gas("01:00", po2=80.0, pco2=31.0)], 1),
        ([lab("wbc", "01:00", 3.9), chart("temperature", "02 02:00", 35.0)], 1),
    ],
    ids=["nothing", "two", "limits", "carbon dioxide", "after the first day"],
)
def test_sirs(concept_of: Compute, events: list[Event], sirs: int) -> None:
    row = concept_of("sirs", events_of(*icu_stay(), *events)).row(0, named=True)
    assert (row["sirs"], row["available_time"]) == (sirs, moment("00:00", "02"))


def coma(time: str, eyes: float, verbal: float, motor: float) -> list[Event]:
    return [chart("gcs_eyes", time, eyes), chart("gcs_verbal", time, verbal), chart("gcs_motor", time, motor)]


@pytest.mark.parametrize(
    ("events", "points"),
    [
        ([chart("sbp", "02:30", 100.0), chart("resp_rate", "02:30", 22.0), *coma("02:30", 3, 5, 6)], (1, 1, 1, 3)),
        ([chart("sbp", "02:30", 101.0), chart("resp_rate", "02:30", 21.0), *coma("02:30", 4, 5, 6)], (0, 0, 0, 0)),
        ([chart("sbp", "01:30", 90.0), chart("sbp", "02:30", 120.0)], (0, None, None, 1)),
    ],
    ids=["at the limits", "below the limits", "the hour before"],
)
def test_qsofa(concept_of: Compute, events: list[Event], points: tuple[int | None, ...]) -> None:
    row = hour_of(concept_of("qsofa", events_of(*icu_stay(), *heart_rates(0, 3), *events)), 2)
    assert (row["sbp_score"], row["resp_rate_score"], row["gcs_score"], row["qsofa_24hours"]) == points


def observed(time: str, **values: float) -> list[Event]:
    normal = {"resp_rate": 16.0, "spo2": 97.0, "sbp": 120.0, "temperature": 37.0}
    return [*(chart(what, time, value) for what, value in (normal | values).items()), *coma(time, 4, 5, 6)]


@pytest.mark.parametrize(
    ("events", "news2"),
    [
        (observed("02:30"), 0),
        (observed("02:30", resp_rate=25.0, spo2=91.0, sbp=90.0, temperature=35.0), 12),
        ([*observed("02:30"), chart("device", "01:30", "Nasal cannula")], 2),
        ([*observed("02:30"), *coma("02:45", 4, 4, 6)], 3),
        ([event for event in observed("02:30") if "220277" not in event["code"]], None),
        (observed("00:30", spo2=95.0), 1),
    ],
    ids=["normal", "worst", "oxygen", "confused", "a value is missing", "carried forward"],
)
def test_news2(concept_of: Compute, events: list[Event], news2: int | None) -> None:
    rows = concept_of("news2", events_of(*icu_stay(), *heart_rates(0, 3), *events))
    assert hour_of(rows, 2)["news2"] == news2


HYPOXIC = gas("08:00", po2=45.0, fio2=50.0)


def service(name: str) -> Event:
    return {"code": f"SERVICE//{name}", "time": "2150-01-01 00:00", "stay_id": None}


def coded(code: str) -> Event:
    return {"code": f"DIAGNOSIS//ICD10CM//{code}", "time": "2150-01-03 00:00", "stay_id": None}


def admitted(kind: str) -> list[Event]:
    return [event | {"code": f"ADMISSION//{kind}"} if "ADMISSION" in event["code"] else event for event in icu_stay()]


@pytest.mark.parametrize(
    ("events", "points"),
    [
        (icu_stay(), {"sapsii": 18, "age_score": 12, "admissiontype_score": 6, "comorbidity_score": 0}),
        ([*icu_stay(), coded("C78.00"), coded("C81.00")], {"sapsii": 28, "comorbidity_score": 10}),
        ([*icu_stay(), coded("B20")], {"comorbidity_score": 17}),
        ([*icu_stay(), service("TSURG")], {"admissiontype_score": 8}),
        ([*admitted("ELECTIVE"), service("TSURG")], {"admissiontype_score": 0}),
        ([*admitted("SURGICAL SAME DAY ADMISSION"), service("TSURG")], {"admissiontype_score": 0}),
        ([*icu_stay(), urine("05:00", 499.0), chart("sbp", "05:00", 69.0)], {"uo_score": 11, "sysbp_score": 13}),
        ([*icu_stay(), chart("device", "05:00", "Bipap mask"), *HYPOXIC], {"pao2fio2_score": 11}),
        ([*icu_stay(), *HYPOXIC], {"pao2fio2_score": None}),
    ],
)
def test_sapsii(concept_of: Compute, events: list[Event], points: dict[str, int | None]) -> None:
    row = concept_of("sapsii", events_of(*events)).row(0, named=True)
    assert {name: row[name] for name in points} == points
    assert row["available_time"] == moment("00:00", "03"), "diagnoses are coded when the admission ends"


def test_same_day_surgery_is_unscheduled_for_mimic_code(concept_of: Compute) -> None:
    events = events_of(*admitted("SURGICAL SAME DAY ADMISSION"), service("TSURG"))
    assert concept_of("sapsii", events, THEIR_WAY)["admissiontype_score"].item() == 8
    assert concept_of("oasis", events, THEIR_WAY)["electivesurgery_score"].item() == 6
    assert concept_of("oasis", events)["electivesurgery_score"].item() == 0


@pytest.mark.parametrize(
    ("events", "points"),
    [
        ([chart("heart_rate", "01:00", 60.0), chart("heart_rate", "02:00", 110.0)], {"hr_score": 5}),
        ([chart("temperature", "01:00", 35.5)], {"temp_score": 2}),
        ([chart("temperature", "01:00", 35.5), chart("temperature_site", "01:00", "Axillary")], {"temp_score": 0}),
        (gas("01:00", po2=60.0, ph=7.15, pco2=60.0), {"pao2_aado2_score": 5, "acidbase_score": 4}),
        ([*gas("01:00", po2=60.0), *gas("02:00", po2=90.0)], {"pao2_aado2_score": 5}),
        ([*gas("01:00", po2=90.0), *gas("02 02:00", po2=40.0)], {"pao2_aado2_score": 0}),
        (coma("01:00", 1, 1, 3), {"gcs_score": 33}),
        (coma("01:00", 3, 4, 5), {"gcs_score": 8}),
        ([lab("creatinine", "01:00", 2.0), urine("02:00", 409.0)], {"creatinine_score": 10, "uo_score": 8}),
        ([lab("creatinine", "01:00", 2.0), urine("02:00", 410.0)], {"creatinine_score": 7}),
        ([lab("creatinine", "01:00", 2.0), urine("02:00", 9.0), coded("N18.6")], {"creatinine_score": 7}),
        ([], {"apsiii": 0, "hr_score": None}),
    ],
)
def test_apsiii(concept_of: Compute, events: list[Event], points: dict[str, int | None]) -> None:
    row = concept_of("apsiii", events_of(*icu_stay(), *events)).row(0, named=True)
    assert {name: row[name] for name in points} == points


def test_aps_is_known_early_unless_codes_matter(concept_of: Compute) -> None:
    failure = [lab("creatinine", "01:00", 2.0), urine("02:00", 409.0)]
    assert concept_of("apsiii", events_of(*icu_stay()))["available_time"].item() == moment("00:00", "02")
    assert concept_of("apsiii", events_of(*icu_stay(), *failure))["available_time"].item() == moment("00:00", "03")


def test_mimic_code_scores_the_highest_oxygen_tension_of_the_stay(concept_of: Compute) -> None:
    events = events_of(*icu_stay(), *gas("01:00", po2=60.0), *gas("02 02:00", po2=90.0))
    assert concept_of("apsiii", events)["pao2_aado2_score"].item() == 5
    assert concept_of("apsiii", events, THEIR_WAY)["pao2_aado2_score"].item() == 0


@pytest.mark.parametrize(
    ("bun", "points", "theirs"), [(7.4, 0, 0), (7.5, 0, 1), (16.9, 0, 1), (17.0, 1, 1), (28.0, 3, 3), (56.0, 5, 5)]
)
def test_urea_nitrogen_of_lods(concept_of: Compute, bun: float, points: int, theirs: int) -> None:
    results = [lab("bun", "01:00", bun), lab("creatinine", "01:00", 0.8), urine("02:00", 1000.0)]
    events = events_of(*icu_stay(), *results)
    assert concept_of("lods", events)["renal"].item() == points
    assert concept_of("lods", events, THEIR_WAY)["renal"].item() == theirs


@pytest.mark.parametrize(
    ("events", "points"),
    [
        ([], {"lods": 0, "neurologic": None, "renal": None, "pulmonary": 0}),
        ([*gas("08:00", po2=60.0, fio2=50.0), chart("device", "08:30", "CPAP mask")], {"pulmonary": 3}),
        ([*gas("08:00", po2=75.0, fio2=50.0), chart("device", "08:30", "CPAP mask")], {"pulmonary": 1}),
        ([*gas("02 08:00", po2=60.0, fio2=50.0), chart("device", "02 07:30", "Endotracheal tube")], {"pulmonary": 0}),
        ([chart("sbp", "01:00", 89.0), lab("bilirubin", "01:00", 2.0)], {"lods": 2, "cardiovascular": 1, "hepatic": 1}),
    ],
    ids=["nothing", "CPAP", "mild", "second day", "sum"],
)
def test_lods(concept_of: Compute, events: list[Event], points: dict[str, int | None]) -> None:
    row = concept_of("lods", events_of(*icu_stay(), *events)).row(0, named=True)
    assert {name: row[name] for name in points} == points


@pytest.mark.parametrize(
    ("events", "points"),
    [
        ([], {"oasis": 17, "age_score": 6, "preiculos_score": 5, "electivesurgery_score": 6, "mechvent_score": 0}),
        ([chart("device", "23:00", "Endotracheal tube")], {"mechvent_score": 9}),
        ([chart("device", "02 01:00", "Endotracheal tube")], {"mechvent_score": 0}),
        ([chart("mbp", "01:00", 60.0), chart("mbp", "02:00", 90.0)], {"mbp_score": 2, "meanbp": 60.0}),
        ([chart("mbp", "01:00", 80.0), chart("mbp", "02:00", 90.0)], {"mbp_score": 0, "meanbp": 85.0}),
        ([urine("01:00", 1427.0)], {"urineoutput_score": 1}),
    ],
)
def test_oasis(concept_of: Compute, events: list[Event], points: dict[str, float | None]) -> None:
    row = concept_of("oasis", events_of(*icu_stay(), *events)).row(0, named=True)
    assert {name: row[name] for name in points} == points


@pytest.mark.parametrize(
    ("device", "time", "mode", "invasive"),
    [
        ("Endotracheal tube", "08:00", ConceptMode(), True),
        ("Endotracheal tube", "21:59", ConceptMode(), True),
        ("Endotracheal tube", "22:00", ConceptMode(), False),
        ("Nasal cannula", "08:00", ConceptMode(), False),
        ("Endotracheal tube", "08:00", THEIR_WAY, False),
    ],
    ids=["same time", "less than 14 hours", "14 hours", "not invasive", "charted once"],
)
def test_support_of_breathing_at_a_gas(
    concept_of: Compute, device: str, time: str, mode: ConceptMode, invasive: bool
) -> None:
    events = events_of(*icu_stay(), chart("device", "08:00", device), *gas(time, po2=80.0, fio2=40.0))
    assert concept_of("oxygenation", events, mode)["invasive"].to_list() == [invasive]


def test_hourly_grid(concept_of: Compute) -> None:
    events = [
        chart("mbp", "00:40", 60.0), chart("mbp", "00:50", 65.0), lab("creatinine", "00:45", 1.5),
        urine("01:20", 30.0), urine("01:40", 20.0), chart("device", "00:45", "Nasal cannula"),
        *infusion(NOREPINEPHRINE, "00:50", "01:30", 0.2),
    ]  # fmt: skip
    rows = concept_of("icu_hourly", events_of(*icu_stay(), *heart_rates(0, 2), *events))
    columns = ["mbp", "creatinine", "urineoutput", "ventilation_status", "rate_norepinephrine"]
    assert rows.select(columns).rows() == [
        (65.0, 1.5, None, "SupplementalOxygen", pytest.approx(0.2)),
        (None, 1.5, 50.0, "SupplementalOxygen", None),
        (None, 1.5, None, "SupplementalOxygen", None),
    ]
    assert rows["sofa_24hours"].to_list() == [5, 5, 5], "norepinephrine and creatinine"
