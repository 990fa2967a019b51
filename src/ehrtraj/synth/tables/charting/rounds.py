"""Draw the charting needs of each stay, and the rounds: the times at which a group of items is charted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import DAY, HOUR, MINUTE, NONE, Bools, Floats, Ints, repeat
from ehrtraj.synth.failures.draws import failure_names
from ehrtraj.synth.tables.charting.plan import OPPOSITE, STATES, ChartingPlan, number_column, read_plan

RECENT_YEAR = 2015
"""First year in which all stays of MIMIC-IV demo 2.2 have the newer items for mobility and breathing."""
SEVERE = 1.6
"""Severity from which a stay is monitored more closely; an assumption."""
CONTROLLED = 0.55
"""Share of the time on a ventilator with controlled ventilation; an assumption."""
ON_THE_HOUR = 0.72
"""Share of rounds at minute 0, except first rounds. MIMIC-IV demo 2.2: 63% of all chartevents are at minute 0."""
SHIFT = 12 * HOUR
SHIFT_BEGINS = 7 * HOUR
MINUTE_PATTERNS = 3
"""Number of groups of rounds that are charted at different minutes within an hour."""
TIME_BITS, ITEM_BITS, ROW_BITS = 18, 10, 24
"""Bits of the sorting key: minutes of a stay (60 days are 86,400), items, rows of a block."""


@dataclass(frozen=True)
class Needs:
    """[stays, needs]: whether a stay has each need, its start and end, and the random number that determined it."""

    has: Bools
    start: Ints
    end: Ints
    uniform: Floats


@dataclass(frozen=True)
class Rounds:
    """Times at which a group of items is charted in a stay, ordered by group, stay, time."""

    stay: Ints
    group: Ints
    time: Ints
    store: Ints
    shift: Ints
    """Number of the shift among those of all stays."""
    state: Ints


def draw_needs(block: PatientBlock) -> Needs:
    """Draw the charting needs of each stay, and their start and end."""
    rng = block.streams.rng("chart needs")
    plan, stays = read_plan(), block.icu
    shape = (len(stays.person), len(plan.needs))
    chance, lasts = np.zeros(shape), np.ones(shape)
    causes = _causes(block)
    table = catalog.read("chart_needs.csv").select("need", "cause", "chance", "lasts")
    for need, cause, odds, part in table.iter_rows():
        column = plan.needs[need]
        better = causes[cause] & (odds > chance[:, column])
        chance[better, column], lasts[better, column] = odds, part
    uniform = rng.random(shape)
    has = uniform < chance
    length = (stays.departure - stays.arrival)[:, None]
    part = np.where(lasts < 1, np.minimum(lasts * rng.uniform(0.6, 1.4, shape), 1.0), 1.0)
    start = np.repeat(stays.arrival[:, None], shape[1], axis=1)
    end = start + (part * length).astype(np.int64)
    for name in OPPOSITE:
        has[:, plan.needs[name]] = ~has[:, plan.needs[OPPOSITE[name]]]
    _set_built_in_needs(block, plan, Needs(has, start, end, uniform))
    return Needs(has, start, end, uniform)


def _set_built_in_needs(block: PatientBlock, plan: ChartingPlan, needs: Needs) -> None:
    """Set the needs that the ICU stays of the block determine."""
    stays = block.icu
    line, bare, breath = (plan.needs[name] for name in ("arterial_line", "no_arterial_line", "ventilated"))
    removed = stays.arrival + (0.75 * (stays.departure - stays.arrival)).astype(np.int64)
    removed = np.maximum(removed, np.minimum(stays.ventilated_until, stays.departure))
    needs.has[:, plan.needs["all"]] = True
    needs.has[:, plan.needs["dialysis"]] = stays.dialysis
    needs.has[:, plan.needs["severe"]] = stays.pressors | (block.episodes.severity[stays.admission] > SEVERE)
    needs.has[:, line], needs.end[:, line] = stays.arterial_line, removed
    needs.has[:, bare] = True
    needs.start[:, bare] = np.where(stays.arterial_line, removed, stays.arrival)
    ventilated = stays.ventilated_from != NONE
    needs.has[:, breath] = ventilated
    needs.start[:, breath] = np.where(ventilated, stays.ventilated_from, stays.departure)
    needs.end[:, breath] = np.where(ventilated, stays.ventilated_until, stays.departure)


def _causes(block: PatientBlock) -> dict[str, Bools]:
    """Return the causes that chart_needs.csv may name; each array is [stays]."""
    stays = block.icu
    conditions = block.people.conditions[stays.person]
    causes = {name: conditions[:, number] for number, name in enumerate(catalog.conditions())}
    illness = block.admissions.illness[stays.admission]
    failures = np.zeros((len(stays.person), len(failure_names())), dtype=bool)
    failures[block.courses.stay, block.courses.failure] = True
    causes |= {name: illness == number for number, name in enumerate(catalog.illnesses())}
    causes["all"] = np.ones(len(stays.person), dtype=bool)
    causes["recent"] = block.admissions.true_year[stays.admission] >= RECENT_YEAR
    causes["surgical"] = block.admissions.surgical[stays.admission]
    causes["ventilated"] = stays.ventilated_from != NONE
    causes |= {name: failures[:, number] for number, name in enumerate(failure_names())}
    return causes | {"pressors": stays.pressors, "dialysis": stays.dialysis}


def draw_rounds(block: PatientBlock, plan: ChartingPlan, needs: Needs) -> Rounds:
    """Draw the rounds of all stays."""
    rng = block.streams.rng("chart rounds")
    stays = block.icu
    count = len(stays.person)
    begin = stays.arrival // MINUTE
    stay, group, time = _round_times(rng, block, plan, needs)
    minute = time // MINUTE - begin[stay]
    key = ((group * count + stay) << TIME_BITS) + minute
    key.sort()
    key = key[np.diff(key, prepend=-1) > 0]
    minute, place = key & ((1 << TIME_BITS) - 1), key >> TIME_BITS
    stay, group = place % max(count, 1), place // max(count, 1)
    time = (begin[stay] + minute) * MINUTE
    hours = _hours(stays.arrival, stays.departure)
    delay = rng.integers(0, 60, (MINUTE_PATTERNS, int(hours.sum()))) * MINUTE
    first_shift = np.cumsum(shift_counts(block)) - shift_counts(block)
    return Rounds(
        stay=stay,
        group=group,
        time=time,
        store=time + delay[group % MINUTE_PATTERNS, _hour(stays.arrival, hours, stay, time)],
        shift=first_shift[stay] + shift_of(time) - shift_of(stays.arrival)[stay],
        state=_breathing(block, plan, needs, stay, time),
    )


def _round_times(
    rng: np.random.Generator, block: PatientBlock, plan: ChartingPlan, needs: Needs
) -> tuple[Ints, Ints, Ints]:
    """Return stay, group and time of all rounds: one soon after the start, then by the clock, with some duplicates."""
    table, stays = plan.rounds, block.icu
    need = table["need"].replace_strict(plan.needs, return_dtype=pl.Int64).to_numpy()
    group = table["group"].replace_strict(plan.groups, return_dtype=pl.Int64).to_numpy()
    early, late = number_column(table, "from_hours"), number_column(table, "until_hours", np.inf)
    begin = needs.start[:, need] + (early * HOUR).astype(np.int64)
    end = np.minimum(needs.end[:, need], needs.start[:, need] + np.minimum(late * HOUR, 999 * DAY).astype(np.int64))
    chosen = rng.random((len(stays.person), len(plan.groups)))[:, group] < number_column(table, "share")
    stay, row = np.nonzero(needs.has[:, need] & chosen & (begin < end))
    begin, end, group = begin[stay, row], end[stay, row], group[row]
    every = (number_column(table, "every_hours") * HOUR).astype(np.int64)[row]
    step, clock = np.maximum(every, 1), (number_column(table, "clock") * HOUR).astype(np.int64)[row]
    first = -((clock - begin) // step)
    count = np.where(every > 0, np.maximum((end - 1 - clock) // step - first + 1, 0), 0)
    parent, ordinal = repeat(count)
    time = (first[parent] + ordinal) * step[parent] + clock[parent]
    hours = _hours(stays.arrival, stays.departure)
    late_by = np.where(
        rng.random((MINUTE_PATTERNS, int(hours.sum()))) < ON_THE_HOUR,
        0,
        rng.integers(1, 40, (MINUTE_PATTERNS, int(hours.sum()))),
    )
    delay = late_by[group[parent] % MINUTE_PATTERNS, _hour(stays.arrival, hours, stay[parent], time)] * MINUTE
    time += np.minimum(delay, step[parent] // (2 * MINUTE) * MINUTE)
    settled = begin + rng.integers(3, 25, len(stays.person))[stay] * MINUTE
    settled += np.where(every > 0, 0, rng.integers(0, 90, len(stay)) * MINUTE)
    entry = early[row] == 0
    stay, group = (np.concatenate([column[parent], column[entry]]) for column in (stay, group))
    time, end = np.concatenate([time, settled[entry]]), np.concatenate([end[parent], end[entry]])
    inside = time < np.minimum(end, stays.departure[stay] - MINUTE)
    return stay[inside], group[inside], time[inside]


def _hours(arrival: Ints, departure: Ints) -> Ints:
    return departure // HOUR - arrival // HOUR + 1


def _hour(arrival: Ints, hours: Ints, stay: Ints, time: Ints) -> Ints:
    """Return the number of each time's clock hour among the hours of all stays."""
    return (np.cumsum(hours) - hours)[stay] + time // HOUR - (arrival // HOUR)[stay]


def shift_of(time: Ints) -> Ints:
    """Return the number of the shift that contains each time."""
    return (time - SHIFT_BEGINS) // SHIFT


def shift_counts(block: PatientBlock) -> Ints:
    """Return the number of shifts in each stay, including partial ones."""
    return shift_of(block.icu.departure) - shift_of(block.icu.arrival) + 1


def _breathing(block: PatientBlock, plan: ChartingPlan, needs: Needs, stay: Ints, time: Ints) -> Ints:
    """Return the state of breathing at each time, as a position in STATES."""
    oxygen, breath = plan.needs["oxygen"], plan.needs["ventilated"]
    start, end = needs.start[:, breath], needs.end[:, breath]
    weaning = start + np.where(
        block.episodes.dying[block.icu.admission], end - start, (CONTROLLED * (end - start)).astype(np.int64)
    )
    ventilated = needs.has[stay, breath] & (time >= start[stay]) & (time < end[stay])
    with_oxygen = needs.has[stay, oxygen] & (time < needs.end[stay, oxygen])
    state = np.where(with_oxygen, STATES.index("oxygen"), STATES.index("room_air"))
    tube = np.where(time < weaning[stay], STATES.index("controlled"), STATES.index("supported"))
    return np.where(ventilated, tube, state)
