"""Defects of time: stored before the event, ended before the start, charted outside the stay or after death."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ehrtraj.synth.defects.kinds import Change, DefectKind, day_end, has, is_known, midnight, shifted
from ehrtraj.synth.defects.rows import TableRows
from ehrtraj.synth.defects.texts import Moments
from ehrtraj.synth.draw import DAY, HOUR, MINUTE, Bools, Ints

CHART, LABS, MICRO, OMR = "icu/chartevents", "hosp/labevents", "hosp/microbiologyevents", "hosp/omr"
STORED = {
    LABS: "charttime",
    CHART: "charttime",
    "icu/datetimeevents": "charttime",
    "icu/inputevents": "starttime",
    "icu/ingredientevents": "starttime",
    "note/radiology": "charttime",
}
"""Tables whose storetime may be missing, with the column of the event time."""
STORED_EARLY = STORED | {
    "icu/outputevents": "charttime",
    "icu/procedureevents": "starttime",
    "hosp/emar": "charttime",
}
ORDER_ENDS = {"hosp/prescriptions": "DRUG_ORDER_END", "hosp/pharmacy": "PHARMACY_END"}


def kinds() -> list[DefectKind]:
    """Return the kinds of this theme, the most specific ones first."""
    return [
        DefectKind("micro_date_only", MICRO, has("charttime", "chartdate"), _date_only, together="micro_specimen_id"),
        DefectKind("storetime_missing", MICRO, has("charttime", "storetime", "storedate"), _storedate_only),
        DefectKind("time_missing", LABS, has("charttime"), _no_time("charttime", "storetime"), one_per="subject_id"),
        DefectKind("time_missing", CHART, has("charttime"), _no_time("charttime"), one_per="subject_id"),
        DefectKind("time_missing", OMR, has("chartdate"), _no_time("chartdate"), one_per="subject_id"),
        *(
            DefectKind("time_missing", table, has("charttime"), _no_time("charttime"), one_per="subject_id")
            for table in ("ed/medrecon", "ed/pyxis")
        ),
        DefectKind("charttime_missing", LABS, has("charttime", "storetime"), _charttime_missing, one_per="subject_id"),
        *(DefectKind("event_after_death", table, _dying, _after_death) for table in (LABS, CHART)),
        DefectKind("charted_years_off", CHART, _in_stay, _years_off),
        DefectKind("charted_after_stay", CHART, _in_stay, _after_stay),
        DefectKind("charted_before_stay", CHART, _in_stay, _before_stay),
        *(
            DefectKind("stop_before_start", table, has("starttime", "stoptime"), _stop_before_start(event_type))
            for table, event_type in ORDER_ENDS.items()
        ),
        DefectKind("date_after_charting", "icu/datetimeevents", has("charttime", "value"), _date_after_charting),
        DefectKind("storetime_before_charttime", "note/discharge", has("charttime"), _note_stored_early),
        *(
            DefectKind("storetime_before_charttime", table, has(time, "storetime"), _stored_early(time))
            for table, time in STORED_EARLY.items()
        ),
        *(
            DefectKind("storetime_missing", table, has(time, "storetime"), _not_stored(time))
            for table, time in STORED.items()
        ),
    ]


def _date_only(rows: TableRows) -> Change:
    day = rows.times("chartdate")
    ended = rows.world.admission(rows.ints("hadm_id"), "ended")
    discharged = (ended >= midnight(day)) & (ended < day_end(day))
    return Change(
        {"charttime": None},
        {
            "time": Moments(np.where(discharged, ended, day_end(day))),
            "time_precision": "day",
            "flags": [("time_at_discharge",) if cut else () for cut in discharged.tolist()],
        },
    )


def _storedate_only(rows: TableRows) -> Change:
    available = np.maximum(day_end(rows.times("storedate")), rows.times("charttime"))
    return Change({"storetime": None}, {"available_time": Moments(available)})


def _no_time(*names: str) -> Callable[[TableRows], Change]:
    return lambda rows: Change(dict.fromkeys(names), {"rejected": "no_time"})


def _charttime_missing(rows: TableRows) -> Change:
    stored = Moments(rows.times("storetime"))
    return Change({"charttime": None}, {"time": stored, "available_time": stored})


def _dying(rows: TableRows) -> Bools:
    death, time = rows.world.patient(rows.ints("subject_id"), "death"), rows.times("charttime")
    return is_known(death) & (time <= death) & (time > death - 10 * DAY)


def _after_death(rows: TableRows) -> Change:
    death = rows.world.patient(rows.ints("subject_id"), "death")
    return _moved(rows, midnight(death) + DAY + MINUTE * rows.integers(0, 1439), "after_death")


def _in_stay(rows: TableRows) -> Bools:
    time, stay = rows.times("charttime"), rows.ints("stay_id")
    inside = (time >= rows.world.stay(stay, "intime")) & (time <= rows.world.stay(stay, "outtime"))
    # In patients who died, the moved row would also be after death.
    return inside & ~is_known(rows.world.patient(rows.ints("subject_id"), "death"))


def _years_off(rows: TableRows) -> Change:
    return _moved(rows, rows.times("charttime") + 365 * DAY - MINUTE * rows.integers(0, 600), "outside_stay")


def _after_stay(rows: TableRows) -> Change:
    out = rows.world.stay(rows.ints("stay_id"), "outtime")
    return _moved(rows, out - out % MINUTE + MINUTE * rows.integers(1, 2880), "outside_stay")


def _before_stay(rows: TableRows) -> Change:
    begin = rows.world.stay(rows.ints("stay_id"), "intime")
    return _moved(rows, begin - begin % MINUTE - MINUTE * rows.integers(1, 600), "outside_stay")


def _moved(rows: TableRows, time: Ints, flag: str) -> Change:
    """Move rows to another time. The delay until they are stored stays the same."""
    stored = shifted(rows.times("storetime"), time - rows.times("charttime"))
    return Change({"charttime": time, "storetime": stored}, {"time": Moments(time), "flags": (flag,)})


def _stop_before_start(event_type: str) -> Callable[[TableRows], Change]:
    def change(rows: TableRows) -> Change:
        stop = rows.times("starttime") - HOUR * rows.integers(1, 24)
        return Change(
            {"stoptime": stop}, {"event_type": event_type, "time": Moments(stop), "flags": ("end_before_start",)}
        )

    return change


def _date_after_charting(rows: TableRows) -> Change:
    charted = rows.times("charttime")
    date = midnight(charted) + DAY * rows.integers(1, 20)
    return Change({"value": date}, {"time": Moments(charted), "value": Moments(date)})


def _note_stored_early(rows: TableRows) -> Change:
    charted = rows.times("charttime")
    end = Moments(day_end(charted))
    right = {"time": end, "time_precision": "day", "available_time": end}
    return Change({"storetime": charted - MINUTE * rows.integers(1, 2880)}, right)


def _stored_early(name: str) -> Callable[[TableRows], Change]:
    def change(rows: TableRows) -> Change:
        time = rows.times(name)
        right = {"available_time": Moments(time), "flags": ("available_before_time",)}
        return Change({"storetime": time - MINUTE * rows.integers(1, 180)}, right)

    return change


def _not_stored(name: str) -> Callable[[TableRows], Change]:
    def change(rows: TableRows) -> Change:
        right = {"available_time": Moments(rows.times(name)), "flags": ("available_assumed",)}
        return Change({"storetime": None}, right)

    return change
