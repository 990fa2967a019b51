"""The source's time of storage stays in the attributes where available_time had to be raised."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

SUBJECT = {"subject_id": 5, "gender": "F", "anchor_age": 60, "anchor_year": 2150}


@pytest.mark.parametrize(("stored", "attribute"), [("09:00:00", "2150-03-02 09:00:00"), ("10:30:00", None)])
def test_a_row_stored_before_its_time(build_rows: Callable[..., Any], stored: str, attribute: str | None) -> None:
    row = {"subject_id": 5, "charttime": "2150-03-02 10:00:00", "storetime": f"2150-03-02 {stored}"}
    rows = {"hosp/patients": [SUBJECT], "icu/outputevents": [row | {"itemid": 226559, "value": 5, "valueuom": "ml"}]}
    event = build_rows(rows, standardise=True).one(5, "OUTPUT//226559")
    assert ("available_before_time" in event["flags"]) == (attribute is not None)
    assert (event["attributes"] or {}).get("storetime") == attribute


def test_an_end_stored_before_it_happened(build_rows: Callable[..., Any]) -> None:
    row = {"subject_id": 5, "itemid": 221749, "orderid": 7, "rate": 1.5, "rateuom": "mcg/kg/min", "amount": 2}
    row |= {"starttime": "2150-03-02 10:00", "endtime": "2150-03-02 12:00", "storetime": "2150-03-02 10:20"}
    events = build_rows({"hosp/patients": [SUBJECT], "icu/inputevents": [row]}, standardise=True)
    start, end = events.one(5, "INPUT_START//221749"), events.one(5, "INPUT_END//221749")
    assert start["available_time"] == datetime(2150, 3, 2, 10, 20)
    assert "storetime" not in (start["attributes"] or {})
    assert end["available_time"] == datetime(2150, 3, 2, 12)
    assert end["attributes"]["storetime"] == "2150-03-02 10:20:00"


def test_the_status_of_an_order_is_known_at_the_end_of_the_last_admission(build_rows: Callable[..., Any]) -> None:
    order = {"subject_id": 5, "ordertime": "2150-03-02 10:00", "order_type": "Lab", "transaction_type": "New"}
    stays = [
        {"subject_id": 5, "hadm_id": hadm, "admittime": f"{day} 09:00", "dischtime": f"{day} 20:00"}
        for hadm, day in ((51, "2150-03-02"), (52, "2150-04-02"))
    ]
    orders = [order | {"poe_seq": 3, "order_status": "Active"}, order | {"poe_seq": 4, "order_status": "Inactive"}]
    events = build_rows({"hosp/patients": [SUBJECT], "hosp/admissions": stays, "hosp/poe": orders})
    assert all("order_status" not in e["attributes"] for e in events.of(5, "ORDER//New//Lab"))
    status = events.one(5, "ORDER_STATUS//Active")
    assert status["time"] == status["available_time"] == datetime(2150, 4, 2, 20)
    assert (status["source_key"], status["link_id"]) == (3, 5000003)
