"""Draws what is given: when each dose is due, what comes of it, and when that is charted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import DAY, HOUR, MINUTE, NONE, Bools, Ints, minutes, repeat
from ehrtraj.synth.tables.orders.chains import CHANGE, CHANGED, STOP, Orders
from ehrtraj.synth.tables.orders.columns import IDLE, by_time, counted_rows, floats
from ehrtraj.synth.tables.orders.draws import Shared, lag, pick_within, share_of
from ehrtraj.synth.tables.orders.drugs import read_drugs
from ehrtraj.synth.tables.orders.kinds import read_kinds
from ehrtraj.synth.tables.orders.pharmacy import Fills
from ehrtraj.synth.tables.orders.schedules import (
    ANY,
    CLOCK,
    END,
    MIDDLE,
    PLACES,
    RUNNING,
    START,
    WANTED,
    read_events,
    read_frequencies,
    read_schedules,
)


@dataclass(frozen=True)
class _Runs:
    """Orders that are charted in emar: one element for each link of a chain."""

    order: Ints
    item: Ints
    dose: Ints
    pharmacy_id: Ints
    schedule: Ints
    begin: Ints
    end: Ints


@dataclass(frozen=True)
class Given:
    """Rows of emar, by patient and time."""

    person: Ints
    number: Ints
    """emar_seq"""
    order: Ints
    item: Ints
    dose: Ints
    pharmacy_id: Ints
    """NONE for orders that the pharmacy never saw, and where nothing was scanned."""
    event: Ints
    place: Ints
    due: Ints
    chart: Ints
    store: Ints
    product: Bools
    scanned: Bools
    rate: Ints
    """Position of the rate in the catalog's rates, or -1."""
    prior: Ints
    titrated: Bools


def draw_given(block: PatientBlock, orders: Orders, fills: Fills) -> Given:
    """Draw every dose that is charted, one element for each row of emar."""
    rng = block.streams.rng("emar")
    runs = _runs(block, rng, orders, fills)
    run, time, place = _due(rng, orders, runs)
    events, drugs = read_events(), read_drugs()
    item = runs.item[run]
    event = pick_within(events.edges, drugs.administration[item] * len(PLACES) + place, rng.random(len(run)))
    rate, prior, titrated = _rates(rng, runs, run, place, event)
    time, chart, store = _charted(block, rng, orders, runs, run, time, event)
    person = orders.person[runs.order[run]]
    kept = by_time(person, chart)
    columns = {
        "person": person,
        "order": runs.order[run],
        "item": item,
        "dose": runs.dose[run],
        "pharmacy_id": runs.pharmacy_id[run],
        "event": event,
        "place": place,
        "due": time,
        "chart": chart,
        "store": store,
        "rate": rate,
        "prior": prior,
    }
    columns = {name: column[kept] for name, column in columns.items()}
    product = rng.random(len(kept)) < events.shares["product"][columns["event"]]
    scanned = product & (rng.random(len(kept)) < events.shares["code"][columns["event"]])
    known = product & (rng.random(len(kept)) < events.shares["pharmacy"][columns["event"]])
    columns["pharmacy_id"] = np.where(known, columns["pharmacy_id"], NONE)
    return Given(
        **columns, number=counted_rows(columns["person"]), product=product, scanned=scanned, titrated=titrated[kept]
    )


