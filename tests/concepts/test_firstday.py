"""Concepts of the first day of an ICU stay: what counts, and when a row is complete."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import polars as pl
import pytest

from ehrtraj.concepts.session import ConceptMode

from .conftest import events_of, icu_stay

Compute = Callable[..., pl.DataFrame]
# The stay begins at noon.
STAY = icu_stay("2150-01-02 12:00", "2150-01-05 00:00")
BEFORE, FIRST, LAST, AFTER = (f"2150-01-0{time}" for time in ("2 05:59", "2 06:00", "3 12:00", "3 12:01"))
START, END = datetime(2150, 1, 2, 12), datetime(2150, 1, 3, 12)


def chart(item: str, time: str, value: float, **also: Any) -> dict[str, Any]:
    return {"code": f"CHART//{item}", "time": time, "value": value} | also


def lab(item: str, time: str, value: float | None = None, **also: Any) -> dict[str, Any]:
    """Return a result of a specimen of its own for each time."""
    outside = {"stay_id": None, "hadm_id": None, "link_id": int(time[9] + time[11:13])}
    return {"code": f"LAB//{item}", "time": time, "value": value} | outside | also


def gas(time: str, po2: float, specimen: str) -> list[dict[str, Any]]:
    return [lab("50821", time, po2), lab("52033", time, text_value=specimen)]


def urine(time: str, value: float) -> dict[str, Any]:
    return {"code": "OUTPUT//226559", "time": time, "value": value}


def mode(time: str, text: str) -> dict[str, Any]:
    """Return the mode of continuous dialysis, as charted."""
    return {"code": "CHART//227290", "time": time, "text_value": text}


HEART_RATE, HEIGHT, WEIGHT, ADMIT, CREATININE, WBC = "220045", "226730", "224639", "226512", "50912", "51301"
AT_THE_EDGES = (BEFORE, FIRST, LAST, AFTER)


@pytest.mark.parametrize(
    ("concept", "events", "expected"),
    [
        (
            "first_day_vitalsign",
            [chart(HEART_RATE, time, value) for time, value in zip(AT_THE_EDGES, (40, 80, 100, 160), strict=True)],
            {"heart_rate_min": 80, "heart_rate_max": 100, "heart_rate_mean": 90, "sbp_max": None},
        ),
        (
            "first_day_lab",
            [lab(CREATININE, time, value) for time, value in zip(AT_THE_EDGES, (0.5, 2, 1, 9), strict=True)]
            + [lab(WBC, FIRST, 8), lab("51244", FIRST, 25)],
            {"creatinine_min": 1, "creatinine_max": 2, "wbc_max": 8, "abs_lymphocytes_min": 2, "inr_max": None},
        ),
        ("first_day_lab", [], {"creatinine_min": None, "wbc_max": None}),
        ("first_day_bg", [*gas(FIRST, 90, "VEN."), *gas(LAST, 80, "ART.")], {"po2_min": 80, "po2_max": 90}),
        ("first_day_bg_art", [*gas(FIRST, 90, "VEN."), *gas(LAST, 80, "ART.")], {"po2_min": 80, "po2_max": 80}),
        ("first_day_bg_art", [*gas(FIRST, 90, "VEN."), *gas(AFTER, 80, "ART.")], {"po2_min": None}),
        (
            "first_day_gcs",
            [chart("223901", FIRST, 4), chart("223901", LAST, 4), chart("220739", LAST, 4), chart("223901", AFTER, 1)],
            {"gcs_min": 13, "gcs_motor": 4, "gcs_eyes": 4, "gcs_unable": 0},
        ),
        ("first_day_gcs", [chart("223901", BEFORE, 1)], {"gcs_min": None, "gcs_unable": None}),
        ("first_day_height", [chart(HEIGHT, FIRST, 170), chart(HEIGHT, LAST, 171)], {"height": 170.5}),
        ("first_day_height", [chart(HEIGHT, BEFORE, 170), chart(HEIGHT, AFTER, 171)], {"height": None}),
        (
            "first_day_weight",
            [chart(ADMIT, FIRST, 80), chart(WEIGHT, LAST, 82), chart(WEIGHT, AFTER, 90)],
            {"weight_admit": 80, "weight": 81, "weight_min": 80, "weight_max": 82},
        ),
        ("first_day_weight", [chart(WEIGHT, AFTER, 90)], {"weight": None}),
        (
            "first_day_rrt",
            [mode(LAST, "CVVHDF"), mode(FIRST, "CVVH"), mode(AFTER, "SCUF"), chart("224144", LAST, 200)],
            {"dialysis_present": 1, "dialysis_active": 1, "dialysis_type": "CVVH, CVVHDF"},
        ),
        (
            "first_day_rrt",
            [chart("224149", FIRST, -50)],
            {"dialysis_present": 1, "dialysis_active": 0, "dialysis_type": None},
        ),
        ("first_day_rrt", [chart("224144", BEFORE, 200)], {"dialysis_present": None, "dialysis_active": None}),
        ("first_day_urine_output", [urine("2150-01-02 12:00", 100), urine(LAST, 50)], {"urineoutput": 150}),
        ("first_day_urine_output", [urine("2150-01-02 11:59", 100), urine(AFTER, 50)], {"urineoutput": None}),
    ],
)
def test_first_day(
    concept_of: Compute, concept: str, events: list[dict[str, Any]], expected: dict[str, float | str | None]
) -> None:
    rows = concept_of(concept, events_of(*STAY, *events))
    assert rows.select("start", "end", "available_time").rows() == [(START, END, END)]
    assert rows.select(expected.keys()).row(0, named=True) == expected


@pytest.mark.parametrize("concept", ["first_day_lab", "first_day_bg"])
def test_a_first_day_is_complete_when_its_last_result_is_known(concept_of: Compute, concept: str) -> None:
    known = "2150-01-03 13:00"
    events = events_of(
        *STAY, lab(CREATININE, LAST, 2, available_time=known), lab("50821", LAST, 80, available_time=known)
    )
    column = {"first_day_lab": "creatinine_max", "first_day_bg": "po2_max"}[concept]
    shown = concept_of(concept, events).select("available_time", column).row(0)
    assert shown[0] == datetime(2150, 1, 3, 13)
    assert shown[1] is not None
    by_then = concept_of(concept, events, ConceptMode("available")).select("available_time", column)
    assert by_then.rows() == [(END, None)]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([chart(WEIGHT, AFTER, 90)], {"weight": 90}),
        ([chart(WEIGHT, LAST, 80), chart(WEIGHT, AFTER, 90)], {"weight": 80}),
        ([chart(ADMIT, AFTER, 90)], {"weight_admit": 90}),
        ([chart(WEIGHT, FIRST, 80), chart(WEIGHT, LAST, 86)], {"weight": 83}),
        ([chart(WEIGHT, "2150-01-02 13:00", 80), chart(WEIGHT, LAST, 86)], {"weight": 82}),
    ],
)
def test_mimic_code_uses_weights_that_hold_backwards(
    concept_of: Compute, events: list[dict[str, Any]], expected: dict[str, float]
) -> None:
    rows = concept_of("first_day_weight", events_of(*STAY, *events), ConceptMode(as_mimic_code=True))
    assert rows.select(expected.keys()).row(0, named=True) == expected


@pytest.mark.parametrize(
    ("concept", "column", "stays"),
    [
        ("first_day_vitalsign", "heart_rate_max", 140),
        ("first_day_lab", "creatinine_max", 140),
        ("first_day_bg", "po2_min", 95),
        ("first_day_bg_art", "pao2fio2ratio_min", 59),
        ("first_day_gcs", "gcs_min", 140),
        ("first_day_height", "height", 66),
        ("first_day_weight", "weight", 133),
        ("first_day_urine_output", "urineoutput", 137),
        ("first_day_rrt", "dialysis_present", 6),
    ],
)
def test_each_stay_of_the_demo_has_a_first_day(demo_concept: Compute, concept: str, column: str, stays: int) -> None:
    """The numbers of stays with a value follow from mimic-code's results of the concepts that are read."""
    rows = demo_concept(concept)
    assert rows["stay_id"].n_unique() == rows.height == 140
    assert rows[column].count() == stays
