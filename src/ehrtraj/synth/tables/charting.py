"""Draws what nurses chart in intensive care: icu/chartevents and icu/datetimeevents.

Half of all rows of a release are chartevents, so everything goes over flat arrays: rounds (a stay, a time, a group of
items), the cells of each round (the items charted in it), then the columns. MIMIC-IV 3.1 has 432,997,491 chartevents
and 9,979,761 datetimeevents in 94,458 stays (published row counts): 4,584 and 106 in each. What is charted, and how
often, is in `catalog/chart.csv`; when, in `chart_rounds.csv`; of whom, in `chart_needs.csv`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import Block
from ehrtraj.synth.draw import DAY, HOUR, MINUTE, NONE, Bools, Floats, Ints, decimals, repeat, times
from ehrtraj.synth.tables.labs import echo_source

Halves = npt.NDArray[np.float32]

RECENT = 2015
"""First year in which all stays of MIMIC-IV demo 2.2 have the later items for mobility and breathing."""
SEVERE = 1.6
"""Severity from which a stay is watched more closely; an assumption."""
CONTROLLED = 0.55
"""Share of a time on the ventilator in which it sets the breaths; an assumption."""
ON_THE_HOUR = 0.72
"""MIMIC-IV demo 2.2: 63% of chartevents are at minute 0, and those of the first round are not."""
WARNED = 0.1
"""Share of numbers outside an item's limits that carry a warning; an assumption."""
SHIFT = 12 * HOUR
SHIFT_BEGINS = 7 * HOUR
WAYS = 3
"""How many kinds of rounds keep different minutes within an hour."""
TIME_BITS, ITEM_BITS, ROW_BITS = 18, 10, 24
"""Of the sorting key: minutes of a stay (60 days are 86,400), items, rows of a block."""

BUILT_IN = ("all", "arterial_line", "no_arterial_line", "ventilated", "dialysis", "severe")
OPPOSITE = {"fahrenheit": "celsius", "old": "new", "drager": "hamilton"}
STATES = ("oxygen", "room_air", "controlled", "supported", "normal", "fast", "slow", "irregular", "paced")
"""States of breathing and, in rounds of the group `vitals`, of the heart: a text item may have other values in each."""
VENTILATED = ("controlled", "supported")
FAST, SLOW = 100, 60
"""Beats per minute, by definition of tachycardia and bradycardia."""

DERIVED: dict[str, tuple[str, ...]] = {
    "own_weight": (),
    "own_height": (),
    "own_tidal_volume": (),
    "own_breath_rate_set": (),
    "daily_weight": (),
    "mean_pressure": ("systolic_pressure", "diastolic_pressure"),
    "pulmonary_mean_pressure": ("pulmonary_systolic_pressure", "pulmonary_diastolic_pressure"),
    "cerebral_perfusion_pressure": ("systolic_pressure", "diastolic_pressure", "intracranial_pressure"),
    "breath_rate_total": ("respiratory_rate", "own_breath_rate_set"),
    "breath_rate_spontaneous": ("breath_rate_total", "own_breath_rate_set"),
    "minute_volume": ("tidal_volume", "breath_rate_total"),
    "plateau_pressure": ("peak_pressure", "expiratory_pressure"),
    "mean_airway_pressure": ("peak_pressure", "expiratory_pressure"),
}
"""What follows from measurements of the same round, and from which; in this order."""


def draw(block: Block) -> dict[str, pl.DataFrame]:
    """Return the charted values and dates of the block's ICU stays."""
    plan = _plan()
    needs = _needs(block)
    rounds = _rounds(block, plan, needs)
    return {
        "icu/chartevents": _chartevents(block, plan, needs, rounds),
        "icu/datetimeevents": _datetimeevents(block, plan, needs, rounds),
    }


def dictionaries() -> dict[str, pl.DataFrame]:
    """Return the items of this module's tables, for d_items."""
    limits = [pl.col("lownormalvalue").cast(pl.Float64), pl.col("highnormalvalue").cast(pl.Float64)]
    names = [pl.col(name) for name in ("itemid", "label", "abbreviation")]
    others = [pl.col(name).cast(pl.String) for name in ("category", "unitname", "param_type")]
    dated = catalog.read("datetime_items.csv").with_columns(
        lownormalvalue=pl.lit(None, pl.Float64), highnormalvalue=pl.lit(None, pl.Float64)
    )
    frames = [
        frame.select(*names, pl.lit(table).alias("linksto"), *others, *limits)
        for frame, table in ((catalog.read("chart.csv"), "chartevents"), (dated, "datetimeevents"))
    ]
    return {"icu/d_items": pl.concat(frames).sort("itemid")}


