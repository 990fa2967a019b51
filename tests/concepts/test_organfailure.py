"""Concepts of organ failure: figures of the demo, and edge cases computed by hand."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from ehrtraj.concepts.session import ConceptMode

from .conftest import events_of, icu_stay
from .scoring import Event, chart, figures, lab, moment, urine

Compute = Callable[..., pl.DataFrame]
AVAILABLE, THEIR_WAY = ConceptMode("available"), ConceptMode(as_mimic_code=True)


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        ("kdigo_creatinine", "creat", (1272, 2134.0)),
        ("kdigo_uo", "uo_rt_6hr", (7317, 6957.367)),
        ("kdigo_stages", "aki_stage", (8729, 4794.0)),
        ("meld", "meld", (140, 2002.571)),
        ("creatinine_baseline", "scr_baseline", (275, 286.985)),
        ("urine_output_rate", "uo_mlkghr_6hr", (7317, 6095.401)),
    ],
)
def test_figures_of_the_demo(demo_concept: Compute, name: str, column: str, expected: tuple[int, float]) -> None:
    assert figures(demo_concept(name), column) == expected


def test_kdigo_stages_of_the_demo_that_binary_numbers_change(demo_concept: Compute) -> None:
    keys = ["stay_id", "time"]
    theirs = demo_concept("kdigo_stages", THEIR_WAY).rename({"charttime": "time"})
    both = demo_concept("kdigo_stages").join(theirs, on=keys, suffix="_theirs")
    assert both.height == 8729
    assert both.filter(pl.col("aki_stage_creat") != pl.col("aki_stage_creat_theirs")).height == 18
    assert both.filter(pl.col("aki_stage_smoothed") != pl.col("aki_stage_smoothed_theirs")).height == 797


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([("01 08:00", 1.0), ("02 08:00", 1.3)], (1.3, 1.0, 1.0)),
        ([("01 08:00", 1.0), ("03 08:00", 1.3)], (1.3, 1.0, 1.0)),
        ([("01 08:00", 1.0), ("03 08:01", 1.3)], (1.3, None, 1.0)),
        ([("01 08:00", 1.0), ("08 08:01", 1.3)], (1.3, None, None)),
        ([("01 08:00", 1.0), ("01 08:00", 2.0)], (1.5, None, None)),
    ],
    ids=["a day", "48 hours", "more than 48 hours", "more than 7 days", "one time"],
)
def test_lowest_creatinine(
    concept_of: Compute, results: list[tuple[str, float]], expected: tuple[float | None, ...]
) -> None:
    stay = icu_stay(end="2150-01-20 00:00")
    rows = concept_of("kdigo_creatinine", events_of(*stay, *(lab("creatinine", *result) for result in results)))
    found = rows.select("creat", "creat_low_past_48hr", "creat_low_past_7day").row(-1)
    assert found == tuple(None if value is None else pytest.approx(value) for value in expected)


def test_creatinine_before_a_stay_is_known_with_the_stay(concept_of: Compute) -> None:
    events = events_of(*icu_stay("2150-01-03 12:00", "2150-01-04 12:00"), lab("creatinine", "01 08:00", 1.0))
    assert concept_of("kdigo_creatinine", events)["available_time"].item() == moment("12:00", "03")


@pytest.mark.parametrize(
    ("before", "after", "stage", "in_binary"),
    [
        (1.0, 1.3, 1, 1),
        (1.1, 1.4, 1, 0),
        (1.0, 1.29, 0, 0),
        (0.6, 0.9, 1, 1),
        (1.0, 2.0, 2, 2),
        (1.0, 3.0, 3, 3),
        (3.8, 4.1, 3, 3),
        (3.9, 4.1, 0, 0),
        (3.8, 4.0, 0, 0),
    ],
)
def test_stage_of_creatinine(concept_of: Compute, before: float, after: float, stage: int, in_binary: int) -> None:
    events = events_of(*icu_stay(), lab("creatinine", "01 06:00", before), lab("creatinine", "01 18:00", after))
    for mode, expected in ((ConceptMode(), stage), (THEIR_WAY, in_binary)):
        assert concept_of("kdigo_stages", events, mode)["aki_stage_creat"].to_list() == [0, expected]


@pytest.mark.parametrize(
    ("hours", "volume", "stage"),
    [(7, 20.0, 1), (7, 35.0, 0), (13, 20.0, 2), (13, 0.0, 3), (5, 5.0, None)],
    ids=["6 hours below 0.5 mL/kg/h", "0.5 mL/kg/h", "12 hours below it", "12 hours without urine", "too short"],
)
def test_stage_of_urine(concept_of: Compute, hours: int, volume: float, stage: int | None) -> None:
    hourly = [urine(f"{hour:02}:00", volume) for hour in range(1, hours + 1)]
    rows = concept_of("kdigo_stages", events_of(*icu_stay(), chart("weight", "00:30", 70.0), *hourly))
    assert rows["aki_stage_uo"].to_list()[-1] == stage


def test_smoothed_stage_is_that_of_the_stay(concept_of: Compute) -> None:
    first = [lab("creatinine", "01 01:00", 1.0), lab("creatinine", "01 02:00", 3.0)]
    second = icu_stay("2150-02-01 00:00", "2150-02-03 00:00", hadm_id=11, stay_id=101)
    later = {"code": "LAB//50912", "time": "2150-02-01 03:00", "value": 1.0, "hadm_id": 11, "stay_id": None}
    keys = [event | {"source_key": 11 if event["code"].startswith(("ADM", "DIS")) else 101} for event in second[2:]]
    events = events_of(*icu_stay(), *first, *keys, later)
    rows = concept_of("kdigo_stages", events).filter(stay_id=101)
    assert rows["aki_stage_smoothed"].to_list() == [0]
    assert concept_of("kdigo_stages", events, THEIR_WAY).filter(stay_id=101)["aki_stage_smoothed"].to_list() == [3]


@pytest.mark.parametrize(
    ("times", "mode", "volume"),
    [
        (["03:50", "08:59"], ConceptMode(), 10.0),
        (["03:50", "08:59"], THEIR_WAY, 20.0),
        (["03:59", "08:59"], ConceptMode(), 20.0),
        (["03:50", "09:00"], THEIR_WAY, 10.0),
    ],
    ids=["hours that passed", "boundaries of hours", "five hours", "six boundaries"],
)
def test_urine_of_six_hours(concept_of: Compute, times: list[str], mode: ConceptMode, volume: float) -> None:
    events = events_of(*icu_stay(), chart("heart_rate", "00:30", 80.0), *(urine(time, 10.0) for time in times))
    assert concept_of("urine_output_rate", events, mode)["urineoutput_6hr"].to_list()[-1] == volume


def weights(*charted: tuple[str, float]) -> list[Event]:
    return [chart("weight", time, value) for time, value in charted]


@pytest.mark.parametrize(
    ("charted", "mode", "expected"),
    [
        ([("06:00", 70.0)], ConceptMode(), 70.0),
        ([("06:00", 70.0)], AVAILABLE, None),
        ([("01:00", 70.0), ("02:00", 72.0)], ConceptMode(), 72.0),
        ([], ConceptMode(), None),
    ],
    ids=["before it was charted", "not known yet", "the last one", "none"],
)
def test_weight_of_a_rate(
    concept_of: Compute, charted: list[tuple[str, float]], mode: ConceptMode, expected: float | None
) -> None:
    events = events_of(*icu_stay(), *weights(*charted), chart("heart_rate", "00:30", 80.0), urine("04:00", 100.0))
    assert concept_of("kdigo_uo", events, mode)["weight"].to_list() == [expected]
    assert concept_of("urine_output_rate", events, mode)["weight"].to_list() == [expected]


@pytest.mark.parametrize(
    ("results", "meld"),
    [
        ({}, 6.0),
        ({"creatinine": 2.0, "bilirubin": 3.0, "inr": 2.0}, 25.0),
        ({"creatinine": 9.0, "bilirubin": 3.0, "inr": 2.0, "sodium": 140.0}, 32.0),
        ({"creatinine": 9.0, "bilirubin": 50.0, "inr": 9.0}, 40.0),
        ({"creatinine": 2.0, "bilirubin": 3.0, "inr": 2.0, "sodium": 130.0}, 28.465),
    ],
    ids=["nothing", "worst values", "creatinine is at most 4", "at most 40", "low sodium"],
)
def test_meld(concept_of: Compute, results: dict[str, float], meld: float) -> None:
    events = events_of(*icu_stay(), *(lab(what, "01 06:00", value) for what, value in results.items()))
    row = concept_of("meld", events).row(0, named=True)
    assert row["meld"] == pytest.approx(meld)
    assert row["available_time"] == row["end"]


@pytest.mark.parametrize(
    ("creatinine", "codes", "expected"),
    [(1.1, [], 1.1), (1.2, [], 0.825), (3.0, ["N18.4"], 3.0), (None, [], 0.825)],
    ids=["normal", "raised", "chronic kidney disease", "none"],
)
def test_baseline(concept_of: Compute, creatinine: float | None, codes: list[str], expected: float) -> None:
    results = [] if creatinine is None else [lab("creatinine", "01 06:00", creatinine)]
    coded = [{"code": f"DIAGNOSIS//ICD10CM//{code}", "time": "2150-01-03 00:00", "stay_id": None} for code in codes]
    row = concept_of("creatinine_baseline", events_of(*icu_stay(), *results, *coded)).row(0, named=True)
    assert row["scr_baseline"] == pytest.approx(expected, abs=0.001)
    assert (row["ckd"], row["time"]) == (len(codes), moment("00:00", "03"))
