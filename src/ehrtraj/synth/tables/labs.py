"""Draws hosp/labevents and its dictionary hosp/d_labitems.

Blood is drawn from a patient at certain occasions. What the laboratory measures in it is drawn panel by panel; panels
that use the same tube at the same time are one specimen. Every result is a measurement of one of the patient's
signals, or follows from other results of the same specimen by a formula of the catalog.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import Block
from ehrtraj.synth.draw import (
    DAY,
    HOUR,
    MINUTE,
    NONE,
    Bools,
    Floats,
    Ints,
    choose,
    decimals,
    minutes,
    pick,
    pick_rows,
    repeat,
    times,
)

TABLE = "hosp/labevents"
IDS_OF_BLOCK = 380_000
OCCASIONS = ("ed", "ed_again", "direct", "morning", "later", "icu", "line", "vent", "clinic")
"""Columns of lab_panels.csv: on arrival in the ED and some hours later; on arrival on a ward without ED; each hospital
morning, and later on the day; in the ICU; from an arterial line, breathing freely or ventilated; outside of stays."""
ED, ED_AGAIN, DIRECT, MORNING, LATER, ICU, LINE, VENT, CLINIC = range(len(OCCASIONS))

# Spread of a signal that is typically 0 with spread 1: levels, slow wave and noise of Block.measure together.
_LATENT_SPREAD = (0.75**2 + 0.35**2 / 2 + 0.45**2) ** 0.5
# Latent results of item i are compared with cuts between 100 i - 50 and 100 i + 50.
_APART = 100.0
_SERIES_HOURS = 24
_DELAY_SPREAD = 0.42
"""Spread, in natural logarithms, of the time from taking a specimen to storing its results."""


def draw(block: Block) -> dict[str, pl.DataFrame]:
    """Return hosp/labevents of the block's patients, and keep it in the block's cache for the chart."""
    rng = block.streams.rng(TABLE)
    draws = _draws(block, rng)
    specimens, specimen, item = _specimens(block, rng, draws)
    value = _values(block, rng, draws, specimens, specimen, item)
    known = ~np.isnan(value)
    frame = _frame(block, rng, draws, specimens, specimen[known], item[known], value[known])
    block.cache[TABLE] = frame
    return {TABLE: frame}


def dictionaries() -> dict[str, pl.DataFrame]:
    """Return hosp/d_labitems."""
    return {"hosp/d_labitems": _items().table.select("itemid", "label", "fluid", "category")}


def echo_source(block: Block) -> pl.DataFrame:
    """Return the results that have a number, for tables that repeat them.

    Columns are `person` (number within the block), `hadm_id`, `charttime`, `storetime`, `itemid`, `value`, `valuenum`.
    The table is drawn first if the block's cache has none.
    """
    frame = block.cache[TABLE] if TABLE in block.cache else draw(block)[TABLE]
    person = np.searchsorted(block.people.subject_id, frame["subject_id"].to_numpy())
    return (
        frame.with_columns(person=pl.Series(person.astype(np.int64)))
        .filter(pl.col("valuenum").is_not_null())
        .select("person", "hadm_id", "charttime", "storetime", "itemid", "value", "valuenum")
    )


@dataclass(frozen=True)
class _Formula:
    """constant + sum of factor * input, or constant * product of input ** factor, or constant + sum of log10."""

    slot: int
    """The item's place among those that are had from others, or others from them."""
    kind: str
    constant: float
    terms: tuple[tuple[str, int, float], ...]
    """Name of an input that is no item (or ""), the input's slot, the factor."""
    places: int
    low: float
    high: float


@dataclass(frozen=True)
class _Items:
    """labs.csv, ordered by itemid; arrays have one element for each item."""

    table: pl.DataFrame
    signal: Ints
    """-1 for results that follow from others."""
    places: Ints
    rounded: Bools
    """Is rounded before formulas use it."""
    share: Floats
    since: Ints
    ref_low: Floats
    """[sex, items], women last; not a number where there is none."""
    ref_high: Floats
    note_share: Floats
    remarks: pl.Series
    """The items' notes, then the remarks that any result may have, then null."""
    slot: Ints
    """Place in the table of results that formulas and groups work on, or -1."""
    formulas: tuple[_Formula, ...]
    groups: tuple[Ints, ...]
    """Items that add to 100."""


