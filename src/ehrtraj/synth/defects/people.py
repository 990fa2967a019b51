"""Defects of patients, admissions and ICU stays: death, discharge, and impossible stays."""

from __future__ import annotations

import numpy as np

from ehrtraj.synth.defects.kinds import Change, DefectKind, day_end, has, is_known, midnight
from ehrtraj.synth.defects.rows import TableRows
from ehrtraj.synth.defects.texts import Moments
from ehrtraj.synth.draw import DAY, MINUTE, NONE, Bools, Floats, Ints

PATIENTS, ADMISSIONS, STAYS = "hosp/patients", "hosp/admissions", "icu/icustays"
MAX_GAP = 60 * DAY
"""Only admissions with a shorter gap are made to overlap. A longer stay by mistake is implausible."""
CODED_TOP_AGE = 91


def kinds() -> list[DefectKind]:
    """Return the kinds of this theme, the most specific ones first."""
    return [
        DefectKind("dod_conflict", PATIENTS, _died_in_hospital, _dod_conflict),
        DefectKind("dod_missing", PATIENTS, _died_in_hospital, _dod_missing),
        DefectKind("dod_before_icu", PATIENTS, _died_after_icu, _dod_before_icu),
        DefectKind("age_top_coded", PATIENTS, _old, _age_top_coded),
        DefectKind("admission_after_death", ADMISSIONS, _died, _admission_after_death, added=True),
        DefectKind("deathtime_missing", ADMISSIONS, _died_on_dod, _deathtime_missing),
        DefectKind("discharge_date_only", ADMISSIONS, _died_after_midnight, _discharge_date_only),
        DefectKind("overlapping_admissions", ADMISSIONS, _readmitted_soon, _overlapping_admissions),
        DefectKind("discharge_before_admission", ADMISSIONS, _no_recent_admission, _discharge_before_admission),
        DefectKind("icu_end_after_discharge", STAYS, _discharged_from_icu, _icu_end_after_discharge),
        DefectKind("overlapping_icu_stays", STAYS, has("intime", "outtime"), _overlapping_icu_stays, added=True),
    ]


def _patient(rows: TableRows, column: str) -> Ints:
    return rows.world.patient(rows.ints("subject_id"), column)


def _admission(rows: TableRows, column: str) -> Ints:
    return rows.world.admission(rows.ints("hadm_id"), column)


def _died_in_hospital(rows: TableRows) -> Bools:
    return rows.has("dod") & is_known(_patient(rows, "deathtime"))


def _dod_conflict(rows: TableRows) -> Change:
    right = {"event_type": "MEDS_DEATH", "time": Moments(_patient(rows, "deathtime")), "flags": ("death_conflict",)}
    return Change({"dod": rows.times("dod") + DAY * rows.integers(1, 5)}, right)


def _dod_missing(rows: TableRows) -> Change:
    return Change({"dod": None}, {"event_type": "MEDS_DEATH", "time": Moments(_patient(rows, "deathtime"))})


def _died_after_icu(rows: TableRows) -> Bools:
    in_hospital = is_known(_patient(rows, "deathtime"))
    return rows.has("dod") & ~in_hospital & is_known(_patient(rows, "last_intime"))


def _dod_before_icu(rows: TableRows) -> Change:
    dod = midnight(_patient(rows, "last_intime")) - DAY
    return Change({"dod": dod}, {"event_type": "MEDS_DEATH", "time": Moments(day_end(dod)), "time_precision": "day"})


def _old(rows: TableRows) -> Bools:
    age = rows.ints("anchor_age")
    return (age >= 80) & (age < 90)


def _age_top_coded(rows: TableRows) -> Change:
    births: list[str | None] = [
        f"{year}-01-01 00:00:00" for year in (rows.ints("anchor_year") - CODED_TOP_AGE).tolist()
    ]
    right = {"event_type": "MEDS_BIRTH", "time": births, "flags": ("age_top_coded",)}
    return Change({"anchor_age": np.full(len(rows), CODED_TOP_AGE)}, right)


def _died(rows: TableRows) -> Bools:
    return rows.has("deathtime", "dischtime") & (rows.times("deathtime") >= rows.times("dischtime"))


