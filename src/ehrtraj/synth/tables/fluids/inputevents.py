"""Turn orders into rows of inputevents, and their ingredients into rows of ingredientevents."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import HOUR, Floats, Ints, repeat, times
from ehrtraj.synth.tables.fluids.care import DOSES, DRIPS, Care
from ehrtraj.synth.tables.fluids.inputs import InputOrders
from ehrtraj.synth.tables.fluids.rows import STATUSES, as_single, in_order, nullable, patient_columns, stored_times


@cache
def _line_kinds() -> pl.DataFrame:
    """Return the texts of rows: two lines for each kind of input, for the main item and for its companion."""
    drips = catalog.read(DRIPS).with_columns(hourly=pl.col("role") == "mixed")
    doses = catalog.read(DOSES).with_columns(
        rateuom=pl.when(pl.col("minutes_high") > 1).then(pl.lit("mL/hour")), hourly=pl.lit(value=False)
    )
    shared = ["itemid", "amountuom", "rateuom", "companion", "companion_uom", "role", "ordercategoryname", "hourly"]
    kinds = pl.concat([drips.select(shared), doses.select(shared)]).with_row_index("kind")
    main = kinds.select("kind", "itemid", "amountuom", "rateuom", "ordercategoryname", role=pl.lit("main"), second=0)
    companion = kinds.select(
        "kind",
        pl.col("companion").alias("itemid"),
        pl.col("companion_uom").alias("amountuom"),
        pl.when("hourly").then(pl.lit("mL/hour")).alias("rateuom"),
        "ordercategoryname",
        "role",
        second=1,
    )
    lines = pl.concat([main, companion]).sort("kind", "second")
    for name, key in (("input_roles.csv", "role"), ("input_categories.csv", "ordercategoryname")):
        lines = lines.join(catalog.read(name).drop("source"), on=key, how="left", maintain_order="left")
    return lines.with_columns(total_uom=pl.when(pl.col("has_total") == 1).then(pl.lit("ml")))


@dataclass(frozen=True)
class InputLines:
    """Sorted rows of inputevents. `order` is the number of the order, `line` the line of _line_kinds()."""

    orders: InputOrders
    order: Ints
    line: Ints
    stay: Ints
    itemid: Ints
    start: Ints
    end: Ints
    stored: Ints
    caregiver: Ints
    amount: Floats
    rate: Floats
    bag_amount: Floats
    ordered_rate: Floats
    orderid: Ints
    linkorderid: Ints


def input_lines(care: Care, orders: InputOrders, ids: Ints) -> InputLines:
    """Return the rows of inputevents: one for each order, and one for its solution or additive if it has one."""
    rng = care.block.streams.rng("fluids input rows")
    companions = np.flatnonzero(~np.isnan(orders.companion))
    stored = stored_times(rng, orders.start)
    order = np.concatenate([np.arange(len(orders.stay)), companions])
    is_companion = np.arange(len(order)) >= len(orders.stay)
    line = orders.kind[order] * 2 + is_companion
    items = _line_kinds()["itemid"].fill_null(0).to_numpy()[line]
    place = in_order(care, orders.stay[order], orders.start[order], items, ids[order])
    order, line, is_companion = order[place], line[place], is_companion[place]

    def either(main: Floats, companion: Floats) -> Floats:
        chosen: Floats = np.where(is_companion, companion[order], main[order])
        return chosen

    return InputLines(
        orders=orders,
        order=order,
        line=line,
        stay=orders.stay[order],
        itemid=items[place],
        start=orders.start[order],
        end=orders.end[order],
        stored=stored[order],
        caregiver=care.caregiver(orders.stay[order], orders.start[order]),
        amount=either(orders.amount, orders.companion),
        rate=either(orders.rate, orders.companion_rate),
        bag_amount=either(orders.bag_amount, orders.companion_bag_amount),
        ordered_rate=either(orders.ordered_rate, orders.companion_ordered_rate),
        orderid=ids[order],
        linkorderid=ids[orders.first[order]],
    )


def input_frame(care: Care, lines: InputLines) -> pl.DataFrame:
    """Return inputevents."""
    texts = _line_kinds()[lines.line]
    total = np.where(texts["has_total"].to_numpy() == 1, lines.orders.total[lines.order], np.nan)
    nothing = np.zeros(len(lines.line), dtype=np.int64)
    return pl.DataFrame(
        {
            **patient_columns(care, lines.stay),
            "caregiver_id": lines.caregiver,
            "starttime": times(lines.start),
            "endtime": times(lines.end),
            "storetime": times(lines.stored),
            "itemid": lines.itemid,
            "amount": lines.amount,
            "amountuom": texts["amountuom"],
            "rate": nullable(lines.rate),
            "rateuom": texts["rateuom"],
            "orderid": lines.orderid,
            "linkorderid": lines.linkorderid,
            "ordercategoryname": texts["ordercategoryname"],
            "secondaryordercategoryname": texts["secondaryordercategoryname"],
            "ordercomponenttypedescription": texts["ordercomponenttypedescription"],
            "ordercategorydescription": texts["ordercategorydescription"],
            "patientweight": care.block.icu.weight[lines.stay],
            "totalamount": nullable(total),
            "totalamountuom": texts["total_uom"],
            "isopenbag": nothing,
            "continueinnextdept": nothing,
            "statusdescription": pl.Series(STATUSES)[lines.orders.status[lines.order]],
            "originalamount": lines.bag_amount,
            "originalrate": lines.ordered_rate,
        }
    )


@cache
def _ingredients() -> tuple[pl.DataFrame, Ints, Ints]:
    """Return ingredients.csv sorted by input item, and the first ingredient and their number for each line kind."""
    table = catalog.read("ingredients.csv").sort("itemid", "ingredient", maintain_order=True)
    lines = _line_kinds()["itemid"].fill_null(0).to_numpy()
    items = table["itemid"].to_numpy()
    first = np.searchsorted(items, lines, side="left")
    return table, first, np.searchsorted(items, lines, side="right") - first


def ingredient_frame(care: Care, lines: InputLines) -> pl.DataFrame:
    """Return ingredientevents. Amounts, times, orders and units of the rate follow those of the inputs."""
    table, first, count = _ingredients()
    row, ordinal = repeat(count[lines.line])
    part = first[lines.line[row]] + ordinal
    item = table["ingredient"].to_numpy()[part]
    place = in_order(care, lines.stay[row], lines.start[row], item, lines.orderid[row])
    row, part, item = row[place], part[place], item[place]
    share = table["amount"].to_numpy()[part]
    amount = lines.amount[row] * share
    hours = (lines.end[row] - lines.start[row]) / HOUR
    factor = table["rate_factor"].to_numpy()[part]
    factor = np.where(
        table["rate_by_weight"].to_numpy()[part] == 1, factor / care.block.icu.weight[lines.stay[row]], factor
    )
    return pl.DataFrame(
        {
            **patient_columns(care, lines.stay[row]),
            "caregiver_id": lines.caregiver[row],
            "starttime": times(lines.start[row]),
            "endtime": times(lines.end[row]),
            "storetime": times(lines.stored[row]),
            "itemid": item,
            "amount": amount,
            "amountuom": table["amountuom"][part],
            "rate": nullable(np.where(np.isnan(lines.rate[row]), np.nan, amount / hours * factor)),
            "rateuom": _line_kinds()["rateuom"][lines.line[row]],
            "orderid": lines.orderid[row],
            "linkorderid": lines.linkorderid[row],
            "statusdescription": pl.Series(STATUSES)[lines.orders.status[lines.order[row]]],
            "originalamount": np.zeros(len(row)),
            # The amount in the bag. The real table has it in this column, and 0 in originalamount.
            "originalrate": as_single(lines.bag_amount[row] * share),
        }
    )
