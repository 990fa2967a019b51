"""Drugs: infusions in intensive care and orders in the hospital."""

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


@pytest.mark.parametrize(
    ("name", "drug", "rows", "theirs"),
    [
        ("acei", "Lisinopril", 107, 107),
        ("acei", "Enalaprilat", 107, 107),
        ("arb", "Sacubitril-Valsartan (24mg-26mg)", 35, 35),
        ("nsaid", "Aspirin EC", 248, 202),
    ],
)
def test_an_order_of_a_class_of_drugs_is_known_by_its_name(
    concept_of: Compute, demo_concept: Compute, name: str, drug: str, rows: int, theirs: int
) -> None:
    """The numbers in mimic-code's mode are those of its SQL on the same demo."""
    orders = [
        ordered(drug, "10:00", "12:00", 1),
        ordered(drug, "10:00", "12:00", 1),
        ordered(drug, "11:00", None, 2),
        ordered("Lidocaine", "10:00", "12:00", 3),
    ]
    events = events_of(*icu_stay(), *(event for order in orders for event in order))
    found = concept_of(name, events)
    assert found.select(name, "pharmacy_id", pl.col("available_time").dt.hour()).rows() == [(drug, 1, 12)]
    assert concept_of(name, events, THEIR_WAY)["stoptime"].null_count() == 1
    assert (demo_concept(name).height, demo_concept(name, THEIR_WAY).height) == (rows, theirs)


def test_ketorolac_is_an_nsaid_that_mimic_code_lacks(concept_of: Compute) -> None:
    events = events_of(*icu_stay(), *ordered("Ketorolac", "10:00", "12:00"))
    assert (concept_of("nsaid", events).height, concept_of("nsaid", events, THEIR_WAY).height) == (1, 0)


@pytest.mark.parametrize(
    ("item", "rate", "drug", "theirs"),
    [
        ("222062", 0.05, "vecuronium", 1),
        ("221555", 2.0, "cisatracurium", 1),
        ("229233", 5.0, "rocuronium", 0),
        ("222062", None, None, 0),
        ("222168", 50.0, None, 0),
    ],
)
def test_neuromuscular_blockers_are_infusions(
    concept_of: Compute, item: str, rate: float | None, drug: str | None, theirs: int
) -> None:
    events = events_of(*icu_stay(), *infusion(item, "10:00", "11:00", rate), *infusion(item, "12:00", None, rate, 2))
    assert concept_of("neuroblock", events)["drug"].to_list() == ([drug] if drug else [])
    assert concept_of("neuroblock", events, THEIR_WAY).height == theirs


def test_sedatives_are_infusions_and_pushes(concept_of: Compute, demo_concept: Compute) -> None:
    drugs = [
        infusion("222168", "10:00", "11:00", 50.0),
        infusion("221385", "10:00", "10:01", None, 2),
        infusion("221668", "10:00", None, 2.0, 3),
        infusion("221744", "10:00", "11:00", 100.0, 4),
    ]
    rows = concept_of("sedative", events_of(*icu_stay(), *(event for drug in drugs for event in drug)))
    assert rows.select("drug", "rate").rows() == [("propofol", 50.0), ("lorazepam", None)]
    demo = demo_concept("sedative")["drug"].value_counts()
    assert dict(demo.iter_rows()) == {
        "propofol": 794, "midazolam": 240, "dexmedetomidine": 263, "lorazepam": 132, "diazepam": 5
    }  # fmt: skip
