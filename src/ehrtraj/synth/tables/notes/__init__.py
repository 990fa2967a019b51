"""Draws discharge summaries and radiology reports, put together from the pieces of text in `catalog/notes`.

Numbers are those of MIMIC-IV-Note 2.2: 331,793 summaries and 2,321,355 reports of 431,231 admissions. A piece of text
is cut, once, at its blanks into fragments; all fragments, and all numbers that a note can quote, have a place in one
list, the vocabulary. A note is then a run of places in it, and columns of numbers make it without looking at text.
"""

from __future__ import annotations

import polars as pl

from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.tables.notes.discharge import draw_discharge
from ehrtraj.synth.tables.notes.radiology import draw_radiology


def draw(block: PatientBlock) -> dict[str, pl.DataFrame]:
    """Return the notes of the block's patients, and the details of each."""
    return {**draw_discharge(block), **draw_radiology(block)}
