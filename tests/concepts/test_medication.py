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