def _runs(block: PatientBlock, rng: np.random.Generator, orders: Orders, fills: Fills) -> _Runs:
    kinds, drugs = read_kinds(), read_drugs()
    fill = np.full(len(orders.person), IDLE)
    first = np.flatnonzero(fills.main)
    fill[fills.order[first]] = first
    wanted = (orders.kind < kinds.drugs) & (orders.action != STOP) & _recorded(block, rng)[orders.episode]
    order = np.flatnonzero(wanted)
    order = order[(fill[order] >= 0) | (rng.random(len(order)) < drugs.charted[orders.kind[order]])]
    item, row = orders.kind[order], fill[order]
    filled = row >= 0
    some = np.where(filled, row, 0)
    dose = pick_within(drugs.doses.edges, item, rng.random(len(order)))
    dose = np.where(filled, np.append(fills.dose, 0)[some], dose)
    begin = np.where(filled, np.append(fills.start, 0)[some], orders.time[order])
    end = np.minimum(orders.until[order], block.episodes.end[orders.episode[order]])
    stop = np.append(fills.stop, NONE)[np.where(filled, row, IDLE)]
    end = np.where(stop == NONE, end, np.minimum(end, stop))
    own = drugs.schedule[item]
    frequency = np.append(read_frequencies().schedule, 0)[drugs.doses.frequency[dose]]
    schedule = np.where(own >= 0, own, frequency)
    # A bolus runs for an hour or three, not for as long as its order stands.
    hours = rng.integers(1, 4, len(order)) * HOUR
    short = (read_schedules().way[schedule] == RUNNING) & (kinds.days[item] == 0)
    end = np.where(short, np.minimum(end, begin + hours), end)
    on_time = begin < end - 10 * MINUTE
    return _Runs(
        order=order[on_time],
        item=item[on_time],
        dose=dose[on_time],
        pharmacy_id=np.where(filled, np.append(fills.pharmacy_id, 0)[some], NONE)[on_time],
        schedule=schedule[on_time],
        begin=begin[on_time],
        end=end[on_time],
    )


def _recorded(block: PatientBlock, rng: np.random.Generator) -> Bools:
    """Say for which episodes emar was in use: it came to the wards one by one."""
    table = catalog.read("order_rollout.csv")
    years, shares = table["true_year"].to_numpy(), floats(table["share"])
    start = block.episodes.start.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    year = start - block.people.shift[block.episodes.person]
    share = np.append(0.0, shares)[np.searchsorted(years, year, side="right")]
    recorded: Bools = rng.random(len(year)) < share
    return recorded


