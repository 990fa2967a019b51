"""Orders and what came of them: poe, poe_detail, pharmacy, prescriptions, emar and emar_detail.

An order is a chain of rows of poe: New, then Changes that each end the one before, then perhaps D/C. Each link of a
chain that orders a drug has its rows in pharmacy and prescriptions, and is given, row by row, in emar.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import Block
from ehrtraj.synth.draw import DAY, HOUR, MINUTE, NONE, Bools, Floats, Ints, minutes, pick, repeat, times

__all__ = ["draw"]

SESSION = 75 * MINUTE
"""Orders written within this time share second and provider; gives the demo's two orders to an ordertime."""
TEAM = 12
"""Providers who write orders in one admission: MIMIC-IV demo 2.2 has 10.2 of them."""
SINGLE_LASTS = 23 * HOUR
"""Orders for one dose expire after 23 hours: MIMIC-IV demo 2.2, pharmacy."""
SHORTEST_LINK = 3 * HOUR
IDLE = -1

PER = ("stay", "home", "day", "icu_day", "ed", "transfer")
STARTS = ("arrival", "stay", "icu", "icu_arrival", "end", "ed")
EXTRA_CAUSES = ("any", "ed", "icu", "ventilated", "pressors", "dialysis", "surgical")
NEW, CHANGE, STOP = 0, 1, 2
ACTIONS = pl.Series(["New", "Change", "D/C"])
# How a link ends: with the admission, by a D/C order, by a change, by itself, or stopped without an order.
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
CLOCK, WANTED, SINGLE, RUNNING = range(4)
WAYS = ("clock", "wanted", "single", "running")
START, MIDDLE, END, ANY = range(4)
PLACES = ("start", "middle", "end", "any")
NO_RATE, SAME, RATE_CHANGED, INCREASE, DECREASE, INITIAL, TITRATED = -1, 0, 1, 2, 3, 4, 5
ADJUSTMENTS = pl.Series(
    ["No Change in Rate", "Rate Changed", "Increase", "Decrease", "Initial Rate", "See Flowsheet for Titration", None]
)
PIECES = ("TAB", "CAP", "PKT", "UDCUP", "SUPP", "VIAL", "BAG", "AMP", "SYR", "PTCH", "HALF TAB", "LOZ")
"""Units scanned one by one when a dose needs several."""
HALVED = ("TAB", "CAP")


def draw(block: Block) -> dict[str, pl.DataFrame]:
    """Return the orders of the block's patients and everything done about them."""
    orders = _orders(block)
    labels = _labels(block, orders.person, orders.number)
    fills = _fills(block, orders)
    given = _given(block, orders, fills)
    emar_labels = _labels(block, given.person, given.number)
    return {
        "hosp/poe": _poe(block, orders, labels),
        "hosp/poe_detail": _poe_detail(block, orders, labels),
        "hosp/pharmacy": _pharmacy(block, orders, fills, labels),
        "hosp/prescriptions": _prescriptions(block, orders, fills, labels),
        "hosp/emar": _emar(block, orders, given, labels, emar_labels),
        "hosp/emar_detail": _emar_detail(block, given, emar_labels),
    }


class _Shared:
    """Draws that rows have in common: the same for the same key, without sorting the keys."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._values = rng.random(1 << 15)

    def __call__(self, *parts: Ints | int) -> Floats:
        key: Ints = np.int64(0) * np.asarray(parts[0])
        for part in parts:
            key = (key ^ (key >> 29) ^ part) * 0x2545F4914F6CDD1D
        drawn: Floats = self._values[(key >> 40) & (len(self._values) - 1)]
        return drawn


# --- the catalog, as arrays ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kinds:
    """What can be ordered: the lines of drugs.csv, then those of orders.csv."""

    drugs: int
    order: dict[str, int]
    weights: Floats
    """[causes, kinds]: how many orders a cause brings, for each unit of `per`."""
    per: Ints
    starts: Ints
    days: Floats
    """How long it usually goes on; 0 is for a single time."""
    changes: Floats
    cancelled: Floats
    """Share of those ending before discharge that do so by a D/C order."""
    first: Ints
    last: Ints
    """First and last kind of the group that excludes each other."""
    exclusive: Bools
    order_type: pl.Series
    order_subtype: pl.Series


KIND_COLUMNS = (
    "name", "group", "order_type", "order_subtype", "per", "starts", "days", "changes", "cancelled", "causes",
)  # fmt: skip


@cache
def _kinds() -> _Kinds:
    drugs, others = catalog.read("drugs.csv"), catalog.read("orders.csv")
    frame = pl.concat(
        [
            drugs.rename({"item": "name"}).select(KIND_COLUMNS),
            others.rename({"order": "name"}).with_columns(group=pl.col("name")).select(KIND_COLUMNS),
        ],
        how="vertical_relaxed",
    )
    group = frame["group"].rle_id().to_numpy().astype(np.int64)
    first = np.searchsorted(group, group, side="left")
    last = np.searchsorted(group, group, side="right") - 1
    return _Kinds(
        drugs=drugs.height,
        order={name: number for number, name in enumerate(frame["name"])},
        weights=_weights(frame["causes"]),
        per=_codes(frame["per"], PER),
        starts=_codes(frame["starts"], STARTS),
        days=_floats(frame["days"]),
        changes=_floats(frame["changes"]),
        cancelled=_floats(frame["cancelled"]),
        first=first,
        last=last,
        exclusive=last > first,
        order_type=frame["order_type"],
        order_subtype=frame["order_subtype"],
    )


def _causes() -> tuple[str, ...]:
    return (*EXTRA_CAUSES, *catalog.causes())


def _weights(causes: pl.Series) -> Floats:
    rows = {name: number for number, name in enumerate(_causes())}
    weights = np.zeros((len(rows), len(causes)))
    for kind, text in enumerate(causes):
        for part in text.split():
            name, weight = part.rsplit(":", 1)
            weights[rows[name], kind] = float(weight)
    return weights


def _codes(column: pl.Series, names: tuple[str, ...]) -> Ints:
    order = {name: number for number, name in enumerate(names)}
    return np.array([order[value] for value in column], dtype=np.int64)


def _floats(column: pl.Series) -> Floats:
    values: Floats = column.cast(pl.Float64).to_numpy()
    return values


def _or(column: pl.Series, missing: float) -> Floats:
    return _floats(column.cast(pl.Float64).fill_null(missing))


class _Words:
    """Texts that appear in several columns, each known by a number; -1 is null."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str | None) -> int:
        """Return the number of a text, a new one if need be."""
        return IDLE if text is None else self._numbers.setdefault(text, len(self._numbers))

    def numbers(self, column: pl.Series) -> Ints:
        """Return the numbers of a column of texts."""
        return np.array([self.number(text) for text in column.cast(pl.String)], dtype=np.int64)

    def series(self) -> pl.Series:
        """Return the texts in the order of their numbers, and null at the end, where -1 finds it."""
        return pl.Series([*self._numbers, None], dtype=pl.String)


@dataclass(frozen=True)
class _Doses:
    """The doses that drugs are ordered in, drug by drug."""

    item: Ints
    edges: Floats
    """Upper edges of the doses' shares; those of drug i lie between i and i + 1."""
    due: Ints
    amount: Ints
    frequency: Ints
    pieces: Ints
    piece_dose: Ints
    piece_amount: Ints
    half: Ints
    """Half of the piece's dose, for pieces of half the strength; -1 where it is not a number."""


@dataclass(frozen=True)
class _Catalog:
    """Doses, products and infusions of the drugs, by number of the drug."""

    words: pl.Series
    texts: dict[str, pl.Series]
    """Columns of drugs.csv, and below those of drug_bases.csv; end with a null."""
    parts_first: Ints
    parts_count: Ints
    """Which of `parts` a drug has: its carrier, and what is added to it."""
    parts: Ints
    """Lines of drug_bases.csv; in `texts` they follow after the drugs."""
    filled: Floats
    charted: Floats
    schedule: Ints
    """Given by the drug itself, or -1: given by the frequency."""
    administration: Ints
    mouth: Bools
    standard: Bools
    scale: Bools
    bolus: Bools
    wording: Ints
    """0: rate not charted, 1: 'Rate Changed', 2: 'Increase' and 'Decrease'."""
    titrated: Floats
    rate_first: Ints
    rate_count: Ints
    rate_words: Ints
    rate_values: Floats
    range_word: Ints
    doses: _Doses
    base_dose: Ints
    base_amount: Ints
    unit_words: Ints
    unit_weights: Floats
    nothing: int
    """The text 0."""
    mouths: pl.Series
    """What the chart calls the two ways of PO/NG."""
    patch: Bools


