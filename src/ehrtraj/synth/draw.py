"""Random streams, unique identifiers and ragged columns: the tools for drawing every table of a synthetic release."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

NONE = np.iinfo(np.int64).min
"""Marks a missing time or number in int64 arrays."""

MINUTE = 60
HOUR = 3600
DAY = 86400


@dataclass(frozen=True)
class IdSpace:
    """A range of identifiers that blocks share without coordination.

    Args:
        base: lowest identifier.
        size: number of identifiers. It is prime, so that multiplying by any smaller number is a permutation.
        stride: number of identifiers that each block may use.
    """

    base: int
    size: int
    stride: int


# The ranges are those of MIMIC-IV: hadm_id starts at 20,000,000; stays and transfers share a range from 30,000,000.
# The 2,894 blocks of the largest release times the stride stay below each size.
ID_SPACES = {
    "hadm": IdSpace(20_000_000, 9_999_991, 3_400),
    "transfer": IdSpace(30_000_000, 9_999_991, 3_400),
    "pharmacy": IdSpace(10_000_000, 89_999_999, 30_000),
    "specimen": IdSpace(1, 99_999_989, 34_000),
    "micro_specimen": IdSpace(1, 9_999_991, 3_400),
    "order": IdSpace(1, 89_999_999, 30_000),
}
# The same for every seed. Identifiers are unique and look unordered, but carry no information.
SCATTER = 5_654_267


class Streams:
    """Independent random streams of one block of patients, one for each name.

    If a table draws more or fewer numbers, other tables stay the same. Blocks do not depend on each other.
    """

    def __init__(self, seed: int, block: int) -> None:
        self.seed = seed
        self.block = block

    def rng(self, name: str) -> np.random.Generator:
        """Return the stream named `name`, from its beginning."""
        sequence = np.random.SeedSequence(self.seed, spawn_key=(self.block, zlib.crc32(name.encode())))
        return np.random.Generator(np.random.SFC64(sequence))

    def unique_ids(self, space: str, count: int) -> Ints:
        """Return `count` identifiers of a space, unique across blocks, in no visible order. Call once per space."""
        ids = ID_SPACES[space]
        if count > ids.stride:
            raise OverflowError(f"a block of patients needs {count} {space} IDs, but only {ids.stride} are available")
        position = self.block * ids.stride + np.arange(count, dtype=np.int64)
        return ids.base + (position * SCATTER + SCATTER // 3) % ids.size

    def serial_ids(self, stride: int, count: int) -> Ints:
        """Return `count` ascending identifiers that are higher than those of all earlier blocks."""
        if count > stride:
            raise OverflowError(f"a block of patients needs {count} serial IDs, but only {stride} are available")
        return 1 + self.block * stride + np.arange(count, dtype=np.int64)


def repeat(counts: Ints) -> tuple[Ints, Ints]:
    """Repeat each parent i counts[i] times; return the parent of each row and the row's ordinal within it, from 0."""
    counts = np.asarray(counts, dtype=np.int64)
    parent = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    first = np.cumsum(counts) - counts
    return parent, np.arange(len(parent), dtype=np.int64) - first[parent]


def pick(rng: np.random.Generator, weights: Floats, count: int) -> Ints:
    """Draw `count` indices by one-dimensional weights, which need not sum to one."""
    edges = np.cumsum(weights)
    drawn: Ints = np.searchsorted(edges, rng.random(count) * edges[-1], side="right").astype(np.int64)
    return drawn


def pick_rows(rng: np.random.Generator, weights: Floats) -> Ints:
    """Draw one index per row of a matrix of weights."""
    edges = np.cumsum(weights, axis=1)
    drawn: Ints = (edges < rng.random(len(weights))[:, None] * edges[:, -1:]).sum(axis=1).astype(np.int64)
    return drawn


def times(seconds: Ints) -> pl.Series:
    """Convert seconds since 1970 to naive timestamps; NONE becomes null."""
    missing = seconds == NONE
    column = pl.Series(np.where(missing, 0, seconds) * 1_000_000).cast(pl.Datetime("us"))
    return blank(column, missing)


def dates(seconds: Ints) -> pl.Series:
    """Convert seconds since 1970 to dates; NONE becomes null."""
    return times(seconds).cast(pl.Date)


def integers(values: Ints) -> pl.Series:
    """Convert an array to an integer column; NONE becomes null."""
    return blank(pl.Series(values), values == NONE)


def blank(column: pl.Series, where: Bools) -> pl.Series:
    """Return the column with null wherever `where` is true."""
    if not where.any():
        return column
    return column.zip_with(pl.Series(~where), pl.Series([None], dtype=column.dtype).new_from_index(0, len(column)))


def choose(values: pl.Series, index: Ints) -> pl.Series:
    """Return values[index], with null for negative indices."""
    # One gather from values that end with a null. Setting nulls afterwards costs more (zip_with, 30 ns per row).
    with_null = values.extend_constant(None, 1)
    return with_null[np.where(index < 0, len(values), index)]


def minutes(seconds: Ints) -> Ints:
    """Truncate times to whole minutes, as charting records them; NONE stays NONE."""
    return np.where(seconds == NONE, NONE, seconds - seconds % MINUTE)


def decimals(values: Floats, places: Ints) -> tuple[Floats, pl.Series]:
    """Round each value to its number of decimal places; return numbers and their charted text (4.10, 7, 0.05)."""
    scale = 10.0**places
    scaled = np.rint(values * scale).astype(np.int64)
    # A chart repeats few different numbers many times. Each is formatted once here.
    key = pl.Series(scaled * 8 + places)
    distinct = key.unique()
    text = [_fixed(number >> 3, number & 7) for number in distinct.to_list()]
    lookup = pl.DataFrame({"key": distinct, "text": text})
    joined = pl.DataFrame({"key": key}).join(lookup, on="key", how="left", maintain_order="left")
    return scaled / scale, joined["text"]


def _fixed(number: int, places: int) -> str:
    return f"{number / 10**places:.{places}f}"
