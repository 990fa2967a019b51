"""One order in the tables that tell of it: poe, pharmacy, prescriptions, emar and emar_detail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

STAY = {"subject_id": 5, "hadm_id": 51}
PATIENT = {"subject_id": 5, "gender": "F", "anchor_age": 60, "anchor_year": 2150}
ADMISSION = STAY | {"admittime": "2150-03-01 08:00", "dischtime": "2150-03-06 12:00"}
SPAN = {"starttime": "2150-03-02 10:00", "stoptime": "2150-03-04 10:00"}
ORDER = STAY | {"pharmacy_id": 900, "poe_id": "5-3"}


def build(build_rows: Callable[..., Any], **rows: list[dict[str, Any]]) -> Any:
    given = {f"hosp/{table}": of_table for table, of_table in rows.items()}
    return build_rows({"hosp/patients": [PATIENT], "hosp/admissions": [ADMISSION]} | given)


def test_one_number_joins_the_order_with_all_that_became_of_it(build_rows: Callable[..., Any]) -> None:
    entry = {"subject_id": 5, "emar_id": "5-8", "emar_seq": 8}
    events = build(
        build_rows,
        poe=[STAY | {"poe_id": "5-3", "poe_seq": 3, "ordertime": "2150-03-02 09:50", "order_type": "Medications"}],
        pharmacy=[ORDER | SPAN | {"medication": "Heparin", "verifiedtime": "2150-03-02 09:58"}],
        prescriptions=[
            ORDER | SPAN | {"drug_type": "MAIN", "drug": "Heparin"},
            ORDER | SPAN | {"drug_type": "BASE", "drug": "Iso-Osmotic Dextrose"},
        ],
        emar=[
            entry | {"poe_id": "5-3", "charttime": "2150-03-02 10:05", "medication": "Heparin", "event_txt": "Started"}
        ],
        emar_detail=[
            entry | {"dose_due": "1", "dose_due_unit": "mL"},
            entry | {"parent_field_ordinal": "1.1", "dose_given": "1", "dose_given_unit": "mL"},
            entry | {"parent_field_ordinal": "1.1", "infusion_rate": "900", "infusion_rate_unit": "units/hr"},
        ],
    )
    (order,) = events.of(5, "ORDER//")
    joined = Counter("//".join(e["code"].split("//")[:3]) for e in events.of(5, link_id=order["link_id"]))
    assert joined == {
        "ORDER//UNKNOWN//Medications": 1,
        "PHARMACY_START//Heparin": 1,
        "PHARMACY_VERIFIED//Heparin": 1,
        "PHARMACY_END//Heparin": 1,
        "DRUG_ORDER_START//Heparin//UNKNOWN": 1,
        "DRUG_ORDER_END//Heparin": 1,
        "DRUG_ORDER_START//Iso-Osmotic Dextrose//UNKNOWN": 1,
        "DRUG_ORDER_END//Iso-Osmotic Dextrose": 1,
        "EMAR//Started//Heparin": 1,
        "EMAR_DOSE//DUE//Heparin": 1,
        "EMAR_DOSE//Started//Heparin": 2,
        "EMAR_INFUSION//Started//Heparin": 1,
    }


@pytest.mark.parametrize("event_type", ["DRUG_ORDER", "PHARMACY"])
def test_an_order_that_ended_before_it_was_entered_is_known_from_its_entry(
    build_rows: Callable[..., Any], event_type: str
) -> None:
    row = STAY | {"pharmacy_id": 900, "starttime": "2150-03-02 20:00", "stoptime": "2150-03-02 16:00"}
    events = build(
        build_rows,
        pharmacy=[row | {"medication": "Morphine", "entertime": "2150-03-02 19:48"}],
        prescriptions=[row | {"drug_type": "MAIN", "drug": "Morphine"}],
    )
    suffix = "//UNKNOWN" if event_type == "DRUG_ORDER" else ""
    start, end = events.one(5, f"{event_type}_START//Morphine{suffix}"), events.one(5, f"{event_type}_END//Morphine")
    assert (start["time"], start["flags"]) == (datetime(2150, 3, 2, 20), set())
    assert (end["time"], end["flags"]) == (datetime(2150, 3, 2, 16), {"end_before_start"})
    assert end["available_time"] == datetime(2150, 3, 2, 19, 48)
    assert start["link_id"] == end["link_id"] == -900


def test_a_dose_with_a_comma_is_a_number_and_a_range_is_not(build_rows: Callable[..., Any]) -> None:
    doses = {"Heparin": "25,000", "Insulin": "0-10"}
    rows = [ORDER | SPAN | {"drug": drug, "dose_val_rx": dose, "dose_unit_rx": "UNIT"} for drug, dose in doses.items()]
    events = build(build_rows, prescriptions=rows)
    heparin, insulin = sorted(events.of(5, "DRUG_ORDER_START//"), key=lambda e: str(e["code"]))
    assert (heparin["numeric_value"], heparin["raw_value"], heparin["raw_unit"]) == (25000, "25,000", "UNIT")
    assert insulin["code"] == "DRUG_ORDER_START//Insulin//[USP'U]"
    assert (insulin["numeric_value"], insulin["text_value"], insulin["raw_unit"]) == (None, "0-10", "UNIT")
