"""Defects of the links between rows: the patient, admission or parent row that a row belongs to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ehrtraj.synth.defects.kinds import Change, DefectKind, has, is_known
from ehrtraj.synth.defects.rows import TableRows
from ehrtraj.synth.defects.texts import Moments
from ehrtraj.synth.defects.world import AdmissionLookup
from ehrtraj.synth.draw import HOUR, NONE, Bools, Ints

LABS, MICRO, CHART = "hosp/labevents", "hosp/microbiologyevents", "icu/chartevents"
DIAGNOSES, DETAIL = "hosp/diagnoses_icd", "hosp/emar_detail"
NOTE_DETAILS = {"note/discharge_detail": "DS", "note/radiology_detail": "RR"}
NO_ENTRY = 500_000
"""Added to entry numbers to get unused ones: no patient has this many entries."""


def kinds() -> list[DefectKind]:
    """Return the kinds of this theme, the most specific ones first."""
    return [
        DefectKind("subject_unknown", LABS, _has_no_admission, _subject_unknown, one_per="subject_id"),
        *(
            DefectKind("subject_missing", table, has("subject_id"), _subject_missing, one_per="subject_id")
            for table in (LABS, CHART)
        ),
        *(kind for table in (LABS, MICRO) for kind in _missing_admission(table)),
        DefectKind("hadm_outside_stay", LABS, _outside_all_admissions, _hadm_outside_stay),
        DefectKind("hadm_of_other_patient", LABS, _another_patient_admitted, _hadm_of_other_patient),
        DefectKind("hadm_unknown", LABS, has("hadm_id"), _hadm_unknown),
        DefectKind("hadm_unknown", DIAGNOSES, has("hadm_id"), _diagnosis_hadm_unknown, one_per="subject_id"),
        DefectKind("parent_missing", DETAIL, has("emar_id"), _parent_missing, one_per="subject_id"),
        *(
            DefectKind("parent_missing", table, has("note_id"), _parent_note_missing(kind), one_per="subject_id")
            for table, kind in NOTE_DETAILS.items()
        ),
        DefectKind("visit_conflict", "ed/edstays", has("outtime"), _visit_conflict),
    ]


def _admissions_at(rows: TableRows) -> AdmissionLookup:
    charted, stored = rows.times("charttime"), rows.times("storetime")
    return rows.world.admissions_at(rows.ints("subject_id"), np.where(charted == NONE, stored, charted))


def _has_no_admission(rows: TableRows) -> Bools:
    return ~rows.has("hadm_id") & is_known(rows.world.unused_subject_ids(rows.ints("subject_id")))


def _subject_unknown(rows: TableRows) -> Change:
    subject = rows.world.unused_subject_ids(rows.ints("subject_id"))
    right = {"subject_id": subject, "hadm_id": None, "flags": ("subject_unknown",)}
    return Change({"subject_id": subject}, right)


def _subject_missing(rows: TableRows) -> Change:
    return Change({"subject_id": None}, {"rejected": "no_subject_id"})


def _missing_admission(table: str) -> list[DefectKind]:
    """Return kinds that remove hadm_id. The build infers the admission at that time, unless there are several."""
    return [
        DefectKind("hadm_ambiguous", table, _in_several_admissions, _remove_hadm("hadm_ambiguous", is_inferred=False)),
        DefectKind("hadm_missing", table, _only_in_its_admission, _remove_hadm("hadm_inferred", is_inferred=True)),
    ]


def _in_several_admissions(rows: TableRows) -> Bools:
    return rows.has("hadm_id") & (_admissions_at(rows).count > 1)


def _only_in_its_admission(rows: TableRows) -> Bools:
    admissions = _admissions_at(rows)
    alone: Bools = (admissions.count == 1) & (admissions.hadm_id == rows.ints("hadm_id"))
    return rows.has("hadm_id") & alone


def _remove_hadm(flag: str, is_inferred: bool) -> Callable[[TableRows], Change]:
    def change(rows: TableRows) -> Change:
        return Change({"hadm_id": None}, {"hadm_id": rows.ints("hadm_id") if is_inferred else None, "flags": (flag,)})

    return change


def _outside_all_admissions(rows: TableRows) -> Bools:
    admissions = _admissions_at(rows)
    outside: Bools = (admissions.count == 0) & is_known(admissions.nearest)
    return ~rows.has("hadm_id") & outside


def _hadm_outside_stay(rows: TableRows) -> Change:
    return _hadm_change(_admissions_at(rows).nearest, "outside_stay")


def _another_patient_admitted(rows: TableRows) -> Bools:
    other = rows.world.other_hadm(rows.ints("subject_id"), np.zeros(len(rows)))
    return rows.has("hadm_id") & is_known(other)


def _hadm_of_other_patient(rows: TableRows) -> Change:
    other = rows.world.other_hadm(rows.ints("subject_id"), rows.uniform())
    return Change({"hadm_id": other}, {"hadm_id": None, "flags": ("hadm_of_other_patient",)})


def _hadm_unknown(rows: TableRows) -> Change:
    return _hadm_change(_unused_hadm_ids(rows), "hadm_unknown")


def _hadm_change(hadm_id: Ints, flag: str) -> Change:
    return Change({"hadm_id": hadm_id}, {"hadm_id": hadm_id, "flags": (flag,)})


def _diagnosis_hadm_unknown(rows: TableRows) -> Change:
    return Change({"hadm_id": _unused_hadm_ids(rows)}, {"rejected": "no_admission"})


def _unused_hadm_ids(rows: TableRows) -> Ints:
    """Return hadm_ids that do not exist. Rows may share one, since a block has few spare numbers."""
    return rows.world.unused_hadm_ids(min(len(rows), 50))[np.arange(len(rows)) % 50]


def _parent_note_missing(kind: str) -> Callable[[TableRows], Change]:
    def change(rows: TableRows) -> Change:
        names = [f"{subject}-{kind}-{NO_ENTRY}" for subject in rows.ints("subject_id").tolist()]
        return Change({"note_id": names}, {"rejected": "no_note"})

    return change


def _visit_conflict(rows: TableRows) -> Change:
    """Record a departure hours later than in transfers and admissions."""
    departure = rows.times("outtime") + HOUR * rows.integers(1, 5)
    right = {"event_type": "ED_DEPARTURE", "time": Moments(departure), "flags": ("visit_conflict",)}
    return Change({"outtime": departure}, right)


def _parent_missing(rows: TableRows) -> Change:
    entry = rows.ints("emar_seq") + NO_ENTRY
    names = [f"{subject}-{number}" for subject, number in zip(rows.ints("subject_id"), entry, strict=True)]
    return Change({"emar_id": names, "emar_seq": entry}, {"rejected": "no_parent"})