TEXTS = (
    "drug", "medication", "drug_type", "formulary_drug_cd", "gsn", "ndc", "prod_strength", "dose_unit_rx",
    "form_unit_disp", "route", "proc_type", "dispensation", "expiration_unit", "infusion_type", "sliding_scale",
    "lockout_interval", "one_hr_max", "administration", "product_code", "product_description", "product_other",
    "product_unit", "dose_due_unit", "dose_given_unit", "barcode_type", "rate_unit",
)  # fmt: skip


OF_PHARMACY = (
    "medication", "proc_type", "route", "infusion_type", "sliding_scale", "lockout_interval", "basal_rate",
    "one_hr_max", "expiration_value", "expiration_unit", "dispensation",
)  # fmt: skip
OF_PRESCRIPTIONS = (
    "drug_type", "drug", "formulary_drug_cd", "gsn", "ndc", "prod_strength", "dose_unit_rx", "form_unit_disp",
)  # fmt: skip


@cache
def _catalog() -> _Catalog:
    drugs = catalog.read("drugs.csv")
    bases = catalog.read("drug_bases.csv")
    drips = drugs.select("item").join(catalog.read("drug_infusions.csv"), on="item", how="left", maintain_order="left")
    words = _Words()
    schedules = {name: number for number, name in enumerate(catalog.read("drug_schedules.csv")["schedule"])}
    parts = [[] if text is None else text.split(";") for text in drugs["base"]]
    parts_count = np.array([len(names) for names in parts], dtype=np.int64)
    rates = [[] if text is None else text.split() for text in drips["rates"].cast(pl.String)]
    counts = np.array([len(ladder) for ladder in rates], dtype=np.int64)
    ladder = [rate for ladder in rates for rate in ladder]
    kinds = _events().administrations
    units, unit_weights = catalog.choices("orders_insulin_units")
    return _Catalog(
        texts=_drug_texts(drugs, bases, drips),
        parts_first=np.cumsum(parts_count) - parts_count,
        parts_count=parts_count,
        parts=_codes(pl.Series([name for names in parts for name in names]), tuple(bases["base"])),
        filled=_floats(drugs["filled"]),
        charted=_floats(drugs["charted"]),
        schedule=np.array([schedules.get(name, IDLE) for name in drugs["schedule"]], dtype=np.int64),
        administration=np.array([kinds[name] for name in drugs["administration"]], dtype=np.int64),
        mouth=(drugs["route"].fill_null("") == "PO/NG").to_numpy(),
        standard=(drugs["administration"] == "Standard Maintenance Medication").to_numpy(),
        scale=(drugs["administration"] == "Insulin SC Sliding Scale").to_numpy(),
        bolus=(drugs["infusion_type"].fill_null("") == "B").to_numpy(),
        wording=_codes(drips["wording"].fill_null(""), ("", "rate", "heparin")),
        titrated=_or(drips["titrated"], 0.0),
        rate_first=np.cumsum(counts) - counts,
        rate_count=counts,
        rate_words=np.array([words.number(rate) for rate in ladder], dtype=np.int64),
        rate_values=np.array([float(rate) for rate in ladder]),
        range_word=words.numbers(drips["dose_due"]),
        base_dose=words.numbers(bases["dose_val_rx"]),
        base_amount=words.numbers(bases["form_val_disp"]),
        unit_words=words.numbers(units),
        unit_weights=unit_weights,
        nothing=words.number("0"),
        mouths=pl.Series(["PO", "NG", None], dtype=pl.String),
        patch=(drugs["administration"] == "Transdermal Patch").to_numpy(),
        doses=_doses(drugs, words),
        words=words.series(),
    )


def _drug_texts(drugs: pl.DataFrame, bases: pl.DataFrame, drips: pl.DataFrame) -> dict[str, pl.Series]:
    drugs = drugs.with_columns(drips["rate_unit"])
    # A reader of CSV takes codes of digits for numbers; their leading zeros come back here.
    whole = pl.concat([drugs, bases], how="diagonal_relaxed")
    codes = [pl.col("gsn").cast(pl.String).str.zfill(6)]
    ndc = pl.col("ndc").cast(pl.String)
    codes.append(pl.when(ndc == "0").then(ndc).otherwise(ndc.str.zfill(11)))
    whole = whole.with_columns(codes).select(
        *(pl.col(name).cast(pl.String) for name in TEXTS),
        pl.col("expiration_value").cast(pl.Int64),
        pl.col("basal_rate").cast(pl.Float64),
    )
    return {column.name: _with_null(column) for column in whole}


def _doses(drugs: pl.DataFrame, words: _Words) -> _Doses:
    """Return the doses of drug_doses.csv, and for drugs that have none there the usual one."""
    frequencies = {name: number for number, name in enumerate(catalog.read("drug_frequencies.csv")["frequency"])}
    columns = ["item", "dose_val_rx", "form_val_disp", "frequency", "weight"]
    listed = catalog.read("drug_doses.csv").select(columns)
    usual = drugs.join(listed, on="item", how="anti").with_columns(weight=pl.lit(1)).select(columns)
    table = pl.concat([listed, usual], how="vertical_relaxed")
    item = _codes(table["item"], tuple(drugs["item"]))
    place = np.argsort(item, kind="stable")
    table, item = table[place], item[place]
    unit = [drugs["form_unit_disp"][number] for number in item.tolist()]
    pieces = [_pieces(*dose) for dose in zip(table["dose_val_rx"], table["form_val_disp"], unit, strict=True)]
    halves = [_half(dose) if name in HALVED else None for (_, dose, _), name in zip(pieces, unit, strict=True)]
    return _Doses(
        item=item,
        edges=_edges(item, _floats(table["weight"])),
        due=words.numbers(table["dose_val_rx"]),
        amount=words.numbers(table["form_val_disp"]),
        frequency=np.array([frequencies.get(name, IDLE) for name in table["frequency"]], dtype=np.int64),
        pieces=np.array([count for count, _, _ in pieces], dtype=np.int64),
        piece_dose=words.numbers(pl.Series([dose for _, dose, _ in pieces])),
        piece_amount=words.numbers(pl.Series([amount for _, _, amount in pieces])),
        half=words.numbers(pl.Series(halves)),
    )


def _pieces(dose: str | None, amount: str | None, unit: str | None) -> tuple[int, str | None, str | None]:
    """Return how many pieces are scanned for a dose, and the dose and amount of each: of '5-10' the lower is given."""
    if dose is None or amount is None:
        return 1, dose, amount
    low, few = dose.split("-")[0].replace(",", ""), amount.split("-")[0].replace(",", "")
    try:
        whole, number = float(low), float(few)
    except ValueError:
        return 1, low, few
    if unit in PIECES and number in (2, 3, 4, 5, 6):
        return int(number), f"{whole / number:.6g}", "1"
    return 1, low, few


def _half(dose: str | None) -> str | None:
    try:
        return None if dose is None else f"{float(dose) / 2:.6g}"
    except ValueError:
        return None


def _edges(group: Ints, weights: Floats) -> Floats:
    """Return the upper edges of shares within each group, those of group g between g and g + 1."""
    total = np.bincount(group, weights)
    sums = np.cumsum(weights)
    before = np.concatenate([[0.0], np.cumsum(total)[:-1]])
    edges: Floats = group + (sums - before[group]) / total[group]
    return edges


def _pick_within(edges: Floats, group: Ints, draws: Floats) -> Ints:
    """Return, for each row, a member of its group; `draws` are uniform."""
    # Never quite the end, so that rounding cannot lead into the next group.
    drawn: Ints = np.searchsorted(edges, group + draws * 0.999999, side="right").astype(np.int64)
    return drawn


@dataclass(frozen=True)
class _Frequencies:
    names: pl.Series
    schedule: Ints
    doses: pl.Series
    sched: pl.Series
    """disp_sched; hours 0 to 23 of orders for a single time follow after the frequencies' own, then null."""
    sched_number: Ints
    interval: pl.Series
    single: Bools
    limited: Floats