@cache
def _items() -> _Items:
    written = catalog.read("labs.csv")
    table = written.sort("itemid")
    numbers = catalog.signal_numbers()
    plain = table["formula"].is_null() & table["sums_to_100"].is_null()
    names = table["sums_to_100"].drop_nulls().unique(maintain_order=True)
    slot = _slots(table)
    slots = {str(itemid): place for itemid, place in zip(table["itemid"], slot.tolist(), strict=True)}
    return _Items(
        table=table,
        signal=np.array([-1 if name is None else numbers[name] for name in table["signal"]], dtype=np.int64),
        places=table["decimals"].fill_null(0).cast(pl.Int64).to_numpy(),
        rounded=plain.to_numpy(),
        share=_numbers(table, "share", 1.0),
        since=table["since"].fill_null(0).cast(pl.Int64).to_numpy(),
        ref_low=_by_sex(table, "ref_low"),
        ref_high=_by_sex(table, "ref_high"),
        note_share=_numbers(table, "note_share", 0.0),
        remarks=pl.concat([table["note"], catalog.choices("labs_remark")[0], pl.Series([None], dtype=pl.String)]),
        slot=slot,
        formulas=tuple(_formula(slots, row) for row in written.iter_rows(named=True) if row["formula"] is not None),
        groups=tuple(np.flatnonzero((table["sums_to_100"] == name).fill_null(value=False)) for name in names),
    )


def _slots(table: pl.DataFrame) -> Ints:
    words = table["formula"].drop_nulls().str.split(" ").explode()
    inputs = words.str.split(":").list.first()
    linked = table.select(
        pl.col("formula").is_not_null()
        | pl.col("sums_to_100").is_not_null()
        | pl.col("itemid").cast(pl.String).is_in(inputs.implode())
    ).to_series()
    return np.where(linked.to_numpy(), np.cumsum(linked.to_numpy()) - 1, -1)


def _numbers(table: pl.DataFrame, column: str, default: float) -> Floats:
    return table[column].cast(pl.Float64).fill_null(default).to_numpy()


def _by_sex(table: pl.DataFrame, column: str) -> Floats:
    women = table[f"{column}_female"].cast(pl.Float64)
    both = _numbers(table, column, np.nan)
    return np.stack([both, np.where(women.is_null().to_numpy(), both, women.fill_null(np.nan).to_numpy())])


def _formula(slots: dict[str, int], row: dict[str, Any]) -> _Formula:
    kind, constant, *words = row["formula"].split()
    own = slots[str(row["itemid"])]
    terms = []
    for word in words:
        name, factor = word.split(":")
        place = own if name == "self" else slots.get(name, -1)
        terms.append(("" if place >= 0 else name, place, float(factor)))
    places = int(row["decimals"] or 0)
    low = -np.inf if row["low"] is None else float(row["low"])
    high = np.inf if row["high"] is None else float(row["high"])
    return _Formula(own, kind, float(constant), tuple(terms), places, low, high)


@dataclass(frozen=True)
class _Words:
    """What results in words may say: all items' choices in one row, each item's from the lowest to the highest."""

    first: Ints
    """Each item's first choice, or -1 for items with numbers."""
    text: pl.Series
    number: Floats
    """The choice as a number where it is one, else not a number."""
    abnormal: Bools
    cuts: Floats
    """Upper ends of the choices, in latent spreads, items apart by _APART."""


@cache
def _words() -> _Words:
    items = _items()
    first = np.full(items.table.height, -1)
    texts: list[str] = []
    abnormal: list[bool] = []
    cuts: list[float] = []
    fields = set(catalog.read("choices_labs.csv")["field"])
    for place, (itemid, normal) in enumerate(items.table.select("itemid", "normal").iter_rows()):
        if f"labs_{itemid}" not in fields:
            continue
        values, weights = catalog.choices(f"labs_{itemid}")
        first[place] = len(texts)
        texts += values.to_list()
        abnormal += [normal is not None and value not in normal.split("/") for value in values]
        below = np.cumsum(weights)[:-1] / weights.sum()
        cuts += [place * _APART + _LATENT_SPREAD * NormalDist().inv_cdf(share) for share in below]
        cuts.append((place + 0.5) * _APART)
    text = pl.Series(texts, dtype=pl.String)
    number = text.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    return _Words(first, text, number, np.array(abnormal), np.array(cuts))