def _admission_after_death(rows: TableRows) -> Change:
    admitted = rows.times("deathtime") + MINUTE * rows.integers(30, 240)
    hadm = rows.world.unused_hadm_ids(len(rows))
    return Change(
        {
            "hadm_id": hadm,
            "admittime": admitted,
            "dischtime": admitted + MINUTE * rows.integers(60, 1200),
            "edregtime": None,
            "edouttime": None,
        },
        {"event_type": "ADMISSION", "hadm_id": hadm, "time": Moments(admitted), "flags": ("after_death",)},
    )


def _died_on_dod(rows: TableRows) -> Bools:
    same_day: Bools = midnight(_patient(rows, "dod")) == midnight(rows.times("dischtime"))
    first: Bools = _patient(rows, "deathtime") == rows.times("deathtime")
    expired: Bools = rows.ints("hospital_expire_flag") == 1
    return _died(rows) & expired & same_day & first


def _deathtime_missing(rows: TableRows) -> Change:
    right = {"event_type": "MEDS_DEATH", "time": Moments(rows.times("dischtime")), "time_precision": "minute"}
    return Change({"deathtime": None}, right)


def _died_after_midnight(rows: TableRows) -> Bools:
    death = rows.times("deathtime")
    return _died(rows) & (midnight(death) >= rows.times("admittime")) & (midnight(death) < death)


def _discharge_date_only(rows: TableRows) -> Change:
    death = rows.times("deathtime")
    right = {"event_type": "DISCHARGE", "time": Moments(death), "flags": ("discharge_at_death",)}
    return Change({"dischtime": midnight(death)}, right)


def _survived(rows: TableRows) -> Bools:
    return rows.has("dischtime") & ~rows.has("deathtime")


def _readmitted_soon(rows: TableRows) -> Bools:
    after = _admission(rows, "after")
    gap = np.where(after == NONE, 0, after - rows.times("dischtime"))
    return _survived(rows) & (gap > 0) & (gap < MAX_GAP)


def _overlapping_admissions(rows: TableRows) -> Change:
    inside = _admission(rows, "after") + MINUTE * rows.integers(60, 1440)
    last = _admission(rows, "end_after")
    discharge = np.where(last == NONE, inside, np.minimum(inside, last - MINUTE))
    right = {"event_type": "DISCHARGE", "time": Moments(discharge), "flags": ("overlapping_stay",)}
    return Change({"dischtime": discharge}, right)


def _no_recent_admission(rows: TableRows) -> Bools:
    before = _admission(rows, "before")
    gap = np.where(before == NONE, MAX_GAP + 1, rows.times("admittime") - before)
    return _survived(rows) & (gap > MAX_GAP)


def _discharge_before_admission(rows: TableRows) -> Change:
    discharge = rows.times("admittime") - MINUTE * rows.integers(1, 720)
    right = {"event_type": "DISCHARGE", "time": Moments(discharge), "flags": ("end_before_start",)}
    return Change({"dischtime": discharge}, right)


def _discharged_from_icu(rows: TableRows) -> Bools:
    discharge = _admission(rows, "dischtime")
    near = (discharge > rows.times("intime")) & (discharge < rows.times("outtime") + DAY)
    return rows.has("intime", "outtime") & near


def _icu_end_after_discharge(rows: TableRows) -> Change:
    end = _admission(rows, "dischtime") + MINUTE * rows.integers(1, 600)
    right = {"event_type": "ICU_END", "time": Moments(end), "flags": ("end_after_discharge",)}
    return Change({"outtime": end, "los": _days(end - rows.times("intime"))}, right)


def _overlapping_icu_stays(rows: TableRows) -> Change:
    begin = (rows.times("intime") + rows.times("outtime")) // 2
    end = rows.times("outtime") + MINUTE * rows.integers(30, 600)
    stay = rows.world.unused_stay_ids(len(rows))
    return Change(
        {"stay_id": stay, "intime": begin, "outtime": end, "los": _days(end - begin)},
        {"event_type": "ICU_START", "stay_id": stay, "time": Moments(begin), "flags": ("overlapping_stay",)},
    )


def _days(seconds: Ints) -> Floats:
    return seconds / DAY
