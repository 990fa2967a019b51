"""Frames of notes and their details, in the form that both kinds of notes share."""

from __future__ import annotations

import numpy as np
import polars as pl

from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import Bools, Ints, repeat, times


def draw_addenda(rng: np.random.Generator, count: int, share: float) -> tuple[Ints, Bools]:
    """Draw which notes have an addendum; return, for notes and addenda, the number of the note, and if it is one."""
    note, ordinal = repeat(1 + (rng.random(count) < share).astype(np.int64))
    return note, ordinal == 1


def note_frame(
    rng: np.random.Generator,
    block: PatientBlock,
    person: Ints,
    admission: Ints,
    addendum: Bools,
    kinds: tuple[str, str],
    charted: Ints,
    stored: Ints,
    text: pl.Series,
) -> pl.DataFrame:
    """Return a table of notes. Its rows must be in order of patient and time, with addenda after their notes."""
    subject, kind = block.subject_id(person), pl.Series(kinds)[addendum.astype(np.int64)]
    # Numbers ascend with time in each patient. Some are skipped, as for notes that are not in the release.
    step = np.cumsum(1 + rng.geometric(0.7, len(person)) - (rng.random(len(person)) < 0.9))
    first = np.searchsorted(person, person)
    number = step - step[first] + rng.integers(1, 25, len(person))[first]
    return pl.DataFrame(
        {
            "subject_id": subject,
            "hadm_id": block.hadm_id(admission),
            "note_type": kind,
            "note_seq": number,
            "charttime": times(charted),
            "storetime": times(stored),
            "text": text,
        }
    ).select(pl.concat_str("subject_id", "note_type", "note_seq", separator="-").alias("note_id"), pl.all())


def detail_frame(frame: pl.DataFrame, parts: list[tuple[str, Ints, pl.Series]]) -> pl.DataFrame:
    """Return the details of notes. Each part has a field name, the rows of notes with that field, and their values."""
    row = np.concatenate([rows for _, rows, _ in parts])
    part = np.repeat(np.arange(len(parts)), [len(rows) for _, rows, _ in parts])
    order = np.lexsort((part, row))
    notes = frame.select("note_id", "subject_id")[row[order]]
    return pl.DataFrame(
        {
            "note_id": notes["note_id"],
            "subject_id": notes["subject_id"],
            "field_name": pl.Series([name for name, _, _ in parts])[part[order]],
            "field_value": pl.concat([values for _, _, values in parts])[order],
            "field_ordinal": np.ones(len(row), dtype=np.int64),
        }
    )


def addendum_links(frame: pl.DataFrame, addendum: Bools) -> list[tuple[str, Ints, pl.Series]]:
    """Return the details that link addenda to the notes they follow, and notes to their addenda."""
    rows = np.flatnonzero(addendum)
    return [
        ("addendum_note_id", rows - 1, frame["note_id"][rows]),
        ("parent_note_id", rows, frame["note_id"][rows - 1]),
    ]
