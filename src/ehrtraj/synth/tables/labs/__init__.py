"""Draw hosp/labevents and its dictionary hosp/d_labitems.

Specimens are taken from a patient on certain occasions. The panels that are ordered on each occasion are drawn one by
one; panels that use the same tube at the same time share a specimen. Every result is a measurement of one of the
patient's signals, or is calculated from other results of the same specimen by a formula of the catalog.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.tables.labs.items import read_items
from ehrtraj.synth.tables.labs.occasions import draw_occasions
from ehrtraj.synth.tables.labs.rows import lab_frame
from ehrtraj.synth.tables.labs.specimens import draw_specimens
from ehrtraj.synth.tables.labs.values import draw_values

TABLE = "hosp/labevents"


def draw(block: PatientBlock) -> dict[str, pl.DataFrame]:
    """Return hosp/labevents for a block, and store it in the block's cache for the chart."""
    rng = block.streams.rng(TABLE)
    occasions = draw_occasions(block, rng)
    specimens, specimen, item = draw_specimens(block, rng, occasions)
    value = draw_values(block, rng, occasions, specimens, specimen, item)
    known = ~np.isnan(value)
    frame = lab_frame(block, rng, occasions, specimens, specimen[known], item[known], value[known])
    block.cache[TABLE] = frame
    return {TABLE: frame}


def dictionaries() -> dict[str, pl.DataFrame]:
    """Return hosp/d_labitems."""
    return {"hosp/d_labitems": read_items().table.select("itemid", "label", "fluid", "category")}


def numeric_results(block: PatientBlock) -> pl.DataFrame:
    """Return the numeric results, for tables that copy them.

    The columns are `person` (number within the block), `hadm_id`, `charttime`, `storetime`, `itemid`, `value` and
    `valuenum`. hosp/labevents is drawn first if it is not in the block's cache.
    """
    frame = block.cache[TABLE] if TABLE in block.cache else draw(block)[TABLE]
    person = np.searchsorted(block.people.subject_id, frame["subject_id"].to_numpy())
    return (
        frame.with_columns(person=pl.Series(person.astype(np.int64)))
        .filter(pl.col("valuenum").is_not_null())
        .select("person", "hadm_id", "charttime", "storetime", "itemid", "value", "valuenum")
    )


__all__ = ["dictionaries", "draw", "numeric_results"]
