"""Arrays and series for the columns of orders: texts, identifiers and empty values."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import Bools, Floats, Ints

MISSING = -1
"""Index of an empty value: `take` returns null for it."""


def codes_of(column: pl.Series, names: tuple[str, ...]) -> Ints:
    """Return the position of each value of a column among `names`."""
    position_by_name = {name: number for number, name in enumerate(names)}
    return np.array([position_by_name[value] for value in column], dtype=np.int64)


def floats(column: pl.Series) -> Floats:
    """Return a column as floats."""
    values: Floats = column.cast(pl.Float64).to_numpy()
    return values


def floats_or(column: pl.Series, missing: float) -> Floats:
    """Return a column as floats, with `missing` for nulls."""
    return floats(column.cast(pl.Float64).fill_null(missing))


def positions(index: Ints | Bools) -> pl.Series:
    """Return positions in the type that polars looks up fastest."""
    return pl.Series(index.astype(np.uint32))


def take(values: pl.Series, index: Ints | Bools) -> pl.Series:
    """Return values[index], with null for negative indices. The last value must be null."""
    result: pl.Series = values[positions(np.where(index < 0, len(values) - 1, index))]
    return result


def same(value: str | None, count: int, dtype: pl.DataType | type[pl.DataType] = pl.String) -> pl.Series:
    """Return a column that repeats one value `count` times."""
    return pl.Series([value], dtype=dtype).new_from_index(0, count)


def with_null(column: pl.Series) -> pl.Series:
    """Return a column with a null appended, as `take` needs it."""
    return pl.concat([column, pl.Series([None], dtype=column.dtype)])


@cache
def providers() -> pl.Series:
    """Return the providers who write and chart orders, followed by a null."""
    return with_null(catalog.staff()[0])


@cache
def digits(count: int) -> pl.Series:
    """Return the numbers from 0 to count - 1 as texts, followed by a null."""
    return with_null(pl.Series(np.arange(count)).cast(pl.String))


def order_by_time(person: Ints, time: Ints) -> Ints:
    """Return the positions of rows in stable order of patient and time."""
    place: Ints = np.argsort((person << 36) + time, kind="stable")
    return place


def number_within_patient(person: Ints) -> Ints:
    """Number the rows of each patient from 1. Rows must be sorted by patient."""
    number: Ints = np.arange(len(person)) - np.searchsorted(person, person, side="left") + 1
    return number


def numbered_ids(block: PatientBlock, person: Ints, number: Ints) -> pl.Series:
    """Return identifiers in the form subject_id-number, such as poe_id and emar_id."""
    subjects = pl.Series(block.people.subject_id).cast(pl.String) + "-"
    most = int(number.max()) if len(number) else 0
    return subjects[positions(person)] + digits(1024 * (1 + most // 1024))[positions(number)]


def hadm_ids(block: PatientBlock, episode: Ints) -> pl.Series:
    """Return the hadm_id of episodes; null for visits to the emergency department without admission."""
    admitted = len(block.admissions.person)
    known = pl.concat([pl.Series(block.admissions.hadm_id, dtype=pl.Int64), pl.Series([None], dtype=pl.Int64)])
    return take(known, np.where(episode < admitted, episode, MISSING))
