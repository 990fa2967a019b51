"""Kinds of orders as arrays: the lines of drugs.csv and orders.csv."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import Bools, Floats, Ints
from ehrtraj.synth.tables.orders.columns import codes_of, floats

PER = ("stay", "home", "day", "icu_day", "ed", "transfer")
STARTS = ("arrival", "stay", "icu", "icu_arrival", "end", "ed", "infection")
EXTRA_CAUSES = ("any", "ed", "icu", "ventilated", "pressors", "dialysis", "surgical", "infection")


@dataclass(frozen=True)
class OrderKinds:
    """Kinds of orders: the lines of drugs.csv, then those of orders.csv."""

    drugs: int
    order: dict[str, int]
    weights: Floats
    """[causes, kinds]: number of orders that a cause leads to, for each unit of `per`."""
    per: Ints
    starts: Ints
    days: Floats
    """Usual duration in days; 0 for a single time."""
    changes: Floats
    cancelled: Floats
    """Share of the orders ending before discharge that end by a D/C order."""
    first: Ints
    last: Ints
    """First and last kind of the group of mutually exclusive kinds."""
    exclusive: Bools
    order_type: pl.Series
    order_subtype: pl.Series


KIND_COLUMNS = (
    "name", "group", "order_type", "order_subtype", "per", "starts", "days", "changes", "cancelled", "causes",
)  # fmt: skip


@cache
def read_kinds() -> OrderKinds:
    """Return the lines of drugs.csv and orders.csv, in this order, as arrays."""
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
    return OrderKinds(
        drugs=drugs.height,
        order={name: number for number, name in enumerate(frame["name"])},
        weights=_weights(frame["causes"]),
        per=codes_of(frame["per"], PER),
        starts=codes_of(frame["starts"], STARTS),
        days=floats(frame["days"]),
        changes=floats(frame["changes"]),
        cancelled=floats(frame["cancelled"]),
        first=first,
        last=last,
        exclusive=last > first,
        order_type=frame["order_type"],
        order_subtype=frame["order_subtype"],
    )


def cause_names() -> tuple[str, ...]:
    """Return the causes of orders, in the order of the rows of `weights`."""
    return (*EXTRA_CAUSES, *catalog.causes())


def _weights(causes: pl.Series) -> Floats:
    rows = {name: number for number, name in enumerate(cause_names())}
    weights = np.zeros((len(rows), len(causes)))
    for kind, text in enumerate(causes):
        for part in text.split():
            name, weight = part.rsplit(":", 1)
            weights[rows[name], kind] = float(weight)
    return weights
