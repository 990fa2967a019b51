"""Draw inputs, outputs and procedures in intensive care.

inputevents, ingredientevents, outputevents and procedureevents are drawn in the same way. A line of the catalog is a
kind of care: which stays need it, and during which part of the stay. Each stay that needs it gets a course of care. The
course becomes rows: changes of rate and bags of an infusion, doses, measured volumes, or a process from start to end.
"""

from __future__ import annotations

import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.tables.fluids.care import OUTPUTS, PROCEDURES, draw_care
from ehrtraj.synth.tables.fluids.inputevents import ingredient_frame, input_frame, input_lines
from ehrtraj.synth.tables.fluids.inputs import draw_inputs
from ehrtraj.synth.tables.fluids.outputs import output_frame
from ehrtraj.synth.tables.fluids.procedures import draw_processes, procedure_frame


def draw(block: PatientBlock) -> dict[str, pl.DataFrame]:
    """Return inputevents, ingredientevents, outputevents and procedureevents for a block."""
    care = draw_care(block)
    orders = draw_inputs(care)
    processes = draw_processes(care)
    count = len(orders.stay) + len(processes.stay)
    # The IDs are shuffled, since consecutive IDs differ by a constant.
    ids = block.streams.rng("fluids orders").permutation(block.streams.unique_ids("order", count))
    lines = input_lines(care, orders, ids[: len(orders.stay)])
    return {
        "icu/inputevents": input_frame(care, lines),
        "icu/ingredientevents": ingredient_frame(care, lines),
        "icu/outputevents": output_frame(care),
        "icu/procedureevents": procedure_frame(care, processes, ids[len(orders.stay) :]),
    }


def dictionaries() -> dict[str, pl.DataFrame]:
    """Return the items of the four tables, for d_items, in order of itemid."""
    columns = ["itemid", "label", "abbreviation", "linksto", "category", "unitname", "param_type"]
    items = pl.concat(
        [
            catalog.read("inputs.csv").select(columns),
            catalog.read(OUTPUTS).with_columns(linksto=pl.lit("outputevents")).select(columns),
            catalog.read(PROCEDURES).with_columns(linksto=pl.lit("procedureevents")).select(columns),
        ]
    )
    nothing = pl.lit(None, dtype=pl.Float64)
    return {"icu/d_items": items.sort("itemid").with_columns(lownormalvalue=nothing, highnormalvalue=nothing)}
