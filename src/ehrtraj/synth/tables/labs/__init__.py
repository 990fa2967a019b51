"""Draws hosp/labevents and its dictionary hosp/d_labitems.

Blood is drawn from a patient at certain occasions. What the laboratory measures in it is drawn panel by panel; panels
that use the same tube at the same time are one specimen. Every result is a measurement of one of the patient's
signals, or follows from other results of the same specimen by a formula of the catalog.
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
    """Return hosp/labevents of the block's patients, and keep it in the block's cache for the chart."""
    rng = block.streams.rng(TABLE)
    draws = draw_occasions(block, rng)
    specimens, specimen, item = draw_specimens(block, rng, draws)
    value = draw_values(block, rng, draws, specimens, specimen, item)
    known = ~np.isnan(value)
    frame = lab_frame(block, rng, draws, specimens, specimen[known], item[known], value[known])
    block.cache[TABLE] = frame
    return {TABLE: frame}


def dictionaries() -> dict[str, pl.DataFrame]:
    """Return hosp/d_labitems."""
    return {"hosp/d_labitems": read_items().table.select("itemid", "label", "fluid", "category")}


def echo_source(block: PatientBlock) -> pl.DataFrame:
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


__all__ = ["dictionaries", "draw", "echo_source"]