@cache
def _frequencies() -> _Frequencies:
    table = catalog.read("drug_frequencies.csv")
    sched = table["disp_sched"].to_list()
    hours = [str(hour) for hour in range(24)]
    own = np.arange(table.height)
    number = np.array([IDLE if text is None else -2 if text == "{hour}" else row for row, text in enumerate(sched)])
    return _Frequencies(
        names=pl.Series([*table["frequency"], None], dtype=pl.String),
        schedule=_codes(table["schedule"], tuple(catalog.read("drug_schedules.csv")["schedule"])),
        doses=pl.Series([*table["doses_per_24_hrs"], None], dtype=pl.Float64),
        sched=pl.Series([*sched, *hours, None], dtype=pl.String),
        sched_number=np.where(number == -2, -2, np.where(number == IDLE, IDLE, own)),
        interval=pl.Series([*table["duration_interval"], "Days", "Hours", None], dtype=pl.String),
        single=(table["duration_interval"] == "Doses").to_numpy(),
        limited=_or(table["limited"], 0.0),
    )


@dataclass(frozen=True)
class _Schedules:
    way: Ints
    hours: Floats
    slots: Ints
    step: Ints
    daily: Floats
    every: Ints
    patch: int


@cache
def _schedules() -> _Schedules:
    table = catalog.read("drug_schedules.csv")
    hours = [[] if text is None else [float(hour) for hour in text.split()] for text in table["hours"].cast(pl.String)]
    grid = np.zeros((table.height, max(len(row) for row in hours)))
    for number, row in enumerate(hours):
        grid[number, : len(row)] = row
    return _Schedules(
        way=_codes(table["way"], WAYS),
        hours=grid,
        slots=np.array([len(row) for row in hours], dtype=np.int64),
        step=(_or(table["step_hours"], 6.0) * HOUR).astype(np.int64),
        daily=_or(table["daily"], _share("single_dose_given")),
        every=_or(table["every_days"], 1.0).astype(np.int64),
        patch=table["schedule"].to_list().index("patch"),
    )


SHARES = (
    "product", "pharmacy", "dose_due", "dose_given", "dose_unit", "amount", "code", "complete", "remainder",
    "remainder_yes", "retimed",
)  # fmt: skip


@dataclass(frozen=True)
class _Events:
    """What emar says was done: the lines of drug_events.csv."""

    administrations: dict[str, int]
    edges: Floats
    text: pl.Series
    shares: dict[str, Floats]
    confirmed: Bools


@cache
def _events() -> _Events:
    table = catalog.read("drug_events.csv")
    names = table["administration"].unique(maintain_order=True).to_list()
    order = {name: number for number, name in enumerate(names)}
    group = np.array([order[name] for name in table["administration"]], dtype=np.int64) * len(PLACES)
    group += _codes(table["place"], PLACES)
    place = np.argsort(group, kind="stable")
    table, group = table[place], group[place]
    weights = _floats(table["weight"])
    # Groups that have no events are given their numbers too, so that group g still lies between g and g + 1.
    total = np.bincount(group, weights, minlength=len(names) * len(PLACES))
    before = np.concatenate([[0.0], np.cumsum(total)[:-1]])
    return _Events(
        administrations=order,
        edges=group + (np.cumsum(weights) - before[group]) / total[group],
        text=table["event_txt"],
        shares={name: _floats(table[name]) for name in SHARES},
        confirmed=table["event_txt"].fill_null("").str.ends_with("Confirmed").to_numpy(),
    )


@cache
def _share(name: str) -> float:
    """Return one of the shares of order_shares.csv."""
    table = catalog.read("order_shares.csv")
    return float(table.filter(pl.col("name") == name)["share"][0])


@cache
def _lags() -> dict[str, Floats]:
    table = catalog.read("order_lags.csv")
    return {name: _floats(table[name]) for name in ("quantile", "enter_minutes", "chart_minutes", "store_minutes")}


def _lag(name: str, draws: Floats) -> Floats:
    """Return lags in minutes, drawn along their quantiles."""
    lags = _lags()
    drawn: Floats = np.interp(draws, lags["quantile"], lags[name])
    return drawn


def _rows(index: Ints | Bools) -> pl.Series:
    """Return positions as polars looks them up fastest."""
    return pl.Series(index.astype(np.uint32))


def _take(values: pl.Series, index: Ints | Bools) -> pl.Series:
    """Return values[index]. The last value is null, and what -1 finds."""
    taken: pl.Series = values[_rows(np.where(index < 0, len(values) - 1, index))]
    return taken


def _same(value: str | None, count: int, dtype: pl.DataType | type[pl.DataType] = pl.String) -> pl.Series:
    return pl.Series([value], dtype=dtype).new_from_index(0, count)


def _with_null(column: pl.Series) -> pl.Series:
    return pl.concat([column, pl.Series([None], dtype=column.dtype)])


@cache
def _providers() -> pl.Series:
    return _with_null(catalog.staff()[0])


@cache
def _digits(count: int) -> pl.Series:
    """Return 0 to count - 1 as texts, and null."""
    return _with_null(pl.Series(np.arange(count)).cast(pl.String))


# --- orders ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Orders:
    """Rows of poe, by patient and time. Numbers of orders are positions in here."""

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
    """When the order ceases to hold."""
    ending: Ints
    transfer: Ints
    """The transfer it asks for, or -1."""
    provider: Ints


@dataclass(frozen=True)
class _Chains:
    """Orders before they change: one element for each chain."""

    episode: Ints
    kind: Ints
    start: Ints
    limit: Ints
    """When the same thing is ordered anew, or the episode ends."""
    transfer: Ints


