"""The medication administration record: doses that were not given, masked doses, rates in words, and its two clocks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

PATIENT = {"subject_id": 5, "gender": "F", "anchor_age": 60, "anchor_year": 2150}
ENTRY = {"subject_id": 5, "emar_id": "5-1", "emar_seq": 1, "medication": "Insulin"}


def build(build_rows: Callable[..., Any], entry: dict[str, Any], *details: dict[str, Any]) -> Any:
    """The events of an entry and its details."""
    key = {name: ENTRY[name] for name in ("subject_id", "emar_id", "emar_seq")}
    rows = {
        "hosp/patients": [PATIENT],
        "hosp/emar": [ENTRY | {"charttime": "2150-03-03 12:00"} | entry],
        "hosp/emar_detail": [key | detail for detail in details],
    }
    return build_rows(rows)


def test_an_entry_stored_before_the_dose_is_known_with_the_dose(build_rows: Callable[..., Any]) -> None:
    entry = {"event_txt": "Administered", "storetime": "2150-03-03 11:50"}
    event = build(build_rows, entry).one(5, "EMAR//Administered//Insulin")
    assert event["available_time"] == datetime(2150, 3, 3, 12)
    assert event["flags"] == {"available_before_time"}


def test_a_dose_due_but_not_given_is_only_due(build_rows: Callable[..., Any]) -> None:
    entry = {"event_txt": "Not Given per Sliding Scale"}
    events = build(build_rows, entry, {"dose_due": "2", "dose_due_unit": "UNIT"})
    (due,) = events.of(5, "EMAR_DOSE//")
    assert due["code"].startswith("EMAR_DOSE//DUE//Insulin")
    assert "not_a_dose" in due["flags"]


def test_a_masked_dose_is_no_result(build_rows: Callable[..., Any]) -> None:
    detail = {"parent_field_ordinal": "1.1", "dose_given": "___", "dose_given_unit": "g"}
    (given,) = build(build_rows, {"event_txt": "Administered"}, detail).of(5, "EMAR_DOSE//Administered//")
    assert (given["numeric_value"], given["text_value"], given["unit"]) == (None, None, "g")
    assert (given["attributes"]["value"], given["attributes"]["status"]) == ("___", "masked")
    assert "no_result" in given["flags"]


def test_a_rate_with_a_comma_is_a_number(build_rows: Callable[..., Any]) -> None:
    detail = {"parent_field_ordinal": "1.1", "infusion_rate": "1,050", "infusion_rate_unit": "units/hr"}
    entry = {"event_txt": "Rate Change", "medication": "Heparin"}
    (change,) = build(build_rows, entry, detail).of(5, "EMAR_INFUSION//")
    assert change["code"].startswith("EMAR_INFUSION//Rate Change//Heparin//")
    assert (change["numeric_value"], change["raw_value"], change["raw_unit"]) == (1050, "1,050", "units/hr")


def test_a_time_in_attributes_is_written_alike_whatever_is_beside_it(build_rows: Callable[..., Any]) -> None:
    """Fractions of a second are shown where there are some, and nowhere else."""
    times = ["2150-03-03 12:00:00", "2150-03-03 13:00:00.25"]
    entries = [
        {"subject_id": 5, "emar_id": f"5-{n}", "emar_seq": n, "charttime": "2150-03-03 14:00", "scheduletime": time}
        for n, time in enumerate(times)
    ]
    alone = build_rows({"hosp/patients": [PATIENT], "hosp/emar": entries[:1]}).of(5, "EMAR//")
    both = build_rows({"hosp/patients": [PATIENT], "hosp/emar": entries}).of(5, "EMAR//")
    first, again, second = (e["attributes"]["scheduletime"] for e in alone + both)
    assert first == again == times[0]
    assert second.rstrip("0") == times[1]
