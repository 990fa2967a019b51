"""Draws the orders behind inputevents: drips by rate and bag, and single doses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import HOUR, MINUTE, Floats, Ints, minutes, repeat
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
    run_begins,
)
from ehrtraj.synth.tables.fluids.rows import BOLUS, CHANGED, FINISHED, ON_PAUSE, as_single, drawn_status

MOST_CHANGES = 400
# MIMIC-IV demo 2.2, inputevents: of 2,859 rows of a drip that went on later 213 were paused; 6 were a bolus.
PAUSED = 0.07
PAUSE = 90 * MINUTE
PUMP_BOLUS = 4 * MINUTE
PUMPED = 0.08


def _next(column: Ints, at_end: int) -> Ints:
    """Return the value of the row below, `at_end` in the last row."""
    below: Ints = np.full(len(column), at_end, dtype=column.dtype)
    below[:-1] = column[1:]
    return below


@dataclass(frozen=True)
class Orders:
    """One order each: a stretch of a drip or a dose. `kind` counts the drips first, then the doses."""

    stay: Ints
    kind: Ints
    start: Ints
    end: Ints
    amount: Floats
    rate: Floats
    left: Floats
    """originalamount: what was in the bag."""
    ordered: Floats
    """originalrate"""
    other: Floats
    """The same four of the solution or the additive; NaN where there is none."""
    other_rate: Floats
    other_left: Floats
    other_ordered: Floats
    total: Floats
    status: Ints
    first: Ints
    """Number of the first order of its chain."""


@cache
def _pump() -> dict[str, Floats]:
    """Return what drips are reckoned with: columns of input_drips.csv, and volume a minute by rate."""
    plan = read_plan(DRIPS)
    numbers = ("companion_per_ml", "bag_ml", "strength", "rate", "spread", "follows", "step", "low", "high")
    pump = {name: plan.number[name] for name in numbers}
    pump["change"] = plan.number["change_hours"] * HOUR
    units = plan.table.join(
        catalog.read("input_units.csv"), on=["amountuom", "rateuom"], how="left", maintain_order="left"
    )
    pump["per_minute"] = floats(units, "per_minute")
    pump["by_weight"] = floats(units, "by_weight")
    pump["mixed"] = equals(DRIPS, "role", "mixed").astype(np.float64)
    return pump


@dataclass(frozen=True)
class _Segments:
    """Times at one rate, of one course after the other."""

    course: Ints
    start: Ints
    end: Ints
    rate: Floats
    status: Ints


def draw_inputs(care: Care) -> Orders:
    """Draw the orders of drips, then those of doses."""
    rng = care.block.streams.rng("fluids inputs")
    drips, doses = _drips(rng, care), _doses(rng, care)
    both = {name: np.concatenate([column, getattr(doses, name)]) for name, column in vars(drips).items()}
    both["first"][len(drips.stay) :] += len(drips.stay)
    return Orders(**both)


def _segments(rng: np.random.Generator, care: Care, courses: Courses) -> _Segments:
    """Cut each drip where its rate was changed; pauses lie before a new rate."""
    length = (courses.end - courses.start).astype(np.float64)
    changes = np.minimum(rng.poisson(length / _pump()["change"][courses.kind]), MOST_CHANGES)
    course, ordinal = repeat(changes + 1)
    # More changes early, when the right rate is being found.
    passed = np.where(ordinal == 0, 0.0, rng.random(len(course)) ** 1.3)
    passed = passed[np.lexsort((passed, course))]
    start = minutes(courses.start[course] + (passed * length[course]).astype(np.int64))
    rate = _rates(rng, care.block, courses, course, start, passed)
    kept = run_begins(course)
    kept[1:] |= (rate[1:] != rate[:-1]) & (start[1:] > start[:-1])
    course, start, rate = course[kept], start[kept], rate[kept]
    first = run_begins(course)
    last = _next(course, -1) != course
    end = np.where(last, courses.end[course], _next(start, 0))
    paused = ~first & (rng.random(len(course)) < PAUSED)
    pause = np.minimum(rng.exponential(PAUSE, len(course)), 0.8 * (end - start)).astype(np.int64)
    start = np.where(paused, minutes(start + pause), start)
    before_pause = _next(paused.astype(np.int64), 0) == 1
    status = np.where(before_pause, ON_PAUSE, CHANGED)
    status = np.where(last, drawn_status(rng, "fluids_drip_end", len(course)), status)
    return _Segments(course, start, end, rate, status)


def _rates(
    rng: np.random.Generator, block: PatientBlock, courses: Courses, course: Ints, time: Ints, passed: Floats
) -> Floats:
    """Return ordered rates: they rise at first, follow the severity, and wane at the end but for the dying."""
    pump, kind = _pump(), courses.kind[course]
    admission = block.icu.admission[courses.stay[course]]
    relative = block.severity(admission, time) / block.episodes.severity[admission]
    waning = np.where(block.episodes.dying[admission], 1.0, 1.0 - 1.3 * np.maximum(passed - 0.5, 0.0))
    course_by_course = np.minimum(0.6 + 4.0 * passed, 1.0) * waning * np.clip(relative, 0.2, 1.4)
    own = 0.8 * rng.standard_normal(len(courses.stay))[course] + 0.5 * rng.standard_normal(len(course))
    rate = pump["rate"][kind] * np.exp(pump["spread"][kind] * own) * course_by_course ** pump["follows"][kind]
    step = pump["step"][kind]
    return np.clip(np.rint(rate / step) * step, pump["low"][kind], pump["high"][kind])


def _drips(rng: np.random.Generator, care: Care) -> Orders:
    """Turn volumes that ran into orders. The rate is what really ran: with the times it gives the amount."""
    pump = _pump()
    courses = draw_courses(rng, care, read_plan(DRIPS))
    parts = _segments(rng, care, courses)
    run = _pieces(rng, care, courses, parts)
    stay, kind = courses.stay[parts.course[run.part]], courses.kind[parts.course[run.part]]
    strength, companion = pump["strength"][kind], pump["companion_per_ml"][kind]
    per_minute = pump["per_minute"][kind] * np.where(pump["by_weight"][kind] > 0, care.block.icu.weight[stay], 1.0)
    ordered, mixed = parts.rate[run.part], pump["mixed"][kind] > 0
    ran = ((run.end - run.start) // MINUTE).astype(np.float64)
    return Orders(
        stay=stay,
        kind=kind,
        start=run.start,
        end=run.end,
        amount=run.volume * strength,
        rate=run.volume * strength / ran / per_minute,
        left=as_single(run.left * strength),
        ordered=as_single(ordered),
        other=run.volume * companion,
        other_rate=np.where(mixed, run.volume / ran * 60, np.nan),
        other_left=as_single(run.left * companion),
        other_ordered=np.where(mixed, as_single(ordered * per_minute / strength * 60), 0.0),
        total=pump["bag_ml"][kind],
        status=run.status,
        first=run.first,
    )


@dataclass(frozen=True)
class _Pieces:
    """Parts of segments that came from one bag: volumes in ml, and what was left in the bag before."""

    part: Ints
    start: Ints
    end: Ints
    volume: Floats
    left: Floats
    status: Ints
    first: Ints


def _pieces(rng: np.random.Generator, care: Care, courses: Courses, parts: _Segments) -> _Pieces:
    """Run the drips bag by bag: a row ends where the rate changes or the bag is empty."""
    flow, since, until = _volumes_run(care, courses, parts)
    bag = _pump()["bag_ml"][courses.kind[parts.course]]
    # A bag that is empty to a thousandth of a drop is empty.
    first_bag = np.floor(since / bag + 1e-9).astype(np.int64)
    count = np.maximum(np.ceil(until / bag - 1e-9).astype(np.int64) - first_bag, 1)
    part, ordinal = repeat(count)
    number = first_bag[part] + ordinal
    low = np.maximum(since[part], number * bag[part])
    high = np.minimum(until[part], (number + 1) * bag[part])
    emptied = ordinal < count[part] - 1
    start = parts.start[part] + np.rint((low - since[part]) / flow[part]).astype(np.int64) * MINUTE
    end = parts.start[part] + np.rint((high - since[part]) / flow[part]).astype(np.int64) * MINUTE
    end = np.where(emptied, end, parts.end[part])
    status = np.where(emptied, FINISHED, parts.status[part])
    short = (status == CHANGED) & (end - start <= PUMP_BOLUS) & (rng.random(len(part)) < PUMPED)
    status = np.where(short, BOLUS, status)
    kept = np.flatnonzero(end > start)
    chain = run_begins(parts.course[part[kept]], number[kept])
    return _Pieces(
        part=part[kept],
        start=start[kept],
        end=end[kept],
        volume=(high - low)[kept],
        left=((number + 1) * bag[part] - low)[kept],
        status=status[kept],
        first=np.flatnonzero(chain)[np.cumsum(chain) - 1],
    )


def _volumes_run(care: Care, courses: Courses, parts: _Segments) -> tuple[Floats, Floats, Floats]:
    """Return ml a minute in each segment, and ml since the course began before and after it."""
    pump, kind = _pump(), courses.kind[parts.course]
    weight = np.where(pump["by_weight"][kind] > 0, care.block.icu.weight[courses.stay[parts.course]], 1.0)
    flow = parts.rate * pump["per_minute"][kind] * weight / pump["strength"][kind]
    volume = flow * ((parts.end - parts.start) // MINUTE)
    run = np.cumsum(volume)
    first = np.flatnonzero(run_begins(parts.course))
    base = np.repeat((run - volume)[first], np.diff(np.append(first, len(run))))
    since = np.maximum(run - volume - base, 0.0)
    return flow, since, since + volume


def _doses(rng: np.random.Generator, care: Care) -> Orders:
    """Draw pushes, antibiotics, boluses, blood, and what is eaten: one order each, with its own times."""
    plan = read_plan(DOSES)
    courses = draw_courses(rng, care, plan)
    course, start = draw_events(rng, plan, courses)
    kind, stay = courses.kind[course], courses.stay[course]
    low, high, step = (plan.number[name][kind] for name in ("low", "high", "step"))
    # Mostly the same dose again.
    size = np.where(rng.random(len(course)) < 0.4, rng.random(len(course)), rng.random(len(courses.stay))[course])
    amount: Floats = np.clip(np.rint(low * np.exp(size * np.log(high / low)) / step) * step, low, high)
    shortest, longest = (plan.number[name][kind] for name in ("minutes_low", "minutes_high"))
    ran = np.rint(shortest + rng.random(len(course)) * (longest - shortest))
    end = start + ran.astype(np.int64) * MINUTE
    kept = np.flatnonzero(end <= care.end[stay, 0])
    stay, kind, start, end = (column[kept] for column in (stay, kind, start, end))
    amount, ran = amount[kept], ran[kept]
    companion = plan.number["companion_amount"][kind]
    additive = equals(DOSES, "role", "additive")[kind]
    in_ml = equals(DOSES, "amountuom", "ml")[kind]
    pushed = longest[kept] <= 1
    rate = np.where(pushed, np.nan, amount / ran * 60)
    return Orders(
        stay=stay,
        kind=kind + read_plan(DRIPS).table.height,
        start=start,
        end=end,
        amount=amount,
        rate=rate,
        left=amount,
        ordered=np.where(pushed, amount, rate),
        other=companion,
        other_rate=np.full(len(stay), np.nan),
        other_left=companion,
        other_ordered=np.where(additive, as_single(companion / ran), 0.0),
        total=np.where(in_ml, amount, companion),
        status=np.full(len(stay), FINISHED),
        first=np.arange(len(stay)),
    )
