"""Draw outputevents: measured volumes."""

from __future__ import annotations

import numpy as np
import polars as pl

from ehrtraj.synth.draw import HOUR, Floats, Ints, times
from ehrtraj.synth.failures.effects import urine_share
from ehrtraj.synth.tables.fluids.care import (
    OUTPUTS,
    Care,
    CarePlan,
    Courses,
    draw_courses,
    draw_events,
    read_plan,
    run_starts,
    weights_of,
)
from ehrtraj.synth.tables.fluids.rows import in_order, patient_columns, stored_times

# MIMIC-IV demo 2.2, outputevents: 92% of urine volumes from catheters are charted on the hour, 96% in steps of 5 ml.
OFF_THE_HOUR = 0.08
EXACT_VOLUME = 0.04
# Volumes between 100 and 300 ml are mostly in steps of 25 ml, otherwise of 10 ml.
FINER_VOLUME = 0.35


def output_frame(care: Care) -> pl.DataFrame:
    """Draw outputevents."""
    rng, plan = care.block.streams.rng("fluids outputs"), read_plan(OUTPUTS)
    courses = draw_courses(rng, care, plan)
    course, time = _measurement_times(rng, plan, courses)
    kind, stay = courses.kind[course], courses.stay[course]
    value = _volumes(rng, care, plan, courses, course, time)
    # Irrigation fluid comes out again together with urine.
    partner = plan.number["partner"][kind]
    with_partner = np.flatnonzero(~np.isnan(partner))
    urine = plan.number["partner_volume"][kind[with_partner]] * rng.lognormal(0.0, 0.4, len(with_partner))
    item = np.append(plan.table["itemid"].to_numpy()[kind], partner[with_partner].astype(np.int64))
    value = np.append(value, value[with_partner] + np.rint(urine / 50) * 50)
    stay, time, kind = (np.append(column, column[with_partner]) for column in (stay, time, kind))
    place = in_order(care, stay, time, item, np.arange(len(item)))
    stay, time, item, kind = (column[place] for column in (stay, time, item, kind))
    return pl.DataFrame(
        {
            **patient_columns(care, stay),
            "caregiver_id": care.caregiver(stay, time),
            "charttime": times(time),
            "storetime": times(stored_times(rng, time, "fluids_output_delay")),
            "itemid": item,
            "value": value[place],
            "valueuom": plan.table["valueuom"][kind],
        }
    )


def _measurement_times(rng: np.random.Generator, plan: CarePlan, courses: Courses) -> tuple[Ints, Ints]:
    """Return the course and the time of each measured volume: mostly on the hour, with some hours missing."""
    course, time = draw_events(rng, plan, courses)
    repeated = ~np.isnan(plan.number["every_hours"][courses.kind[course]])
    nearest = time + HOUR // 2 - (time + HOUR // 2) % HOUR
    inside = (nearest >= courses.start[course]) & (nearest <= courses.end[course])
    on_the_hour = repeated & inside & (rng.random(len(time)) >= OFF_THE_HOUR)
    time = np.where(on_the_hour, nearest, time)
    keep = rng.random(len(time)) < plan.number["kept"][courses.kind[course]]
    course, time = course[keep], time[keep]
    place = np.lexsort((time, course))
    course, time = course[place], time[place]
    distinct = run_starts(course, time)
    return course[distinct], time[distinct]


def _volumes(
    rng: np.random.Generator, care: Care, plan: CarePlan, courses: Courses, course: Ints, time: Ints
) -> Floats:
    """Return volumes in ml. Urine depends on failures; from catheters also on weight and the hours that passed."""
    kind, stay = courses.kind[course], courses.stay[course]
    passed = np.where(run_starts(course), HOUR, np.diff(time, prepend=time[:1]))
    hours = np.clip(passed / HOUR, 0.1, 6.0)
    spread = plan.number["spread"]
    typical = plan.number["volume"] * np.exp(-0.25 * spread**2)
    scaled = np.exp(care.states @ np.log(weights_of(OUTPUTS, "scaled_by", 1.0)))
    course_deviation = spread[courses.kind] * 0.6 * rng.standard_normal(len(courses.stay))
    deviation = course_deviation[course] + 0.7 * spread[kind] * rng.standard_normal(len(kind))
    volume = typical[kind] * scaled[stay, kind] * np.exp(deviation)
    volume = volume * np.where(plan.number["per_hour"][kind] > 0, hours, 1.0)
    volume = volume * np.where(plan.number["per_kg"][kind] > 0, care.block.icu.weight[stay], 1.0)
    urine = np.flatnonzero(plan.number["urine"][kind] > 0)
    volume[urine] *= urine_share(care.block.courses, care.block.icu.admission[stay[urine]], time[urine])
    step = np.select([volume < 10, volume < 100, volume < 500], [1.0, 5.0, 25.0], 50.0)
    chance = rng.random(len(kind))
    step = np.where((step == 25.0) & (chance < FINER_VOLUME), 10.0, step)
    step = np.where(chance < EXACT_VOLUME, 1.0, step)
    zero = rng.random(len(kind)) < plan.number["zero_share"][kind]
    return np.where(zero, 0.0, np.maximum(np.rint(volume / step) * step, 1.0))
