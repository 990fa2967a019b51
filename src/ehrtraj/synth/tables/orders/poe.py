"""Draw poe and poe_detail: the orders and their fields in the order entry system."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import HOUR, MINUTE, Floats, Ints, repeat, times
from ehrtraj.synth.tables.orders.chains import ACTIONS, STOP, ProviderOrders
from ehrtraj.synth.tables.orders.columns import codes_of, floats, hadm_ids, positions, providers, same, take, with_null
from ehrtraj.synth.tables.orders.draws import pick_member, upper_edges
from ehrtraj.synth.tables.orders.kinds import read_kinds


def poe_frame(block: PatientBlock, orders: ProviderOrders, poe_ids: pl.Series) -> pl.DataFrame:
    """Return poe."""
    kinds = read_kinds()
    ids_with_null = with_null(poe_ids)
    count = len(orders.person)
    return pl.DataFrame(
        {
            "poe_id": poe_ids,
            "poe_seq": orders.number,
            "subject_id": block.subject_id(orders.person),
            "hadm_id": hadm_ids(block, orders.episode),
            "ordertime": times(orders.time),
            "order_type": take(kinds.order_type, orders.kind),
            "order_subtype": take(kinds.order_subtype, orders.kind),
            "transaction_type": take(ACTIONS, orders.action),
            "discontinue_of_poe_id": take(ids_with_null, orders.before),
            "discontinued_by_poe_id": take(ids_with_null, orders.after),
            "order_provider_id": take(providers(), orders.provider),
            "order_status": same("Inactive", count),
        }
    )


PLACEHOLDERS = ("{service}", "{unit}", "{time}")
SERVICE, UNIT, TIME = 1, 2, 3


@dataclass(frozen=True)
class _Details:
    """Fields of poe_detail, grouped by kind of order, and the possible values of each field."""

    count: Ints
    """Number of fields of each kind of order."""
    first: Ints
    """First field of each kind of order."""
    names: pl.Series
    share: Floats
    edges: Floats
    values: pl.Series
    placeholder: Ints
    """[values]: 1 plus the position in PLACEHOLDERS; 0 for a literal value."""


@cache
def _details() -> _Details:
    table, kinds = catalog.read("order_details.csv"), read_kinds()
    field = table.select(pl.struct("order", "field_name").rle_id()).to_series().to_numpy().astype(np.int64)
    fields = table[np.flatnonzero(np.diff(field, prepend=-1))]
    kind = np.array([kinds.order[order] for order in fields["order"]], dtype=np.int64)
    count = np.bincount(kind, minlength=len(kinds.per))
    first = np.zeros_like(count)
    first[kind[::-1]] = np.arange(len(kind))[::-1]
    placeholders = {name: number for number, name in enumerate(PLACEHOLDERS, start=1)}
    return _Details(
        count=count,
        first=first,
        names=fields["field_name"],
        share=floats(fields["share"]),
        edges=upper_edges(field, floats(table["weight"])),
        values=table["field_value"],
        placeholder=np.array([placeholders.get(value, 0) for value in table["field_value"]], dtype=np.int64),
    )


def poe_detail_frame(block: PatientBlock, orders: ProviderOrders, poe_ids: pl.Series) -> pl.DataFrame:
    """Return poe_detail: the fields of each order, except for D/C orders."""
    rng = block.streams.rng("poe_detail")
    details = _details()
    order, ordinal = repeat(np.where(orders.action == STOP, 0, details.count[orders.kind]))
    field = details.first[orders.kind[order]] + ordinal
    keep = rng.random(len(order)) < details.share[field]
    order, field = order[keep], field[keep]
    value = pick_member(details.edges, field, rng.random(len(order)))
    return pl.DataFrame(
        {
            "poe_id": poe_ids[positions(order)],
            "poe_seq": orders.number[order],
            "subject_id": block.subject_id(orders.person[order]),
            "field_name": take(details.names, field),
            "field_value": _detail_values(block, rng, orders, order, value),
        }
    )


def _detail_values(
    block: PatientBlock, rng: np.random.Generator, orders: ProviderOrders, order: Ints, value: Ints
) -> pl.Series:
    """Return the texts of values, with placeholders replaced by services, units and times."""
    details, services = _details(), catalog.read("order_services.csv")
    placeholder = details.placeholder[value]
    with_time = np.flatnonzero(placeholder == TIME)
    episode = orders.episode[order]
    time = orders.time[order[with_time]] + rng.integers(10 * MINUTE, 20 * HOUR, len(with_time))
    time = np.minimum(time, block.episodes.end[episode[with_time]])
    stamps = times(time).dt.to_string("%Y-%m-%d %H:%M:%S")
    texts = pl.concat([details.values, services["value"], pl.Series(["ICU"]), stamps])
    icu = len(details.values) + services.height
    ward = len(details.values) + codes_of(block.admissions.service, tuple(services["service"]))
    ward = np.append(ward, icu)[np.minimum(episode, len(ward))]
    intensive = block.transfers.unit.str.contains("ICU|CCU|Intensive").fill_null(value=False).to_numpy()
    to_icu = np.append(intensive, False)[orders.transfer[order]]
    index = np.where((placeholder == SERVICE) | ((placeholder == UNIT) & ~to_icu), ward, value)
    index = np.where((placeholder == UNIT) & to_icu, icu, index)
    index[with_time] = icu + 1 + np.arange(len(with_time))
    return texts[positions(index)]
