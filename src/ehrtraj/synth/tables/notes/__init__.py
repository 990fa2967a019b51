"""Draw discharge summaries and radiology reports from the pieces of text in `catalog/notes`.

The numbers of notes are those of MIMIC-IV-Note 2.2: 331,793 summaries and 2,321,355 reports in 431,231 admissions.
Pieces of text are split once, at their blanks, into fragments. The vocabulary lists all fragments and all numbers that
a note can quote. A note is a sequence of positions in the vocabulary, so it is made from columns of integers.
"""

from __future__ import annotations

import polars as pl

from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.tables.notes.discharge import draw_discharge
from ehrtraj.synth.tables.notes.radiology import draw_radiology


def draw(block: PatientBlock) -> dict[str, pl.DataFrame]:
    """Return notes and their details for a block."""
    return {**draw_discharge(block), **draw_radiology(block)}
