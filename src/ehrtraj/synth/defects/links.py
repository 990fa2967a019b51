"""Defects of the links between rows: whose result it is, and of which admission."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ehrtraj.synth.defects.kinds import Change, Kind, has, known
from ehrtraj.synth.defects.rows import Rows
from ehrtraj.synth.defects.texts import Moments
from ehrtraj.synth.defects.world import Encounters
from ehrtraj.synth.draw import HOUR, NONE, Bools, Ints

LABS, MICRO, CHART = "hosp/labevents", "hosp/microbiologyevents", "icu/chartevents"
DIAGNOSES, DETAIL = "hosp/diagnoses_icd", "hosp/emar_detail"
NOTE_DETAILS = {"note/discharge_detail": "DS", "note/radiology_detail": "RR"}
NO_ENTRY = 500_000
"""More entries than any patient has."""


def kinds() -> list[Kind]:
    """Return the kinds of this theme, the narrow ones first."""
    return [
        Kind("subject_unknown", LABS, _without_admission, _subject_unknown, one_per="subject_id"),
        *(
            Kind("subject_missing", table, has("subject_id"), _subject_missing, one_per="subject_id")
            for table in (LABS, CHART)
        ),
        *(kind for table in (LABS, MICRO) for kind in _admission_lost(table)),
        Kind("hadm_outside_stay", LABS, _outside_any, _hadm_outside_stay),
        Kind("hadm_of_other_patient", LABS, _others_admitted, _hadm_of_other_patient),
        Kind("hadm_unknown", LABS, has("hadm_id"), _hadm_unknown),
        Kind("hadm_unknown", DIAGNOSES, has("hadm_id"), _bill_unknown, one_per="subject_id"),
        Kind("parent_missing", DETAIL, has("emar_id"), _parent_missing, one_per="subject_id"),
        *(
            Kind("parent_missing", table, has("note_id"), _note_missing(kind), one_per="subject_id")
            for table, kind in NOTE_DETAILS.items()
        ),
        Kind("visit_conflict", "ed/edstays", has("outtime"), _visit_conflict),
    ]


def _encounters(rows: Rows) -> Encounters:
    charted, stored = rows.times("charttime"), rows.times("storetime")
    return rows.world.encounters(rows.ints("subject_id"), np.where(charted == NONE, stored, charted))


def _without_admission(rows: Rows) -> Bools:
    return ~rows.has("hadm_id") & known(rows.world.fresh_subjects(rows.ints("subject_id")))


def _subject_unknown(rows: Rows) -> Change:
    subject = rows.world.fresh_subjects(rows.ints("subject_id"))
    right = {"subject_id": subject, "hadm_id": None, "flags": ("subject_unknown",)}
    return Change({"subject_id": subject}, right)


def _subject_missing(rows: Rows) -> Change:
    return Change({"subject_id": None}, {"rejected": "no_subject_id"})


def _admission_lost(table: str) -> list[Kind]:
    """The result says no admission: it belongs to the one that holds its time, or to none where two do."""
    return [
        Kind("hadm_ambiguous", table, _in_two, _hadm_left_out("hadm_ambiguous", kept=False)),
        Kind("hadm_missing", table, _in_its_own, _hadm_left_out("hadm_inferred", kept=True)),
    ]


def _in_two(rows: Rows) -> Bools:
    return rows.has("hadm_id") & (_encounters(rows).open > 1)


def _in_its_own(rows: Rows) -> Bools:
    found = _encounters(rows)
    alone: Bools = (found.open == 1) & (found.hadm_id == rows.ints("hadm_id"))
    return rows.has("hadm_id") & alone


def _hadm_left_out(flag: str, kept: bool) -> Callable[[Rows], Change]:
    def change(rows: Rows) -> Change:
        return Change({"hadm_id": None}, {"hadm_id": rows.ints("hadm_id") if kept else None, "flags": (flag,)})

    return change


def _outside_any(rows: Rows) -> Bools:
    found = _encounters(rows)
    outside: Bools = (found.open == 0) & known(found.nearest)
    return ~rows.has("hadm_id") & outside


def _hadm_outside_stay(rows: Rows) -> Change:
    return _linked(_encounters(rows).nearest, "outside_stay")


def _others_admitted(rows: Rows) -> Bools:
    other = rows.world.other_hadm(rows.ints("subject_id"), np.zeros(len(rows)))
    return rows.has("hadm_id") & known(other)


def _hadm_of_other_patient(rows: Rows) -> Change:
    other = rows.world.other_hadm(rows.ints("subject_id"), rows.dice())
    return Change({"hadm_id": other}, {"hadm_id": None, "flags": ("hadm_of_other_patient",)})


def _hadm_unknown(rows: Rows) -> Change:
    return _linked(_nowhere(rows), "hadm_unknown")


def _linked(hadm_id: Ints, flag: str) -> Change:
    return Change({"hadm_id": hadm_id}, {"hadm_id": hadm_id, "flags": (flag,)})


def _bill_unknown(rows: Rows) -> Change:
    return Change({"hadm_id": _nowhere(rows)}, {"rejected": "no_admission"})


def _nowhere(rows: Rows) -> Ints:
    """Return admissions that do not exist. Rows may share one: a block has few numbers to spare."""
    return rows.world.fresh_hadm(min(len(rows), 50))[np.arange(len(rows)) % 50]


def _note_missing(kind: str) -> Callable[[Rows], Change]:
    def change(rows: Rows) -> Change:
        names = [f"{subject}-{kind}-{NO_ENTRY}" for subject in rows.ints("subject_id").tolist()]
        return Change({"note_id": names}, {"rejected": "no_note"})

    return change


def _visit_conflict(rows: Rows) -> Change:
    """The way out is told hours later than in transfers and admissions."""
    left = rows.times("outtime") + HOUR * rows.between(1, 5)
    right = {"event_type": "ED_DEPARTURE", "time": Moments(left), "flags": ("visit_conflict",)}
    return Change({"outtime": left}, right)


def _parent_missing(rows: Rows) -> Change:
    entry = rows.ints("emar_seq") + NO_ENTRY
    names = [f"{subject}-{number}" for subject, number in zip(rows.ints("subject_id"), entry, strict=True)]
    return Change({"emar_id": names, "emar_seq": entry}, {"rejected": "no_parent"})
