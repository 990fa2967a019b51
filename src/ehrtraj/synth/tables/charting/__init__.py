"""Draw what nurses chart in intensive care: icu/chartevents and icu/datetimeevents.

Half of all rows of a release are chartevents, so all steps use flat arrays: first the rounds (a stay, a time and a
group of items), then the cells of each round (the items charted in it), then the columns. MIMIC-IV 3.1 has 432,997,491
chartevents and 9,979,761 datetimeevents in 94,458 stays (published row counts), which is 4,584 and 106 per stay.
`catalog/chart.csv` defines what is charted and how often, `chart_rounds.csv` when, and `chart_needs.csv` for which
patients.
"""

from __future__ import annotations

import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.tables.charting.chartevents import draw_chartevents
from ehrtraj.synth.tables.charting.datetimeevents import draw_datetimeevents
from ehrtraj.synth.tables.charting.plan import read_plan
from ehrtraj.synth.tables.charting.rounds import draw_needs, draw_rounds


def draw(block: PatientBlock) -> dict[str, pl.DataFrame]:
    """Return chartevents and datetimeevents for a block."""
    plan = read_plan()
    needs = draw_needs(block)
    rounds = draw_rounds(block, plan, needs)
    return {
        "icu/chartevents": draw_chartevents(block, plan, needs, rounds),
        "icu/datetimeevents": draw_datetimeevents(block, plan, needs, rounds),
    }


def dictionaries() -> dict[str, pl.DataFrame]:
    """Return the items of chartevents and datetimeevents, for d_items."""
    limits = [pl.col("lownormalvalue").cast(pl.Float64), pl.col("highnormalvalue").cast(pl.Float64)]
    names = [pl.col(name) for name in ("itemid", "label", "abbreviation")]
    others = [pl.col(name).cast(pl.String) for name in ("category", "unitname", "param_type")]
    dated = catalog.read("datetime_items.csv").with_columns(
        lownormalvalue=pl.lit(None, pl.Float64), highnormalvalue=pl.lit(None, pl.Float64)
    )
    frames = [
        frame.select(*names, pl.lit(table).alias("linksto"), *others, *limits)
        for frame, table in ((catalog.read("chart.csv"), "chartevents"), (dated, "datetimeevents"))
    ]
    return {"icu/d_items": pl.concat(frames).sort("itemid")}