@dataclass(frozen=True)
class _Panels:
    """lab_panels.csv."""

    chance: Floats
    """[occasions, panels]"""
    factor: Floats
    """[causes, panels], as logarithms, in the order of catalog.causes()"""
    parent: Ints
    """The panel it comes along with, or -1."""
    family: Bools
    """[panels, panels]: which panels may be asked for when only one (the row) is due."""
    every: Floats
    """[illnesses, panels]: hours from one to the next on the first day; 0 for those not repeated."""
    tube: Ints
    tubes: pl.Series
    item_panel: Ints
    """The first panel that has the item."""
    more: tuple[tuple[int, int], ...]
    """Items and the further panels that have them."""
    item_tube: Ints
    item_minutes: Floats
    """Typical time from taking a specimen to storing its results."""


@cache
def _panels() -> _Panels:
    table = catalog.read("lab_panels.csv")
    names = {name: number for number, name in enumerate(table["panel"])}
    parent = np.array([-1 if name is None else names[name] for name in table["only_with"]], dtype=np.int64)
    family = np.eye(table.height, dtype=bool)
    for panel, above in enumerate(parent):
        if above >= 0:
            family[:, panel] |= family[:, above]
    listed = [[names[name] for name in text.split()] for text in _items().table["panels"]]
    item_panel = np.array([panels[0] for panels in listed], dtype=np.int64)
    tubes = table["tube"].unique(maintain_order=True)
    tube = np.array([tubes.to_list().index(name) for name in table["tube"]], dtype=np.int64)
    every = np.exp(_of_causes(table["every"], catalog.illnesses(), missing=-np.inf))
    return _Panels(
        chance=table.select(OCCASIONS).cast(pl.Float64).to_numpy().T,
        factor=_of_causes(table["liked_by"], catalog.causes(), missing=0.0),
        parent=parent,
        family=family,
        every=every,
        tube=tube,
        tubes=tubes,
        item_panel=item_panel,
        more=tuple((item, panel) for item, panels in enumerate(listed) for panel in panels[1:]),
        item_tube=tube[item_panel],
        item_minutes=table["minutes"].cast(pl.Float64).to_numpy()[item_panel],
    )


def _of_causes(column: pl.Series, causes: tuple[str, ...], *, missing: float) -> Floats:
    """Return [causes, panels]: logarithms of the numbers written as `cause:number cause:number`."""
    logs = np.full((len(causes), len(column)), missing)
    for panel, text in enumerate(column.fill_null("")):
        for word in text.split():
            cause, number = word.split(":")
            logs[causes.index(cause), panel] = np.log(max(float(number), 1e-9))
    return logs


@dataclass(frozen=True)
class _Draws:
    """Occasions at which specimens are taken from a patient."""

    person: Ints
    episode: Ints
    admission: Ints
    """The admission it belongs to, known to the laboratory or not; or -1."""
    time: Ints
    occasion: Ints
    panel: Ints
    """The only panel that is due, or -1."""


def _of_admissions(
    block: Block, admission: Ints, time: Ints, occasion: int | Ints, panel: Ints | None = None
) -> _Draws:
    return _Draws(
        person=block.admissions.person[admission],
        episode=admission,
        admission=admission,
        time=time.astype(np.int64),
        occasion=np.broadcast_to(np.asarray(occasion, dtype=np.int64), time.shape),
        panel=np.full(len(time), -1) if panel is None else panel,
    )


