"""Draw datetimeevents: dates on which devices were inserted and changed."""

from __future__ import annotations

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import DAY, HOUR, MINUTE, times
from ehrtraj.synth.tables.charting.cells import draw_cells, in_order, shared_columns
from ehrtraj.synth.tables.charting.plan import ChartingPlan, number_column
from ehrtraj.synth.tables.charting.rounds import Needs, Rounds


def draw_datetimeevents(block: PatientBlock, plan: ChartingPlan, needs: Needs, rounds: Rounds) -> pl.DataFrame:
    """Draw the dates charted in the rounds, and return datetimeevents."""
    rng = block.streams.rng("datetimeevents")
    table = catalog.read("datetime_items.csv").select("itemid", "unit", "before_hours", "cycle_hours")
    table = pl.DataFrame({"itemid": plan.dated.itemid}).join(table, on="itemid", maintain_order="left")
    cell, line = draw_cells(rng, plan.dated, rounds, needs, np.arange(len(plan.dated.itemid)))
    stay = rounds.stay[cell]
    order = in_order(block, rounds, cell, plan.dated.rank[line])
    cell, line, stay = cell[order], line[order], stay[order]
    # A device was inserted some time before the stay. Its parts are changed at regular intervals from then on.
    ago = rng.exponential(1.0, (len(needs.has), len(plan.groups) + 1))[stay, plan.dated.group[line]]
    begin = block.icu.arrival[stay] - (ago * number_column(table, "before_hours")[line] * HOUR).astype(np.int64)
    cycle = (number_column(table, "cycle_hours", np.inf)[line] * HOUR).clip(HOUR, 9_999 * DAY).astype(np.int64)
    time = rounds.time[cell]
    value = begin + (time - begin) // cycle * cycle
    dated = (table["unit"] == "Date").to_numpy()[line]
    value = np.where(dated, value - value % DAY, value - value % (5 * MINUTE))
    at_once = rng.random(len(rounds.stay)) < 0.55
    stored = Rounds(**{**vars(rounds), "store": np.where(at_once, rounds.time, rounds.store)})
    columns = shared_columns(block, stored, cell)
    columns |= {
        "itemid": pl.Series(plan.dated.itemid[line]),
        "value": times(value),
        "valueuom": table["unit"].gather(line),
        "warning": pl.Series(np.zeros(len(line), dtype=np.int64)),
    }
    return pl.DataFrame(columns)
