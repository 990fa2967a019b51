"""Draws outputevents: measured volumes."""

from __future__ import annotations

import numpy as np
import polars as pl

from ehrtraj.synth.draw import HOUR, Floats, Ints, times
from ehrtraj.synth.tables.fluids.care import (
    OUTPUTS,
    Care,
    CarePlan,
    Courses,
    draw_courses,
    draw_events,
    read_plan,
    run_begins,
    weights_of,
)
from ehrtraj.synth.tables.fluids.rows import in_order, stored_times, who

# MIMIC-IV demo 2.2, outputevents: 92% of the urine of a catheter is charted on the hour, 96% in steps of 5 ml.
OFF_THE_HOUR = 0.08
EXACT_VOLUME = 0.04
# Between 100 and 300 ml mostly in steps of 25 ml, else of 10.
FINER_VOLUME = 0.35


def output_frame(care: Care) -> pl.DataFrame:
    """Draw outputevents."""
    rng, plan = care.block.streams.rng("fluids outputs"), read_plan(OUTPUTS)
    courses = draw_courses(rng, care, plan)
    course, time = _measured(rng, plan, courses)
    kind, stay = courses.kind[course], courses.stay[course]
    value = _volumes(rng, care, plan, courses, course, time)
    # What is washed in comes out again, and the urine with it.
    partner = plan.number["partner"][kind]
    paired = np.flatnonzero(~np.isnan(partner))
    urine = plan.number["partner_volume"][kind[paired]] * rng.lognormal(0.0, 0.4, len(paired))
    item = np.append(plan.table["itemid"].to_numpy()[kind], partner[paired].astype(np.int64))
    value = np.append(value, value[paired] + np.rint(urine / 50) * 50)
    stay, time, kind = (np.append(column, column[paired]) for column in (stay, time, kind))
    place = in_order(care, stay, time, item, np.arange(len(item)))
    stay, time, item, kind = (column[place] for column in (stay, time, item, kind))
    return pl.DataFrame(
        {
            **who(care, stay),
            "caregiver_id": care.caregiver(stay, time),
            "charttime": times(time),
            "storetime": times(stored_times(rng, time, "fluids_output_delay")),
            "itemid": item,
            "value": value[place],
            "valueuom": plan.table["valueuom"][kind],
        }
    )


def _measured(rng: np.random.Generator, plan: CarePlan, courses: Courses) -> tuple[Ints, Ints]:
    """Return the course and the time of each measured volume: mostly on the hour, some hours left out."""
    course, time = draw_events(rng, plan, courses)
    again = ~np.isnan(plan.number["every_hours"][courses.kind[course]])
    nearest = time + HOUR // 2 - (time + HOUR // 2) % HOUR
    inside = (nearest >= courses.start[course]) & (nearest <= courses.end[course])
    on_the_hour = again & inside & (rng.random(len(time)) >= OFF_THE_HOUR)
    time = np.where(on_the_hour, nearest, time)
    kept = rng.random(len(time)) < plan.number["kept"][courses.kind[course]]
    course, time = course[kept], time[kept]
    place = np.lexsort((time, course))
    course, time = course[place], time[place]
    fresh = run_begins(course, time)
    return course[fresh], time[fresh]


def _volumes(
    rng: np.random.Generator, care: Care, plan: CarePlan, courses: Courses, course: Ints, time: Ints
) -> Floats:
    """Return volumes in ml: urine of a catheter by weight and the hours since it was last measured."""
    kind, stay = courses.kind[course], courses.stay[course]
    passed = np.where(run_begins(course), HOUR, np.diff(time, prepend=time[:1]))
    hours = np.clip(passed / HOUR, 0.1, 6.0)
    spread = plan.number["spread"]
    typical = plan.number["volume"] * np.exp(-0.25 * spread**2)
    scaled = np.exp(care.states @ np.log(weights_of(OUTPUTS, "scaled_by", 1.0)))
    own = spread[courses.kind] * 0.6 * rng.standard_normal(len(courses.stay))
    wander = own[course] + 0.7 * spread[kind] * rng.standard_normal(len(kind))
    volume = typical[kind] * scaled[stay, kind] * np.exp(wander)
    volume = volume * np.where(plan.number["per_hour"][kind] > 0, hours, 1.0)
    volume = volume * np.where(plan.number["per_kg"][kind] > 0, care.block.icu.weight[stay], 1.0)
    step = np.select([volume < 10, volume < 100, volume < 500], [1.0, 5.0, 25.0], 50.0)
    chance = rng.random(len(kind))
    step = np.where((step == 25.0) & (chance < FINER_VOLUME), 10.0, step)
    step = np.where(chance < EXACT_VOLUME, 1.0, step)
    zero = rng.random(len(kind)) < plan.number["zero_share"][kind]
    return np.where(zero, 0.0, np.maximum(np.rint(volume / step) * step, 1.0))