def _orders(block: Block) -> _Orders:
    rng = block.streams.rng("orders")
    kinds, shared = _kinds(), _Shared(rng)
    chains = _chains(block, rng)
    natural, ending = _natural_end(block, rng, chains)
    room = np.maximum((natural - chains.start) // SHORTEST_LINK, 0)
    changes = np.minimum(rng.poisson(kinds.changes[chains.kind]), np.minimum(room, 8))
    chain, ordinal = repeat(changes + 1)
    links = (changes + 1)[chain]
    share = (ordinal + np.where(ordinal > 0, rng.uniform(-0.4, 0.4, len(chain)), 0.0)) / links
    time = chains.start[chain] + (share * (natural - chains.start)[chain]).astype(np.int64)
    time = _session(block, shared, chains.episode[chain], time)
    last = ordinal == links - 1
    until = np.where(last, natural[chain], np.append(time[1:], 0))
    stops = np.flatnonzero(last & (ending[chain] == STOPPED))
    stop_time = _session(block, shared, chains.episode[chain[stops]], until[stops])
    until[stops] = stop_time
    rows = np.concatenate([chain, chain[stops]])
    action = np.where(ordinal > 0, CHANGE, NEW)
    before = np.where(ordinal > 0, np.arange(len(chain)) - 1, IDLE)
    return _numbered(
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


def _numbered(block: Block, rng: np.random.Generator, shared: _Shared, **columns: Ints) -> _Orders:
    """Put the orders into the order of their patients and times, and number them."""
    person = block.episodes.person[columns["episode"]]
    place = _by_time(person, columns["time"])
    rank = np.empty(len(place), dtype=np.int64)
    rank[place] = np.arange(len(place))
    sorted_columns = {name: column[place] for name, column in columns.items()}
    before = sorted_columns["before"]
    before = np.where(before >= 0, rank[before], IDLE)
    after = np.full(len(place), IDLE)
    linked = np.flatnonzero(before >= 0)
    after[before[linked]] = linked
    person = person[place]
    episode, time = sorted_columns["episode"], sorted_columns["time"]
    role = (shared(episode, time // SESSION, 1) ** 2 * TEAM).astype(np.int64)
    provider = (shared(episode, role, 2) * (len(_providers()) - 1)).astype(np.int64)
    return _Orders(
        person=person,
        number=_counted(person),
        after=after,
        provider=np.where(rng.random(len(place)) < _share("no_provider"), IDLE, provider),
        **{**sorted_columns, "before": before},
    )


def _by_time(person: Ints, time: Ints) -> Ints:
    """Return the rows' order by patient and time; equal ones stay as they are."""
    place: Ints = np.argsort((person << 36) + time, kind="stable")
    return place


def _counted(person: Ints) -> Ints:
    """Number the rows of each patient from 1; rows of a patient lie together."""
    counted: Ints = np.arange(len(person)) - np.searchsorted(person, person, side="left") + 1
    return counted


def _session(block: Block, shared: _Shared, episode: Ints, time: Ints) -> Ints:
    """Return when an order wanted at a time is written: together with the others of those minutes."""
    begin, end = block.episodes.start[episode], block.episodes.end[episode]
    session = (time - begin) // SESSION
    moment = begin + session * SESSION + (shared(episode, session) * SESSION).astype(np.int64)
    written: Ints = np.clip(moment, begin, np.maximum(end - MINUTE, begin))
    return written


def _chains(block: Block, rng: np.random.Generator) -> _Chains:
    kinds = _kinds()
    counts = _counts(block, rng)
    episode, kind = np.nonzero(counts)
    kept = (kinds.per[kind] != PER.index("home")) | (rng.random(len(kind)) >= _share("home_drug_held"))
    group, ordinal = repeat(counts[episode, kind] * kept)
    copies = counts[episode, kind][group]
    episode, kind = episode[group].astype(np.int64), kind[group].astype(np.int64)
    start, end = _starts(block, rng, episode, kind)
    # What goes on for days is not ordered twice at once: one order follows the other.
    renewed = (kinds.days[kind] > 0) & (copies > 1)
    leader = np.arange(len(group)) - ordinal
    first, end = start[leader], np.where(renewed, end[leader], end)
    share = (ordinal + np.where(ordinal > 0, rng.uniform(-0.3, 0.3, len(group)), 0.0)) / copies
    start = np.where(renewed, first + (share * (end - first)).astype(np.int64), start)
    limit = np.where(renewed & (ordinal < copies - 1), np.append(start[1:], 0), end)
    moves, move_start, move_kind = _moves(block, rng)
    moving = block.transfers.admission[moves]
    return _Chains(
        episode=np.concatenate([episode, moving]),
        kind=np.concatenate([kind, move_kind]),
        start=np.concatenate([start, move_start]),
        limit=np.concatenate([limit, block.episodes.end[moving]]),
        transfer=np.concatenate([np.full(len(episode), IDLE), moves]),
    )


def _counts(block: Block, rng: np.random.Generator) -> Ints:
    """Return how many orders of each kind (column) an episode (row) brings.

    Kinds that exclude each other share one draw, so that at most one of them is taken; those taken at home share it
    over all admissions of a patient.
    """
    kinds = _kinds()
    mean = (_present(block) @ kinds.weights) * np.take(_exposure(block), kinds.per, axis=1)
    daily = np.flatnonzero(np.isin(kinds.per, (PER.index("day"), PER.index("icu_day"))))
    mean[:, daily] *= 2 * rng.random((len(mean), len(daily)))
    mean[:, kinds.per == PER.index("transfer")] = 0
    draw = rng.random(mean.shape)
    home = np.flatnonzero(kinds.per == PER.index("home"))
    draw[:, home] = rng.random((len(block.people.subject_id), len(home)))[block.episodes.person]
    counts: Ints = np.floor(mean + draw).astype(np.int64)
    some = np.flatnonzero(kinds.exclusive)
    first = np.searchsorted(some, kinds.first[some])
    last = np.searchsorted(some, kinds.last[some])
    above = np.cumsum(mean[:, some], axis=1)
    below = above - mean[:, some]
    floor, draw = below[:, first], draw[:, kinds.first[some]]
    total = above[:, last] - floor
    shrink = np.where(total > 0.97, 0.97 / np.maximum(total, 0.97), 1.0)
    counts[:, some] = np.floor((above - floor) * shrink + draw) - np.floor((below - floor) * shrink + draw)
    return counts


def _present(block: Block) -> Floats:
    """Return which causes (columns, as `_causes()`) are there in each episode."""
    people, episodes, icu = block.people, block.episodes, block.icu
    admitted = len(block.admissions.person)
    present = np.zeros((len(episodes.person), len(_causes())))
    number = {name: place for place, name in enumerate(_causes())}
    present[:admitted, number["any"]] = 1
    present[block.ed.episode, number["ed"]] = 1
    present[icu.admission, number["icu"]] = 1
    present[icu.admission[icu.ventilated_from != NONE], number["ventilated"]] = 1
    present[icu.admission[icu.pressors], number["pressors"]] = 1
    present[icu.admission[icu.dialysis], number["dialysis"]] = 1
    present[:admitted, number["surgical"]] = block.admissions.surgical
    first = len(EXTRA_CAUSES)
    present[:, first : first + len(catalog.conditions())] = people.conditions[episodes.person]
    female = people.female[episodes.person]
    present[:, number["female"]], present[:, number["male"]] = female, ~female
    present[:, number["elderly"]] = people.anchor_age[episodes.person] >= 75
    present[:, number["dying"]] = episodes.dying
    present[np.arange(len(present)), number[catalog.illnesses()[0]] + episodes.illness] = 1
    return present


def _exposure(block: Block) -> Floats:
    """Return, for each episode, how much of each unit of PER it has; days of the very ill bring more orders."""
    episodes, icu = block.episodes, block.icu
    admitted = len(block.admissions.person)
    gravity = 0.5 + 0.6 * episodes.severity
    exposure = np.zeros((len(episodes.person), len(PER)))
    exposure[:admitted, [PER.index("stay"), PER.index("home")]] = 1
    stay = block.admissions.discharge - block.admissions.admit
    exposure[:admitted, PER.index("day")] = stay / DAY * gravity[:admitted]
    days = np.bincount(icu.admission, (icu.departure - icu.arrival) / DAY, minlength=len(gravity))
    exposure[:, PER.index("icu_day")] = days * gravity
    exposure[block.ed.episode, PER.index("ed")] = 1
    return exposure


def _starts(block: Block, rng: np.random.Generator, episode: Ints, kind: Ints) -> tuple[Ints, Ints]:
    """Return when each chain of orders begins, and when it ends at the latest."""
    starts = _kinds().starts[kind]
    begin, span, wait, end = _windows(block, rng, episode, starts)
    count = len(kind)
    # The first hours of a stay bring most orders.
    early = rng.random(count) ** 1.6
    time = begin + (early * span).astype(np.int64)
    time += (rng.exponential(1.0, count) * wait).astype(np.int64)
    hours, weights = catalog.choices("orders_hour")
    hour = hours.cast(pl.Int64).to_numpy()[pick(rng, weights, count)] * HOUR
    usual = time - time % DAY + hour + rng.integers(0, HOUR, count)
    moved = (span > HOUR) & (usual > begin) & (usual < begin + span)
    start = np.where(moved, usual, time)
    return np.clip(start, block.episodes.start[episode], end - 10 * MINUTE), end


def _windows(block: Block, rng: np.random.Generator, episode: Ints, starts: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Return for each chain where its time begins, how far it may lie after that, evenly and by chance, and its end."""
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
    begin = np.choose(starts, [admit[episode], admit[episode], icu_arrival, icu_arrival, final, arrival[episode]])
    zero = np.zeros_like(begin)
    spans = [zero, episodes.end[episode] - begin, icu_departure - begin, zero, zero, departure[episode] - begin]
    waits = np.array([1.6 * HOUR, 0, 0, HOUR, 0, 0]).astype(np.int64)
    # What intensive care begins does not outlast it.
    return begin, np.choose(starts, spans), waits[starts], icu_departure


def _moves(block: Block, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Return the transfers that an order asks for, when it is written, and its kind."""
    kinds = _kinds()
    kind = int(np.flatnonzero(kinds.per == PER.index("transfer"))[0])
    transfers = block.transfers
    wanted = (transfers.kind == "transfer").to_numpy() & (transfers.admission >= 0)
    wanted &= rng.random(len(wanted)) < kinds.weights[0, kind]
    rows = np.flatnonzero(wanted)
    start = transfers.start[rows] - (rng.uniform(0.5, 6.0, len(rows)) * HOUR).astype(np.int64)
    start = np.maximum(start, block.admissions.admit[transfers.admission[rows]])
    return rows, start, np.full(len(rows), kind)


def _natural_end(block: Block, rng: np.random.Generator, chains: _Chains) -> tuple[Ints, Ints]:
    """Return how long each chain of orders would hold, and how it ends."""
    kinds, kind = _kinds(), chains.kind
    discharge = block.episodes.end[chains.episode]
    single = kinds.days[kind] == 0
    count = len(kind)
    length = np.where(single, SINGLE_LASTS, kinds.days[kind] * 0.5 * rng.standard_gamma(2.0, count) * DAY)
    end = chains.start + np.maximum(length.astype(np.int64), SHORTEST_LINK)
    cancelled = rng.random(count) < kinds.cancelled[kind]
    soon = chains.start + (rng.uniform(0.5, 10.0, count) * HOUR).astype(np.int64)
    end = np.where(single & cancelled, soon, end)
    end = np.where(chains.limit < discharge, np.minimum(end, chains.limit), end)
    alone = np.where(single & (rng.random(count) < _share("expires")), EXPIRED, DROPPED)
    ending = np.where(end >= discharge, AT_DISCHARGE, np.where(cancelled, STOPPED, alone))
    return np.minimum(end, discharge), ending


def _labels(block: Block, person: Ints, number: Ints) -> pl.Series:
    """Return the identifiers of the form subject-number."""
    subjects = pl.Series(block.people.subject_id).cast(pl.String) + "-"
    most = int(number.max()) if len(number) else 0
    return subjects[_rows(person)] + _digits(1024 * (1 + most // 1024))[_rows(number)]


def _hadm(block: Block, episode: Ints) -> pl.Series:
    """Return hadm_id of episodes; null for visits to the emergency department without admission."""
    admitted = len(block.admissions.person)
    known = pl.concat([pl.Series(block.admissions.hadm_id, dtype=pl.Int64), pl.Series([None], dtype=pl.Int64)])
    return _take(known, np.where(episode < admitted, episode, IDLE))


def _poe(block: Block, orders: _Orders, labels: pl.Series) -> pl.DataFrame:
    kinds = _kinds()
    known = _with_null(labels)
    count = len(orders.person)
    return pl.DataFrame(
        {
            "poe_id": labels,
            "poe_seq": orders.number,
            "subject_id": block.subject_id(orders.person),
            "hadm_id": _hadm(block, orders.episode),
            "ordertime": times(orders.time),
            "order_type": _take(kinds.order_type, orders.kind),
            "order_subtype": _take(kinds.order_subtype, orders.kind),
            "transaction_type": _take(ACTIONS, orders.action),
            "discontinue_of_poe_id": _take(known, orders.before),
            "discontinued_by_poe_id": _take(known, orders.after),
            "order_provider_id": _take(_providers(), orders.provider),
            "order_status": _same("Inactive", count),
        }
    )


STAND_INS = ("{service}", "{unit}", "{time}")
SERVICE, UNIT, ANSWERED = 1, 2, 3


@dataclass(frozen=True)
class _Details:
    """What poe_detail says of an order: fields, a kind's fields together, and the values each may have."""

    count: Ints
    """How many fields a kind has."""
    first: Ints
    """Its first field."""
    names: pl.Series
    share: Floats
    edges: Floats
    values: pl.Series
    stands_for: Ints
    """0 for a value that is what it says, else which of STAND_INS it is."""


@cache
def _details() -> _Details:
    table, kinds = catalog.read("order_details.csv"), _kinds()
    field = table.select(pl.struct("order", "field_name").rle_id()).to_series().to_numpy().astype(np.int64)
    fields = table[np.flatnonzero(np.diff(field, prepend=-1))]
    kind = np.array([kinds.order[order] for order in fields["order"]], dtype=np.int64)
    count = np.bincount(kind, minlength=len(kinds.per))
    first = np.zeros_like(count)
    first[kind[::-1]] = np.arange(len(kind))[::-1]
    stand_ins = {name: number for number, name in enumerate(STAND_INS, start=1)}
    return _Details(
        count=count,
        first=first,
        names=fields["field_name"],
        share=_floats(fields["share"]),
        edges=_edges(field, _floats(table["weight"])),
        values=table["field_value"],
        stands_for=np.array([stand_ins.get(value, 0) for value in table["field_value"]], dtype=np.int64),
    )


def _poe_detail(block: Block, orders: _Orders, labels: pl.Series) -> pl.DataFrame:
    rng = block.streams.rng("poe_detail")
    details = _details()
    order, ordinal = repeat(np.where(orders.action == STOP, 0, details.count[orders.kind]))
    field = details.first[orders.kind[order]] + ordinal
    kept = rng.random(len(order)) < details.share[field]
    order, field = order[kept], field[kept]
    value = _pick_within(details.edges, field, rng.random(len(order)))
    return pl.DataFrame(
        {
            "poe_id": labels[_rows(order)],
            "poe_seq": orders.number[order],
            "subject_id": block.subject_id(orders.person[order]),
            "field_name": _take(details.names, field),
            "field_value": _detail_values(block, rng, orders, order, value),
        }
    )


def _detail_values(block: Block, rng: np.random.Generator, orders: _Orders, order: Ints, value: Ints) -> pl.Series:
    """Return the values' texts, with services, units and times filled in."""
    details, services = _details(), catalog.read("order_services.csv")
    stands_for = details.stands_for[value]
    asked = np.flatnonzero(stands_for == ANSWERED)
    episode = orders.episode[order]
    answered = orders.time[order[asked]] + rng.integers(10 * MINUTE, 20 * HOUR, len(asked))
    answered = np.minimum(answered, block.episodes.end[episode[asked]])
    stamps = times(answered).dt.to_string("%Y-%m-%d %H:%M:%S")
    texts = pl.concat([details.values, services["value"], pl.Series(["ICU"]), stamps])
    icu = len(details.values) + services.height
    ward = len(details.values) + _codes(block.admissions.service, tuple(services["service"]))
    ward = np.append(ward, icu)[np.minimum(episode, len(ward))]
    intensive = block.transfers.unit.str.contains("ICU|CCU|Intensive").fill_null(value=False).to_numpy()
    to_icu = np.append(intensive, False)[orders.transfer[order]]
    index = np.where((stands_for == SERVICE) | ((stands_for == UNIT) & ~to_icu), ward, value)
    index = np.where((stands_for == UNIT) & to_icu, icu, index)
    index[asked] = icu + 1 + np.arange(len(asked))
    return texts[_rows(index)]


# --- pharmacy --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fills:
    """Rows of pharmacy, by patient, start and pharmacy_id."""

    order: Ints
    pharmacy_id: Ints
    dose: Ints
    """Line of the catalog's doses."""
    start: Ints
    stop: Ints
    """NONE for open ends."""
    limit: Ints
    """Hours the order was limited to, or -1."""
    ending: Ints
    main: Bools
    """The row that doses are charted against: the first of its order."""


def _fills(block: Block, orders: _Orders) -> _Fills:
    rng = block.streams.rng("pharmacy")
    kinds, drugs = _kinds(), _catalog()
    wanted = (orders.kind < kinds.drugs) & (orders.action != STOP) & (orders.episode < len(block.admissions.person))
    order = np.flatnonzero(wanted)
    order = order[rng.random(len(order)) < drugs.filled[orders.kind[order]]]
    copies, ordinal = repeat(1 + (rng.random(len(order)) < _share("second_pharmacy_row")))
    order = order[copies]
    item = orders.kind[order]
    dose = _pick_within(drugs.doses.edges, item, _dose_draws(block, rng, orders, order, ordinal))
    # A second row is for another strength or dose, where there is one.
    following = np.minimum(dose + 1, len(drugs.doses.item) - 1)
    dose = np.where((ordinal > 0) & (drugs.doses.item[following] == item), following, dose)
    start = -(-orders.time[order] // HOUR) * HOUR
    # A part of the orders begin with their next usual hour, not at once.
    late = (rng.random(len(order)) < _share("starts_later")) & (kinds.days[item] > 0)
    start += np.where(late, rng.integers(1, 20, len(order)), 0) * HOUR
    ending = orders.ending[order]
    stop = np.where(ending == AT_DISCHARGE, orders.until[order] + 4 * HOUR, orders.until[order]) // HOUR * HOUR
    start = np.where(late & (stop <= start), -(-orders.time[order] // HOUR) * HOUR, start)
    stop = np.maximum(stop, start + HOUR)
    limit, stop, ending = _limits(rng, dose, start, stop, ending)
    open_end = (_take(kinds.order_type, item) == "TPN").to_numpy()
    columns = {
        "order": order,
        "pharmacy_id": block.streams.unique_ids("pharmacy", len(order)),
        "dose": dose,
        "start": start,
        "stop": np.where(open_end, NONE, stop),
        "limit": limit,
        "ending": np.where(
            (ending == CHANGED) & (rng.random(len(order)) < _share("changed_as_discontinued")), STOPPED, ending
        ),
    }
    place = np.lexsort((columns["pharmacy_id"], start, orders.person[order]))
    return _Fills(**{name: column[place] for name, column in columns.items()}, main=(ordinal == 0)[place])


def _dose_draws(block: Block, rng: np.random.Generator, orders: _Orders, order: Ints, ordinal: Ints) -> Floats:
    """Return uniform draws for the doses: what a patient takes at home is the same in every admission."""
    drugs_at_home = _kinds().per[orders.kind[order]] == PER.index("home")
    usual = drugs_at_home & (orders.action[order] == NEW) & (ordinal == 0)
    habit = _Shared(rng)(orders.person[order], orders.kind[order], 3)
    return np.where(usual, habit, rng.random(len(order)))


def _limits(rng: np.random.Generator, dose: Ints, start: Ints, stop: Ints, ending: Ints) -> tuple[Ints, Ints, Ints]:
    """Limit some orders to a number of hours: then they expire exactly at its end."""
    frequency = _catalog().doses.frequency[dose]
    share = np.append(_frequencies().limited, 0.0)[frequency]
    hours = (stop - start) // HOUR
    alone = (ending == EXPIRED) | (ending == DROPPED) | (ending == AT_DISCHARGE)
    limited = alone & (rng.random(len(dose)) < share * 2) & ~np.append(_frequencies().single, True)[frequency]
    hours = np.where(hours >= 36, np.rint(hours / 24).astype(np.int64) * 24, hours)
    stop = np.where(limited, start + hours * HOUR, stop)
    return np.where(limited, hours, IDLE), stop, np.where(limited, EXPIRED, ending)


def _pharmacy(block: Block, orders: _Orders, fills: _Fills, labels: pl.Series) -> pl.DataFrame:
    rng = block.streams.rng("pharmacy times")
    drugs, frequencies = _catalog(), _frequencies()
    order, item = fills.order, orders.kind[fills.order]
    count = len(order)
    rows = _rows(item)
    text = {name: drugs.texts[name][rows] for name in OF_PHARMACY}
    frequency = drugs.doses.frequency[fills.dose]
    sched = np.append(frequencies.sched_number, IDLE)[frequency]
    hours = len(frequencies.names) - 1 + fills.start // HOUR % 24
    entered = orders.time[order] + (_lag("enter_minutes", rng.random(count)) * MINUTE).astype(np.int64)
    verified = entered + np.where(rng.random(count) < _share("verified_later"), rng.integers(60, 6 * HOUR, count), 0)
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(orders.person[order]),
            "hadm_id": block.hadm_id(orders.episode[order]),
            "pharmacy_id": fills.pharmacy_id,
            "poe_id": labels[_rows(order)],
            "starttime": times(fills.start),
            "stoptime": times(fills.stop),
            "medication": text["medication"],
            "proc_type": text["proc_type"],
            "status": _take(STATUSES, fills.ending),
            "entertime": times(entered),
            "verifiedtime": times(verified),
            "route": text["route"],
            "frequency": _take(frequencies.names, frequency),
            "disp_sched": _take(frequencies.sched, np.where(sched == -2, hours, sched)),
            "infusion_type": text["infusion_type"],
            "sliding_scale": text["sliding_scale"],
            "lockout_interval": text["lockout_interval"],
            "basal_rate": text["basal_rate"],
            "one_hr_max": text["one_hr_max"],
            "doses_per_24_hrs": _take(frequencies.doses, frequency),
            **_duration(fills, item, frequency),
            "expiration_value": text["expiration_value"],
            "expiration_unit": text["expiration_unit"],
            "expirationdate": _same(None, count, pl.Datetime("us")),
            "dispensation": _dispensation(rng, text["dispensation"]),
            "fill_quantity": _same(None, count),
        }
    )


def _dispensation(rng: np.random.Generator, usual: pl.Series) -> pl.Series:
    """Return where the drug comes from, now and then under another spelling."""
    values, weights = catalog.choices("orders_dispensation")
    spelled = values[_rows(pick(rng, weights, len(usual)))]
    return usual.zip_with((usual != values[0]).fill_null(value=True), spelled)


def _duration(fills: _Fills, item: Ints, frequency: Ints) -> dict[str, pl.Series]:
    frequencies = _frequencies()
    names = len(frequencies.names) - 1
    days = names
    hours = names + 1
    doses = int(np.flatnonzero(frequencies.single)[0])
    once = np.append(frequencies.single, False)[frequency] | _catalog().bolus[item]
    limited = fills.limit >= 0
    whole = limited & (fills.limit % 24 == 0) & (fills.limit > 24)
    number = np.where(whole, fills.limit // 24, np.where(limited, fills.limit, np.where(once, 1, 0)))
    interval = np.where(whole, days, np.where(limited, hours, np.where(once, doses, frequency)))
    value = pl.concat([pl.Series([None], dtype=pl.Float64), pl.Series(np.arange(1.0, 24.0 * 64))])
    return {"duration": _take(value, number), "duration_interval": _take(frequencies.interval, interval)}


def _prescriptions(block: Block, orders: _Orders, fills: _Fills, labels: pl.Series) -> pl.DataFrame:
    rng = block.streams.rng("prescriptions")
    drugs = _catalog()
    item = orders.kind[fills.order]
    # Parenteral nutrition, which has no end, has no prescription.
    fill, ordinal = repeat(np.where(fills.stop == NONE, 0, 1 + drugs.parts_count[item]))
    item, order, dose = item[fill], fills.order[fill], fills.dose[fill]
    main = ordinal == 0
    part = drugs.parts[np.where(main, 0, drugs.parts_first[item] + ordinal - 1)]
    rows = _rows(np.where(main, item, len(drugs.filled) + part))
    text = {name: drugs.texts[name][rows] for name in OF_PRESCRIPTIONS}
    dose_word = np.where(main, drugs.doses.due[dose], drugs.base_dose[part])
    amount_word = np.where(main, drugs.doses.amount[dose], drugs.base_amount[part])
    stop = np.where(rng.random(len(fill)) < _share("no_stop_in_prescriptions"), NONE, fills.stop[fill])
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(orders.person[order]),
            "hadm_id": block.hadm_id(orders.episode[order]),
            "pharmacy_id": fills.pharmacy_id[fill],
            "poe_id": labels[_rows(order)],
            "poe_seq": orders.number[order],
            "order_provider_id": _take(_providers(), orders.provider[order]),
            "starttime": times(fills.start[fill]),
            "stoptime": times(stop),
            "drug_type": text["drug_type"],
            "drug": text["drug"],
            "formulary_drug_cd": text["formulary_drug_cd"],
            "gsn": text["gsn"],
            "ndc": text["ndc"],
            "prod_strength": text["prod_strength"],
            "form_rx": _same(None, len(fill)),
            "dose_val_rx": _take(drugs.words, dose_word),
            "dose_unit_rx": text["dose_unit_rx"],
            "form_val_disp": _take(drugs.words, amount_word),
            "form_unit_disp": text["form_unit_disp"],
            "doses_per_24_hrs": _take(_frequencies().doses, drugs.doses.frequency[dose]),
            "route": _take(drugs.texts["route"], item),
        }
    )


# --- administration --------------------------------------------------------------------------------------------------


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
class _Given:
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


def _given(block: Block, orders: _Orders, fills: _Fills) -> _Given:
    rng = block.streams.rng("emar")
    runs = _runs(block, rng, orders, fills)
    run, time, place = _due(rng, orders, runs)
    events, drugs = _events(), _catalog()
    item = runs.item[run]
    event = _pick_within(events.edges, drugs.administration[item] * len(PLACES) + place, rng.random(len(run)))
    rate, prior, titrated = _rates(rng, runs, run, place, event)
    time, chart, store = _charted(block, rng, orders, runs, run, time, event)
    person = orders.person[runs.order[run]]
    kept = _by_time(person, chart)
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
    return _Given(
        **columns, number=_counted(columns["person"]), product=product, scanned=scanned, titrated=titrated[kept]
    )


def _runs(block: Block, rng: np.random.Generator, orders: _Orders, fills: _Fills) -> _Runs:
    kinds, drugs = _kinds(), _catalog()
    fill = np.full(len(orders.person), IDLE)
    first = np.flatnonzero(fills.main)
    fill[fills.order[first]] = first
    wanted = (orders.kind < kinds.drugs) & (orders.action != STOP) & _recorded(block, rng)[orders.episode]
    order = np.flatnonzero(wanted)
    order = order[(fill[order] >= 0) | (rng.random(len(order)) < drugs.charted[orders.kind[order]])]
    item, row = orders.kind[order], fill[order]
    filled = row >= 0
    some = np.where(filled, row, 0)
    dose = _pick_within(drugs.doses.edges, item, rng.random(len(order)))
    dose = np.where(filled, np.append(fills.dose, 0)[some], dose)
    begin = np.where(filled, np.append(fills.start, 0)[some], orders.time[order])
    end = np.minimum(orders.until[order], block.episodes.end[orders.episode[order]])
    stop = np.append(fills.stop, NONE)[np.where(filled, row, IDLE)]
    end = np.where(stop == NONE, end, np.minimum(end, stop))
    own = drugs.schedule[item]
    frequency = np.append(_frequencies().schedule, 0)[drugs.doses.frequency[dose]]
    schedule = np.where(own >= 0, own, frequency)
    # A bolus runs for an hour or three, not for as long as its order stands.
    hours = rng.integers(1, 4, len(order)) * HOUR
    short = (_schedules().way[schedule] == RUNNING) & (kinds.days[item] == 0)
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


def _recorded(block: Block, rng: np.random.Generator) -> Bools:
    """Say for which episodes emar was in use: it came to the wards one by one."""
    table = catalog.read("order_rollout.csv")
    years, shares = table["true_year"].to_numpy(), _floats(table["share"])
    start = block.episodes.start.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    year = start - block.people.shift[block.episodes.person]
    share = np.append(0.0, shares)[np.searchsorted(years, year, side="right")]
    recorded: Bools = rng.random(len(year)) < share
    return recorded


def _due(rng: np.random.Generator, orders: _Orders, runs: _Runs) -> tuple[Ints, Ints, Ints]:
    """Return each dose's run, when it is due, and whether it begins, continues or ends something."""
    schedules, schedule = _schedules(), runs.schedule
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
    schedules, schedule = _schedules(), runs.schedule
    count, span, slots = len(schedule), runs.end - runs.begin, schedules.slots[schedule]
    # What is due once a day, and ordered hours before that, is often given at once as well.
    wait = ((schedules.hours[schedule, 0] * HOUR).astype(np.int64) - runs.begin) % DAY
    at_once = (slots == 1) & (wait > 6 * HOUR) & (wait < 21 * HOUR) & (rng.random(count) < _share("at_once"))
    liked = schedules.daily[schedule] * rng.standard_gamma(0.6, count) / 0.6
    return [
        (runs.end // DAY - runs.begin // DAY + 1) * slots + at_once,
        np.minimum(rng.poisson(liked * span / DAY), 40),
        (rng.random(count) < schedules.daily[schedule]).astype(np.int64),
        2 + np.maximum(span - HOUR, 0) // schedules.step[schedule],
    ]


def _clock_times(runs: _Runs, run: Ints, ordinal: Ints, regular: Ints) -> Ints:
    """Return the hours of giving, day after day, from midnight of the first; a surplus one is the run's begin."""
    schedules, schedule = _schedules(), runs.schedule[run]
    slots = np.maximum(schedules.slots[schedule], 1)
    day = ordinal // slots * schedules.every[schedule]
    hour = (schedules.hours[schedule, ordinal % slots % schedules.hours.shape[1]] * HOUR).astype(np.int64)
    return np.where(ordinal < regular, (runs.begin[run] // DAY + day) * DAY + hour, runs.begin[run])


def _running_place(orders: _Orders, runs: _Runs, run: Ints, ordinal: Ints, last: Bools) -> Ints:
    """Say where a row of an infusion stands; one that goes on under a changed order neither stops nor starts anew."""
    order = runs.order
    goes_on = (orders.ending[order] == CHANGED)[run]
    went_on = (orders.action[order] == CHANGE)[run]
    place = np.where((ordinal == 0) & ~went_on, START, MIDDLE)
    return np.where(last & ~goes_on, END, place)


def _rates(rng: np.random.Generator, runs: _Runs, run: Ints, place: Ints, event: Ints) -> tuple[Ints, Ints, Bools]:
    """Return the rate before and at each row of an infusion: it wanders up and down the drug's usual rates."""
    drugs = _catalog()
    item = runs.item[run]
    count = drugs.rate_count[item]
    draws = rng.random(len(run))
    step = np.where(draws < _share("rate_down"), -1, np.where(draws > 1 - _share("rate_up"), 1, 0))
    boundary = np.ones(len(run), dtype=bool)
    boundary[1:] = run[1:] != run[:-1]
    step = np.where((place == MIDDLE) & (drugs.wording[item] > 0) & _events().confirmed[event], step, 0)
    moved = np.cumsum(step)
    moved -= (moved - step)[boundary][np.cumsum(boundary) - 1]
    level = (rng.random(len(runs.item)) * 0.6 * drugs.rate_count[runs.item]).astype(np.int64)[run]
    top = np.maximum(count - 1, 0)
    rate = drugs.rate_first[item] + np.clip(level + moved, 0, top)
    prior = drugs.rate_first[item] + np.clip(level + moved - step, 0, top)
    titrated = (rng.random(len(runs.item)) < drugs.titrated[runs.item])[run]
    return np.where(count > 0, rate, IDLE), np.where(count > 0, prior, IDLE), titrated


def _charted(
    block: Block, rng: np.random.Generator, orders: _Orders, runs: _Runs, run: Ints, due: Ints, event: Ints
) -> tuple[Ints, Ints, Ints]:
    """Return when each dose was due, given and stored: what is due together is mostly given together."""
    order = runs.order[run]
    episode = orders.episode[order]
    clock = _schedules().way[runs.schedule[run]] == CLOCK
    share = np.where(
        _events().shares["retimed"][event] > 0.4,
        np.where(clock, _share("retimed_by_clock"), _share("retimed_when_wanted")),
        0.0,
    )
    # Flushes and patches bear the minute they were given as the time they were due.
    own = clock & (_events().shares["retimed"][event] < 0.1) & (_events().shares["product"][event] > 0.5)
    late = own | (rng.random(len(run)) < share)
    delay = _lag("chart_minutes", _Shared(rng)(episode, due)).astype(np.int64) * MINUTE
    chart = np.where(late, due + np.where(clock, delay, np.abs(delay)), due)
    earliest = -(-orders.time[order] // MINUTE) * MINUTE
    latest = minutes(block.episodes.end[episode])
    chart = np.clip(chart, np.minimum(earliest, latest), latest)
    store = chart + _lag("store_minutes", rng.random(len(run))).astype(np.int64) * MINUTE
    return np.where(own, chart, due), chart, store


def _emar(block: Block, orders: _Orders, given: _Given, labels: pl.Series, emar_labels: pl.Series) -> pl.DataFrame:
    rng = block.streams.rng("emar rows")
    count = len(given.person)
    provider = rng.integers(0, len(_providers()) - 1, count)
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(given.person),
            "hadm_id": _hadm(block, orders.episode[given.order]),
            "emar_id": emar_labels,
            "emar_seq": given.number,
            "poe_id": labels[_rows(given.order)],
            "pharmacy_id": _take(*_known(given.pharmacy_id)),
            "enter_provider_id": _take(
                _providers(), np.where(rng.random(count) < _share("no_enter_provider"), IDLE, provider)
            ),
            "charttime": times(given.chart),
            "medication": _take(_catalog().texts["medication"], given.item),
            "event_txt": _take(_events().text, given.event),
            "scheduletime": times(given.due),
            "storetime": times(given.store),
        }
    )


_Texts = dict[str, tuple[pl.Series, Ints]]
"""Columns as values, with null at the end, and which of them each row has."""


def _emar_detail(block: Block, given: _Given, labels: pl.Series) -> pl.DataFrame:
    """Return for each row of emar what was due, and below it each product that was given."""
    rng = block.streams.rng("emar_detail")
    drugs, events = _catalog(), _events()
    whole = given.product & (events.shares["dose_given"][given.event] > 0.5) & ~drugs.scale[given.item]
    pieces = np.where(whole, drugs.doses.pieces[given.dose], given.product)
    halved = (
        whole & (pieces == 1) & (drugs.doses.half[given.dose] >= 0) & (rng.random(len(whole)) < _share("half_strength"))
    )
    row, ordinal = repeat(1 + pieces + halved)
    # Half of the columns belong to the dose as a whole and stand in its first row only, the others to its products.
    due, below = np.flatnonzero(ordinal == 0), np.flatnonzero(ordinal > 0)
    units = drugs.unit_words[pick(rng, drugs.unit_weights, len(given.person))]
    product = row[below]
    texts = _due_texts(rng, given, units) | _rate_texts(rng, given)
    columns = {name: _spread(values, index, due, len(row)) for name, (values, index) in texts.items()}
    texts = _product_texts(rng, given, product, units[product], halved[product])
    columns |= {name: _spread(values, index, below, len(row)) for name, (values, index) in texts.items()}
    columns |= {
        "subject_id": block.subject_id(given.person[row]),
        "emar_id": labels[_rows(row)],
        "emar_seq": pl.Series(given.number[row]),
        "parent_field_ordinal": _take(_piece_numbers(), np.where(ordinal > 0, ordinal, IDLE)),
        "continued_infusion_in_other_location": _same(None, len(row)),
        "non_formulary_visual_verification": _same(None, len(row)),
    }
    return pl.DataFrame({name: columns[name] for name in DETAIL_COLUMNS})


def _spread(values: pl.Series, index: Ints, places: Ints, count: int) -> pl.Series:
    """Return values[index] at some places of a column that is null elsewhere; the last value is null."""
    whole = np.full(count, len(values) - 1, dtype=np.uint32)
    whole[places] = np.where(index < 0, len(values) - 1, index)
    column: pl.Series = values[pl.Series(whole)]
    return column


def _known(numbers: Ints) -> tuple[pl.Series, Ints]:
    """Return numbers and their own positions; NONE is null."""
    return _with_null(pl.Series(numbers)), np.where(numbers == NONE, IDLE, np.arange(len(numbers)))


DETAIL_COLUMNS = (
    "subject_id", "emar_id", "emar_seq", "parent_field_ordinal", "administration_type", "pharmacy_id", "barcode_type",
    "reason_for_no_barcode", "complete_dose_not_given", "dose_due", "dose_due_unit", "dose_given", "dose_given_unit",
    "will_remainder_of_dose_be_given", "product_amount_given", "product_unit", "product_code", "product_description",
    "product_description_other", "prior_infusion_rate", "infusion_rate", "infusion_rate_adjustment",
    "infusion_rate_adjustment_amount", "infusion_rate_unit", "route", "infusion_complete", "completion_interval",
    "new_iv_bag_hung", "continued_infusion_in_other_location", "restart_interval", "side", "site",
    "non_formulary_visual_verification",
)  # fmt: skip


@cache
def _piece_numbers() -> pl.Series:
    return pl.Series([*(f"1.{piece}" for piece in range(10)), None], dtype=pl.String)


@cache
def _answers() -> pl.Series:
    return pl.Series(["No", "Yes", None], dtype=pl.String)


@cache
def _marks() -> pl.Series:
    return pl.Series(["Y", "N", None], dtype=pl.String)


def _chosen(rng: np.random.Generator, field: str, where: Bools) -> tuple[pl.Series, Ints]:
    """Draw a value of choices_orders.csv for the rows where it is wanted."""
    values, weights = catalog.choices(field)
    index = np.full(len(where), IDLE)
    index[where] = pick(rng, weights, int(where.sum()))
    return _with_null(values), index


def _due_texts(rng: np.random.Generator, given: _Given, units: Ints) -> _Texts:
    drugs, item = _catalog(), given.item
    draws = rng.random((3, len(item)))

    def shown(share: str, place: int) -> Bools:
        seen: Bools = draws[place] < _events().shares[share][given.event]
        return seen

    rate = np.where(given.rate >= 0, drugs.rate_words[given.rate], IDLE)
    ordered = np.where(given.titrated & (drugs.range_word[item] >= 0), drugs.range_word[item], rate)
    due = np.where(given.rate >= 0, ordered, drugs.doses.due[given.dose])
    due = np.where(drugs.scale[item], np.where(given.product, units, drugs.nothing), due)
    unit = drugs.texts["dose_due_unit"], drugs.texts["rate_unit"]
    later = shown("remainder_yes", 2) & shown("remainder", 1)
    standard = drugs.standard[item]
    return {
        "administration_type": (drugs.texts["administration"], item),
        "reason_for_no_barcode": _chosen(rng, "orders_no_barcode", standard & given.product & ~given.scanned),
        "complete_dose_not_given": (_answers(), np.where(shown("complete", 1), 0, IDLE)),
        "dose_due": (drugs.words, np.where(shown("dose_due", 0), due, IDLE)),
        "dose_due_unit": (pl.concat(unit), np.where(given.rate >= 0, len(unit[0]) + item, item)),
        "will_remainder_of_dose_be_given": (_answers(), np.where(shown("remainder", 1), later.astype(np.int64), IDLE)),
        "route": (
            drugs.mouths,
            np.where(standard & drugs.mouth[item] & given.product, draws[0] < _share("by_tube"), IDLE),
        ),
        "completion_interval": _chosen(rng, "orders_completion", later),
        "side": _chosen(rng, "orders_side", drugs.patch[item] & (given.place == START) & given.product),
        "site": _chosen(rng, "orders_site", drugs.patch[item] & (given.place == START) & given.product),
    }


def _rate_texts(rng: np.random.Generator, given: _Given) -> _Texts:
    drugs, item = _catalog(), given.item
    wording, running = drugs.wording[item], given.place < ANY
    told = running & (wording > 0) & given.product & (given.place != END)
    old, new = drugs.rate_values[given.prior], drugs.rate_values[given.rate]
    changed = np.where(wording == 1, RATE_CHANGED, np.where(new > old, INCREASE, DECREASE))
    adjusted = np.where(given.place == START, INITIAL, np.where(new == old, SAME, changed))
    adjusted = np.where(told, np.where(given.titrated, TITRATED, adjusted), NO_RATE)
    known = told & ~given.titrated
    by_how_much = (adjusted == INCREASE) | (adjusted == DECREASE)
    stopped = (
        running
        & (given.place == END)
        & given.product
        & (wording > 0)
        & (rng.random(len(item)) < _share("completion_told"))
    )
    resumed = stopped & (rng.random(len(item)) < _share("incomplete"))
    bag = told & (given.place == MIDDLE) & (rng.random(len(item)) < _share("new_bag"))
    return {
        "prior_infusion_rate": (
            drugs.words,
            np.where(known & (given.place == MIDDLE), drugs.rate_words[given.prior], IDLE),
        ),
        "infusion_rate": (drugs.words, np.where(known, drugs.rate_words[given.rate], IDLE)),
        "infusion_rate_adjustment": (ADJUSTMENTS, adjusted),
        "infusion_rate_adjustment_amount": (
            _digits(2048),
            np.where(by_how_much, np.abs(new - old), IDLE).astype(np.int64),
        ),
        "infusion_rate_unit": (drugs.texts["rate_unit"], np.where(told, item, IDLE)),
        "infusion_complete": (_marks(), np.where(stopped, resumed.astype(np.int64), IDLE)),
        "new_iv_bag_hung": (_marks(), np.where(bag, 0, IDLE)),
        "restart_interval": _chosen(rng, "orders_restart", resumed),
    }


def _product_texts(rng: np.random.Generator, given: _Given, row: Ints, units: Ints, halved: Bools) -> _Texts:
    drugs, events = _catalog(), _events()
    item, event, dose = given.item[row], given.event[row], given.dose[row]
    draws = rng.random(len(row))
    fluid = (given.rate[row] >= 0) & (drugs.wording[item] == 0)
    amount = np.where(fluid, drugs.rate_words[given.rate[row]], drugs.doses.piece_dose[dose])
    amount = np.where(drugs.scale[item], units, np.where(halved, drugs.doses.half[dose], amount))
    scanned = np.where(given.scanned[row], item, IDLE)
    measured = draws < events.shares["amount"][event]
    return {
        "pharmacy_id": _known(given.pharmacy_id[row]),
        "barcode_type": (drugs.texts["barcode_type"], scanned),
        "dose_given": (drugs.words, np.where(draws < events.shares["dose_given"][event], amount, IDLE)),
        "dose_given_unit": (
            drugs.texts["dose_given_unit"],
            np.where(draws < events.shares["dose_unit"][event], item, IDLE),
        ),
        "product_amount_given": (drugs.words, np.where(measured, drugs.doses.piece_amount[dose], IDLE)),
        "product_unit": (drugs.texts["product_unit"], np.where(measured, item, IDLE)),
        "product_code": (drugs.texts["product_code"], scanned),
        "product_description": (drugs.texts["product_description"], scanned),
        "product_description_other": (drugs.texts["product_other"], scanned),
    }