def _draws(block: Block, rng: np.random.Generator) -> _Draws:
    """Draw all occasions, ordered by patient and time."""
    parts = [
        _in_ed(block, rng),
        _on_arrival(block, rng),
        _on_days(block, rng, MORNING),
        _on_days(block, rng, LATER),
        _on_days(block, rng, LATER),
        _in_icu(block, rng),
        _from_lines(block, rng),
        _in_series(block, rng),
        _in_clinic(block, rng),
    ]
    columns = {name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])}
    time = minutes(columns["time"])
    # Two fifths are charted at the full five minutes more than chance would have it (MIMIC-IV demo 2.2).
    columns["time"] = np.where(rng.random(len(time)) < 0.4, time - time % (5 * MINUTE), time)
    order = np.lexsort((columns["occasion"], columns["time"], columns["person"]))
    # Now and then the laboratory has two specimens of the same kind and time, both of them measured.
    order = np.repeat(order, 1 + (rng.random(len(order)) < 0.004))
    return _Draws(**{name: column[order] for name, column in columns.items()})


def _in_ed(block: Block, rng: np.random.Generator) -> _Draws:
    stays = block.ed
    total = len(stays.person)
    first = stays.arrival + np.clip(rng.lognormal(np.log(32 * MINUTE), 0.6, total), 6 * MINUTE, 4 * HOUR)
    drawn = rng.random(total) < np.where(stays.admission >= 0, 0.96, 0.68)
    again = first + rng.uniform(2 * HOUR, 5.5 * HOUR, total)
    repeated = drawn & (rng.random(total) < 0.42)
    keep = np.concatenate([drawn, repeated])
    time = np.concatenate([first, again])
    stay = np.tile(np.arange(total), 2)
    occasion = np.repeat([ED, ED_AGAIN], total)
    rows = np.flatnonzero(keep & (time < stays.departure[stay] - MINUTE))
    stay = stay[rows]
    return _Draws(
        person=stays.person[stay],
        episode=stays.episode[stay],
        admission=stays.admission[stay],
        time=time[rows].astype(np.int64),
        occasion=occasion[rows],
        panel=np.full(len(rows), -1),
    )


