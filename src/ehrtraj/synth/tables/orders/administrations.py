"""Draw the administration of drugs: when each dose is due, what is charted for it, and when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import DAY, HOUR, MINUTE, NONE, Bools, Ints, minutes, repeat
from ehrtraj.synth.tables.orders.chains import CHANGE, CHANGED, STOP, ProviderOrders
from ehrtraj.synth.tables.orders.columns import MISSING, floats, number_within_patient, order_by_time
from ehrtraj.synth.tables.orders.draws import SharedDraws, lag, pick_member, share_of
from ehrtraj.synth.tables.orders.drugs import read_drugs
from ehrtraj.synth.tables.orders.kinds import read_kinds
from ehrtraj.synth.tables.orders.pharmacy import Fills
from ehrtraj.synth.tables.orders.schedules import (
    ANY,
    AS_NEEDED,
    CLOCK,
    END,
    MIDDLE,
    PLACES,
    RUNNING,
    START,
    read_events,
    read_frequencies,
    read_schedules,
)


@dataclass(frozen=True)
class _Periods:
    """Periods in which an order is charted in emar, one element for each link of a chain."""

    order: Ints
    item: Ints
    dose: Ints
    pharmacy_id: Ints
    schedule: Ints
    begin: Ints
    end: Ints


@dataclass(frozen=True)
class EmarRows:
    """Rows of emar, by patient and time."""

    person: Ints
    number: Ints
    """emar_seq"""
    order: Ints
    item: Ints
    dose: Ints
    pharmacy_id: Ints
    """NONE for orders without a row in pharmacy, and for rows without a product from the pharmacy."""
    event: Ints
    place: Ints
    due: Ints
    chart: Ints
    store: Ints
    product: Bools
    scanned: Bools
    rate: Ints
    """Position of the rate in the rates of the catalog, or -1."""
    prior: Ints
    titrated: Bools


def draw_emar_rows(block: PatientBlock, orders: ProviderOrders, fills: Fills) -> EmarRows:
    """Draw all charted doses, one element per row of emar."""
    rng = block.streams.rng("emar")
    periods = _periods(block, rng, orders, fills)
    period, time, place = _due(rng, orders, periods)
    events, drugs = read_events(), read_drugs()
    item = periods.item[period]
    event = pick_member(events.edges, drugs.administration[item] * len(PLACES) + place, rng.random(len(period)))
    rate, prior, titrated = _rates(rng, periods, period, place, event)
    time, chart, store = _charted(block, rng, orders, periods, period, time, event)
    person = orders.person[periods.order[period]]
    sorting = order_by_time(person, chart)
    columns = {
        "person": person,
        "order": periods.order[period],
        "item": item,
        "dose": periods.dose[period],
        "pharmacy_id": periods.pharmacy_id[period],
        "event": event,
        "place": place,
        "due": time,
        "chart": chart,
        "store": store,
        "rate": rate,
        "prior": prior,
    }
    columns = {name: column[sorting] for name, column in columns.items()}
    product = rng.random(len(sorting)) < events.shares["product"][columns["event"]]
    scanned = product & (rng.random(len(sorting)) < events.shares["code"][columns["event"]])
    has_pharmacy_id = product & (rng.random(len(sorting)) < events.shares["pharmacy"][columns["event"]])
    columns["pharmacy_id"] = np.where(has_pharmacy_id, columns["pharmacy_id"], NONE)
    return EmarRows(
        **columns,
        number=number_within_patient(columns["person"]),
        product=product,
        scanned=scanned,
        titrated=titrated[sorting],
    )


def _periods(block: PatientBlock, rng: np.random.Generator, orders: ProviderOrders, fills: Fills) -> _Periods:
    kinds, drugs = read_kinds(), read_drugs()
    fill = np.full(len(orders.person), MISSING)
    first = np.flatnonzero(fills.main)
    fill[fills.order[first]] = first
    is_drug_order = (orders.kind < kinds.drugs) & (orders.action != STOP)
    order = np.flatnonzero(is_drug_order & _uses_emar(block, rng)[orders.episode])
    order = order[(fill[order] >= 0) | (rng.random(len(order)) < drugs.charted[orders.kind[order]])]
    item, row = orders.kind[order], fill[order]
    filled = row >= 0
    row_or_first = np.where(filled, row, 0)
    dose = pick_member(drugs.doses.edges, item, rng.random(len(order)))
    dose = np.where(filled, np.append(fills.dose, 0)[row_or_first], dose)
    begin = np.where(filled, np.append(fills.start, 0)[row_or_first], orders.time[order])
    end = np.minimum(orders.until[order], block.episodes.end[orders.episode[order]])
    stop = np.append(fills.stop, NONE)[np.where(filled, row, MISSING)]
    end = np.where(stop == NONE, end, np.minimum(end, stop))
    drug_schedule = drugs.schedule[item]
    frequency = np.append(read_frequencies().schedule, 0)[drugs.doses.frequency[dose]]
    schedule = np.where(drug_schedule >= 0, drug_schedule, frequency)
    # A bolus runs for one to three hours, not until its order ends.
    hours = rng.integers(1, 4, len(order)) * HOUR
    short = (read_schedules().way[schedule] == RUNNING) & (kinds.days[item] == 0)
    end = np.where(short, np.minimum(end, begin + hours), end)
    on_time = begin < end - 10 * MINUTE
    return _Periods(
        order=order[on_time],
        item=item[on_time],
        dose=dose[on_time],
        pharmacy_id=np.where(filled, np.append(fills.pharmacy_id, 0)[row_or_first], NONE)[on_time],
        schedule=schedule[on_time],
        begin=begin[on_time],
        end=end[on_time],
    )


def _uses_emar(block: PatientBlock, rng: np.random.Generator) -> Bools:
    """Return in which episodes emar was in use. It was introduced ward by ward."""
    table = catalog.read("order_rollout.csv")
    years, shares = table["true_year"].to_numpy(), floats(table["share"])
    start = block.episodes.start.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    year = start - block.people.shift[block.episodes.person]
    share = np.append(0.0, shares)[np.searchsorted(years, year, side="right")]
    uses_emar: Bools = rng.random(len(year)) < share
    return uses_emar


def _due(rng: np.random.Generator, orders: ProviderOrders, periods: _Periods) -> tuple[Ints, Ints, Ints]:
    """Return the period of each dose, its due time, and its place: start, middle or end of the period."""
    schedules, schedule = read_schedules(), periods.schedule
    way, slots = schedules.way[schedule], np.maximum(schedules.slots[schedule], 1)
    counts = _due_counts(rng, periods)
    period, ordinal = repeat(np.choose(way, counts))
    uniform = rng.random(len(period))
    regular = ((periods.end // DAY - periods.begin // DAY + 1) * slots)[period]
    by_clock = _clock_times(periods, period, ordinal, regular)
    begin, span = periods.begin[period], (periods.end - periods.begin)[period]
    share = (ordinal + uniform) / np.maximum(counts[AS_NEEDED], 1)[period]
    delay = np.minimum((-np.log1p(-uniform) * 35 * MINUTE).astype(np.int64), span - 1)
    last = ordinal == counts[RUNNING][period] - 1
    step = schedules.step[schedule][period]
    jitter = 0.15 * uniform * np.minimum(step, span / 4)
    running_offset = np.where(last, span, np.minimum(ordinal * step + jitter, span)).astype(np.int64)
    time = np.choose(
        way[period], [by_clock, begin + (share * span).astype(np.int64), begin + delay, begin + running_offset]
    )
    selected = (way[period] != CLOCK) | ((time >= begin) & (time < begin + span))
    place = np.where(schedule[period] == schedules.patch, np.minimum(ordinal % slots[period], END), ANY)
    place = np.where(way[period] == RUNNING, _running_place(orders, periods, period, ordinal, last), place)
    return period[selected], minutes(time[selected]), place[selected]


def _due_counts(rng: np.random.Generator, periods: _Periods) -> list[Ints]:
    """Return the number of rows that each period would have with each of WAYS."""
    schedules, schedule = read_schedules(), periods.schedule
    count, span, slots = len(schedule), periods.end - periods.begin, schedules.slots[schedule]
    # A daily dose that is ordered hours before it is due is often also given immediately.
    wait = ((schedules.hours[schedule, 0] * HOUR).astype(np.int64) - periods.begin) % DAY
    at_once = (slots == 1) & (wait > 6 * HOUR) & (wait < 21 * HOUR) & (rng.random(count) < share_of("at_once"))
    mean = schedules.daily[schedule] * rng.standard_gamma(0.6, count) / 0.6
    return [
        (periods.end // DAY - periods.begin // DAY + 1) * slots + at_once,
        np.minimum(rng.poisson(mean * span / DAY), 40),
        (rng.random(count) < schedules.daily[schedule]).astype(np.int64),
        2 + np.maximum(span - HOUR, 0) // schedules.step[schedule],
    ]


def _clock_times(periods: _Periods, period: Ints, ordinal: Ints, regular: Ints) -> Ints:
    """Return the due times by the clock, day by day. Doses beyond the regular ones are at the start of the period."""
    schedules, schedule = read_schedules(), periods.schedule[period]
    slots = np.maximum(schedules.slots[schedule], 1)
    day = ordinal // slots * schedules.every[schedule]
    hour = (schedules.hours[schedule, ordinal % slots % schedules.hours.shape[1]] * HOUR).astype(np.int64)
    return np.where(ordinal < regular, (periods.begin[period] // DAY + day) * DAY + hour, periods.begin[period])


def _running_place(orders: ProviderOrders, periods: _Periods, period: Ints, ordinal: Ints, last: Bools) -> Ints:
    """Return the place of rows of infusions. Infusions that continue under a changed order neither stop nor restart."""
    order = periods.order
    continues = (orders.ending[order] == CHANGED)[period]
    continued = (orders.action[order] == CHANGE)[period]
    place = np.where((ordinal == 0) & ~continued, START, MIDDLE)
    return np.where(last & ~continues, END, place)


def _rates(
    rng: np.random.Generator, periods: _Periods, period: Ints, place: Ints, event: Ints
) -> tuple[Ints, Ints, Bools]:
    """Return the rate at and before each row of an infusion, which moves up and down the usual rates of the drug."""
    drugs = read_drugs()
    item = periods.item[period]
    count = drugs.rate_count[item]
    uniform = rng.random(len(period))
    step = np.where(uniform < share_of("rate_down"), -1, np.where(uniform > 1 - share_of("rate_up"), 1, 0))
    boundary = np.ones(len(period), dtype=bool)
    boundary[1:] = period[1:] != period[:-1]
    step = np.where((place == MIDDLE) & (drugs.wording[item] > 0) & read_events().confirmed[event], step, 0)
    moved = np.cumsum(step)
    moved -= (moved - step)[boundary][np.cumsum(boundary) - 1]
    level = (rng.random(len(periods.item)) * 0.6 * drugs.rate_count[periods.item]).astype(np.int64)[period]
    top = np.maximum(count - 1, 0)
    rate = drugs.rate_first[item] + np.clip(level + moved, 0, top)
    prior = drugs.rate_first[item] + np.clip(level + moved - step, 0, top)
    titrated = (rng.random(len(periods.item)) < drugs.titrated[periods.item])[period]
    return np.where(count > 0, rate, MISSING), np.where(count > 0, prior, MISSING), titrated


def _charted(
    block: PatientBlock,
    rng: np.random.Generator,
    orders: ProviderOrders,
    periods: _Periods,
    period: Ints,
    due: Ints,
    event: Ints,
) -> tuple[Ints, Ints, Ints]:
    """Return when each dose was due, given and stored. Doses that are due together are mostly given together."""
    order = periods.order[period]
    episode = orders.episode[order]
    clock = read_schedules().way[periods.schedule[period]] == CLOCK
    share = np.where(
        read_events().shares["retimed"][event] > 0.4,
        np.where(clock, share_of("retimed_by_clock"), share_of("retimed_when_wanted")),
        0.0,
    )
    # The scheduled time of flushes and patches is the minute in which they were given.
    shares = read_events().shares
    due_when_charted = clock & (shares["retimed"][event] < 0.1) & (shares["product"][event] > 0.5)
    is_retimed = due_when_charted | (rng.random(len(period)) < share)
    delay = lag("chart_minutes", SharedDraws(rng)(episode, due)).astype(np.int64) * MINUTE
    chart = np.where(is_retimed, due + np.where(clock, delay, np.abs(delay)), due)
    earliest = -(-orders.time[order] // MINUTE) * MINUTE
    latest = minutes(block.episodes.end[episode])
    chart = np.clip(chart, np.minimum(earliest, latest), latest)
    store = chart + lag("store_minutes", rng.random(len(period))).astype(np.int64) * MINUTE
    return np.where(due_when_charted, chart, due), chart, store
