"""Several records of one visit to the emergency department: which belong together, and where they truly disagree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

PATIENT = {"subject_id": 5, "gender": "F"}
ADMISSION = {
    "subject_id": 5,
    "hadm_id": 51,
    "admittime": "2150-03-01 10:00",
    "dischtime": "2150-03-06 12:00",
    "admission_type": "EW EMER.",
    "edregtime": "2150-02-28 20:00",
    "edouttime": "2150-03-01 09:58",
}
# The patient moved between places of the emergency department.
STAYS = {
    38000001: ("2150-02-28 20:00", "2150-02-28 23:00"),
    38000002: ("2150-02-28 23:00", "2150-03-01 04:00"),
    38000003: ("2150-03-01 04:00", "2150-03-01 09:58"),
}


def tables(
    stays: dict[int, tuple[str, str]], *, modules: tuple[str, ...] = ("ed", "hosp"), **admission: object
) -> dict[str, list[dict[str, Any]]]:
    """Rows of one visit in all three tables, or without `edstays`."""
    rows: dict[str, list[dict[str, Any]]] = {
        "hosp/patients": [PATIENT],
        "hosp/admissions": [ADMISSION | admission],
        "hosp/transfers": [],
    }
    for stay, (start, end) in stays.items():
        times = {"subject_id": 5, "hadm_id": 51, "intime": start, "outtime": end}
        rows["hosp/transfers"].append(
            times | {"transfer_id": stay, "eventtype": "ED", "careunit": "Emergency Department"}
        )
        if "ed" in modules:
            rows.setdefault("ed/edstays", []).append(times | {"stay_id": stay, "disposition": "ADMITTED"})
    return rows


def in_conflict(events: Any) -> set[str]:
    return {e["code"].split("//")[0] for e in events.of(5) if "visit_conflict" in e["flags"]}


@pytest.mark.parametrize("without", [[], ["ed/edstays"], ["hosp/transfers"], ["hosp/admissions"]])
def test_a_visit_counts_once_without_the_flagged_events(build_rows: Callable[..., Any], without: list[str]) -> None:
    """Whichever tables record it. All records have the stay_id, if there is one."""
    rows = tables({38000001: ("2150-02-28 20:00", "2150-03-01 09:58")})
    found = build_rows({name: of for name, of in rows.items() if name not in without}, standardise=True)
    records = ("ED_ARRIVAL", "ED_REGISTRATION", "TRANSFER//")
    arrivals = [e for e in found.of(5) if e["code"].startswith(records)]
    assert len(arrivals) == len(records) - len(without)
    assert len([e for e in arrivals if "same_visit" not in e["flags"]]) == 1
    assert {e["stay_id"] for e in arrivals} == {None if "ed/edstays" in without else 38000001}


@pytest.mark.parametrize(
    ("stay", "matched", "conflict"),
    [
        ({"hadm_id": 51, "intime": "2150-02-28 20:00"}, True, False),
        # Matched by the admission, although the arrival differs.
        ({"hadm_id": 51, "intime": "2150-02-28 17:30"}, True, True),
        # Matched by its start, although edstays has no admission.
        ({"hadm_id": None, "intime": "2150-02-28 20:20"}, True, True),
        # Another visit on the day before.
        ({"hadm_id": None, "intime": "2150-02-27 20:00", "outtime": "2150-02-28 03:00"}, False, False),
    ],
)
def test_a_visit_is_matched_by_its_admission_or_its_start(
    build_rows: Callable[..., Any], stay: dict[str, Any], matched: bool, conflict: bool
) -> None:
    rows = tables({}) | {"ed/edstays": [{"subject_id": 5, "stay_id": 52, "outtime": ADMISSION["edouttime"]} | stay]}
    found = build_rows(rows, standardise=True)
    registration, arrival = found.one(5, "ED_REGISTRATION"), found.one(5, "ED_ARRIVAL//UNKNOWN")
    assert registration["stay_id"] == (52 if matched else None)
    assert ("same_visit" in registration["flags"]) == matched
    assert ("visit_conflict" in registration["flags"], "visit_conflict" in arrival["flags"]) == (conflict, conflict)


def test_the_registration_belongs_to_the_first_of_several_stays_and_the_way_out_to_the_last(
    build_rows: Callable[..., Any],
) -> None:
    events = build_rows(tables(STAYS))
    registration, out = events.one(5, "ED_REGISTRATION"), events.one(5, "ED_OUT")
    assert (registration["stay_id"], registration["attributes"]) == (38000001, {"transfer_id": 38000001})
    assert (out["stay_id"], out["attributes"]) == (38000003, {"transfer_id": 38000003})
    assert (registration["flags"], out["flags"]) == ({"same_visit"}, {"same_visit"})
    assert in_conflict(events) == set()


def test_a_later_way_out_is_in_conflict_with_the_last_stay_alone(build_rows: Callable[..., Any]) -> None:
    events = build_rows(tables(STAYS, edouttime="2150-03-01 11:30"))
    departures = events.of(5, "ED_DEPARTURE//ADMITTED")
    assert ["visit_conflict" in e["flags"] for e in departures] == [False, False, True]
    assert in_conflict(events) == {"ED_DEPARTURE", "ED_OUT", "TRANSFER_OUT"}


def test_a_registration_that_begins_with_the_second_stay_belongs_to_it(build_rows: Callable[..., Any]) -> None:
    """In the demo, one patient went home from the first stay and was registered again in that minute."""
    events = build_rows(tables(STAYS, edregtime="2150-02-28 23:00"))
    assert events.one(5, "ED_REGISTRATION")["stay_id"] == 38000002
    assert in_conflict(events) == set()


@pytest.mark.parametrize("modules", [("ed", "hosp"), ("hosp",)])
@pytest.mark.parametrize(
    ("left", "conflict"),
    [("10:00:34", False), ("10:03:19", False), ("10:06", True), ("09:59", True), ("12:30", False)],
)
def test_a_row_that_the_admission_closed_is_not_in_conflict_with_the_true_departure(
    build_rows: Callable[..., Any], modules: tuple[str, ...], left: str, conflict: bool
) -> None:
    """The rows of 33 of 182 visits of the demo end 34 to 199 seconds after admittime, hours before edouttime."""
    stays = {38000001: ("2150-02-28 20:00", f"2150-03-01 {left}")}
    events = build_rows(tables(stays, modules=modules, edouttime="2150-03-01 12:30"))
    ends = {"ED_OUT", "TRANSFER_OUT"} | ({"ED_DEPARTURE"} if "ed" in modules else set())
    assert in_conflict(events) == (ends if conflict else set())
    assert "same_visit" in events.one(5, "ED_OUT")["flags"]


def test_a_stay_lasts_until_the_true_departure_if_the_admission_closed_its_row(build_rows: Callable[..., Any]) -> None:
    """In the demo, 447 of 500 vital signs outside such a row are before `edouttime`."""
    rows = tables({38000001: ("2150-02-28 20:00", "2150-03-01 10:01:05")}, edouttime="2150-03-01 12:30")
    rows["ed/vitalsign"] = [
        {"subject_id": 5, "stay_id": 38000001, "charttime": time, "heartrate": 80}
        for time in ("2150-02-28 21:00", "2150-03-01 12:29", "2150-03-01 12:32")
    ]
    vitals = build_rows(rows).of(5, "ED_VITAL//heartrate")
    assert ["outside_stay" in e["flags"] for e in vitals] == [False, False, True]
