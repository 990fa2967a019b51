"""Defects of time: stored before it happened, ended before it began, charted outside the stay or after death."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ehrtraj.synth.defects.kinds import Change, Kind, day_end, has, known, midnight, shifted
from ehrtraj.synth.defects.rows import Rows
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
"""Tables whose storetime may be missing, and the time of what happened."""
STORED_EARLY = STORED | {
    "icu/outputevents": "charttime",
    "icu/procedureevents": "starttime",
    "hosp/emar": "charttime",
}
ORDERS = {"hosp/prescriptions": "DRUG_ORDER_END", "hosp/pharmacy": "PHARMACY_END"}


def kinds() -> list[Kind]:
    """Return the kinds of this theme, the narrow ones first."""
    return [
        Kind("micro_date_only", MICRO, has("charttime", "chartdate"), _date_only, together="micro_specimen_id"),
        Kind("storetime_missing", MICRO, has("charttime", "storetime", "storedate"), _storedate_only),
        Kind("time_missing", LABS, has("charttime"), _no_time("charttime", "storetime"), one_per="subject_id"),
        Kind("time_missing", CHART, has("charttime"), _no_time("charttime"), one_per="subject_id"),
        Kind("time_missing", OMR, has("chartdate"), _no_time("chartdate"), one_per="subject_id"),
        *(
            Kind("time_missing", table, has("charttime"), _no_time("charttime"), one_per="subject_id")
            for table in ("ed/medrecon", "ed/pyxis")
        ),
        Kind("charttime_missing", LABS, has("charttime", "storetime"), _charttime_missing, one_per="subject_id"),
        *(Kind("event_after_death", table, _dying, _after_death) for table in (LABS, CHART)),
        Kind("charted_years_off", CHART, _in_stay, _years_off),
        Kind("charted_after_stay", CHART, _in_stay, _after_stay),
        Kind("charted_before_stay", CHART, _in_stay, _before_stay),
        *(
            Kind("stop_before_start", table, has("starttime", "stoptime"), _stop_before_start(event_type))
            for table, event_type in ORDERS.items()
        ),
        Kind("date_after_charting", "icu/datetimeevents", has("charttime", "value"), _date_after_charting),
        Kind("storetime_before_charttime", "note/discharge", has("charttime"), _note_stored_early),
        *(
            Kind("storetime_before_charttime", table, has(time, "storetime"), _stored_early(time))
            for table, time in STORED_EARLY.items()
        ),
        *(
            Kind("storetime_missing", table, has(time, "storetime"), _not_stored(time))
            for table, time in STORED.items()
        ),
    ]


def _date_only(rows: Rows) -> Change:
    day = rows.times("chartdate")
    ended = rows.world.admission(rows.ints("hadm_id"), "ended")
    left = (ended >= midnight(day)) & (ended < day_end(day))
    return Change(
        {"charttime": None},
        {
            "time": Moments(np.where(left, ended, day_end(day))),
            "time_precision": "day",
            "flags": [("time_at_discharge",) if cut else () for cut in left.tolist()],
        },
    )


def _storedate_only(rows: Rows) -> Change:
    known = np.maximum(day_end(rows.times("storedate")), rows.times("charttime"))
    return Change({"storetime": None}, {"available_time": Moments(known)})


def _no_time(*names: str) -> Callable[[Rows], Change]:
    return lambda rows: Change(dict.fromkeys(names), {"rejected": "no_time"})


def _charttime_missing(rows: Rows) -> Change:
    stored = Moments(rows.times("storetime"))
    return Change({"charttime": None}, {"time": stored, "available_time": stored})


def _dying(rows: Rows) -> Bools:
    death, time = rows.world.patient(rows.ints("subject_id"), "death"), rows.times("charttime")
    return known(death) & (time <= death) & (time > death - 10 * DAY)


def _after_death(rows: Rows) -> Change:
    death = rows.world.patient(rows.ints("subject_id"), "death")
    return _moved(rows, midnight(death) + DAY + MINUTE * rows.between(0, 1439), "after_death")


def _in_stay(rows: Rows) -> Bools:
    time, stay = rows.times("charttime"), rows.ints("stay_id")
    inside = (time >= rows.world.stay(stay, "intime")) & (time <= rows.world.stay(stay, "outtime"))
    # For the dead a row would also lie after death.
    return inside & ~known(rows.world.patient(rows.ints("subject_id"), "death"))


def _years_off(rows: Rows) -> Change:
    return _moved(rows, rows.times("charttime") + 365 * DAY - MINUTE * rows.between(0, 600), "outside_stay")


def _after_stay(rows: Rows) -> Change:
    out = rows.world.stay(rows.ints("stay_id"), "outtime")
    return _moved(rows, out - out % MINUTE + MINUTE * rows.between(1, 2880), "outside_stay")


def _before_stay(rows: Rows) -> Change:
    begin = rows.world.stay(rows.ints("stay_id"), "intime")
    return _moved(rows, begin - begin % MINUTE - MINUTE * rows.between(1, 600), "outside_stay")


def _moved(rows: Rows, time: Ints, flag: str) -> Change:
    """Move rows to another time: they are stored as long after as they were."""
    stored = shifted(rows.times("storetime"), time - rows.times("charttime"))
    return Change({"charttime": time, "storetime": stored}, {"time": Moments(time), "flags": (flag,)})


def _stop_before_start(event_type: str) -> Callable[[Rows], Change]:
    def change(rows: Rows) -> Change:
        stop = rows.times("starttime") - HOUR * rows.between(1, 24)
        return Change(
            {"stoptime": stop}, {"event_type": event_type, "time": Moments(stop), "flags": ("end_before_start",)}
        )

    return change


def _date_after_charting(rows: Rows) -> Change:
    charted = rows.times("charttime")
    date = midnight(charted) + DAY * rows.between(1, 20)
    return Change({"value": date}, {"time": Moments(charted), "value": Moments(date)})


def _note_stored_early(rows: Rows) -> Change:
    charted = rows.times("charttime")
    end = Moments(day_end(charted))
    right = {"time": end, "time_precision": "day", "available_time": end}
    return Change({"storetime": charted - MINUTE * rows.between(1, 2880)}, right)


def _stored_early(name: str) -> Callable[[Rows], Change]:
    def change(rows: Rows) -> Change:
        time = rows.times(name)
        right = {"available_time": Moments(time), "flags": ("available_before_time",)}
        return Change({"storetime": time - MINUTE * rows.between(1, 180)}, right)

    return change


def _not_stored(name: str) -> Callable[[Rows], Change]:
    def change(rows: Rows) -> Change:
        right = {"available_time": Moments(rows.times(name)), "flags": ("available_assumed",)}
        return Change({"storetime": None}, right)

    return change
