"""Inputs and their ingredients."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

STAY = {"subject_id": 5, "hadm_id": 51, "stay_id": 52}
BOLUS = STAY | {
    "starttime": "2150-03-01 10:10",
    "endtime": "2150-03-01 10:40",
    "storetime": "2150-03-01 10:40",
    "rate": 2000,
    "rateuom": "mL/hour",
    "amount": 1000,
    "amountuom": "ml",
    "orderid": 61000011,
    "linkorderid": 61000010,
}


def test_ingredients_belong_to_their_input(build_rows: Callable[..., Any]) -> None:
    """Start and end of both tables have the same numbers and times, which joins them."""
    tables = {
        "hosp/patients": [{"subject_id": 5, "gender": "F"}],
        "icu/inputevents": [BOLUS | {"itemid": 225828}],
        "icu/ingredientevents": [BOLUS | {"itemid": 220490}],
    }
    found = build_rows(tables, standardise=True)
    for edge, minute, number, unit in (("START", 10, 2000, "mL/h"), ("END", 40, 1000, "mL")):
        for event in (found.one(5, f"INPUT_{edge}//225828"), found.one(5, f"INGREDIENT_{edge}//220490")):
            assert (event["source_key"], event["link_id"]) == (61000011, 61000010)
            assert event["time"] == datetime(2150, 3, 1, 10, minute)
            assert (event["numeric_value"], event["unit"]) == (number, unit)
