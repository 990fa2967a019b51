"""The code status: edge cases, computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from .conftest import events_of, icu_stay

Compute = Callable[..., pl.DataFrame]


def charted(text: str) -> dict[str, Any]:
    return {"code": "CHART//223758", "time": "2150-01-01 08:00", "text_value": text}


def ordered(detail: str, time: str = "2150-01-01 08:00") -> dict[str, Any]:
    return {"code": f"ORDER_DETAIL//Code status//{detail}", "time": time, "stay_id": None, "link_id": 5}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (charted("Full code"), (100, 1, 0, 0, 0)),
        (charted("DNR / DNI"), (100, 0, 0, 1, 1)),
        (charted("DNI (do not intubate)"), (100, 0, 0, 1, 0)),
        (charted("Comfort measures only"), (100, 0, 1, 0, 0)),
        (ordered("Do not resuscitate (DNR/DNI)"), (100, 0, 0, 1, 1)),
        (ordered("DNAR (DO NOT attempt resuscitation for cardiac arrest)"), (100, 0, 0, 0, 1)),
        (ordered("Resuscitate (Full code)", "2150-01-03 00:01"), (None, 1, 0, 0, 0)),
        (ordered("Other"), (100, 0, 0, 0, 0)),
    ],
)
def test_code_status(concept_of: Compute, event: dict[str, Any], expected: tuple[int | None, ...]) -> None:
    rows = concept_of("code_status", events_of(*icu_stay(), event))
    assert rows.select("stay_id", "fullcode", "cmo", "dni", "dnr").rows() == [expected]
