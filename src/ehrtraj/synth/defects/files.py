"""Defects of the file itself: duplicate rows, and cells that do not fit the type of their column."""

from __future__ import annotations

from ehrtraj.synth.defects.kinds import Change, DefectKind, DefectValues, has
from ehrtraj.synth.defects.rows import TableRows

DUPLICATED = ("icu/chartevents", "hosp/omr", "hosp/emar", "hosp/emar_detail")
NUMBERS = {"hosp/labevents": "valuenum", "icu/outputevents": "value", "ed/vitalsign": "heartrate"}
TIMES = {"hosp/prescriptions": "starttime", "hosp/omr": "chartdate", "ed/vitalsign": "charttime"}


def kinds() -> list[DefectKind]:
    """Return the kinds of this theme, the most specific ones first."""
    return [
        *(_unreadable("number_unreadable", table, column, "not_a_number") for table, column in NUMBERS.items()),
        *(_unreadable("time_unreadable", table, column, "not_a_time") for table, column in TIMES.items()),
        *(DefectKind("exact_duplicate", table, has("subject_id"), _duplicate, added=True) for table in DUPLICATED),
    ]


def _unreadable(defect: str, table: str, column: str, reason: str) -> DefectKind:
    values = DefectValues.read(defect, table)

    def change(rows: TableRows) -> Change:
        return Change({column: values.draw_for(rows).written}, {"rejected": reason})

    # Such rows are rare in any file, so each patient gets at most one.
    return DefectKind(defect, table, has(column), change, one_per="subject_id")


def _duplicate(_: TableRows) -> Change:
    return Change({}, {"rejected": "exact_duplicate"})
