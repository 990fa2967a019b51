"""Laboratory items as arrays: reference ranges, formulas, results in words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import Bools, Floats, Ints

# Spread of a signal with typical value 0 and spread 1: levels, slow wave and noise of PatientBlock.measure combined.
_LATENT_SPREAD = (0.75**2 + 0.35**2 / 2 + 0.45**2) ** 0.5
# The cut points of item i are between 100 i - 50 and 100 i + 50.
CUT_SPACING = 100.0


@dataclass(frozen=True)
class Formula:
    """A formula that calculates an item from other results.

    There are three kinds: sum is constant + sum(factor * input); product is constant * product(input ** factor); log10
    is constant + sum(factor * log10(input)).
    """

    slot: int
    """Position of the item in the table of results that are inputs or outputs of formulas."""
    kind: str
    constant: float
    terms: tuple[tuple[str, int, float], ...]
    """For each input: its name if it is not an item (otherwise ""), its slot, and its factor."""
    places: int
    low: float
    high: float


@dataclass(frozen=True)
class Items:
    """The lines of labs.csv, ordered by itemid. Arrays have one element per item."""

    table: pl.DataFrame
    signal: Ints
    """Number of the signal; -1 for results that are calculated from others."""
    places: Ints
    rounded: Bools
    """The result is rounded before formulas use it."""
    share: Floats
    since: Ints
    ref_low: Floats
    """[sex, items], with women last; NaN without a limit."""
    ref_high: Floats
    note_share: Floats
    remarks: pl.Series
    """The notes of the items, then the remarks that any result may have, then null."""
    slot: Ints
    """Position in the table of results that formulas and groups use, or -1."""
    formulas: tuple[Formula, ...]
    groups: tuple[Ints, ...]
    """Items whose results sum to 100."""


@cache
def read_items() -> Items:
    """Return labs.csv as arrays."""
    unsorted = catalog.read("labs.csv")
    table = unsorted.sort("itemid")
    numbers = catalog.signal_numbers()
    plain = table["formula"].is_null() & table["sums_to_100"].is_null()
    names = table["sums_to_100"].drop_nulls().unique(maintain_order=True)
    slot = _slots(table)
    slots = {str(itemid): place for itemid, place in zip(table["itemid"], slot.tolist(), strict=True)}
    return Items(
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
        formulas=tuple(_formula(slots, row) for row in unsorted.iter_rows(named=True) if row["formula"] is not None),
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


def _formula(slots: dict[str, int], row: dict[str, Any]) -> Formula:
    kind, constant, *words = row["formula"].split()
    slot = slots[str(row["itemid"])]
    terms = []
    for word in words:
        name, factor = word.split(":")
        place = slot if name == "self" else slots.get(name, -1)
        terms.append(("" if place >= 0 else name, place, float(factor)))
    places = int(row["decimals"] or 0)
    low = -np.inf if row["low"] is None else float(row["low"])
    high = np.inf if row["high"] is None else float(row["high"])
    return Formula(slot, kind, float(constant), tuple(terms), places, low, high)


@dataclass(frozen=True)
class WordedResults:
    """Possible results of items with results in words, item by item, ordered from lowest to highest."""

    first: Ints
    """Position of the first result of each item; -1 for items with numbers."""
    text: pl.Series
    number: Floats
    """The result as a number; NaN if it is not a number."""
    abnormal: Bools
    cuts: Floats
    """Upper cut point of each result, in latent spreads, offset by CUT_SPACING for each item."""


@cache
def read_worded_results() -> WordedResults:
    """Return the possible results of items with results in words."""
    items = read_items()
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
        cuts += [place * CUT_SPACING + _LATENT_SPREAD * NormalDist().inv_cdf(share) for share in below]
        cuts.append((place + 0.5) * CUT_SPACING)
    text = pl.Series(texts, dtype=pl.String)
    number = text.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    return WordedResults(first, text, number, np.array(abnormal), np.array(cuts))
