"""Draw the orders of inputevents: infusions by rate and bag, and single doses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import HOUR, MINUTE, Floats, Ints, minutes, repeat
from ehrtraj.synth.failures.effects import levels
from ehrtraj.synth.tables.fluids.care import (
    DOSES,
    DRIPS,
    Care,
    Courses,
    draw_courses,
    draw_events,
    equals,
    floats,
    read_plan,
    run_starts,
)
from ehrtraj.synth.tables.fluids.rows import BOLUS, CHANGED, FINISHED, ON_PAUSE, as_single, draw_status

MAX_CHANGES = 400
# MIMIC-IV demo 2.2, inputevents: of 2,859 rows of infusions that continued later, 213 were paused and 6 were a bolus.
PAUSED_SHARE = 0.07
MEAN_PAUSE = 90 * MINUTE
MAX_BOLUS_TIME = 4 * MINUTE
BOLUS_SHARE = 0.08
USUAL_SHOCK = 1.4
"""Level of the failure of the circulation at which rates of vasopressors are the usual ones; an assumption."""
SHOCK_LIMITS = (0.25, 1.6)
"""Levels, relative to the usual one, between which rates of vasopressors follow it; assumptions."""


def _next(column: Ints, at_end: int) -> Ints:
    """Return the value of the next row, and `at_end` in the last row."""
    below: Ints = np.full(len(column), at_end, dtype=column.dtype)
    below[:-1] = column[1:]
    return below


@dataclass(frozen=True)
class InputOrders:
    """Orders, each a segment of an infusion or a dose. `kind` numbers the infusions first, then the doses."""

    stay: Ints
    kind: Ints
    start: Ints
    end: Ints
    amount: Floats
    rate: Floats
    bag_amount: Floats
    """originalamount: the amount in the bag."""
    ordered_rate: Floats
    """originalrate"""
    companion: Floats
    """Amount of the solution or the additive, which also has the next three columns; NaN without one."""
    companion_rate: Floats
    companion_bag_amount: Floats
    companion_ordered_rate: Floats
    total: Floats
    status: Ints
    first: Ints
    """Number of the first order that is linked with this one."""


@cache
def _drip_parameters() -> dict[str, Floats]:
    """Return the parameters of infusions: columns of input_drips.csv, and the volume per minute for a rate of 1."""
    plan = read_plan(DRIPS)
    numbers = ("companion_per_ml", "bag_ml", "strength", "rate", "spread", "follows", "step", "low", "high")
    parameters = {name: plan.number[name] for name in numbers}
    parameters["change"] = plan.number["change_hours"] * HOUR
    units = plan.table.join(
        catalog.read("input_units.csv"), on=["amountuom", "rateuom"], how="left", maintain_order="left"
    )
    parameters["per_minute"] = floats(units, "per_minute")
    parameters["by_weight"] = floats(units, "by_weight")
    parameters["mixed"] = equals(DRIPS, "role", "mixed").astype(np.float64)
    return parameters


@dataclass(frozen=True)
class _RateSegments:
    """Times at a constant rate, ordered by course."""

    course: Ints
    start: Ints
    end: Ints
    rate: Floats
    status: Ints


def draw_inputs(care: Care) -> InputOrders:
    """Draw the orders of infusions, then those of doses."""
    rng = care.block.streams.rng("fluids inputs")
    drips, doses = _drips(rng, care), _doses(rng, care)
    both = {name: np.concatenate([column, getattr(doses, name)]) for name, column in vars(drips).items()}
    both["first"][len(drips.stay) :] += len(drips.stay)
    return InputOrders(**both)


def _rate_segments(rng: np.random.Generator, care: Care, courses: Courses) -> _RateSegments:
    """Split each infusion where its rate changes. Pauses precede a new rate."""
    length = (courses.end - courses.start).astype(np.float64)
    changes = np.minimum(rng.poisson(length / _drip_parameters()["change"][courses.kind]), MAX_CHANGES)
    course, ordinal = repeat(changes + 1)
    # The rate changes more often early, during titration.
    passed = np.where(ordinal == 0, 0.0, rng.random(len(course)) ** 1.3)
    passed = passed[np.lexsort((passed, course))]
    start = minutes(courses.start[course] + (passed * length[course]).astype(np.int64))
    rate = _rates(rng, care.block, courses, course, start, passed)
    keep = run_starts(course)
    keep[1:] |= (rate[1:] != rate[:-1]) & (start[1:] > start[:-1])
    course, start, rate = course[keep], start[keep], rate[keep]
    first = run_starts(course)
    last = _next(course, -1) != course
    end = np.where(last, courses.end[course], _next(start, 0))
    paused = ~first & (rng.random(len(course)) < PAUSED_SHARE)
    pause = np.minimum(rng.exponential(MEAN_PAUSE, len(course)), 0.8 * (end - start)).astype(np.int64)
    start = np.where(paused, minutes(start + pause), start)
    before_pause = _next(paused.astype(np.int64), 0) == 1
    status = np.where(before_pause, ON_PAUSE, CHANGED)
    status = np.where(last, draw_status(rng, "fluids_drip_end", len(course)), status)
    return _RateSegments(course, start, end, rate, status)


def _rates(
    rng: np.random.Generator, block: PatientBlock, courses: Courses, course: Ints, time: Ints, passed: Floats
) -> Floats:
    """Return ordered rates. They rise at first, follow severity, and decrease at the end unless the patient dies.

    The rates of vasopressors follow the failure of the circulation instead.
    """
    parameters, kind = _drip_parameters(), courses.kind[course]
    admission = block.icu.admission[courses.stay[course]]
    relative = block.severity(admission, time) / block.episodes.severity[admission]
    waning = np.where(block.episodes.dying[admission], 1.0, 1.0 - 1.3 * np.maximum(passed - 0.5, 0.0))
    time_course = np.minimum(0.6 + 4.0 * passed, 1.0) * waning * np.clip(relative, 0.2, 1.4)
    shock = np.clip(levels(block.courses, "cardiovascular_failure", admission, time) / USUAL_SHOCK, *SHOCK_LIMITS)
    time_course = np.where(equals(DRIPS, "during", "pressors")[kind], shock, time_course)
    deviation = 0.8 * rng.standard_normal(len(courses.stay))[course] + 0.5 * rng.standard_normal(len(course))
    rate = parameters["rate"][kind] * np.exp(parameters["spread"][kind] * deviation)
    rate = rate * time_course ** parameters["follows"][kind]
    step = parameters["step"][kind]
    return np.clip(np.rint(rate / step) * step, parameters["low"][kind], parameters["high"][kind])


def _drips(rng: np.random.Generator, care: Care) -> InputOrders:
    """Turn infused volumes into orders. The rate is the actual one: multiplied by the duration, it gives the amount."""
    parameters = _drip_parameters()
    courses = draw_courses(rng, care, read_plan(DRIPS))
    segments = _rate_segments(rng, care, courses)
    bags = _bag_segments(rng, care, courses, segments)
    course = segments.course[bags.segment]
    stay, kind = courses.stay[course], courses.kind[course]
    strength, companion = parameters["strength"][kind], parameters["companion_per_ml"][kind]
    weight = np.where(parameters["by_weight"][kind] > 0, care.block.icu.weight[stay], 1.0)
    per_minute = parameters["per_minute"][kind] * weight
    ordered_rate, mixed = segments.rate[bags.segment], parameters["mixed"][kind] > 0
    ran = ((bags.end - bags.start) // MINUTE).astype(np.float64)
    return InputOrders(
        stay=stay,
        kind=kind,
        start=bags.start,
        end=bags.end,
        amount=bags.volume * strength,
        rate=bags.volume * strength / ran / per_minute,
        bag_amount=as_single(bags.bag_amount * strength),
        ordered_rate=as_single(ordered_rate),
        companion=bags.volume * companion,
        companion_rate=np.where(mixed, bags.volume / ran * 60, np.nan),
        companion_bag_amount=as_single(bags.bag_amount * companion),
        companion_ordered_rate=np.where(mixed, as_single(ordered_rate * per_minute / strength * 60), 0.0),
        total=parameters["bag_ml"][kind],
        status=bags.status,
        first=bags.first,
    )


@dataclass(frozen=True)
class _BagSegments:
    """Parts of rate segments that came from one bag: volumes in ml, and the volume in the bag before (`bag_amount`)."""

    segment: Ints
    start: Ints
    end: Ints
    volume: Floats
    bag_amount: Floats
    status: Ints
    first: Ints


def _bag_segments(rng: np.random.Generator, care: Care, courses: Courses, segments: _RateSegments) -> _BagSegments:
    """Split infusions by bag. A row ends when the rate changes or the bag is empty."""
    flow, before, after = _cumulative_volumes(care, courses, segments)
    bag = _drip_parameters()["bag_ml"][courses.kind[segments.course]]
    # A bag counts as empty if less than a thousandth of a drop is left, to allow for rounding errors.
    first_bag = np.floor(before / bag + 1e-9).astype(np.int64)
    count = np.maximum(np.ceil(after / bag - 1e-9).astype(np.int64) - first_bag, 1)
    segment, ordinal = repeat(count)
    number = first_bag[segment] + ordinal
    low = np.maximum(before[segment], number * bag[segment])
    high = np.minimum(after[segment], (number + 1) * bag[segment])
    emptied = ordinal < count[segment] - 1
    start = segments.start[segment] + np.rint((low - before[segment]) / flow[segment]).astype(np.int64) * MINUTE
    end = segments.start[segment] + np.rint((high - before[segment]) / flow[segment]).astype(np.int64) * MINUTE
    end = np.where(emptied, end, segments.end[segment])
    status = np.where(emptied, FINISHED, segments.status[segment])
    short = (status == CHANGED) & (end - start <= MAX_BOLUS_TIME) & (rng.random(len(segment)) < BOLUS_SHARE)
    status = np.where(short, BOLUS, status)
    keep = np.flatnonzero(end > start)
    chain = run_starts(segments.course[segment[keep]], number[keep])
    return _BagSegments(
        segment=segment[keep],
        start=start[keep],
        end=end[keep],
        volume=(high - low)[keep],
        bag_amount=((number + 1) * bag[segment] - low)[keep],
        status=status[keep],
        first=np.flatnonzero(chain)[np.cumsum(chain) - 1],
    )


def _cumulative_volumes(care: Care, courses: Courses, segments: _RateSegments) -> tuple[Floats, Floats, Floats]:
    """Return ml per minute in each segment, and ml since the start of the course before and after the segment."""
    parameters, kind = _drip_parameters(), courses.kind[segments.course]
    weight = np.where(parameters["by_weight"][kind] > 0, care.block.icu.weight[courses.stay[segments.course]], 1.0)
    flow = segments.rate * parameters["per_minute"][kind] * weight / parameters["strength"][kind]
    volume = flow * ((segments.end - segments.start) // MINUTE)
    cumulative = np.cumsum(volume)
    first = np.flatnonzero(run_starts(segments.course))
    base = np.repeat((cumulative - volume)[first], np.diff(np.append(first, len(cumulative))))
    before = np.maximum(cumulative - volume - base, 0.0)
    return flow, before, before + volume


def _doses(rng: np.random.Generator, care: Care) -> InputOrders:
    """Draw pushes, antibiotics, boluses, blood products and oral intake: one order each, with its own times."""
    plan = read_plan(DOSES)
    courses = draw_courses(rng, care, plan)
    course, start = draw_events(rng, plan, courses)
    kind, stay = courses.kind[course], courses.stay[course]
    low, high, step = (plan.number[name][kind] for name in ("low", "high", "step"))
    # The same dose is mostly repeated.
    size = np.where(rng.random(len(course)) < 0.4, rng.random(len(course)), rng.random(len(courses.stay))[course])
    amount: Floats = np.clip(np.rint(low * np.exp(size * np.log(high / low)) / step) * step, low, high)
    shortest, longest = (plan.number[name][kind] for name in ("minutes_low", "minutes_high"))
    ran = np.rint(shortest + rng.random(len(course)) * (longest - shortest))
    end = start + ran.astype(np.int64) * MINUTE
    keep = np.flatnonzero(end <= care.end[stay, 0])
    stay, kind, start, end = (column[keep] for column in (stay, kind, start, end))
    amount, ran = amount[keep], ran[keep]
    companion = plan.number["companion_amount"][kind]
    additive = equals(DOSES, "role", "additive")[kind]
    in_ml = equals(DOSES, "amountuom", "ml")[kind]
    pushed = longest[keep] <= 1
    rate = np.where(pushed, np.nan, amount / ran * 60)
    return InputOrders(
        stay=stay,
        kind=kind + read_plan(DRIPS).table.height,
        start=start,
        end=end,
        amount=amount,
        rate=rate,
        bag_amount=amount,
        ordered_rate=np.where(pushed, amount, rate),
        companion=companion,
        companion_rate=np.full(len(stay), np.nan),
        companion_bag_amount=companion,
        companion_ordered_rate=np.where(additive, as_single(companion / ran), 0.0),
        total=np.where(in_ml, amount, companion),
        status=np.full(len(stay), FINISHED),
        first=np.arange(len(stay)),
    )
