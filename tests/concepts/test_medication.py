"""Drugs: infusions in intensive care and orders in the hospital."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import polars as pl
import pytest

from .conftest import events_of, icu_stay

Compute = Callable[..., pl.DataFrame]
AGENTS = {
    "norepinephrine": ("221906", 947), "epinephrine": ("221289", 36), "vasopressin": ("222315", 55),
    "dobutamine": ("221653", 44), "dopamine": ("221662", 28), "phenylephrine": ("221749", 625),
    "milrinone": ("221986", 15),
}  # fmt: skip
_DAY = "2150-01-01"


def infusion(item: str, start: str, end: str | None, rate: float | None, order: int = 1) -> list[dict[str, Any]]:
    """Return the events of a period of constant rate."""
    common = {"source_key": order, "link_id": 7}
    began = {"code": f"INPUT_START//{item}", "time": f"{_DAY} {start}", "value": rate, **common}
    ended = [{"code": f"INPUT_END//{item}", "time": f"{_DAY} {end}", "value": 1.0, **common}] if end else []
    return [began, *ended]


@pytest.mark.parametrize("agent", AGENTS)
def test_a_dose_is_a_period_that_has_ended(concept_of: Compute, demo_concept: Compute, agent: str) -> None:
    item, rows = AGENTS[agent]
    running = infusion(item, "12:00", None, 0.2, order=2)
    push = infusion(item, "09:00", "09:01", None, order=3)
    other = infusion("225158", "10:00", "11:00", 5.0, order=4)
    events = events_of(*icu_stay(), *infusion(item, "10:00", "11:00", 0.1), *running, *push, *other)
    found = concept_of(agent, events).select("start", "end", "vaso_rate", "vaso_amount", "linkorderid").rows()
    nine, ten, eleven = (datetime(2150, 1, 1, hour) for hour in (9, 10, 11))
    assert found == [
        (nine, datetime(2150, 1, 1, 9, 1), None, 1.0, 7),
        (ten, eleven, pytest.approx(0.1), 1.0, 7),
    ]
    demo = demo_concept(agent)
    assert (demo.height, demo["vaso_rate"].null_count()) == (rows, 0)


def agents(
    concept_of: Compute, *periods: list[dict[str, Any]], name: str = "vasoactive_agent"
) -> list[tuple[Any, ...]]:
    events = events_of(*icu_stay(), *(event for period in periods for event in period))
    found = concept_of(name, events)
    rates = ["norepinephrine", "vasopressin"] if name == "vasoactive_agent" else [name]
    times = [pl.col(column).dt.strftime("%H:%M") for column in ("start", "end", "available_time")]
    return found.select(*times, *(pl.col(rate).round(3) for rate in rates)).rows()


def test_vasoactive_drugs_have_an_interval_between_two_changes(concept_of: Compute) -> None:
    norepinephrine, vasopressin = "221906", "222315"
    periods = [
        infusion(norepinephrine, "10:00", "11:00", 0.1, order=1),
        infusion(norepinephrine, "10:50", "12:00", 0.3, order=2),
        infusion(vasopressin, "11:30", None, 2.4, order=3),
        infusion(vasopressin, "14:00", "13:00", 9.0, order=4),
    ]
    assert agents(concept_of, *periods) == [
        ("10:00", "10:50", "10:50", 0.1, None),
        ("10:50", "11:00", "11:00", 0.3, None),
        ("11:00", "11:30", "11:30", 0.3, None),
        ("11:30", "12:00", "12:00", 0.3, 2.4),
        ("12:00", "14:00", "14:00", None, 2.4),
    ]
    gap = [infusion(norepinephrine, "10:00", "11:00", 0.1), infusion(norepinephrine, "12:00", "13:00", 0.2, order=2)]
    assert [rate for *_, rate, _ in agents(concept_of, *gap)] == [0.1, None, 0.2]
    assert agents(concept_of, infusion(norepinephrine, "10:00", None, 0.1)) == []


def test_vasopressors_add_up_as_norepinephrine(concept_of: Compute, demo_concept: Compute) -> None:
    name = "norepinephrine_equivalent_dose"
    rates = {"221906": 0.1, "221289": 0.02, "221749": 1.0, "221662": 5.0, "222315": 2.4, "221653": 9.0, "221986": 0.5}
    drugs = [infusion(item, "10:00", "11:00", rate, order) for order, (item, rate) in enumerate(rates.items())]
    assert agents(concept_of, *drugs, name=name) == [("10:00", "11:00", "11:00", pytest.approx(0.37))]
    assert agents(concept_of, *drugs[-2:], name=name) == [], "inotropes are not vasopressors"
    push = infusion("221906", "10:00", "10:01", None, 10)
    assert agents(concept_of, push, name=name) == []
    assert 0 < demo_concept(name).height < demo_concept("vasoactive_agent").height == 1872


def ordered(drug: str, start: str, end: str | None, key: int = 1, **attributes: str) -> list[dict[str, Any]]:
    """Return the events of an order."""
    common = {"source_key": key, "attributes": {"drug_type": "MAIN", "route": "IV"} | attributes}
    began = {"code": f"DRUG_ORDER_START//{drug}//mg", "time": f"{_DAY} {start}", **common}
    return [began, *([{"code": f"DRUG_ORDER_END//{drug}", "time": f"{_DAY} {end}", **common}] if end else [])]


def test_an_antibiotic_belongs_to_the_stay_in_which_it_starts(concept_of: Compute, demo_concept: Compute) -> None:
    orders = [
        ordered("CefePIME", "10:00", "12:00", 1),
        ordered("CefePIME", "10:00", "12:00", 1),
        ordered("CefePIME", "07:59", "12:00", 2),
        ordered("CefePIME", "20:00", "21:00", 3),
        ordered("CefePIME", "11:00", None, 4),
        ordered("CefePIME", "10:00", "12:00", 5, drug_type="BASE"),
    ]
    events = events_of(*icu_stay(f"{_DAY} 08:00", f"{_DAY} 20:00"), *(event for order in orders for event in order))
    found = concept_of("antibiotic", events).select("pharmacy_id", "stay_id", pl.col("available_time").dt.hour()).rows()
    assert found == [(2, None, 12), (1, 100, 12), (3, None, 21)]
    assert concept_of("antibiotic_order", events)["pharmacy_id"].to_list() == [2, 1, 4, 3]
    demo = demo_concept("antibiotic")
    assert (demo.height, demo["systemic"].sum(), demo["stay_id"].count()) == (909, 869, 467)
    assert demo_concept("antibiotic_order").height == 909
