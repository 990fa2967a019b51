"""Reference ranges, as recorded with the events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

Range = tuple[float | None, float | None]


def last_ranges(events: pl.DataFrame, names: Mapping[str, str]) -> dict[str, Range]:
    """Return the last recorded reference range of each code that has one.

    Args:
        events: events in order.
        names: attribute with the `low` and the `high` end; empty if the source does not record them.
    """
    if not names:
        return {}
    recorded = pl.any_horizontal(
        pl.col("attributes").str.contains(f'"{name}"', literal=True) for name in names.values()
    )
    # Only one text of each code is parsed: there can be a million.
    last = events.lazy().filter(recorded).group_by("code").agg(pl.col("attributes").last()).collect()
    return {code: _range(json.loads(text), names) for code, text in last.iter_rows()}


def _range(attributes: Mapping[str, Any], names: Mapping[str, str]) -> Range:
    low, high = (_number(attributes.get(names.get(end, ""))) for end in ("low", "high"))
    return low, high


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
