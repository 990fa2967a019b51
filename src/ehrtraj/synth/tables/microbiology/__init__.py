"""Draw microbiologyevents: specimens, tests, isolated organisms and their resistance to antibiotics."""

from __future__ import annotations

import numpy as np
import polars as pl

from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import NONE, integers
from ehrtraj.synth.tables.microbiology.columns import growth_columns, rows_at, specimen_columns, test_columns
from ehrtraj.synth.tables.microbiology.results import draw_results
from ehrtraj.synth.tables.microbiology.specimens import draw_specimens
from ehrtraj.synth.tables.microbiology.susceptibility import draw_rows


def draw(block: PatientBlock) -> dict[str, pl.DataFrame]:
    """Return microbiologyevents for a block."""
    rng = block.streams.rng("microbiology")
    specimens = draw_specimens(rng, block)
    tests, isolates = draw_results(rng, block, specimens)
    test, isolate, line, interpretation = draw_rows(rng, specimens, tests, isolates)
    organism = np.where(isolate >= 0, isolates.organism[isolate], -1)
    number = np.where(isolate >= 0, isolates.number[isolate], NONE)
    frame = pl.concat(
        [
            pl.DataFrame(
                {"microevent_id": block.streams.serial_ids(30_000, len(test)), "isolate_num": integers(number)}
            ),
            rows_at(specimen_columns(rng, block, specimens), tests.specimen[test]),
            rows_at(test_columns(rng, specimens, tests), test),
            *growth_columns(rng, organism, line, interpretation),
        ],
        how="horizontal",
    )
    return {"hosp/microbiologyevents": frame.select(_COLUMNS)}


_COLUMNS = (
    "microevent_id", "subject_id", "hadm_id", "micro_specimen_id", "order_provider_id", "chartdate", "charttime",
    "spec_itemid", "spec_type_desc", "test_seq", "storedate", "storetime", "test_itemid", "test_name", "org_itemid",
    "org_name", "isolate_num", "quantity", "ab_itemid", "ab_name", "dilution_text", "dilution_comparison",
    "dilution_value", "interpretation", "comments",
)  # fmt: skip


__all__ = ["draw"]
