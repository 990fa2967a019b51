"""Defects of the file itself: rows twice, and cells that are not of their column's type."""

from __future__ import annotations

from ehrtraj.synth.defects.kinds import Change, Kind, Lines, has
from ehrtraj.synth.defects.rows import Rows

TWICE = ("icu/chartevents", "hosp/omr", "hosp/emar", "hosp/emar_detail")
NUMBERS = {"hosp/labevents": "valuenum", "icu/outputevents": "value", "ed/vitalsign": "heartrate"}
TIMES = {"hosp/prescriptions": "starttime", "hosp/omr": "chartdate", "ed/vitalsign": "charttime"}


def kinds() -> list[Kind]:
    """Return the kinds of this theme, the narrow ones first."""
    return [
        *(_unreadable("number_unreadable", table, column, "not_a_number") for table, column in NUMBERS.items()),
        *(_unreadable("time_unreadable", table, column, "not_a_time") for table, column in TIMES.items()),
        *(Kind("exact_duplicate", table, has("subject_id"), _twice, added=True) for table in TWICE),
    ]


def _unreadable(defect: str, table: str, column: str, reason: str) -> Kind:
    lines = Lines.of(defect, table)

    def change(rows: Rows) -> Change:
        return Change({column: lines.draw(rows).written}, {"rejected": reason})

    # Such rows are rare in any file: one of a patient at most.
    return Kind(defect, table, has(column), change, one_per="subject_id")


def _twice(_: Rows) -> Change:
    return Change({}, {"rejected": "exact_duplicate"})
