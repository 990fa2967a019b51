"""Suspicion of infection: antibiotics and cultures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from ehrtraj.concepts.session import ConceptMode

from .conftest import events_of, icu_stay
from .scoring import chart, figures, heart_rates, lab

Compute = Callable[..., pl.DataFrame]
THEIR_WAY = ConceptMode(as_mimic_code=True)


def order(time: str, drug: str = "Vancomycin", route: str = "IV", key: int = 1) -> list[dict[str, Any]]:
    """Return the events of an order that lasts for two days, in January 2150."""
    common = {"source_key": key, "attributes": {"drug_type": "MAIN", "route": route}}
    end = f"{int(time[:2]) + 2:02}{time[2:]}"
    return [
        {"code": f"DRUG_ORDER_START//{drug}//mg", "time": f"2150-01-{time}", **common},
        {"code": f"DRUG_ORDER_END//{drug}", "time": f"2150-01-{end}", **common},
    ]


def culture(time: str | None, known: str, organism: str | None = None, key: int = 1) -> list[dict[str, Any]]:
    """Return a specimen and a result of its culture; without a time it is of the fourth day."""
    attributes = {"spec_type_desc": "BLOOD CULTURE"} | ({"org_name": organism} if organism else {})
    when = {"time": f"2150-01-{time}"} if time else {"time": "2150-01-04 23:59:59", "time_precision": "day"}
    code = "MICRO//ORGANISM//80002" if organism else "MICRO//TEST//90201"
    return [
        {"code": "MICRO_SPECIMEN//70012", **when, "link_id": key},
        {"code": code, **when, "available_time": f"2150-01-{known}", "link_id": key, "attributes": attributes},
    ]


def suspicions(concept_of: Compute, *events: dict[str, Any], mode: ConceptMode | None = None) -> pl.DataFrame:
    return concept_of("suspicion_of_infection", events_of(*icu_stay(), *events), mode)


@pytest.mark.parametrize(
    ("taken", "suspected"),
    [
        ("01 09:59", None),
        ("01 10:00", "01 10:00"),
        ("04 09:59", "04 09:59"),
        ("04 10:00", None),
        ("04 10:01", "04 10:00"),
        ("05 10:00", "04 10:00"),
        ("05 10:01", None),
        (None, "04 00:00"),
    ],
)
def test_a_culture_is_72_hours_before_or_24_hours_after_the_antibiotic(
    concept_of: Compute, taken: str | None, suspected: str | None
) -> None:
    row = suspicions(concept_of, *order("04 10:00"), *culture(taken, "07 12:00")).row(0, named=True)
    time = row["suspected_infection_time"]
    assert (time and f"{time:%d %H:%M}") == suspected
    assert row["suspected_infection"] == (suspected is not None)
    assert row["positive_culture"] == (None if suspected is None else 0)
    assert f"{row['available_time']:%d %H:%M}" == ("05 10:00" if suspected is None else "07 12:00")


def test_the_first_culture_before_the_antibiotic_counts(concept_of: Compute) -> None:
    cultures = [
        *culture("04 12:00", "05 00:00", key=3),
        *culture("03 12:00", "06 00:00", key=1),
        *culture("03 12:00", "09 00:00", "ESCHERICHIA COLI", key=2),
        *culture("03 12:00", "07 00:00", key=2)[1:],
        *culture("03 13:00", "05 00:00", key=4),
    ]
    row = suspicions(concept_of, *order("04 10:00"), *cultures).row(0, named=True)
    assert (f"{row['culture_time']:%d %H:%M}", row["positive_culture"]) == ("03 12:00", 1)
    assert f"{row['available_time']:%d %H:%M}" == "09 00:00"


@pytest.mark.parametrize(
    ("drug", "route", "ours", "theirs"),
    [
        ("Vancomycin", "IV", True, True),
        ("Vancomycin Oral Liquid", "PO/NG", False, True),
        ("MetRONIDAZOLE (FLagyl)", "PO/NG", True, True),
        ("Neomycin Sulfate", "PO", False, True),
        ("Mupirocin Nasal Ointment 2%", "NU", False, True),
        ("Tobramycin Inhalation Soln", "IH", False, True),
        ("Daptomycin", "IV", True, False),
        ("Mupirocin Cream 2%", "IV", False, False),
        ("Erythromycin", "LEFT EYE", False, False),
        ("Neomycin-Polymyxin-Bacitracin", "TP", False, False),
        ("Furosemide", "IV", False, False),
    ],
)
def test_only_systemic_antibiotics_count(concept_of: Compute, drug: str, route: str, ours: bool, theirs: bool) -> None:
    events = order("04 10:00", drug, route)
    found = suspicions(concept_of, *events), suspicions(concept_of, *events, mode=THEIR_WAY)
    assert [not rows.is_empty() for rows in found] == [ours, theirs]


def test_most_antibiotics_of_the_demo_are_suspicions(demo_concept: Compute) -> None:
    rows = demo_concept("suspicion_of_infection")
    assert (rows.height, rows["suspected_infection"].sum()) == (869, 757)
    assert rows.unique(["subject_id", "ab_id"]).height == rows.height


def test_figures_of_sepsis_in_the_demo(demo_concept: Compute) -> None:
    ours, theirs = demo_concept("sepsis3"), demo_concept("sepsis3", THEIR_WAY)
    assert figures(ours, "sofa_score") == (63, 249.0)
    assert figures(theirs, "sofa_score") == (62, 231.0)
    assert ours["stay_id"].is_unique().all()
    window = pl.col("sofa_time").is_between(
        pl.col("time") - pl.duration(hours=48), pl.col("time") + pl.duration(hours=24)
    )
    assert ours.select(window.all(), (pl.col("sofa_score") >= 2).all(), pl.col("sepsis3").all()).row(0) == (True,) * 3
    assert (ours["available_time"] >= ours["sofa_time"]).all()


@pytest.mark.parametrize(
    ("taken", "ordered", "failing", "onset"),
    [
        ("01 06:00", "01 10:00", "01 08:30", ("01 06:00", "01 09:00")),
        ("01 12:00", "01 10:00", "01 08:30", ("01 10:00", "01 09:00")),
        ("02 09:00", "02 10:00", "01 08:30", ("02 09:00", "01 09:00")),
        ("04 09:01", "04 10:00", "01 08:30", None),
        ("01 06:00", "01 10:00", "02 05:59", ("01 06:00", "02 06:00")),
        ("01 06:00", "01 10:00", "02 06:01", None),
    ],
    ids=[
        "after",
        "antibiotic first",
        "before",
        "more than 48 hours before",
        "24 hours after",
        "more than 24 hours after",
    ],
)
def test_sepsis_is_a_suspicion_with_organ_failure(
    concept_of: Compute, taken: str, ordered: str, failing: str, onset: tuple[str, str] | None
) -> None:
    stay = icu_stay(end="2150-01-06 00:00")
    grid = [chart("heart_rate", time, 80.0) for time in ("01 00:30", "02 08:30")]
    events = events_of(*stay, *grid, lab("bilirubin", failing, 2.0), *order(ordered), *culture(taken, "04 12:00"))
    rows = concept_of("sepsis3", events)
    found = [(f"{row['time']:%d %H:%M}", f"{row['sofa_time']:%d %H:%M}") for row in rows.iter_rows(named=True)]
    assert found == ([] if onset is None else [onset])


def test_sepsis_is_stated_when_everything_is_known(concept_of: Compute) -> None:
    late = lab("bilirubin", "01 08:30", 2.0, available_time="2150-01-01 20:00")
    events = events_of(*icu_stay(), *heart_rates(0, 12), late, *order("01 10:00"), *culture("01 06:00", "01 12:00"))
    row = concept_of("sepsis3", events).row(0, named=True)
    assert (f"{row['time']:%H:%M}", f"{row['sofa_time']:%H:%M}") == ("06:00", "09:00")
    assert f"{row['available_time']:%H:%M}" == "20:00"