def _due(rng: np.random.Generator, orders: Orders, runs: _Runs) -> tuple[Ints, Ints, Ints]:
    """Return each dose's run, when it is due, and whether it begins, continues or ends something."""
    schedules, schedule = read_schedules(), runs.schedule
    way, slots = schedules.way[schedule], np.maximum(schedules.slots[schedule], 1)
    counts = _due_counts(rng, runs)
    run, ordinal = repeat(np.choose(way, counts))
    draws = rng.random(len(run))
    regular = ((runs.end // DAY - runs.begin // DAY + 1) * slots)[run]
    by_clock = _clock_times(runs, run, ordinal, regular)
    begin, span = runs.begin[run], (runs.end - runs.begin)[run]
    share = (ordinal + draws) / np.maximum(counts[WANTED], 1)[run]
    soon = np.minimum((-np.log1p(-draws) * 35 * MINUTE).astype(np.int64), span - 1)
    last = ordinal == counts[RUNNING][run] - 1
    step = schedules.step[schedule][run]
    aside = 0.15 * draws * np.minimum(step, span / 4)
    onward = np.where(last, span, np.minimum(ordinal * step + aside, span)).astype(np.int64)
    time = np.choose(way[run], [by_clock, begin + (share * span).astype(np.int64), begin + soon, begin + onward])
    kept = (way[run] != CLOCK) | ((time >= begin) & (time < begin + span))
    place = np.where(schedule[run] == schedules.patch, np.minimum(ordinal % slots[run], END), ANY)
    place = np.where(way[run] == RUNNING, _running_place(orders, runs, run, ordinal, last), place)
    return run[kept], minutes(time[kept]), place[kept]


def _due_counts(rng: np.random.Generator, runs: _Runs) -> list[Ints]:
    """Return how many rows each run would have under each of WAYS."""
    schedules, schedule = read_schedules(), runs.schedule
    count, span, slots = len(schedule), runs.end - runs.begin, schedules.slots[schedule]
    # What is due once a day, and ordered hours before that, is often given at once as well.
    wait = ((schedules.hours[schedule, 0] * HOUR).astype(np.int64) - runs.begin) % DAY
    at_once = (slots == 1) & (wait > 6 * HOUR) & (wait < 21 * HOUR) & (rng.random(count) < share_of("at_once"))
    liked = schedules.daily[schedule] * rng.standard_gamma(0.6, count) / 0.6
    return [
        (runs.end // DAY - runs.begin // DAY + 1) * slots + at_once,
        np.minimum(rng.poisson(liked * span / DAY), 40),
        (rng.random(count) < schedules.daily[schedule]).astype(np.int64),
        2 + np.maximum(span - HOUR, 0) // schedules.step[schedule],
    ]


def _clock_times(runs: _Runs, run: Ints, ordinal: Ints, regular: Ints) -> Ints:
    """Return the hours of giving, day after day, from midnight of the first; a surplus one is the run's begin."""
    schedules, schedule = read_schedules(), runs.schedule[run]
    slots = np.maximum(schedules.slots[schedule], 1)
    day = ordinal // slots * schedules.every[schedule]
    hour = (schedules.hours[schedule, ordinal % slots % schedules.hours.shape[1]] * HOUR).astype(np.int64)
    return np.where(ordinal < regular, (runs.begin[run] // DAY + day) * DAY + hour, runs.begin[run])


def _running_place(orders: Orders, runs: _Runs, run: Ints, ordinal: Ints, last: Bools) -> Ints:
    """Say where a row of an infusion stands; one that goes on under a changed order neither stops nor starts anew."""
    order = runs.order
    goes_on = (orders.ending[order] == CHANGED)[run]
    went_on = (orders.action[order] == CHANGE)[run]
    place = np.where((ordinal == 0) & ~went_on, START, MIDDLE)
    return np.where(last & ~goes_on, END, place)


def _rates(rng: np.random.Generator, runs: _Runs, run: Ints, place: Ints, event: Ints) -> tuple[Ints, Ints, Bools]:
    """Return the rate before and at each row of an infusion: it wanders up and down the drug's usual rates."""
    drugs = read_drugs()
    item = runs.item[run]
    count = drugs.rate_count[item]
    draws = rng.random(len(run))
    step = np.where(draws < share_of("rate_down"), -1, np.where(draws > 1 - share_of("rate_up"), 1, 0))
    boundary = np.ones(len(run), dtype=bool)
    boundary[1:] = run[1:] != run[:-1]
    step = np.where((place == MIDDLE) & (drugs.wording[item] > 0) & read_events().confirmed[event], step, 0)
    moved = np.cumsum(step)
    moved -= (moved - step)[boundary][np.cumsum(boundary) - 1]
    level = (rng.random(len(runs.item)) * 0.6 * drugs.rate_count[runs.item]).astype(np.int64)[run]
    top = np.maximum(count - 1, 0)
    rate = drugs.rate_first[item] + np.clip(level + moved, 0, top)
    prior = drugs.rate_first[item] + np.clip(level + moved - step, 0, top)
    titrated = (rng.random(len(runs.item)) < drugs.titrated[runs.item])[run]
    return np.where(count > 0, rate, IDLE), np.where(count > 0, prior, IDLE), titrated


def _charted(
    block: PatientBlock, rng: np.random.Generator, orders: Orders, runs: _Runs, run: Ints, due: Ints, event: Ints
) -> tuple[Ints, Ints, Ints]:
    """Return when each dose was due, given and stored: what is due together is mostly given together."""
    order = runs.order[run]
    episode = orders.episode[order]
    clock = read_schedules().way[runs.schedule[run]] == CLOCK
    share = np.where(
        read_events().shares["retimed"][event] > 0.4,
        np.where(clock, share_of("retimed_by_clock"), share_of("retimed_when_wanted")),
        0.0,
    )
    # Flushes and patches bear the minute they were given as the time they were due.
    own = clock & (read_events().shares["retimed"][event] < 0.1) & (read_events().shares["product"][event] > 0.5)
    late = own | (rng.random(len(run)) < share)
    delay = lag("chart_minutes", Shared(rng)(episode, due)).astype(np.int64) * MINUTE
    chart = np.where(late, due + np.where(clock, delay, np.abs(delay)), due)
    earliest = -(-orders.time[order] // MINUTE) * MINUTE
    latest = minutes(block.episodes.end[episode])
    chart = np.clip(chart, np.minimum(earliest, latest), latest)
    store = chart + lag("store_minutes", rng.random(len(run))).astype(np.int64) * MINUTE
    return np.where(own, chart, due), chart, store