# The catalog as arrays -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Lines:
    """Items that are charted in rounds, ordered by group."""

    itemid: Ints
    rank: Ints
    """Order of the itemid among all items of the table."""
    group: Ints
    groups: int
    share: Floats
    """Of the stays that have the group, those in which the item is charted at all."""
    keep: Halves
    """Of the rounds of these stays, those in which it is charted."""
    only: Ints
    """Number of the need without which it is not charted, or -1."""


@dataclass(frozen=True)
class _Plan:
    """Everything the catalog says of charting."""

    groups: dict[str, int]
    needs: dict[str, int]
    rounds: pl.DataFrame
    chart: _Lines
    dated: _Lines
    slots: _Slots
    values: _Values
    numbers: _Numbers
    allowed: Bools
    """[lines, states]: in which states an item is charted."""
    channel: Ints
    """Lines with the same channel go together: the two eyes, a device and its flow."""
    channel_need: Ints
    """[channels]: the need whose luck decides the value, or -1."""
    steady: Halves
    """How often a value is the shift's, not a new one."""
    lean: Floats
    turn: Ints
    """Slot of the signal that turns the value, within the group; -1 for severity."""
    extra: Floats
    """How many further values are charted with the first."""
    unit: pl.Series


@dataclass(frozen=True)
class _Slots:
    """Measurements that a group's rounds need: those of group g are first[g] up to first[g] + count[g]."""

    first: Ints
    count: Ints
    signal: Ints
    """Number of the signal; -1 for what is derived."""
    derived: Ints
    """Position in DERIVED; -1 for what is measured."""
    sources: Ints
    """[slots, 3]: where the measurements are from which it is derived, counted from the slot."""


@dataclass(frozen=True)
class _Values:
    """Texts of items, in lists."""

    text: pl.Series
    number: Floats
    alone: Bools
    edges: Floats
    """Upper edge of each value: number of its list plus its share of the weights up to it."""
    first: Ints
    size: Ints
    listed: Ints
    """[lines, states]: number of the list an item has in a state; -1 for items with numbers."""


@dataclass(frozen=True)
class _Numbers:
    """How numbers are written, one element a line of the chart."""

    slot: Ints
    """Slot of the signal within the group; -1 for settings, texts and labs."""
    factor: Floats
    offset: Floats
    step: Floats
    places: Ints
    setting: Bools
    typical: Floats
    spread: Floats
    logarithmic: Bools
    least: Floats
    most: Floats
    low: Floats
    high: Floats


@cache
def _plan() -> _Plan:
    chart = catalog.read("chart.csv")
    rounds = catalog.read("chart_rounds.csv")
    groups = {name: number for number, name in enumerate(rounds["group"].unique(maintain_order=True))}
    needs = {name: number for number, name in enumerate(_need_names())}
    numbered = pl.col("group").replace_strict({**groups, "labs": len(groups)}, return_dtype=pl.Int64)
    chart = chart.with_columns(number=numbered).sort("number", "itemid")
    dated = catalog.read("datetime_items.csv").with_columns(number=numbered).sort("number", "itemid")
    slots, places = _slots(chart, len(groups) + 1)
    channel, channel_need = _channels(chart, needs)
    turn = [-1 if name is None else places[group, name] for group, name in chart.select("number", "turn").iter_rows()]
    return _Plan(
        groups=groups,
        needs=needs,
        rounds=rounds,
        chart=_lines(chart, len(groups) + 1, needs),
        dated=_lines(dated, len(groups) + 1, needs),
        slots=slots,
        values=_values(chart),
        numbers=_numbers(chart, places),
        allowed=_allowed(chart),
        channel=channel,
        channel_need=channel_need,
        steady=_column(chart, "steady").astype(np.float32),
        lean=_column(chart, "lean"),
        turn=np.array(turn, dtype=np.int64),
        extra=_column(chart, "extra"),
        unit=chart["unit"],
    )


def _need_names() -> list[str]:
    drawn = catalog.read("chart_needs.csv")["need"].unique(maintain_order=True).to_list()
    return [*BUILT_IN, *drawn, *OPPOSITE]


def _column(frame: pl.DataFrame, name: str, default: float = 0.0) -> Floats:
    return frame[name].cast(pl.Float64).fill_null(default).to_numpy()


def _lines(frame: pl.DataFrame, groups: int, needs: dict[str, int]) -> _Lines:
    itemid = frame["itemid"].to_numpy()
    return _Lines(
        itemid=itemid,
        rank=np.argsort(np.argsort(itemid)),
        group=frame["number"].to_numpy(),
        groups=groups,
        share=_column(frame, "share"),
        keep=_column(frame, "keep").astype(np.float32),
        only=np.array([-1 if name is None else needs[name] for name in frame["only"]], dtype=np.int64),
    )


