"""The distribution of a code's numbers, from the bins that the build counted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import polars as pl

_BARS = 48
_TICKS = 5
# The rarest numbers are left out at both ends, because one wrong number would squeeze all others into one bar.
_LEFT_OUT = 0.005
# From this ratio on, the axis is logarithmic.
_WIDE = 100
_QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
WIDTH, HEIGHT = 640, 180


@dataclass(frozen=True)
class Bar:
    """One bar, in the units of the drawing.

    Attributes:
        x: left end.
        width: width.
        after: height for the numbers after cleaning.
        before: height for the numbers before cleaning.
    """

    x: float
    width: float
    after: float
    before: float


@dataclass(frozen=True)
class Histogram:
    """A drawing of the distribution.

    Attributes:
        bars: bars from low to high.
        ticks: position and number of each tick of the axis.
        logarithmic: whether the axis is logarithmic.
        quantiles: some quantiles of the numbers after cleaning. They are exact to the width of a bin, an eighth.
        before: count of numbers in the source.
        after: count of numbers after cleaning.
        below: count of numbers after cleaning that are lower than the axis.
        above: count of numbers after cleaning that are higher than the axis.
    """

    bars: list[Bar]
    ticks: list[tuple[float, float]]
    logarithmic: bool
    quantiles: list[tuple[float, float]]
    before: int
    after: int
    below: int
    above: int


@dataclass(frozen=True)
class _Bin:
    low: float
    high: float
    before: int
    after: int


def histogram(rows: pl.DataFrame) -> Histogram | None:
    """Return the distribution of a code's numbers; None if it has none.

    Args:
        rows: the rows of `tallies/numbers.parquet` for one code.
    """
    finite = pl.col("low").is_finite() & pl.col("high").is_finite()
    counted = rows.filter(finite).sort("low").select("low", "high", "before", "after")
    bins = [_Bin(*row) for row in counted.iter_rows()]
    after = sum(one.after for one in bins)
    if not after:
        return None
    low, high = _bin_at(bins, _LEFT_OUT).low, _bin_at(bins, 1 - _LEFT_OUT).high
    logarithmic = low > 0 and high / low >= _WIDE
    edges = [_between(low, high, number / _BARS, logarithmic=logarithmic) for number in range(_BARS + 1)]
    return Histogram(
        bars=_bars(bins, edges),
        ticks=[
            (WIDTH * _part(low, high, tick, logarithmic=logarithmic), tick)
            for tick in _ticks(low, high, logarithmic=logarithmic)
        ],
        logarithmic=logarithmic,
        quantiles=[(quantile, _quantile(bins, quantile)) for quantile in _QUANTILES],
        before=sum(one.before for one in bins),
        after=after,
        below=sum(one.after for one in bins if one.high <= low),
        above=sum(one.after for one in bins if one.low >= high),
    )


def _between(low: float, high: float, part: float, *, logarithmic: bool) -> float:
    if logarithmic:
        return math.exp(math.log(low) + part * (math.log(high) - math.log(low)))
    return low + part * (high - low)


def _part(low: float, high: float, number: float, *, logarithmic: bool) -> float:
    """Return the position of a number on the axis, from 0 to 1. The inverse of `_between`."""
    if logarithmic:
        return math.log(number / low) / math.log(high / low)
    return (number - low) / (high - low)


def _ticks(low: float, high: float, *, logarithmic: bool) -> list[float]:
    """Return round numbers for the axis: powers of ten, or multiples of 1, 2 or 5 times a power of ten."""
    if logarithmic:
        return [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    least = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _bin_at(bins: list[_Bin], quantile: float) -> _Bin:
    """Return the bin that contains a quantile of the numbers after cleaning."""
    wanted = quantile * sum(one.after for one in bins)
    passed = 0
    for one in bins:
        passed += one.after
        if passed >= wanted and one.after:
            return one
    return bins[-1]


def _quantile(bins: list[_Bin], quantile: float) -> float:
    one = _bin_at(bins, quantile)
    before = sum(other.after for other in bins if other.low < one.low)
    inside = (quantile * sum(other.after for other in bins) - before) / one.after
    return one.low + min(max(inside, 0), 1) * (one.high - one.low)


def _bars(bins: list[_Bin], edges: list[float]) -> list[Bar]:
    """Return the bars between edges. A bin that several bars share is divided by their widths."""
    counts = []
    for left, right in pairwise(edges):
        parts = [(_shared(one, left, right), one) for one in bins]
        counts.append((sum(part * one.after for part, one in parts), sum(part * one.before for part, one in parts)))
    highest = max(max(pair) for pair in counts) or 1
    width = WIDTH / len(counts)
    return [
        Bar(number * width, width, HEIGHT * after / highest, HEIGHT * before / highest)
        for number, (after, before) in enumerate(counts)
    ]


def _shared(one: _Bin, left: float, right: float) -> float:
    return max(0.0, min(one.high, right) - max(one.low, left)) / (one.high - one.low)
