"""Columns, statuses and the sort order that the four tables share."""

from __future__ import annotations

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import MINUTE, Floats, Ints, pick
from ehrtraj.synth.tables.fluids.care import Care

STATUSES = ("FinishedRunning", "ChangeDose/Rate", "Stopped", "Paused", "Bolus")
FINISHED, CHANGED, ON_PAUSE, BOLUS = 0, 1, 3, 4


def draw_status(rng: np.random.Generator, field: str, count: int) -> Ints:
    """Draw statuses, as positions in STATUSES, by the weights of a field of choices_fluids.csv."""
    values, weights = catalog.choices(field)
    numbers = np.array([STATUSES.index(value) for value in values], dtype=np.int64)
    return numbers[pick(rng, weights, count)]


def as_single(values: Floats) -> Floats:
    """Round values to single precision, as the real tables do for ordered values."""
    return values.astype(np.float32).astype(np.float64)


def stored_times(rng: np.random.Generator, time: Ints, field: str = "fluids_input_delay") -> Ints:
    """Return when rows charted for a time were stored: immediately, or minutes to hours later."""
    values, weights = catalog.choices(field)
    delay = values.cast(pl.Int64).to_numpy()[pick(rng, weights, len(time))]
    stored: Ints = time + delay * MINUTE
    return stored


def in_order(care: Care, stay: Ints, time: Ints, item: Ints, orderid: Ints) -> Ints:
    """Return the positions of rows in order of subject_id, time, itemid and orderid."""
    return np.lexsort((orderid, item, time, care.block.icu.person[stay])).astype(np.int64)


def patient_columns(care: Care, stay: Ints) -> dict[str, pl.Series]:
    """Return the columns subject_id, hadm_id and stay_id."""
    icu = care.block.icu
    return {
        "subject_id": care.block.subject_id(icu.person[stay]),
        "hadm_id": pl.Series(care.block.admissions.hadm_id[icu.admission[stay]]),
        "stay_id": pl.Series(icu.stay_id[stay]),
    }


def nullable(values: Floats) -> pl.Series:
    """Return numbers as a column, with null for NaN."""
    return pl.Series(values, nan_to_null=True)