def _slots(chart: pl.DataFrame, groups: int) -> tuple[_Slots, dict[tuple[int, str], int]]:
    """Return the slots of all groups, and the place of each signal within its group."""
    named: list[list[str]] = [[] for _ in range(groups)]
    for group, signal, turn in chart.select("number", "signal", "turn").iter_rows():
        for name in (signal, turn):
            if name is not None:
                _want(named[group], name)
    signal, derived, sources = [], [], []
    order = list(DERIVED)
    for names in named:
        for place, name in enumerate(names):
            signal.append(-1 if name in DERIVED else catalog.signal_numbers()[name])
            derived.append(order.index(name) if name in DERIVED else -1)
            found = [names.index(source) - place for source in DERIVED.get(name, ())]
            sources.append(found + [0] * (3 - len(found)))
    count = np.array([len(names) for names in named], dtype=np.int64)
    slots = _Slots(np.cumsum(count) - count, count, *(np.array(part, np.int64) for part in (signal, derived, sources)))
    places = {(group, name): place for group, names in enumerate(named) for place, name in enumerate(names)}
    return slots, places


def _want(names: list[str], name: str) -> None:
    for source in DERIVED.get(name, ()):
        _want(names, source)
    if name not in names:
        names.append(name)


def _channels(chart: pl.DataFrame, needs: dict[str, int]) -> tuple[Ints, Ints]:
    names = [together or str(itemid) for itemid, together in chart.select("itemid", "together").iter_rows()]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    own = np.array([needs.get(name, -1) for name in numbers], dtype=np.int64)
    return np.array([numbers[name] for name in names], dtype=np.int64), own


