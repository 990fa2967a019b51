"""The most common numeric items, with the distribution of their numbers before and after cleaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj.reports.files import DatasetFiles, counts_by
from ehrtraj.reports.masking import FEWEST, Masking, Shown

MOST_ITEMS = 100
_MOST_SCORES = 12
"""A distribution of so few integers has a bar for each."""
_BARS = 36
_LOGARITHMIC = 200.0
"""Ratio of the largest and the smallest number from which the axis is logarithmic."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bars:
    """The bars of a histogram.

    Attributes:
        edges: bounds of the bars on the axis, from 0 to 1, one more than bars.
        before: height of each bar before cleaning, from 0 to 1.
        after: the same after cleaning.
        ticks: positions on the axis, and their labels.
    """

    edges: Floats
    before: Floats
    after: Floats
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class ItemFacts:
    """The numbers of one code.

    Attributes:
        code: the code.
        description: its description.
        unit: unit of the numbers after cleaning.
        before: number of numbers before cleaning.
        after: number of numbers after cleaning.
        removed: by how many there are fewer.
        differs: whether cleaning changed the distribution as it is shown.
        bars: the histogram; None if no bin contains enough numbers.
        is_logarithmic: whether the axis is logarithmic.
        outside: numbers outside of the axis, before cleaning.
    """

    code: str
    description: str
    unit: str
    before: Shown
    after: Shown
    removed: Shown
    differs: bool
    bars: Bars | None
    is_logarithmic: bool
    outside: Shown


@dataclass(frozen=True)
class _Bins:
    """The bins of a code, in the order of their bounds."""

    low: Floats
    high: Floats
    before: list[int]
    after: list[int]


def item_facts(files: DatasetFiles, nameable: Mapping[str, str], masking: Masking) -> tuple[ItemFacts, ...]:
    """Return the most common numeric items that may be named, the most common first.

    Args:
        files: files of the dataset.
        nameable: description of each code that may be named.
        masking: how counts are shown.
    """
    totals = counts_by(files.numbers, ["code"], "before")
    shown = {code: masking.count(number) for code, number in totals.items() if code in nameable}
    common = [code for code, count in shown.items() if not count.masked and count.size]
    common = sorted(common, key=lambda code: (-shown[code].size, code))[:MOST_ITEMS]
    rows = files.numbers.filter(pc.is_in(files.numbers["code"], pa.array(common, pa.string())))
    units = _units(files, common)
    by_code = {code: _bins(rows.filter(pc.equal(rows["code"], code))) for code in common}
    return tuple(_item(code, nameable[code], units.get(code, ""), by_code[code], masking) for code in common)


def _units(files: DatasetFiles, codes: Sequence[str]) -> dict[str, str]:
    rows = files.codes.filter(pc.is_in(files.codes["code"], pa.array(codes, pa.string())))
    return {code: unit or "" for code, unit in zip(rows["code"].to_pylist(), rows["unit"].to_pylist(), strict=True)}


def _bins(rows: pa.Table) -> _Bins:
    rows = rows.sort_by("low")
    low, high = (rows[name].to_numpy().astype(np.float64) for name in ("low", "high"))
    return _Bins(low, high, rows["before"].to_pylist(), rows["after"].to_pylist())


def _item(code: str, description: str, unit: str, bins: _Bins, masking: Masking) -> ItemFacts:
    before, after = ([masking.count(number) for number in numbers] for numbers in (bins.before, bins.after))
    visible = _visible(before, after)
    inside = slice(visible[0], visible[-1] + 1) if visible else slice(0, 0)
    total_before, total_after = sum(bins.before), sum(bins.after)
    outside = total_before - sum(bins.before[inside])
    # The bars show the bins inside, of which the ten of each can be read from its height.
    parts = [*bins.before[inside], outside]
    removed = total_before - total_after
    low, high = bins.low[inside], bins.high[inside]
    is_logarithmic = bool(visible) and bool(low[0] > 0) and bool(high[-1] / low[0] > _LOGARITHMIC)
    sizes = [np.array([one.size for one in counts[inside]], np.float64) for counts in (before, after)]
    return ItemFacts(
        code=code,
        description=description,
        unit=unit,
        before=masking.total(total_before, parts, *([[total_after, removed]] if removed > 0 else [])),
        after=masking.total(total_after, [*bins.after[inside], total_after - sum(bins.after[inside])]),
        removed=masking.count(max(removed, 0)),
        differs=any(one != other for one, other in zip(before, after, strict=True)),
        bars=_bars(low, high, *sizes, is_logarithmic=is_logarithmic) if visible else None,
        is_logarithmic=is_logarithmic,
        outside=masking.count(outside),
    )


