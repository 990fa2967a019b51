"""Draw the orders of a block: when they are written, how they change and how they end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import DAY, HOUR, MINUTE, NONE, Floats, Ints, pick, repeat
from ehrtraj.synth.failures.summary import later_infections
from ehrtraj.synth.tables.orders.columns import MISSING, number_within_patient, order_by_time, providers
from ehrtraj.synth.tables.orders.draws import SharedDraws, share_of
from ehrtraj.synth.tables.orders.kinds import EXTRA_CAUSES, PER, STARTS, cause_names, read_kinds

SESSION = 75 * MINUTE
"""Orders written within this time have the same second and provider. It gives two orders per ordertime, as in the
demo."""
TEAM = 12
"""Number of providers who write orders in an admission (MIMIC-IV demo 2.2: 10.2)."""
SINGLE_LASTS = 23 * HOUR
"""Orders for a single dose expire after 23 hours (MIMIC-IV demo 2.2, pharmacy)."""
SHORTEST_LINK = 3 * HOUR
NEW, CHANGE, STOP = 0, 1, 2
ACTIONS = pl.Series(["New", "Change", "D/C"])
# How a link ends: at discharge, by a D/C order, by a change, by expiry, or stopped without an order.
AT_DISCHARGE, STOPPED, CHANGED, EXPIRED, DROPPED = range(5)
STATUSES = pl.Series(
    [
        "Discontinued via patient discharge",
        "Discontinued",
        "Inactive (Due to a change order)",
        "Expired",
        "Discontinued",
    ]
)


@dataclass(frozen=True)
class ProviderOrders:
    """Rows of poe, by patient and time. The number of an order is its position."""

    person: Ints
    number: Ints
    """poe_seq"""
    episode: Ints
    kind: Ints
    time: Ints
    action: Ints
    before: Ints
    """The order that this one changes or ends, or -1."""
    after: Ints
    """The order that changes or ends this one, or -1."""
    until: Ints
    """When the order ends."""
    ending: Ints
    transfer: Ints
    """The transfer that it requests, or -1."""
    provider: Ints


@dataclass(frozen=True)
class _Chains:
    """Chains of orders before changes are drawn, with one element per chain."""

    episode: Ints
    kind: Ints
    start: Ints
    limit: Ints
    """When the same kind is ordered again, or the episode ends."""
    transfer: Ints


def draw_orders(block: PatientBlock) -> ProviderOrders:
    """Draw the orders of a block with their changes and ends, one element per row of poe."""
    rng = block.streams.rng("orders")
    kinds, shared = read_kinds(), SharedDraws(rng)
    chains = _chains(block, rng)
    planned_end, ending = _planned_ends(block, rng, chains)
    max_changes = np.maximum((planned_end - chains.start) // SHORTEST_LINK, 0)
    changes = np.minimum(rng.poisson(kinds.changes[chains.kind]), np.minimum(max_changes, 8))
    chain, ordinal = repeat(changes + 1)
    links = (changes + 1)[chain]
    share = (ordinal + np.where(ordinal > 0, rng.uniform(-0.4, 0.4, len(chain)), 0.0)) / links
    time = chains.start[chain] + (share * (planned_end - chains.start)[chain]).astype(np.int64)
    time = _entry_times(block, shared, chains.episode[chain], time)
    last = ordinal == links - 1
    until = np.where(last, planned_end[chain], np.append(time[1:], 0))
    stops = np.flatnonzero(last & (ending[chain] == STOPPED))
    stop_time = _entry_times(block, shared, chains.episode[chain[stops]], until[stops])
    until[stops] = stop_time
    rows = np.concatenate([chain, chain[stops]])
    action = np.where(ordinal > 0, CHANGE, NEW)
    before = np.where(ordinal > 0, np.arange(len(chain)) - 1, MISSING)
    return _sorted_orders(
        block,
        rng,
        shared,
        episode=chains.episode[rows],
        kind=chains.kind[rows],
        time=np.concatenate([time, stop_time]),
        action=np.concatenate([action, np.full(len(stops), STOP)]),
        before=np.concatenate([before, stops]),
        until=np.concatenate([until, stop_time]),
        ending=np.concatenate([np.where(last, ending[chain], CHANGED), np.full(len(stops), STOPPED)]),
        transfer=chains.transfer[rows],
    )


def _sorted_orders(
    block: PatientBlock, rng: np.random.Generator, shared: SharedDraws, **columns: Ints
) -> ProviderOrders:
    """Sort the orders by patient and time, and number them."""
    person = block.episodes.person[columns["episode"]]
    place = order_by_time(person, columns["time"])
    rank = np.empty(len(place), dtype=np.int64)
    rank[place] = np.arange(len(place))
    sorted_columns = {name: column[place] for name, column in columns.items()}
    before = sorted_columns["before"]
    before = np.where(before >= 0, rank[before], MISSING)
    after = np.full(len(place), MISSING)
    linked = np.flatnonzero(before >= 0)
    after[before[linked]] = linked
    person = person[place]
    episode, time = sorted_columns["episode"], sorted_columns["time"]
    role = (shared(episode, time // SESSION, 1) ** 2 * TEAM).astype(np.int64)
    provider = (shared(episode, role, 2) * (len(providers()) - 1)).astype(np.int64)
    return ProviderOrders(
        person=person,
        number=number_within_patient(person),
        after=after,
        provider=np.where(rng.random(len(place)) < share_of("no_provider"), MISSING, provider),
        **{**sorted_columns, "before": before},
    )


def _entry_times(block: PatientBlock, shared: SharedDraws, episode: Ints, time: Ints) -> Ints:
    """Return when orders are written: together with other orders of the same session."""
    begin, end = block.episodes.start[episode], block.episodes.end[episode]
    session = (time - begin) // SESSION
    moment = begin + session * SESSION + (shared(episode, session) * SESSION).astype(np.int64)
    written: Ints = np.clip(moment, begin, np.maximum(end - MINUTE, begin))
    return written


def _chains(block: PatientBlock, rng: np.random.Generator) -> _Chains:
    kinds = read_kinds()
    counts = _counts(block, rng)
    episode, kind = np.nonzero(counts)
    keep = (kinds.per[kind] != PER.index("home")) | (rng.random(len(kind)) >= share_of("home_drug_held"))
    group, ordinal = repeat(counts[episode, kind] * keep)
    copies = counts[episode, kind][group]
    episode, kind = episode[group].astype(np.int64), kind[group].astype(np.int64)
    start, end = _starts(block, rng, episode, kind)
    # Kinds that last for days are not ordered twice at the same time. One order follows the other.
    renewed = (kinds.days[kind] > 0) & (copies > 1)
    leader = np.arange(len(group)) - ordinal
    first, end = start[leader], np.where(renewed, end[leader], end)
    share = (ordinal + np.where(ordinal > 0, rng.uniform(-0.3, 0.3, len(group)), 0.0)) / copies
    start = np.where(renewed, first + (share * (end - first)).astype(np.int64), start)
    limit = np.where(renewed & (ordinal < copies - 1), np.append(start[1:], 0), end)
    transfer_rows, move_start, move_kind = _transfer_orders(block, rng)
    moving = block.transfers.admission[transfer_rows]
    return _Chains(
        episode=np.concatenate([episode, moving]),
        kind=np.concatenate([kind, move_kind]),
        start=np.concatenate([start, move_start]),
        limit=np.concatenate([limit, block.episodes.end[moving]]),
        transfer=np.concatenate([np.full(len(episode), MISSING), transfer_rows]),
    )


def _counts(block: PatientBlock, rng: np.random.Generator) -> Ints:
    """Return [episodes, kinds]: number of orders.

    Mutually exclusive kinds share a random number, so that at most one of them is ordered. Kinds of home drugs share it
    across all admissions of a patient.
    """
    kinds = read_kinds()
    mean = (_causes_present(block) @ kinds.weights) * np.take(_exposure(block), kinds.per, axis=1)
    daily = np.flatnonzero(np.isin(kinds.per, (PER.index("day"), PER.index("icu_day"))))
    mean[:, daily] *= 2 * rng.random((len(mean), len(daily)))
    mean[:, kinds.per == PER.index("transfer")] = 0
    draw = rng.random(mean.shape)
    home = np.flatnonzero(kinds.per == PER.index("home"))
    draw[:, home] = rng.random((len(block.people.subject_id), len(home)))[block.episodes.person]
    counts: Ints = np.floor(mean + draw).astype(np.int64)
    exclusive = np.flatnonzero(kinds.exclusive)
    first = np.searchsorted(exclusive, kinds.first[exclusive])
    last = np.searchsorted(exclusive, kinds.last[exclusive])
    above = np.cumsum(mean[:, exclusive], axis=1)
    below = above - mean[:, exclusive]
    floor, draw = below[:, first], draw[:, kinds.first[exclusive]]
    total = above[:, last] - floor
    shrink = np.where(total > 0.97, 0.97 / np.maximum(total, 0.97), 1.0)
    counts[:, exclusive] = np.floor((above - floor) * shrink + draw) - np.floor((below - floor) * shrink + draw)
    return counts


def _causes_present(block: PatientBlock) -> Floats:
    """Return [episodes, causes]: which causes are present, with columns in the order of `cause_names()`."""
    people, episodes, icu = block.people, block.episodes, block.icu
    admitted = len(block.admissions.person)
    present = np.zeros((len(episodes.person), len(cause_names())))
    number = {name: place for place, name in enumerate(cause_names())}
    present[:admitted, number["any"]] = 1
    present[block.ed.episode, number["ed"]] = 1
    present[icu.admission, number["icu"]] = 1
    present[icu.admission[icu.ventilated_from != NONE], number["ventilated"]] = 1
    present[icu.admission[icu.pressors], number["pressors"]] = 1
    present[icu.admission[icu.dialysis], number["dialysis"]] = 1
    present[:admitted, number["surgical"]] = block.admissions.surgical
    present[icu.admission[later_infections(block) != NONE], number["infection"]] = 1
    first = len(EXTRA_CAUSES)
    present[:, first : first + len(catalog.conditions())] = people.conditions[episodes.person]
    female = people.female[episodes.person]
    present[:, number["female"]], present[:, number["male"]] = female, ~female
    present[:, number["elderly"]] = people.anchor_age[episodes.person] >= 75
    present[:, number["dying"]] = episodes.dying
    present[np.arange(len(present)), number[catalog.illnesses()[0]] + episodes.illness] = 1
    return present


def _exposure(block: PatientBlock) -> Floats:
    """Return [episodes, units of PER]: the amount of each unit. Days with higher severity count more."""
    episodes, icu = block.episodes, block.icu
    admitted = len(block.admissions.person)
    severity_factor = 0.5 + 0.6 * episodes.severity
    exposure = np.zeros((len(episodes.person), len(PER)))
    exposure[:admitted, [PER.index("stay"), PER.index("home")]] = 1
    stay = block.admissions.discharge - block.admissions.admit
    exposure[:admitted, PER.index("day")] = stay / DAY * severity_factor[:admitted]
    days = np.bincount(icu.admission, (icu.departure - icu.arrival) / DAY, minlength=len(severity_factor))
    exposure[:, PER.index("icu_day")] = days * severity_factor
    exposure[block.ed.episode, PER.index("ed")] = 1
    return exposure


def _starts(block: PatientBlock, rng: np.random.Generator, episode: Ints, kind: Ints) -> tuple[Ints, Ints]:
    """Draw when each chain of orders starts; also return its latest possible end."""
    starts = read_kinds().starts[kind]
    begin, span, wait, end = _start_windows(block, rng, episode, starts)
    count = len(kind)
    # Most orders are written in the first hours of a stay.
    early = rng.random(count) ** 1.6
    time = begin + (early * span).astype(np.int64)
    time += (rng.exponential(1.0, count) * wait).astype(np.int64)
    hours, weights = catalog.choices("orders_hour")
    hour = hours.cast(pl.Int64).to_numpy()[pick(rng, weights, count)] * HOUR
    usual = time - time % DAY + hour + rng.integers(0, HOUR, count)
    moved = (span > HOUR) & (usual > begin) & (usual < begin + span)
    start = np.where(moved, usual, time)
    return np.clip(start, block.episodes.start[episode], end - 10 * MINUTE), end


def _start_windows(
    block: PatientBlock, rng: np.random.Generator, episode: Ints, starts: Ints
) -> tuple[Ints, Ints, Ints, Ints]:
    """Return, for each chain, the earliest start, the length of the uniform and the exponential delay, and the end."""
    admissions, icu, ed = block.admissions, block.icu, block.ed
    admitted, episodes = len(admissions.person), block.episodes
    admit = episodes.start.copy()
    admit[:admitted] = admissions.admit
    arrival, departure = episodes.start.copy(), episodes.end.copy()
    arrival[ed.episode] = ed.arrival
    departure[ed.episode] = ed.departure
    stays = np.bincount(icu.admission, minlength=len(admit))
    first = np.cumsum(stays) - stays
    stay = first[episode] + (rng.random(len(episode)) * stays[episode]).astype(np.int64)
    in_icu = (stays[episode] > 0) & np.isin(starts, (STARTS.index("icu"), STARTS.index("icu_arrival")))
    stay = np.where(in_icu, stay, 0)
    icu_arrival = np.where(in_icu, np.append(icu.arrival, 0)[stay], admit[episode])
    icu_departure = np.where(in_icu, np.append(icu.departure, 0)[stay], episodes.end[episode])
    final = episodes.end[episode] - (rng.uniform(0.4, 5.0, len(episode)) * HOUR).astype(np.int64)
    final = np.maximum(final, admit[episode])
    infection = admit.copy()
    infections = later_infections(block)
    infected = np.flatnonzero(infections != NONE)
    infection[icu.admission[infected]] = np.maximum(infections[infected], admit[icu.admission[infected]])
    at_admission, at_infection = admit[episode], infection[episode]
    begins = [at_admission, at_admission, icu_arrival, icu_arrival, final, arrival[episode], at_infection]
    begin = np.choose(starts, begins)
    zero = np.zeros_like(begin)
    spans = [zero, episodes.end[episode] - begin, icu_departure - begin, zero, zero, departure[episode] - begin, zero]
    waits = np.array([1.6 * HOUR, 0, 0, HOUR, 0, 0, 4 * HOUR]).astype(np.int64)
    # Orders that start in intensive care end there.
    return begin, np.choose(starts, spans), waits[starts], icu_departure


def _transfer_orders(block: PatientBlock, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Draw the orders for transfers; return the transfer, the time and the kind of each order."""
    kinds = read_kinds()
    kind = int(np.flatnonzero(kinds.per == PER.index("transfer"))[0])
    transfers = block.transfers
    has_order = (transfers.kind == "transfer").to_numpy() & (transfers.admission >= 0)
    has_order &= rng.random(len(has_order)) < kinds.weights[0, kind]
    rows = np.flatnonzero(has_order)
    start = transfers.start[rows] - (rng.uniform(0.5, 6.0, len(rows)) * HOUR).astype(np.int64)
    start = np.maximum(start, block.admissions.admit[transfers.admission[rows]])
    return rows, start, np.full(len(rows), kind)


def _planned_ends(block: PatientBlock, rng: np.random.Generator, chains: _Chains) -> tuple[Ints, Ints]:
    """Return when each chain of orders ends if it does not change, and how it ends."""
    kinds, kind = read_kinds(), chains.kind
    discharge = block.episodes.end[chains.episode]
    single = kinds.days[kind] == 0
    count = len(kind)
    length = np.where(single, SINGLE_LASTS, kinds.days[kind] * 0.5 * rng.standard_gamma(2.0, count) * DAY)
    end = chains.start + np.maximum(length.astype(np.int64), SHORTEST_LINK)
    cancelled = rng.random(count) < kinds.cancelled[kind]
    soon = chains.start + (rng.uniform(0.5, 10.0, count) * HOUR).astype(np.int64)
    end = np.where(single & cancelled, soon, end)
    end = np.where(chains.limit < discharge, np.minimum(end, chains.limit), end)
    other_ending = np.where(single & (rng.random(count) < share_of("expires")), EXPIRED, DROPPED)
    ending = np.where(end >= discharge, AT_DISCHARGE, np.where(cancelled, STOPPED, other_ending))
    return np.minimum(end, discharge), ending
