"""Draw chartevents: texts, settings and measurements of each cell, and copied laboratory results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import MINUTE, Floats, Ints, decimals, repeat
from ehrtraj.synth.tables.charting.cells import draw_cells, in_order, shared_columns
from ehrtraj.synth.tables.charting.plan import ChartingPlan, Numbers, SingleFloats
from ehrtraj.synth.tables.charting.readings import Readings, draw_readings, heart_states
from ehrtraj.synth.tables.charting.rounds import ITEM_BITS, TIME_BITS, Needs, Rounds, shift_counts, shift_of
from ehrtraj.synth.tables.labs import numeric_results

WARNED = 0.1
"""Share of numbers outside the limits of an item that have a warning; an assumption."""


@dataclass(frozen=True)
class _ChartRows:
    """Unordered rows of chartevents."""

    round: Ints
    line: Ints
    value: Ints
    """Number of the text in the catalog; -1 for numbers."""
    number: Floats
    """NaN for texts without a number."""


def draw_chartevents(block: PatientBlock, plan: ChartingPlan, needs: Needs, rounds: Rounds) -> pl.DataFrame:
    """Draw the cells of all rounds and their values, and return chartevents."""
    rng = block.streams.rng("chartevents")
    readings = draw_readings(rng, block, plan, rounds)
    state = heart_states(plan, needs, rounds, readings)
    cell, line = draw_cells(rng, plan.chart, rounds, needs, plan.channel)
    keep = plan.allowed[line, state[cell]]
    cell, line = cell[keep], line[keep]
    listed = plan.values.listed[line, state[cell]]
    measured = np.flatnonzero(plan.numbers.slot[line] >= 0)
    others = np.flatnonzero(plan.numbers.slot[line] < 0)
    share = _shares(rng, block, plan, needs, rounds, readings, cell[others], line[others])
    chosen = listed[others] >= 0
    texts, settings = others[chosen], others[~chosen]
    parent, value = _texts(rng, plan, line[texts], listed[texts], share[chosen])
    texts = texts[parent]
    at = readings.first[cell[measured]] + plan.numbers.slot[line[measured]]
    measured_numbers = _scaled(plan.numbers, line[measured], readings.value[at])
    setting_numbers = _scaled(plan.numbers, line[settings], _settings(plan.numbers, line[settings], share[~chosen]))
    order = np.concatenate([texts, measured, settings])
    rows = _ChartRows(
        round=cell[order],
        line=line[order],
        value=np.concatenate([value, np.full(len(measured) + len(settings), -1)]),
        number=np.concatenate([plan.values.number[value], measured_numbers, setting_numbers]),
    )
    return _frame(rng, block, plan, rounds, rows)


def _shares(
    rng: np.random.Generator,
    block: PatientBlock,
    plan: ChartingPlan,
    needs: Needs,
    rounds: Rounds,
    readings: Readings,
    cell: Ints,
    line: Ints,
) -> Floats:
    """Return the quantile, from 0 to 1, of each value among the ordered values of its item.

    The quantile is mostly the usual one of the shift, which is mostly the usual one of the stay. Illness shifts it
    towards the last values.
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


def _habits(rng: np.random.Generator, block: PatientBlock, plan: ChartingPlan, needs: Needs) -> SingleFloats:
    """Return [shifts, channels]: the quantile of the value that is usually charted in a shift."""
    shape = (len(needs.has), len(plan.channel_need))
    usual_of_stay = rng.random(shape, dtype=np.float32)
    tied = np.flatnonzero(plan.channel_need >= 0)
    usual_of_stay[:, tied] = needs.uniform[:, plan.channel_need[tied]]
    steady = np.zeros(shape[1], dtype=np.float32)
    steady[plan.channel] = plan.steady
    stay_habit = usual_of_stay[np.repeat(np.arange(shape[0]), shift_counts(block))]
    same = rng.random(stay_habit.shape, dtype=np.float32) < steady
    return np.where(same, stay_habit, rng.random(stay_habit.shape, dtype=np.float32))


def _texts(rng: np.random.Generator, plan: ChartingPlan, line: Ints, listed: Ints, share: Floats) -> tuple[Ints, Ints]:
    """Draw the charted texts, of which some items have several; return the element of each text and its number."""
    values = plan.values
    value = np.minimum(
        np.searchsorted(values.edges, listed + share, side="right"), values.first[listed] + values.size[listed] - 1
    )
    several = np.flatnonzero((plan.extra[line] > 0) & ~values.alone[value])
    extra_count = plan.extra[line[several]] * (0.5 + rng.random(len(several))) + rng.random(len(several))
    more = np.ones(len(value), dtype=np.int64)
    more[several] += np.minimum(extra_count.astype(np.int64), values.size[listed[several]] - 1)
    parent, ordinal = repeat(more)
    first, size = values.first[listed][parent], values.size[listed][parent]
    value = first + (value[parent] - first + ordinal) % size
    keep = (ordinal == 0) | ~values.alone[value]
    return parent[keep], value[keep]


