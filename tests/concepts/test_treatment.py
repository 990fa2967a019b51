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


def period(item: str, start: str, end: str | None, key: int = 1, **also: Any) -> list[dict[str, Any]]:
    """Return the events of a procedure, or of an input if it has a value."""
    kind = "INPUT" if "value" in also else "ICU_PROCEDURE"
    began = {"code": f"{kind}_START//{item}", "time": at(start), "source_key": key, **also}
    ended = {"code": f"{kind}_END//{item}", "time": at(end or start), "source_key": key, "value": 1.0}
    return [began, *([ended] if end else [])]


CRRT, CATHETER, HAEMODIALYSIS, POTASSIUM = "225802", "224270", "225441", "227536"
BLOOD_FLOW, CRRT_MODE, PRESSURE, PERITONEAL_STATUS = "224144", "227290", "224149", "225965"


@pytest.mark.parametrize(
    ("events", "expected", "theirs"),
    [
        ([charted(BLOOD_FLOW, "10:00", 150.0)], [("10:00", 1, None)], None),
        ([charted(PRESSURE, "10:00", -50.0)], [("10:00", 0, None)], None),
        ([charted(CRRT_MODE, "10:00", "CVVHDF")], [("10:00", 0, "CVVHDF")], None),
        ([charted(PERITONEAL_STATUS, "10:00", "In use")], [("10:00", 1, "Peritoneal")], None),
        ([charted(PERITONEAL_STATUS, "10:00", "Capped")], [("10:00", 0, "Peritoneal")], None),
        (period(HAEMODIALYSIS, "09:00", "12:00"), [("09:00", 1, "IHD")], None),
        (
            [*period(CRRT, "09:00", "10:00"), charted(PRESSURE, "10:00", 9.0), charted(PRESSURE, "10:01", 9.0)],
            [("09:00", 1, "CRRT"), ("10:00", 1, "CRRT"), ("10:01", 0, None)],
            None,
        ),
        (
            [*period(CRRT, "09:00", None), charted(PRESSURE, "20:00", 9.0)],
            [("09:00", 1, "CRRT"), ("20:00", 1, "CRRT")],
            None,
        ),
        (
            [*period(CATHETER, "09:00", "20:00"), charted(BLOOD_FLOW, "10:00", 150.0)],
            [("09:00", 0, None), ("10:00", 1, None)],
            [("09:00", 0, None), ("10:00", 0, None)],
        ),
        (
            [*period(POTASSIUM, "09:00", "20:00", value=4.0), *period(CRRT, "09:00", "21:00", 2)],
            [("09:00", 1, "CRRT")],
            [("09:00", 1, "CRRT"), ("09:00", 1, "CRRT")],
        ),
    ],
    ids=["active", "present", "mode", "in use", "capped", "period", "ends", "running", "catheter", "twice"],
)
def test_dialysis(
    concept_of: Compute,
    events: list[dict[str, Any]],
    expected: list[tuple[Any, ...]],
    theirs: list[tuple[Any, ...]] | None,
) -> None:
    for mode, time, rows in ((ConceptMode(), "time", expected), (THEIR_WAY, "charttime", theirs or expected)):
        found = concept_of("rrt", events_of(*icu_stay(), *events), mode)
        assert found.select(pl.col(time).dt.strftime("%H:%M"), "dialysis_active", "dialysis_type").rows() == rows


def test_dialysis_of_the_demo(demo_concept: Compute) -> None:
    rows = demo_concept("rrt")
    assert rows.height == rows.unique(["stay_id", "time", "dialysis_active", "dialysis_type"]).height == 1886
    assert demo_concept("rrt", THEIR_WAY).height == 5134, "as mimic-code's SQL on the same demo"


@pytest.mark.parametrize(
    ("text", "column", "value"),
    [("Active", "system_active", 1), ("Discontinued", "system_active", 0), ("No Clot Present", "clots", 0),
     ("Clots Present", "clots", 1), ("Clot Increasing", "clots_increasing", 1), ("Clotted", "clotted", 1)],
)  # fmt: skip
def test_integrity_of_the_filter(concept_of: Compute, text: str, column: str, value: int) -> None:
    names = ["system_active", "clots", "clots_increasing", "clotted"]
    events = events_of(*icu_stay(), charted("224146", "10:00", text), charted(BLOOD_FLOW, "10:00", 150.0))
    row = concept_of("crrt", events).row(0, named=True)
    assert {name: row[name] for name in names} == dict.fromkeys(names) | {column: value}
    assert (row["blood_flow"], row["crrt_mode"]) == (150.0, None)


def test_a_line_has_a_kind_and_a_site(concept_of: Compute, demo_concept: Compute) -> None:
    lines = [
        *period(CATHETER, "09:00", "20:00", attributes={"location": "Left Axilla."}),
        *period("225752", "09:00", "20:00", 2, attributes={"location": "Right Radial"}),
        *period("225752", "10:00", None, 3),
        *period(HAEMODIALYSIS, "11:00", "12:00", 4),
    ]
    rows = concept_of("invasive_line", events_of(*icu_stay(), *lines))
    assert rows.select("line_type", "line_site").rows() == [("Dialysis", "Left Axilla"), ("Arterial", "Right Radial")]
    assert demo_concept("invasive_line").height == 216


def test_support_of_the_demo(demo_concept: Compute) -> None:
    found = demo_concept("ventilation_status").group_by("ventilation_status").len()
    assert dict(found.iter_rows()) == {
        "InvasiveVent": 1530, "SupplementalOxygen": 1135, "None": 546, "Tracheostomy": 68, "HFNC": 45,
        "NonInvasiveVent": 32,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([device("08:00", "CPAP mask")], ["NonInvasiveVent"]),
        ([device("08:00", "Nasal cannula"), charted("223849", "08:00", "CMV/ASSIST")], ["InvasiveVent"]),
        ([device("08:00", "Trach mask"), charted("223849", "08:00", "CMV/ASSIST")], ["Tracheostomy"]),
        ([charted("223849", "08:00", "Standby")], []),
    ],
    ids=["device", "mode before device", "tracheostomy first", "mode without meaning"],
)
def test_support_of_breathing(concept_of: Compute, events: list[dict[str, Any]], expected: list[str]) -> None:
    rows = concept_of("ventilation_status", events_of(*icu_stay(), *events))
    assert rows["ventilation_status"].to_list() == expected