def _on_arrival(block: Block, rng: np.random.Generator) -> _Draws:
    """Draw from those who did not come by the ED, some of them shortly before they are admitted."""
    stays = block.admissions
    time = stays.admit + rng.integers(-HOUR // 2, 3 * HOUR, len(stays.person))
    rows = np.flatnonzero((stays.ed < 0) & (rng.random(len(time)) < 0.94) & (time < stays.discharge - 30 * MINUTE))
    return _of_admissions(block, rows, time[rows], DIRECT)


def _on_days(block: Block, rng: np.random.Generator, occasion: int) -> _Draws:
    """Draw once a day, or not: the more ill, the more often."""
    stays = block.admissions
    stay, day = repeat((stays.discharge - stays.admit) // DAY + 2)
    total = len(stay)
    if occasion == MORNING:
        hour, chances = np.clip(rng.normal(5.7, 1.3, total), 1.5, 9.5), (0.72, 0.28, 0.97)
    else:
        hour, chances = rng.uniform(9.5, 25.0, total), (0.16, 0.26, 0.8)
    time = stays.admit[stay] - stays.admit[stay] % DAY + day * DAY + (hour * HOUR).astype(np.int64)
    always, ill, most = chances
    chance = np.minimum(always + ill * block.severity(stay, time), most)
    inside = (time > stays.admit[stay] + 2 * HOUR) & (time < stays.discharge[stay] - 30 * MINUTE)
    rows = np.flatnonzero(inside & (rng.random(total) < chance))
    return _of_admissions(block, stay[rows], time[rows], occasion)


def _in_icu(block: Block, rng: np.random.Generator) -> _Draws:
    stay, time = _regularly(block, rng, 6 * HOUR)
    admission = block.icu.admission[stay]
    chance = np.minimum(0.12 + 0.16 * block.severity(admission, time), 0.8)
    rows = np.flatnonzero(rng.random(len(time)) < chance)
    return _of_admissions(block, admission[rows], time[rows], ICU)


def _from_lines(block: Block, rng: np.random.Generator) -> _Draws:
    """Draw arterial blood, where there is a line, more often from those on a ventilator."""
    stays = block.icu
    stay, time = _regularly(block, rng, 4 * HOUR)
    since = stays.ventilated_from[stay]
    ventilated = (since != NONE) & (time >= since) & (time < stays.ventilated_until[stay])
    drawn = rng.random(len(time)) < np.where(ventilated, 0.48, 0.24)
    rows = np.flatnonzero(stays.arterial_line[stay] & drawn)
    return _of_admissions(block, stays.admission[stay[rows]], time[rows], np.where(ventilated[rows], VENT, LINE))


def _regularly(block: Block, rng: np.random.Generator, interval: int) -> tuple[Ints, Ints]:
    """Return ICU stays and one time in each interval of each stay."""
    stays = block.icu
    stay, ordinal = repeat((stays.departure - stays.arrival) // interval + 1)
    time = stays.arrival[stay] + ((ordinal + rng.random(len(stay))) * interval).astype(np.int64)
    end = np.minimum(stays.departure, block.admissions.discharge[stays.admission] - 30 * MINUTE)
    rows = np.flatnonzero((time > stays.arrival[stay] + 10 * MINUTE) & (time < end[stay]))
    return stay[rows], time[rows]


def _in_series(block: Block, rng: np.random.Generator) -> _Draws:
    """Draw what an illness asks for every few hours, on the first day."""
    stays = block.admissions
    every = _panels().every
    admission, panel = np.nonzero(every[stays.illness] > 0)
    hours = np.rint(every[stays.illness[admission], panel])
    series, ordinal = repeat((_SERIES_HOURS // hours).astype(np.int64))
    admission, panel, hours = admission[series], panel[series], hours[series]
    early = rng.uniform(-0.1, 0.1, len(stays.person))[admission]
    time = block.episodes.start[admission] + ((ordinal + 1 + early) * hours * HOUR).astype(np.int64)
    inside = (time > stays.admit[admission] + 10 * MINUTE) & (time < stays.discharge[admission] - 30 * MINUTE)
    rows = np.flatnonzero(inside & (rng.random(len(time)) < 0.85))
    return _of_admissions(block, admission[rows], time[rows], LATER, panel[rows])


def _in_clinic(block: Block, rng: np.random.Generator) -> _Draws:
    """Draw from outpatients: the more conditions, the more often; and before planned operations."""
    people, stays = block.people, block.admissions
    never = np.ones(len(people.subject_id), dtype=bool)
    never[block.episodes.person] = False
    rate = rng.gamma(0.7, 1 / 0.7, len(never)) * (0.55 + 0.5 * people.conditions.sum(axis=1))
    person, _ = repeat(np.maximum(rng.poisson(rate), never))
    end = np.where(people.death == NONE, people.window_end, np.minimum(people.window_end, people.death))
    visit = people.window_start[person] + (rng.random(len(person)) * (end - people.window_start)[person]).astype(
        np.int64
    )
    planned = np.flatnonzero(stays.surgical & (stays.ed < 0) & (rng.random(len(stays.person)) < 0.6))
    before = stays.admit[planned] - rng.integers(DAY, 14 * DAY, len(planned))
    person = np.concatenate([person, stays.person[planned]])
    admission = np.concatenate([np.full(len(visit), -1), planned])
    time = np.concatenate([visit, before])
    time = time - time % DAY + (np.clip(rng.normal(10.8, 2.2, len(time)), 6.5, 18) * HOUR).astype(np.int64)
    rows = np.flatnonzero(
        (time > people.window_start[person] + HOUR) & (time < end[person] - DAY) & ~_in_hospital(block, person, time)
    )
    if never.any():
        rows = np.union1d(rows, np.flatnonzero(never[person] & (time < end[person])))
    nothing = np.full(len(rows), -1)
    return _Draws(person[rows], nothing, admission[rows], time[rows], np.full(len(rows), CLINIC), nothing)


def _in_hospital(block: Block, person: Ints, time: Ints) -> Bools:
    episodes = block.episodes
    near = (time[:, None] > episodes.start - 12 * HOUR) & (time[:, None] < episodes.end + 12 * HOUR)
    inside: Bools = ((person[:, None] == episodes.person) & near).any(axis=1)
    return inside


@dataclass(frozen=True)
class _Specimens:
    """Specimens in the order of the table: by patient, time and specimen_id."""

    draw: Ints
    tube: Ints
    specimen_id: Ints


def _asked(block: Block, rng: np.random.Generator, draws: _Draws) -> Bools:
    """Return [draws, panels]: which panels are asked for."""
    panels, people, names = _panels(), block.people, catalog.conditions()
    illnesses = panels.factor[len(names) + len(catalog.TRAITS) :]
    traits = np.stack([people.female, ~people.female, people.anchor_age >= 75], axis=1)
    lifelong = np.concatenate([people.conditions, traits], axis=1) @ panels.factor[: len(names) + traits.shape[1]]
    chance = panels.chance[draws.occasion] * np.exp(lifelong)[draws.person]
    ill = np.flatnonzero(draws.episode >= 0)
    chance[ill] *= np.exp(illnesses)[block.episodes.illness[draws.episode[ill]]]
    asked: Bools = rng.random(chance.shape) < np.minimum(chance, 0.98)
    due = np.flatnonzero(draws.panel >= 0)
    asked[due, draws.panel[due]] = True
    asked[due] &= panels.family[draws.panel[due]]
    for panel in np.flatnonzero(panels.parent >= 0):
        asked[:, panel] &= asked[:, panels.parent[panel]]
    return asked


def _specimens(block: Block, rng: np.random.Generator, draws: _Draws) -> tuple[_Specimens, Ints, Ints]:
    """Return the specimens, and for each result its specimen and its item, in the order of the table."""
    panels, items = _panels(), _items()
    asked = _asked(block, rng, draws)
    measured = asked[:, panels.item_panel]
    for extra, panel in panels.more:
        measured[:, extra] |= asked[:, panel]
    result = np.flatnonzero(measured)
    draw, item = result // len(items.signal), result % len(items.signal)
    year = _true_year(block, draws)
    keep = (rng.random(len(item)) < items.share[item]) & (year[draw] >= items.since[item])
    draw, item = draw[keep], item[keep]
    tubes = len(panels.tubes)
    place = draw * tubes + panels.item_tube[item]
    used = np.zeros(len(draws.time) * tubes, dtype=bool)
    used[place] = True
    taken = np.flatnonzero(used)
    ids = block.streams.unique_ids("specimen", len(taken))
    order = np.lexsort((ids, draws.time[taken // tubes], draws.person[taken // tubes]))
    taken, ids = taken[order], ids[order]
    rank = np.zeros(len(used), dtype=np.int64)
    rank[taken] = np.arange(len(taken))
    key = np.sort(rank[place] * len(items.signal) + item)
    return _Specimens(taken // tubes, taken % tubes, ids), key // len(items.signal), key % len(items.signal)


def _true_year(block: Block, draws: _Draws) -> Ints:
    year = draws.time.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    return year - block.people.shift[draws.person]


def _values(
    block: Block, rng: np.random.Generator, draws: _Draws, specimens: _Specimens, specimen: Ints, item: Ints
) -> Floats:
    """Return the results' numbers, or the numbers of their choices; not a number where inputs are missing."""
    items, words = _items(), _words()
    value = np.zeros(len(item))
    rows = np.flatnonzero(items.signal[item] >= 0)
    draw = specimens.draw[specimen[rows]]
    person, episode, time = draws.person[draw], draws.episode[draw], draws.time[draw]
    value[rows] = block.measure(rng, items.signal[item[rows]], person, episode, time)
    said = rows[words.first[item[rows]] >= 0]
    found = np.searchsorted(words.cuts, item[said] * _APART + value[said])
    value[said] = found - words.first[item[said]]
    scale = 10.0 ** items.places[item]
    value = np.where(items.rounded[item], np.rint(value * scale) / scale, value)
    # Results of a specimen side by side, so that one can be had from others.
    linked = np.flatnonzero(items.slot[item] >= 0)
    slot, of = items.slot[item[linked]], specimen[linked]
    table = np.full((items.slot.max() + 1, len(specimens.draw)), np.nan)
    table[slot, of] = value[linked]
    for group in items.groups:
        _add_to_100(table, items.slot[group], items.places[group])
    inputs = _inputs(block, rng, draws, specimens)
    for formula in items.formulas:
        _apply(formula, table, inputs)
    value[linked] = table[slot, of]
    return value


def _inputs(block: Block, rng: np.random.Generator, draws: _Draws, specimens: _Specimens) -> dict[str, Floats]:
    """Return what formulas use besides results, for each specimen."""
    person, occasion = draws.person, draws.occasion
    # MIMIC-IV demo 2.2: a quarter of blood gases are venous, most of those outside of the wards.
    outside = (occasion <= ED_AGAIN) | (occasion == CLINIC)
    from_line = (occasion == LINE) | (occasion == VENT)
    venous = ~from_line & (rng.random(len(person)) < np.where(outside, 0.75, 0.3))
    known = {
        "age": block.age(person, draws.time),
        "female": block.people.female[person].astype(np.float64),
        "venous": venous.astype(np.float64),
        "ventilated": (occasion == VENT).astype(np.float64),
    }
    return {name: column[specimens.draw] for name, column in known.items()}


def _add_to_100(table: Floats, group: Ints, places: Ints) -> None:
    """Turn the parts in the slots of a group into percentages whose rounded values add to 100."""
    rows = np.flatnonzero(~np.isnan(table[group]).all(axis=0))
    parts = table[np.ix_(group, rows)]
    present = ~np.isnan(parts)
    scale = 10.0 ** np.where(present, places[:, None], 9).min(axis=0)
    upto = np.cumsum(np.where(present, parts, 0.0), axis=0)
    edges = np.rint(upto / upto[-1] * 100 * scale)
    shares = np.diff(edges, axis=0, prepend=0.0) / scale
    table[np.ix_(group, rows)] = np.where(present, shares, np.nan)


def _apply(formula: _Formula, table: Floats, inputs: dict[str, Floats]) -> None:
    """Replace the formula's item by what follows from other results, wherever it is asked for."""
    rows = np.flatnonzero(~np.isnan(table[formula.slot]))
    total = np.zeros(len(rows))
    with np.errstate(divide="ignore", invalid="ignore"):
        for name, slot, factor in formula.terms:
            given = inputs[name][rows] if name else table[slot, rows]
            if formula.kind != "sum" and name in ("", "age"):
                given = np.log(given)
            total += factor * given
        if formula.kind == "product":
            total = formula.constant * np.exp(total)
        else:
            total = formula.constant + (total / np.log(10) if formula.kind == "log10" else total)
        scale = 10.0**formula.places
        table[formula.slot, rows] = np.rint(np.clip(total, formula.low, formula.high) * scale) / scale


def _frame(
    block: Block,
    rng: np.random.Generator,
    draws: _Draws,
    specimens: _Specimens,
    specimen: Ints,
    item: Ints,
    value: Floats,
) -> pl.DataFrame:
    items, words = _items(), _words()
    draw = specimens.draw[specimen]
    sex = block.people.female[draws.person[draw]].astype(np.int64)
    first = words.first[item]
    in_words = first >= 0
    choice = np.where(in_words, first + value.astype(np.int64), 0)
    number, written = decimals(value, _places(items, specimens, specimen, item, value))
    low, high = items.ref_low[sex, item], items.ref_high[sex, item]
    abnormal = np.where(in_words, words.abnormal[choice], (number < low) | (number > high))
    common = _of_specimens(block, rng, draws, specimens, _stored(rng, specimens, specimen, item))
    rows = common[pl.Series(specimen)]
    return pl.DataFrame(
        {
            "labevent_id": block.streams.serial_ids(IDS_OF_BLOCK, len(item)),
            "subject_id": rows["subject_id"],
            "hadm_id": rows["hadm_id"],
            "specimen_id": rows["specimen_id"],
            "itemid": items.table["itemid"].gather(item),
            "order_provider_id": rows["order_provider_id"],
            "charttime": rows["charttime"],
            "storetime": rows["storetime"],
            "value": written.zip_with(pl.Series(~in_words), words.text.gather(choice)),
            "valuenum": pl.Series(np.where(in_words, words.number[choice], number)).fill_nan(None),
            "valueuom": items.table["unit"].gather(item),
            "ref_range_lower": pl.Series(low).fill_nan(None),
            "ref_range_upper": pl.Series(high).fill_nan(None),
            "flag": pl.Series(["abnormal", None]).gather(np.where(abnormal, 0, 1)),
            "priority": rows["priority"],
            "comments": items.remarks.gather(_remark(rng, items, item)),
        }
    )


def _places(items: _Items, specimens: _Specimens, specimen: Ints, item: Ints, value: Floats) -> Ints:
    """Return each result's decimals: a differential count with a part counted by hand has none."""
    places = items.places[item]
    for group in items.groups:
        if items.places[group].min() == items.places[group].max():
            continue
        of_group = np.flatnonzero(np.isin(item, group))
        whole = np.zeros(len(specimens.draw), dtype=bool)
        whole[specimen[of_group[places[of_group] == 0]]] = True
        places[of_group[whole[specimen[of_group]]]] = 0
    return places


def _stored(rng: np.random.Generator, specimens: _Specimens, specimen: Ints, item: Ints) -> Ints:
    """Return how long after its taking each specimen's results are stored: the slowest panel decides."""
    typical = np.zeros(len(specimens.draw))
    np.maximum.at(typical, specimen, _panels().item_minutes[item])
    delay: Ints = np.maximum(typical * rng.lognormal(0.0, _DELAY_SPREAD, len(typical)), 1.0).astype(np.int64)
    return delay * MINUTE


def _remark(rng: np.random.Generator, items: _Items, item: Ints) -> Ints:
    chance = rng.random(len(item))
    remark = np.where(chance < items.note_share[item], item, len(items.remarks) - 1)
    rare = np.flatnonzero(chance > 0.99)
    remark[rare] = len(items.note_share) + pick(rng, catalog.choices("labs_remark")[1], len(rare))
    return remark


def _of_specimens(
    block: Block, rng: np.random.Generator, draws: _Draws, specimens: _Specimens, delay: Ints
) -> pl.DataFrame:
    """Return the columns that all results of a specimen have in common."""
    draw = specimens.draw
    person, time = draws.person[draw], draws.time[draw]
    priorities, _ = catalog.choices("labs_priority_ed")
    gas = _panels().tubes.to_list().index("blood gas")
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(person),
            "hadm_id": block.hadm_id(_registered(block, rng, draws)[draw]),
            "specimen_id": specimens.specimen_id,
            "order_provider_id": _ordering(rng, draws)[pl.Series(draw)],
            "charttime": times(time),
            "storetime": times(time + delay),
            "priority": choose(priorities, np.where(specimens.tube == gas, -1, _priority(rng, draws)[draw])),
        }
    )


def _registered(block: Block, rng: np.random.Generator, draws: _Draws) -> Ints:
    """Return the admission whose number the laboratory gives to each draw, or -1.

    Before the patient is admitted it mostly knows none; the shares are those of MIMIC-IV demo 2.2: 20% in the ED, 1% of
    those drawn during a stay have none.
    """
    stays = block.admissions
    if not len(stays.person):
        return draws.admission
    early = rng.random(len(stays.person)) < 0.2
    before = draws.time < stays.admit[draws.admission]
    unknown = rng.random(len(draws.time)) < np.select(
        [draws.occasion == CLINIC, before & (draws.occasion <= ED_AGAIN)],
        [0.9, np.where(early[draws.admission], 0.0, 1.0)],
        0.01,
    )
    return np.where(unknown, -1, draws.admission)


def _priority(rng: np.random.Generator, draws: _Draws) -> Ints:
    """Return which of the priorities each draw has; every occasion lists the same ones."""
    weights = np.stack([catalog.choices(f"labs_priority_{occasion}")[1] for occasion in OCCASIONS])
    return pick_rows(rng, weights[draws.occasion])


def _ordering(rng: np.random.Generator, draws: _Draws) -> pl.Series:
    """Return who ordered each draw: known of outpatients only (MIMIC-IV demo 2.2), often the same for a patient."""
    providers = _providers()
    usual = rng.integers(0, len(providers), draws.person.max(initial=0) + 1)[draws.person]
    total = len(draws.time)
    provider = np.where(rng.random(total) < 0.6, usual, rng.integers(0, len(providers), total))
    named = (draws.occasion == CLINIC) & (rng.random(total) < 0.93)
    return choose(providers, np.where(named, provider, -1))


@cache
def _providers() -> pl.Series:
    return catalog.staff()[0]


__all__ = ["dictionaries", "draw", "echo_source"]