def _settings(numbers: Numbers, line: Ints, share: Floats) -> Floats:
    # A logistic distribution with about the same spread, which needs no inverse normal.
    deviation = 0.55 * numbers.spread[line] * np.log(share / (1 - share))
    typical = numbers.typical[line]
    value = np.where(numbers.logarithmic[line], typical * np.exp(np.minimum(deviation, 8.0)), typical + deviation)
    return np.asarray(np.clip(value, numbers.least[line], numbers.most[line]))


def _scaled(numbers: Numbers, line: Ints, value: Floats) -> Floats:
    """Return numbers in the unit of the chart, rounded to the step in which they are read or set."""
    step = numbers.step[line]
    value = value * numbers.factor[line] + numbers.offset[line]
    step_or_one = np.where(step > 0, step, 1.0)
    return np.where(step > 0, np.rint(value / step_or_one) * step_or_one, value)


def _copied_results(block: PatientBlock, plan: ChartingPlan) -> tuple[pl.DataFrame, Ints, Ints]:
    """Return the laboratory results that are copied to the chart, with their stays and lines."""
    source = numeric_results(block).drop_nulls(["value", "valuenum"])
    stays = block.icu
    if not len(stays.person):
        source = source.clear()
    table = catalog.read("chart_copied_results.csv")
    itemid = source["itemid"].to_numpy()
    person, time = source["person"].to_numpy(), source["charttime"].dt.epoch("s").to_numpy()
    # Stays are ordered by patient and time. Only the last stay that started earlier can contain the time.
    scale = 1 << 36
    stay = np.searchsorted(stays.person * scale + stays.arrival, person * scale + time, side="right") - 1
    stay_or_first = np.maximum(stay, 0)
    inside = (stay >= 0) & (stays.person[stay_or_first] == person) & (time < stays.departure[stay_or_first])
    target = np.full((2, int(max(table["lab_itemid"].max(), itemid.max(initial=0))) + 1), -1)
    place = {item: number for number, item in enumerate(plan.chart.itemid)}
    for lab, item, line in table.select("lab_itemid", "itemid", "line").iter_rows():
        for row in (0, 1):
            if line is None or (line == "arterial") == bool(row):
                target[row, lab] = place[item]
    line = target[stays.arterial_line[stay_or_first].astype(np.int64), itemid]
    keep = np.flatnonzero(inside & (line >= 0))
    # Two specimens may have the same result at the same time. The chart contains it once.
    place_in_chart = (line[keep] << TIME_BITS) + (time[keep] - stays.arrival[stay_or_first[keep]]) // MINUTE
    keep = keep[np.unique((stay_or_first[keep] << (TIME_BITS + ITEM_BITS)) + place_in_chart, return_index=True)[1]]
    return source[keep], stay_or_first[keep], line[keep]


def _frame(
    rng: np.random.Generator, block: PatientBlock, plan: ChartingPlan, rounds: Rounds, rows: _ChartRows
) -> pl.DataFrame:
    """Sort the rows together with the copied laboratory results, and return the table."""
    labs, lab_stay, lab_line = _copied_results(block, plan)
    places = plan.numbers.places[rows.line]
    numeric_rows = np.flatnonzero(rows.value < 0)
    number, text = _written(rows.number[numeric_rows], places[numeric_rows])
    rows.number[numeric_rows] = number
    texts = pl.concat([plan.values.text, text, labs["value"]], rechunk=True)
    where = rows.value.copy()
    where[numeric_rows] = len(plan.values.text) + np.arange(len(numeric_rows))
    lab_time, lab_store = (labs[name].dt.epoch("s").to_numpy() for name in ("charttime", "storetime"))
    all_rounds = _with_labs(block, rounds, lab_stay, lab_time, lab_store)
    round_index = np.concatenate([rows.round, len(rounds.stay) + np.arange(len(lab_stay))])
    line = np.concatenate([rows.line, lab_line])
    number = np.concatenate([rows.number, labs["valuenum"].to_numpy()])
    where = np.concatenate([where, len(texts) - len(lab_stay) + np.arange(len(lab_stay))])
    order = in_order(block, all_rounds, round_index, plan.chart.rank[line])
    round_index, line, number = round_index[order], line[order], number[order]
    columns = shared_columns(block, all_rounds, round_index)
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
    """Round numbers and format them as in the chart, such as 98.6 and 98."""
    scale = 10.0**places
    number = np.rint(number * scale) / scale
    return decimals(number, np.where(number == np.rint(number), 0, places))


def _with_labs(block: PatientBlock, rounds: Rounds, stay: Ints, time: Ints, store: Ints) -> Rounds:
    """Return the rounds, followed by one round for each laboratory result."""
    none = np.zeros(len(stay), dtype=np.int64)
    shift = (
        (np.cumsum(shift_counts(block)) - shift_counts(block))[stay]
        + shift_of(time)
        - shift_of(block.icu.arrival)[stay]
    )
    added = Rounds(stay, none, time, store, shift, none)
    return Rounds(**{name: np.concatenate([column, vars(added)[name]]) for name, column in vars(rounds).items()})
