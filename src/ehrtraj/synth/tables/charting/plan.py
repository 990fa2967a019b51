"""The catalog of charting as arrays: items, their texts and numbers, signals, states."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import Bools, Floats, Ints

SingleFloats = npt.NDArray[np.float32]

BUILT_IN = ("all", "arterial_line", "no_arterial_line", "ventilated", "dialysis", "severe")
# A stay has exactly one need of each pair.
OPPOSITE = {"fahrenheit": "celsius", "old": "new", "drager": "hamilton"}
STATES = ("oxygen", "room_air", "controlled", "supported", "normal", "fast", "slow", "irregular", "paced")
"""States of breathing and, in rounds of the group `vitals`, of the heart. Text items may have other values in each."""
VENTILATED = ("controlled", "supported")

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
"""Values derived from measurements of the same round, with their sources. They are calculated in this order."""


@dataclass(frozen=True)
class ChartedItems:
    """Items that are charted in rounds, ordered by group. The position of an item is its line."""

    itemid: Ints
    rank: Ints
    """Rank of the itemid among all items of the table."""
    group: Ints
    groups: int
    share: Floats
    """Share of the stays with the group in which the item is charted at all."""
    keep: SingleFloats
    """Share of the rounds of these stays in which the item is charted."""
    only: Ints
    """Number of the need without which the item is not charted, or -1."""


@dataclass(frozen=True)
class ChartingPlan:
    """The catalog of charting. Arrays have one element per line, unless a shape is given."""

    groups: dict[str, int]
    needs: dict[str, int]
    rounds: pl.DataFrame
    chart: ChartedItems
    dated: ChartedItems
    slots: _Slots
    values: _Values
    numbers: Numbers
    allowed: Bools
    """[lines, states]: in which states an item is charted."""
    channel: Ints
    """Lines with the same channel have related values, such as both eyes, or a device and its flow."""
    channel_need: Ints
    """[channels]: the need whose random number determines the value, or -1."""
    steady: SingleFloats
    """Probability that a value is the usual one of the shift instead of a new one."""
    lean: Floats
    """Change in the log odds of later values for each unit of the signal `turn`."""
    turn: Ints
    """Slot, within the group, of the signal on which the value depends; -1 for severity."""
    extra: Floats
    """Mean number of further values that are charted with the first."""
    unit: pl.Series


@dataclass(frozen=True)
class _Slots:
    """Measurements that the rounds of each group need. Group g has count[g] slots from first[g] on."""

    first: Ints
    count: Ints
    signal: Ints
    """Number of the signal; -1 for derived values."""
    derived: Ints
    """Position in DERIVED; -1 for measured values."""
    sources: Ints
    """[slots, 3]: positions of the sources of derived values, relative to the slot."""


@dataclass(frozen=True)
class _Values:
    """Lists of texts for items."""

    text: pl.Series
    number: Floats
    alone: Bools
    edges: Floats
    """Upper edge of each text: number of its list plus the cumulative share of weights within the list."""
    first: Ints
    size: Ints
    listed: Ints
    """[lines, states]: number of the list for an item in a state; -1 for items with numbers."""


@dataclass(frozen=True)
class Numbers:
    """How numbers are charted, with one element per line."""

    slot: Ints
    """Slot of the signal within the group; -1 for settings, texts and laboratory results."""
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
def read_plan() -> ChartingPlan:
    """Return the catalog of charting as arrays."""
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
    return ChartingPlan(
        groups=groups,
        needs=needs,
        rounds=rounds,
        chart=_charted_items(chart, len(groups) + 1, needs),
        dated=_charted_items(dated, len(groups) + 1, needs),
        slots=slots,
        values=_values(chart),
        numbers=_numbers(chart, places),
        allowed=_allowed(chart),
        channel=channel,
        channel_need=channel_need,
        steady=number_column(chart, "steady").astype(np.float32),
        lean=number_column(chart, "lean"),
        turn=np.array(turn, dtype=np.int64),
        extra=number_column(chart, "extra"),
        unit=chart["unit"],
    )


def _need_names() -> list[str]:
    drawn = catalog.read("chart_needs.csv")["need"].unique(maintain_order=True).to_list()
    return [*BUILT_IN, *drawn, *OPPOSITE]


def number_column(frame: pl.DataFrame, name: str, default: float = 0.0) -> Floats:
    """Return a column as floats, with `default` for nulls."""
    return frame[name].cast(pl.Float64).fill_null(default).to_numpy()


def _charted_items(frame: pl.DataFrame, groups: int, needs: dict[str, int]) -> ChartedItems:
    itemid = frame["itemid"].to_numpy()
    return ChartedItems(
        itemid=itemid,
        rank=np.argsort(np.argsort(itemid)),
        group=frame["number"].to_numpy(),
        groups=groups,
        share=number_column(frame, "share"),
        keep=number_column(frame, "keep").astype(np.float32),
        only=np.array([-1 if name is None else needs[name] for name in frame["only"]], dtype=np.int64),
    )


def _slots(chart: pl.DataFrame, groups: int) -> tuple[_Slots, dict[tuple[int, str], int]]:
    """Return the slots of all groups, and the position of each signal within its group."""
    names_by_group: list[list[str]] = [[] for _ in range(groups)]
    for group, signal, turn in chart.select("number", "signal", "turn").iter_rows():
        for name in (signal, turn):
            if name is not None:
                _add_with_sources(names_by_group[group], name)
    signal, derived, sources = [], [], []
    order = list(DERIVED)
    for names in names_by_group:
        for place, name in enumerate(names):
            signal.append(-1 if name in DERIVED else catalog.signal_numbers()[name])
            derived.append(order.index(name) if name in DERIVED else -1)
            offsets = [names.index(source) - place for source in DERIVED.get(name, ())]
            sources.append(offsets + [0] * (3 - len(offsets)))
    count = np.array([len(names) for names in names_by_group], dtype=np.int64)
    slots = _Slots(np.cumsum(count) - count, count, *(np.array(part, np.int64) for part in (signal, derived, sources)))
    places = {(group, name): place for group, names in enumerate(names_by_group) for place, name in enumerate(names)}
    return slots, places


def _add_with_sources(names: list[str], name: str) -> None:
    for source in DERIVED.get(name, ()):
        _add_with_sources(names, source)
    if name not in names:
        names.append(name)


def _channels(chart: pl.DataFrame, needs: dict[str, int]) -> tuple[Ints, Ints]:
    names = [together or str(itemid) for itemid, together in chart.select("itemid", "together").iter_rows()]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    channel_need = np.array([needs.get(name, -1) for name in numbers], dtype=np.int64)
    return np.array([numbers[name] for name in names], dtype=np.int64), channel_need


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


def _numbers(chart: pl.DataFrame, places: dict[tuple[int, str], int]) -> Numbers:
    settings = catalog.read("chart_settings.csv").select("itemid", "typical", "spread", "scale", "low", "high")
    settings = chart.select("itemid").join(settings, on="itemid", how="left", maintain_order="left")
    slot = [places.get((group, name), -1) for group, name in chart.select("number", "signal").iter_rows()]
    return Numbers(
        slot=np.array(slot, dtype=np.int64),
        factor=number_column(chart, "factor", 1.0),
        offset=number_column(chart, "offset"),
        step=number_column(chart, "step"),
        places=number_column(chart, "decimals").astype(np.int64),
        setting=(chart["kind"] == "setting").to_numpy(),
        typical=number_column(settings, "typical"),
        spread=number_column(settings, "spread"),
        logarithmic=(settings["scale"] == "log").fill_null(False).to_numpy(),
        least=number_column(settings, "low"),
        most=number_column(settings, "high"),
        low=number_column(chart, "lownormalvalue", -np.inf),
        high=number_column(chart, "highnormalvalue", np.inf),
    )


def _allowed(chart: pl.DataFrame) -> Bools:
    rows = [
        [during is None or state == during or (during == "ventilated" and state in VENTILATED) for state in STATES]
        for during in chart["during"]
    ]
    return np.array(rows, dtype=bool)
