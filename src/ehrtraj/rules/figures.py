"""Check that the limits in a line of `limits.csv` are within the published ranges that it cites.

The column `figures` contains one range per source, such as `R 0-300; C 21.5-40 %; E 14-330; M above 0, below 300`:
ranges `a-b`, and bounds `from a`, `above a`, `up to b` and `below b`. A range in another unit is repeated in the item's
unit after an equals sign: `C 0-10000 ng/L = 0-10 ng/mL`. The range found in a dataset (`DATASET: ...`) is not a limit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import inf

_NUMBER = r"-?[0-9]+(?:[.][0-9]+)?"
_RANGE = re.compile(rf"({_NUMBER}) ?(?:-|to) ?({_NUMBER})")
_FROM = re.compile(rf"\b(from|above) ({_NUMBER})")
_TO = re.compile(rf"\b(?:up to|below) ({_NUMBER})")
_ASSUMED = "assumption"
_LOW, _HIGH = ("low", "suspicious_low"), ("high", "suspicious_high")


def cited_range(figures: str) -> tuple[float, float] | None:
    """Return the union of the ranges in the column `figures`, or None if it contains none.

    Args:
        figures: ranges by source, separated by semicolons.
    """
    lows: list[float] = []
    highs: list[float] = []
    for part in re.split(r"[;,]", figures):
        if ":" in part:
            continue
        for low, high in _RANGE.findall(part):
            lows.append(float(low))
            highs.append(float(high))
        for word, low in _FROM.findall(part):
            lows.append(float(low))
            if word == "from":
                highs.append(inf)
        highs += [float(high) for high in _TO.findall(part)]
    if not lows and not highs:
        return None
    return min(lows, default=-inf), max(highs, default=inf)


def problem_of_limits(line: Mapping[str, str]) -> str | None:
    """Return the problem with the limits of a line if they exceed every cited range without declaring it.

    Args:
        line: line of `limits.csv` whose limits are numbers.

    Returns:
        A sentence, or None if there is no problem or `source` declares the limit as an assumption.
    """
    if _ASSUMED in line["source"]:
        return None
    found = cited_range(line["figures"])
    if found is None:
        return "figures contains no range: cite the ranges that the limits are based on, such as `C 0-300`"
    low, high = found
    for column in (*_LOW, *_HIGH):
        if line[column] and not low <= float(line[column]) <= high:
            return (
                f"{column} is {line[column]}, outside all ranges in figures ({low:g} to {high:g}). Correct it, or "
                f"declare it as an {_ASSUMED} in source"
            )
    return None