def _values(chart: pl.DataFrame) -> _Values:
    table = catalog.read("chart_values.csv").with_columns(pl.col("when").fill_null(""))
    keys = table.select("itemid", "when")
    lists = {key: number for number, key in enumerate(keys.unique(maintain_order=True).iter_rows())}
    owner = np.array([lists[key] for key in keys.iter_rows()], dtype=np.int64)
    weight = table["weight"].cast(pl.Float64).to_numpy()
    size = np.bincount(owner)
    first = np.cumsum(size) - size
    total = np.cumsum(weight)
    before = np.concatenate([[0.0], total])[first]
    edges = owner + (total - before[owner]) / np.bincount(owner, weight)[owner]
    edges[first + size - 1] = np.arange(len(size)) + 1.0
    listed = np.full((chart.height, len(STATES)), -1)
    for line, itemid in enumerate(chart["itemid"]):
        for number, state in enumerate(STATES):
            wider = "ventilated" if state in VENTILATED else ""
            listed[line, number] = next(
                (lists[itemid, when] for when in (state, wider, "") if (itemid, when) in lists), -1
            )
    numbers = table["number"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    return _Values(table["value"], numbers, (table["alone"] == 1).to_numpy(), edges, first, size, listed)


def _numbers(chart: pl.DataFrame, places: dict[tuple[int, str], int]) -> _Numbers:
    settings = catalog.read("chart_settings.csv").select("itemid", "typical", "spread", "scale", "low", "high")
    settings = chart.select("itemid").join(settings, on="itemid", how="left", maintain_order="left")
    slot = [places.get((group, name), -1) for group, name in chart.select("number", "signal").iter_rows()]
    return _Numbers(
        slot=np.array(slot, dtype=np.int64),
        factor=_column(chart, "factor", 1.0),
        offset=_column(chart, "offset"),
        step=_column(chart, "step"),
        places=_column(chart, "decimals").astype(np.int64),
        setting=(chart["kind"] == "setting").to_numpy(),
        typical=_column(settings, "typical"),
        spread=_column(settings, "spread"),
        logarithmic=(settings["scale"] == "log").fill_null(False).to_numpy(),
        least=_column(settings, "low"),
        most=_column(settings, "high"),
        low=_column(chart, "lownormalvalue", -np.inf),
        high=_column(chart, "highnormalvalue", np.inf),
    )


def _allowed(chart: pl.DataFrame) -> Bools:
    rows = [
        [during is None or state == during or (during == "ventilated" and state in VENTILATED) for state in STATES]
        for during in chart["during"]
    ]
    return np.array(rows, dtype=bool)


@cache
def _caregivers() -> Ints:
    return catalog.staff()[1].to_numpy()


# Who needs what, and the rounds --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Needs:
    """[stays, needs]: whether a stay has each need, from when and until when, and the luck that decided."""

    has: Bools
    start: Ints
    end: Ints
    luck: Floats


@dataclass(frozen=True)
class _Rounds:
    """Times at which a group of items is charted in a stay, ordered by group, stay, time."""

    stay: Ints
    group: Ints
    time: Ints
    store: Ints
    shift: Ints
    """Number of the shift among those of all stays."""
    state: Ints


def _needs(block: Block) -> _Needs:
    rng = block.streams.rng("chart needs")
    plan, stays = _plan(), block.icu
    shape = (len(stays.person), len(plan.needs))
    chance, lasts = np.zeros(shape), np.ones(shape)
    causes = _causes(block)
    table = catalog.read("chart_needs.csv").select("need", "cause", "chance", "lasts")
    for need, cause, odds, part in table.iter_rows():
        column = plan.needs[need]
        better = causes[cause] & (odds > chance[:, column])
        chance[better, column], lasts[better, column] = odds, part
    luck = rng.random(shape)
    has = luck < chance
    length = (stays.departure - stays.arrival)[:, None]
    part = np.where(lasts < 1, np.minimum(lasts * rng.uniform(0.6, 1.4, shape), 1.0), 1.0)
    start = np.repeat(stays.arrival[:, None], shape[1], axis=1)
    end = start + (part * length).astype(np.int64)
    for name in OPPOSITE:
        has[:, plan.needs[name]] = ~has[:, plan.needs[OPPOSITE[name]]]
    _built_in(block, plan, _Needs(has, start, end, luck))
    return _Needs(has, start, end, luck)


def _built_in(block: Block, plan: _Plan, needs: _Needs) -> None:
    """Fill in what the block already knows of its stays."""
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


def _causes(block: Block) -> dict[str, Bools]:
    """Return what chart_needs.csv may name as a cause: [stays] each."""
    stays = block.icu
    conditions = block.people.conditions[stays.person]
    causes = {name: conditions[:, number] for number, name in enumerate(catalog.conditions())}
    illness = block.admissions.illness[stays.admission]
    causes |= {name: illness == number for number, name in enumerate(catalog.illnesses())}
    causes["all"] = np.ones(len(stays.person), dtype=bool)
    causes["recent"] = block.admissions.true_year[stays.admission] >= RECENT
    causes["surgical"] = block.admissions.surgical[stays.admission]
    causes["ventilated"] = stays.ventilated_from != NONE
    return causes | {"pressors": stays.pressors, "dialysis": stays.dialysis}


def _rounds(block: Block, plan: _Plan, needs: _Needs) -> _Rounds:
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
    delay = rng.integers(0, 60, (WAYS, int(hours.sum()))) * MINUTE
    first_shift = np.cumsum(_shifts(block)) - _shifts(block)
    return _Rounds(
        stay=stay,
        group=group,
        time=time,
        store=time + delay[group % WAYS, _hour(stays.arrival, hours, stay, time)],
        shift=first_shift[stay] + _shift(time) - _shift(stays.arrival)[stay],
        state=_breathing(block, plan, needs, stay, time),
    )


def _round_times(rng: np.random.Generator, block: Block, plan: _Plan, needs: _Needs) -> tuple[Ints, Ints, Ints]:
    """Return stay, group and time of all rounds: one soon after the beginning, then by the clock; some twice."""
    table, stays = plan.rounds, block.icu
    need = table["need"].replace_strict(plan.needs, return_dtype=pl.Int64).to_numpy()
    group = table["group"].replace_strict(plan.groups, return_dtype=pl.Int64).to_numpy()
    early, late = _column(table, "from_hours"), _column(table, "until_hours", np.inf)
    begin = needs.start[:, need] + (early * HOUR).astype(np.int64)
    end = np.minimum(needs.end[:, need], needs.start[:, need] + np.minimum(late * HOUR, 999 * DAY).astype(np.int64))
    chosen = rng.random((len(stays.person), len(plan.groups)))[:, group] < _column(table, "share")
    stay, row = np.nonzero(needs.has[:, need] & chosen & (begin < end))
    begin, end, group = begin[stay, row], end[stay, row], group[row]
    every = (_column(table, "every_hours") * HOUR).astype(np.int64)[row]
    step, clock = np.maximum(every, 1), (_column(table, "clock") * HOUR).astype(np.int64)[row]
    first = -((clock - begin) // step)
    count = np.where(every > 0, np.maximum((end - 1 - clock) // step - first + 1, 0), 0)
    parent, ordinal = repeat(count)
    time = (first[parent] + ordinal) * step[parent] + clock[parent]
    hours = _hours(stays.arrival, stays.departure)
    late_by = np.where(
        rng.random((WAYS, int(hours.sum()))) < ON_THE_HOUR, 0, rng.integers(1, 40, (WAYS, int(hours.sum())))
    )
    delay = late_by[group[parent] % WAYS, _hour(stays.arrival, hours, stay[parent], time)] * MINUTE
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
    """Return the number of the clock hour among those of all stays."""
    return (np.cumsum(hours) - hours)[stay] + time // HOUR - (arrival // HOUR)[stay]


def _shift(time: Ints) -> Ints:
    return (time - SHIFT_BEGINS) // SHIFT


def _shifts(block: Block) -> Ints:
    return _shift(block.icu.departure) - _shift(block.icu.arrival) + 1


def _breathing(block: Block, plan: _Plan, needs: _Needs, stay: Ints, time: Ints) -> Ints:
    """Return the state of breathing at each time, by its number in STATES."""
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


# Chartevents ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """Rows of chartevents in no order."""

    round: Ints
    line: Ints
    value: Ints
    """Number of the text among those of the catalog; -1 for numbers."""
    number: Floats
    """NaN for texts without one."""


def _chartevents(block: Block, plan: _Plan, needs: _Needs, rounds: _Rounds) -> pl.DataFrame:
    rng = block.streams.rng("chartevents")
    readings = _readings(rng, block, plan, rounds)
    state = _heart(plan, needs, rounds, readings)
    cell, line = _cells(rng, plan.chart, rounds, needs, plan.channel)
    kept = plan.allowed[line, state[cell]]
    cell, line = cell[kept], line[kept]
    listed = plan.values.listed[line, state[cell]]
    measured = np.flatnonzero(plan.numbers.slot[line] >= 0)
    others = np.flatnonzero(plan.numbers.slot[line] < 0)
    share = _shares(rng, block, plan, needs, rounds, readings, cell[others], line[others])
    chosen = listed[others] >= 0
    texts, settings = others[chosen], others[~chosen]
    parent, value = _texts(rng, plan, line[texts], listed[texts], share[chosen])
    texts = texts[parent]
    at = readings.first[cell[measured]] + plan.numbers.slot[line[measured]]
    figures = _scaled(plan.numbers, line[measured], readings.value[at])
    set_to = _scaled(plan.numbers, line[settings], _settings(plan.numbers, line[settings], share[~chosen]))
    order = np.concatenate([texts, measured, settings])
    rows = _Rows(
        round=cell[order],
        line=line[order],
        value=np.concatenate([value, np.full(len(measured) + len(settings), -1)]),
        number=np.concatenate([plan.values.number[value], figures, set_to]),
    )
    return _frame(rng, block, plan, rounds, rows)


@dataclass(frozen=True)
class _Readings:
    """Measurements of all rounds: those of round r are from first[r] on, in the order of its group's slots."""

    value: Floats
    first: Ints


def _readings(rng: np.random.Generator, block: Block, plan: _Plan, rounds: _Rounds) -> _Readings:
    slots = plan.slots
    count = slots.count[rounds.group]
    parent, ordinal = repeat(count)
    slot = slots.first[rounds.group][parent] + ordinal
    stay = rounds.stay[parent]
    value = np.zeros(len(parent))
    direct = np.flatnonzero(slots.signal[slot] >= 0)
    value[direct] = block.measure(
        rng,
        slots.signal[slot[direct]],
        block.icu.person[stay[direct]],
        block.icu.admission[stay[direct]],
        rounds.time[parent[direct]],
    )
    derived = slots.derived[slot]
    controlled = rounds.state[parent] == STATES.index("controlled")
    noise = rng.standard_normal(len(rounds.stay))
    for number, name in enumerate(DERIVED):
        rows = np.flatnonzero(derived == number)
        if not len(rows):
            continue
        places = [rows + slots.sources[slot[rows], part] for part in range(len(DERIVED[name]))]
        if places:
            value[rows] = _derive(name, value, places, controlled[rows])
        else:
            value[rows] = _own(block, name, stay[rows], rounds.time[parent[rows]], noise[parent[rows]])
    return _Readings(value, np.cumsum(count) - count)


def _derive(name: str, value: Floats, places: list[Ints], controlled: Bools) -> Floats:
    """Return what follows from the values at `places`, which are changed where they contradict each other."""
    first, second = places[0], places[1]
    if "pressure" in name and "airway" not in name and "plateau" not in name:
        value[second] = np.minimum(value[second], value[first] - 6)
        mean: Floats = (value[first] + 2 * value[second]) / 3
        return mean - value[places[2]] if name == "cerebral_perfusion_pressure" else mean
    if name == "breath_rate_total":
        return np.where(controlled, np.maximum(value[first], value[second]), value[first])
    if name == "breath_rate_spontaneous":
        return np.where(controlled, np.maximum(value[first] - value[second], 0.0), value[first])
    if name == "minute_volume":
        return np.asarray(value[first] * value[second] / 1000)
    value[first] = np.maximum(value[first], value[second] + 5)
    part = 0.62 if name == "plateau_pressure" else 0.3
    return np.asarray(value[second] + part * (value[first] - value[second]))


def _own(block: Block, name: str, stay: Ints, time: Ints, noise: Floats) -> Floats:
    """Return what belongs to the patient or is set for him, and does not change with illness."""
    weight = block.icu.weight[stay]
    if name == "own_weight":
        return weight
    if name == "daily_weight":
        # Fluid is gained in the first days and lost again.
        days = (time - block.icu.arrival[stay]) / DAY
        return np.asarray(weight * (1 + 0.03 * days * np.exp(-days / 3) + 0.004 * noise))
    number = catalog.signal_numbers()[name.removeprefix("own_")]
    signal = catalog.signals().row(number, named=True)
    level = signal["spread"] * block.levels[block.icu.person[stay], number]
    own = signal["typical"] * np.exp(level) if signal["scale"] == "log" else signal["typical"] + level
    return np.asarray(np.clip(own, signal["low"], signal["high"]))


def _heart(plan: _Plan, needs: _Needs, rounds: _Rounds, readings: _Readings) -> Ints:
    """Return the rounds' states, those of vital signs by the heart's rhythm."""
    state = rounds.state.copy()
    rows = np.flatnonzero(rounds.group == plan.groups["vitals"])
    stay, time = rounds.stay[rows], rounds.time[rows]
    rate = readings.value[readings.first[rows]]
    kinds = [rate > FAST, rate < SLOW]
    for name in ("irregular_rhythm", "paced"):
        need = plan.needs[name]
        kinds.insert(0, needs.has[stay, need] & (time < needs.end[stay, need]))
    states = [STATES.index(name) for name in ("paced", "irregular", "fast", "slow")]
    state[rows] = np.select(kinds, states, STATES.index("normal"))
    return state


def _cells(rng: np.random.Generator, lines: _Lines, rounds: _Rounds, needs: _Needs, channel: Ints) -> tuple[Ints, Ints]:
    """Draw what is charted: return each cell's round and line."""
    luck = rng.random((len(needs.has), int(channel.max(initial=-1)) + 1))[:, channel]
    has = (luck < lines.share) & ((lines.only < 0) | needs.has[:, lines.only])
    stay, present = np.nonzero(has)
    count = np.bincount(stay * lines.groups + lines.group[present], minlength=len(has) * lines.groups)
    place = rounds.stay * lines.groups + rounds.group
    cell, ordinal = repeat(count[place])
    line = present[(np.cumsum(count) - count)[place][cell] + ordinal]
    kept = rng.random(len(cell), dtype=np.float32) < lines.keep[line]
    return cell[kept], line[kept]


def _shares(
    rng: np.random.Generator,
    block: Block,
    plan: _Plan,
    needs: _Needs,
    rounds: _Rounds,
    readings: _Readings,
    cell: Ints,
    line: Ints,
) -> Floats:
    """Return where in the order of an item's values, from 0 to 1, each value is.

    Mostly it is the shift's, and that mostly the stay's; illness shifts it towards the later values.
    """
    habit = _habits(rng, block, plan, needs)
    drawn = rng.random(len(cell), dtype=np.float32)
    steady = plan.steady[line]
    usual = habit.ravel()[rounds.shift[cell] * habit.shape[1] + plan.channel[line]]
    fresh = (drawn - steady) / np.maximum(1 - steady, np.float32(1e-6))
    share = np.clip(np.where(drawn < steady, usual, fresh).astype(np.float64), 1e-6, 1 - 1e-6)
    leaning = np.flatnonzero(plan.lean[line] != 0)
    cell, line = cell[leaning], line[leaning]
    severity = block.severity(block.icu.admission[rounds.stay], rounds.time) - 0.8
    turn = plan.turn[line]
    push = np.where(turn >= 0, readings.value[np.where(turn >= 0, readings.first[cell] + turn, 0)], severity[cell])
    odds = share[leaning] / (1 - share[leaning]) * np.exp(plan.lean[line] * push)
    share[leaning] = odds / (1 + odds)
    return share


def _habits(rng: np.random.Generator, block: Block, plan: _Plan, needs: _Needs) -> Halves:
    """Return [shifts, channels]: what a nurse would chart again and again in one shift, from 0 to 1."""
    shape = (len(needs.has), len(plan.channel_need))
    stays = rng.random(shape, dtype=np.float32)
    tied = np.flatnonzero(plan.channel_need >= 0)
    stays[:, tied] = needs.luck[:, plan.channel_need[tied]]
    steady = np.zeros(shape[1], dtype=np.float32)
    steady[plan.channel] = plan.steady
    of_shift = stays[np.repeat(np.arange(shape[0]), _shifts(block))]
    same = rng.random(of_shift.shape, dtype=np.float32) < steady
    return np.where(same, of_shift, rng.random(of_shift.shape, dtype=np.float32))


def _texts(rng: np.random.Generator, plan: _Plan, line: Ints, listed: Ints, share: Floats) -> tuple[Ints, Ints]:
    """Return the texts charted, by number; some items have several at once: also say which element each belongs to."""
    values = plan.values
    value = np.minimum(
        np.searchsorted(values.edges, listed + share, side="right"), values.first[listed] + values.size[listed] - 1
    )
    several = np.flatnonzero((plan.extra[line] > 0) & ~values.alone[value])
    wanted = plan.extra[line[several]] * (0.5 + rng.random(len(several))) + rng.random(len(several))
    more = np.ones(len(value), dtype=np.int64)
    more[several] += np.minimum(wanted.astype(np.int64), values.size[listed[several]] - 1)
    parent, ordinal = repeat(more)
    first, size = values.first[listed][parent], values.size[listed][parent]
    value = first + (value[parent] - first + ordinal) % size
    kept = (ordinal == 0) | ~values.alone[value]
    return parent[kept], value[kept]


def _settings(numbers: _Numbers, line: Ints, share: Floats) -> Floats:
    # A logistic distribution of about the spread wanted: it needs no inverse normal.
    deviation = 0.55 * numbers.spread[line] * np.log(share / (1 - share))
    typical = numbers.typical[line]
    value = np.where(numbers.logarithmic[line], typical * np.exp(np.minimum(deviation, 8.0)), typical + deviation)
    return np.asarray(np.clip(value, numbers.least[line], numbers.most[line]))


def _scaled(numbers: _Numbers, line: Ints, value: Floats) -> Floats:
    """Return numbers in the unit of the chart, rounded to the step in which they are read or set."""
    step = numbers.step[line]
    value = value * numbers.factor[line] + numbers.offset[line]
    whole = np.where(step > 0, step, 1.0)
    return np.where(step > 0, np.rint(value / whole) * whole, value)


def _echoes(block: Block, plan: _Plan) -> tuple[pl.DataFrame, Ints, Ints]:
    """Return results of the laboratory that nurses saw in the chart, their stays, and the lines they go to."""
    source = echo_source(block).drop_nulls(["value", "valuenum"])
    stays = block.icu
    if not len(stays.person):
        source = source.clear()
    table = catalog.read("chart_echoes.csv")
    itemid = source["itemid"].to_numpy()
    person, time = source["person"].to_numpy(), source["charttime"].dt.epoch("s").to_numpy()
    # Stays are ordered by patient and time: the last one that began before is the only one that can hold the time.
    scale = 1 << 36
    stay = np.searchsorted(stays.person * scale + stays.arrival, person * scale + time, side="right") - 1
    holder = np.maximum(stay, 0)
    inside = (stay >= 0) & (stays.person[holder] == person) & (time < stays.departure[holder])
    target = np.full((2, int(max(table["lab_itemid"].max(), itemid.max(initial=0))) + 1), -1)
    place = {item: number for number, item in enumerate(plan.chart.itemid)}
    for lab, item, line in table.select("lab_itemid", "itemid", "line").iter_rows():
        for row in (0, 1):
            if line is None or (line == "arterial") == bool(row):
                target[row, lab] = place[item]
    line = target[stays.arterial_line[holder].astype(np.int64), itemid]
    kept = np.flatnonzero(inside & (line >= 0))
    # Two specimens may give the same result at once; the chart has a place for one.
    place_in_chart = (line[kept] << TIME_BITS) + (time[kept] - stays.arrival[holder[kept]]) // MINUTE
    kept = kept[np.unique((holder[kept] << (TIME_BITS + ITEM_BITS)) + place_in_chart, return_index=True)[1]]
    return source[kept], holder[kept], line[kept]


def _frame(rng: np.random.Generator, block: Block, plan: _Plan, rounds: _Rounds, rows: _Rows) -> pl.DataFrame:
    """Put the rows in order, with the laboratory's results among them, and return the table."""
    labs, lab_stay, lab_line = _echoes(block, plan)
    places = plan.numbers.places[rows.line]
    figures = np.flatnonzero(rows.value < 0)
    number, text = _written(rows.number[figures], places[figures])
    rows.number[figures] = number
    texts = pl.concat([plan.values.text, text, labs["value"]], rechunk=True)
    where = rows.value.copy()
    where[figures] = len(plan.values.text) + np.arange(len(figures))
    lab_time, lab_store = (labs[name].dt.epoch("s").to_numpy() for name in ("charttime", "storetime"))
    visits = _with_labs(block, rounds, lab_stay, lab_time, lab_store)
    visit = np.concatenate([rows.round, len(rounds.stay) + np.arange(len(lab_stay))])
    line = np.concatenate([rows.line, lab_line])
    number = np.concatenate([rows.number, labs["valuenum"].to_numpy()])
    where = np.concatenate([where, len(texts) - len(lab_stay) + np.arange(len(lab_stay))])
    order = _order(block, visits, visit, plan.chart.rank[line])
    visit, line, number = visit[order], line[order], number[order]
    columns = _shared_columns(block, visits, visit)
    warning = np.zeros(len(line), dtype=np.int64)
    limited = np.flatnonzero((np.isfinite(plan.numbers.low) | np.isfinite(plan.numbers.high))[line])
    outside = (number[limited] < plan.numbers.low[line[limited]]) | (number[limited] > plan.numbers.high[line[limited]])
    warning[limited] = outside & (rng.random(len(limited)) < WARNED)
    columns |= {
        "itemid": pl.Series(plan.chart.itemid[line]),
        "value": texts.gather(where[order]),
        "valuenum": pl.Series(number).fill_nan(None),
        "valueuom": plan.unit.gather(line),
        "warning": pl.Series(warning),
    }
    return pl.DataFrame(columns)


def _written(number: Floats, places: Ints) -> tuple[Floats, pl.Series]:
    """Round numbers and write them as the chart does: 98.6, but 98."""
    scale = 10.0**places
    number = np.rint(number * scale) / scale
    return decimals(number, np.where(number == np.rint(number), 0, places))


def _with_labs(block: Block, rounds: _Rounds, stay: Ints, time: Ints, store: Ints) -> _Rounds:
    """Return the rounds, followed by one for each result of the laboratory."""
    none = np.zeros(len(stay), dtype=np.int64)
    shift = (np.cumsum(_shifts(block)) - _shifts(block))[stay] + _shift(time) - _shift(block.icu.arrival)[stay]
    added = _Rounds(stay, none, time, store, shift, none)
    return _Rounds(**{name: np.concatenate([column, vars(added)[name]]) for name, column in vars(rounds).items()})


def _order(block: Block, rounds: _Rounds, visit: Ints, rank: Ints) -> Ints:
    """Return the rows in order of stay, time and item: by sorting keys that end in the row's number."""
    minute = (rounds.time - block.icu.arrival[rounds.stay] // MINUTE * MINUTE) // MINUTE
    head = ((rounds.stay << TIME_BITS) + minute) << (ITEM_BITS + ROW_BITS)
    key = head[visit] + (rank << ROW_BITS) + np.arange(len(visit))
    key.sort()
    return key & ((1 << ROW_BITS) - 1)


def _shared_columns(block: Block, rounds: _Rounds, visit: Ints) -> dict[str, pl.Series]:
    """Return the columns that all rows of a round have in common."""
    rng = block.streams.rng("chart caregivers")
    stays = block.icu
    caregiver = _caregivers()[rng.integers(0, len(_caregivers()), int(_shifts(block).sum()))]
    stay = rounds.stay[visit]
    return {
        "subject_id": pl.Series(block.people.subject_id[stays.person][stay]),
        "hadm_id": pl.Series(block.admissions.hadm_id[stays.admission][stay]),
        "stay_id": pl.Series(stays.stay_id[stay]),
        "caregiver_id": pl.Series(caregiver[rounds.shift][visit]),
        "charttime": times(rounds.time).gather(visit),
        "storetime": times(rounds.store).gather(visit),
    }


# Datetimeevents ------------------------------------------------------------------------------------------------------


def _datetimeevents(block: Block, plan: _Plan, needs: _Needs, rounds: _Rounds) -> pl.DataFrame:
    rng = block.streams.rng("datetimeevents")
    table = catalog.read("datetime_items.csv").select("itemid", "unit", "before_hours", "cycle_hours")
    table = pl.DataFrame({"itemid": plan.dated.itemid}).join(table, on="itemid", maintain_order="left")
    cell, line = _cells(rng, plan.dated, rounds, needs, np.arange(len(plan.dated.itemid)))
    stay = rounds.stay[cell]
    order = _order(block, rounds, cell, plan.dated.rank[line])
    cell, line, stay = cell[order], line[order], stay[order]
    # A device was put in some time before the stay; what is changed is changed at regular times from then on.
    ago = rng.exponential(1.0, (len(needs.has), len(plan.groups) + 1))[stay, plan.dated.group[line]]
    begin = block.icu.arrival[stay] - (ago * _column(table, "before_hours")[line] * HOUR).astype(np.int64)
    cycle = (_column(table, "cycle_hours", np.inf)[line] * HOUR).clip(HOUR, 9_999 * DAY).astype(np.int64)
    time = rounds.time[cell]
    value = begin + (time - begin) // cycle * cycle
    dated = (table["unit"] == "Date").to_numpy()[line]
    value = np.where(dated, value - value % DAY, value - value % (5 * MINUTE))
    at_once = rng.random(len(rounds.stay)) < 0.55
    stored = _Rounds(**{**vars(rounds), "store": np.where(at_once, rounds.time, rounds.store)})
    columns = _shared_columns(block, stored, cell)
    columns |= {
        "itemid": pl.Series(plan.dated.itemid[line]),
        "value": times(value),
        "valueuom": table["unit"].gather(line),
        "warning": pl.Series(np.zeros(len(line), dtype=np.int64)),
    }
    return pl.DataFrame(columns)
