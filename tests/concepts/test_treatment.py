"""Treatments: ventilation, dialysis and lines."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import polars as pl
import pytest

from ehrtraj.concepts.session import ConceptMode

from .conftest import events_of, icu_stay

Compute = Callable[..., pl.DataFrame]
THEIR_WAY = ConceptMode(as_mimic_code=True)


def at(text: str) -> str:
    """Return a time of January 2150, of the first day unless the day is given."""
    return f"2150-01-{text if ' ' in text else '01 ' + text}"


def charted(item: str, time: str, value: str | float, known: str | None = None) -> dict[str, Any]:
    column = "text_value" if isinstance(value, str) else "value"
    return {"code": f"CHART//{item}", "time": at(time), column: value, "available_time": at(known or time)}


def device(time: str, name: str, known: str | None = None) -> dict[str, Any]:
    return charted("226732", time, name, known)


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ([("08:00", "Endotracheal tube")], []),
        (
            [("08:00", "Endotracheal tube"), ("10:00", "Endotracheal tube"), ("11:00", "Nasal cannula")],
            [("08:00", "11:00", "11:00", "InvasiveVent")],
        ),
        (
            [("08:59", "Nasal cannula"), ("09:30", "Oxymizer"), ("23:01", "Nasal cannula"), ("23:02", "Face tent")],
            [("08:59", "09:30", "23:00", "SupplementalOxygen"), ("23:01", "23:02", "13:00", "SupplementalOxygen")],
        ),
        (
            [("08:00", "CPAP mask"), ("08:10", "Bipap mask"), ("09:00", "Trach mask"), ("10:00", "Bipap mask")],
            [("08:00", "09:00", "09:00", "NonInvasiveVent")],
        ),
        ([("08:00", "Other"), ("08:10", "None"), ("09:00", "None")], [("08:10", "09:00", "23:00", "None")]),
    ],
    ids=["once", "replaced", "gap", "changes", "unknown"],
)
def test_an_episode_of_ventilation_ends_with_the_next_support(
    concept_of: Compute, devices: list[tuple[str, str]], expected: list[tuple[str, ...]]
) -> None:
    rows = concept_of("ventilation", events_of(*icu_stay(), *(device(*each) for each in devices)))
    times = [pl.col(name).dt.strftime("%H:%M") for name in ("start", "end", "available_time")]
    assert rows.select(*times, "ventilation_status").rows() == expected


def test_a_late_entry_delays_the_episodes_after_it(concept_of: Compute) -> None:
    devices = [device("08:00", "None", "15:00"), device("09:00", "None"), device("10:00", "Face tent")]
    rows = concept_of("ventilation", events_of(*icu_stay(), *devices))
    assert rows["available_time"].to_list() == [datetime(2150, 1, 1, 15)]


def test_episodes_of_the_demo_do_not_overlap(demo_concept: Compute) -> None:
    rows = demo_concept("ventilation").sort("stay_id", "start")
    assert (rows.height, rows["ventilation_status"].n_unique()) == (367, 6)
    assert rows.filter(pl.col("start") < pl.col("end").shift().over("stay_id")).is_empty()