def _visible(before: Sequence[Shown], after: Sequence[Shown]) -> list[int]:
    """Return the bins between which the axis extends. A rare extreme number could identify a patient."""
    return [n for n, pair in enumerate(zip(before, after, strict=True)) if any(c.size >= FEWEST for c in pair)]


def _bars(low: Floats, high: Floats, before: Floats, after: Floats, *, is_logarithmic: bool) -> Bars:
    occupied = np.flatnonzero(before + after)
    if len(occupied) <= _MOST_SCORES and _are_integers(low[occupied], high[occupied]):
        return _single_bars(low[occupied], before[occupied], after[occupied])
    if is_logarithmic:
        low, high = np.log10(low), np.log10(high)
    edges = np.linspace(low[0], high[-1], _BARS + 1)
    shares = np.clip(np.minimum(high[:, None], edges[1:]) - np.maximum(low[:, None], edges[:-1]), 0, None)
    shares /= (high - low)[:, None]
    heights_before, heights_after = before @ shares, after @ shares
    highest = max(heights_before.max(), heights_after.max())
    span = edges[-1] - edges[0]
    ticks = tuple(
        (float((at - edges[0]) / span), label)
        for at, label in _ticks(edges[0], edges[-1], is_logarithmic=is_logarithmic)
    )
    return Bars((edges - edges[0]) / span, heights_before / highest, heights_after / highest, ticks)


def _are_integers(low: Floats, high: Floats) -> bool:
    """Return whether no bin contains more than one integer, and each begins with one."""
    return bool(np.all(low == np.rint(low)) and np.all(high - low <= 1))


def _single_bars(values: Floats, before: Floats, after: Floats) -> Bars:
    """Return a bar for each number. All are equally wide."""
    n = len(values)
    highest = max(before.max(), after.max())
    every = 1 if n <= 6 else 2
    ticks = tuple(((k + 0.5) / n, number_text(float(v))) for k, v in enumerate(values) if k % every == 0)
    return Bars(np.linspace(0, 1, n + 1), before / highest, after / highest, ticks)


def _ticks(low: float, high: float, *, is_logarithmic: bool) -> list[tuple[float, str]]:
    """Return round numbers on the axis, with their labels."""
    if is_logarithmic:
        exponents = range(int(np.ceil(low)), int(np.floor(high)) + 1)
        every = max(1, len(exponents) // 4 + (len(exponents) % 4 > 0))
        return [(float(e), number_text(10.0**e)) for e in exponents if e % every == 0]
    rough = (high - low) / 3
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * next(f for f in (1, 2, 2.5, 5, 10) if f * power >= rough)
    first = np.ceil(low / step) * step
    return [(float(at), number_text(float(at))) for at in np.arange(first, high + step * 1e-9, step)]


def number_text(number: float) -> str:
    """Return a number of an axis as a short text."""
    if number == 0 or abs(number) < 1e-6:
        return "0"
    if abs(number) >= 1e5:
        return f"{number:.0e}".replace("e+0", "e").replace("e+", "e")
    return f"{number:.4g}"


def nameable_codes(files: DatasetFiles, masking: Masking) -> dict[str, str]:
    """Return the description of each code that may be named, empty if it adds nothing to the code."""
    codes = files.codes
    if not masking.exact:
        enough = pc.and_(pc.greater_equal(codes["n_events"], FEWEST), pc.greater_equal(codes["n_subjects"], FEWEST))
        codes = codes.filter(enough)
    meanings = files.meanings_of_event_types
    columns = (codes[name].to_pylist() for name in ("code", "event_type", "description"))
    return {code: _label(code, meanings.get(kind, ""), text or "") for code, kind, text in zip(*columns, strict=True)}


def _label(code: str, meaning: str, description: str) -> str:
    """Return the description of a code; empty if it only consists of the event type's meaning and the code."""
    return "" if meaning and description.startswith(f"{meaning}: ") else description
