"""Random draws that the tables of orders use: shares, lags, members of groups, and draws shared by rows."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import Floats, Ints
from ehrtraj.synth.tables.orders.columns import floats


class SharedDraws:
    """Uniform random numbers that are the same for the same key. The keys need not be sorted."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._values = rng.random(1 << 15)

    def __call__(self, *parts: Ints | int) -> Floats:
        key: Ints = np.int64(0) * np.asarray(parts[0])
        for part in parts:
            key = (key ^ (key >> 29) ^ part) * 0x2545F4914F6CDD1D
        drawn: Floats = self._values[(key >> 40) & (len(self._values) - 1)]
        return drawn


def upper_edges(group: Ints, weights: Floats) -> Floats:
    """Return the upper edges of shares within each group. Those of group g are between g and g + 1."""
    total = np.bincount(group, weights)
    sums = np.cumsum(weights)
    before = np.concatenate([[0.0], np.cumsum(total)[:-1]])
    edges: Floats = group + (sums - before[group]) / total[group]
    return edges


def pick_member(edges: Floats, group: Ints, uniform: Floats) -> Ints:
    """Return a member of each row's group, chosen by uniform random numbers."""
    # The factor is just below 1, so that rounding cannot select the next group.
    drawn: Ints = np.searchsorted(edges, group + uniform * 0.999999, side="right").astype(np.int64)
    return drawn


@cache
def share_of(name: str) -> float:
    """Return a share from order_shares.csv."""
    table = catalog.read("order_shares.csv")
    return float(table.filter(pl.col("name") == name)["share"][0])


@cache
def _lags() -> dict[str, Floats]:
    table = catalog.read("order_lags.csv")
    return {name: floats(table[name]) for name in ("quantile", "enter_minutes", "chart_minutes", "store_minutes")}


def lag(name: str, uniform: Floats) -> Floats:
    """Return lags in minutes for uniform random numbers, by interpolation between the quantiles of order_lags.csv."""
    lags = _lags()
    drawn: Floats = np.interp(uniform, lags["quantile"], lags[name])
    return drawn
