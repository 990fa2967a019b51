"""Bars: drugs, infusions, procedures and care units, a lane for each item."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import polars as pl

from ehrtraj.timeline.choices import Choice
from ehrtraj.timeline.patient import AT, TYPE, Patient, in_seconds, label_of
from ehrtraj.timeline.thin import FEWEST_PIXELS, clusters

# Above this number, bars that are close to each other are joined.
_MOST_BARS = 4000
_MOST_LANES = 400
Lane = tuple[Choice, str, str, pl.DataFrame]
"""The line that chose the bars, code and label, and the bars: `start`, `end`, `text`."""


def bars_of(
    patient: Patient, events: pl.DataFrame, period: tuple[int, int] | None, width: int
) -> tuple[list[dict[str, Any]], bool]:
    """Return the lanes of bars in a period, and whether bars were joined.

    Args:
        patient: a trajectory.
        events: its events with times in seconds.
        period: start and end, inclusive; None if nothing has a time.
        width: width of the picture in pixels.

    Returns:
        Lanes in the order of the choices, the most frequent item first. Each has `group`, `open` (visible at first),
        `code`, `label`, and lists with an entry for each bar: `start`, `end` (null if not known), `text` and, if bars
        were joined, `count`.
    """
    if period is None:
        return [], False
    lanes = list(_lanes(patient, events, period))
    dropped = len(lanes) > _MOST_LANES
    # The lanes with the most bars, in the order in which they are shown.
    kept = sorted(sorted(range(len(lanes)), key=lambda at: -lanes[at][3].height)[:_MOST_LANES])
    lanes = [lanes[at] for at in kept]
    pixels = width
    joined = [lane for _, _, _, lane in lanes]
    while sum(lane.height for lane in joined) > _MOST_BARS and pixels >= FEWEST_PIXELS:
        joined = [_join(lane, max(1, (period[1] - period[0]) // pixels), period[1]) for _, _, _, lane in lanes]
        pixels //= 2
    found = []
    for (choice, code, label, _), lane in zip(lanes, joined, strict=True):
        entry: dict[str, Any] = {
            "group": choice.group,
            "open": choice.at_first,
            "code": code,
            "label": label,
            **{name: lane[name].to_list() for name in ("start", "end", "text")},
        }
        if "count" in lane.columns:
            entry["count"] = lane["count"].to_list()
        found.append(entry)
    return found, dropped or pixels < width


def _lanes(patient: Patient, events: pl.DataFrame, period: tuple[int, int]) -> Iterator[Lane]:
    """Yield the bars of each item: `start`, `end`, `text`."""
    kinds = {line["interval"]: line for line in patient.source.intervals}
    choices = patient.choices.of("bar") or _all_kinds(kinds)
    sides = [kinds[choice.name][side] for choice in choices if choice.name in kinds for side in ("start", "end")]
    intervals = patient.filter(pl.lit(events[TYPE].is_in(sides))).intervals() if sides else None
    meanings = patient.source.meanings
    for choice in choices:
        if choice.name in kinds and intervals is not None:
            bars = _of_intervals(intervals.filter(interval=choice.name))
        else:
            bars = _of_events(events.filter(pl.col(TYPE) == choice.name), patient.flags.get(choice.without_flag, 0))
        within = (pl.col("start") <= period[1]) & (pl.max_horizontal("start", "end") >= period[0])
        lanes = bars.filter(within).partition_by("item", as_dict=True, maintain_order=True)
        for lane in sorted(lanes.values(), key=lambda lane: (-lane.height, str(lane["code"][0]))):
            code, item = lane.select("code", "item").row(0)
            described = label_of(code, patient.descriptions, meanings)
            # Without a dictionary, the item is the label: the code can also contain a unit.
            label = item.removeprefix(f"{choice.items}//") if described in (item, code, _rest(code)) else described
            yield choice, code, label.replace("//", " · "), lane.sort("start", maintain_order=True)


def _all_kinds(kinds: Iterable[str]) -> list[Choice]:
    """Return the choices for a source that declares none: all intervals that are not stays."""
    return [
        Choice("bar", kind, "", "", kind.replace("_", " ").capitalize(), at_first=True)
        for kind in kinds
        if kind not in ("admission", "icu_stay", "ed_stay")
    ]


def _rest(code: str) -> str:
    return code.partition("//")[2].replace("//", " · ")


def _of_intervals(intervals: pl.DataFrame) -> pl.DataFrame:
    start, end = in_seconds("start"), in_seconds("end")
    amounts = [_amount(f"{side}_value", f"{side}_unit") for side in ("start", "end")]
    return intervals.select(
        "item",
        code=pl.coalesce("start_code", "end_code"),
        start=pl.coalesce(start, end),
        end=pl.max_horizontal(start, end),
        text=pl.concat_str(amounts, separator=", ", ignore_nulls=True),
    )


def _of_events(events: pl.DataFrame, without: int) -> pl.DataFrame:
    """Return an instant bar for each event that does not have the flag."""
    kept = events.filter(pl.col(AT).is_not_null() & ((pl.col("flags") & without) == 0))
    item = pl.col("code").str.splitn("//", 2).struct.field("field_1").fill_null("")
    return kept.select("code", item=item, start=AT, end=AT, text=_amount("numeric_value", "unit").fill_null(""))


def _amount(value: str, unit: str) -> pl.Expr:
    return pl.concat_str(
        pl.col(value).round_sig_figs(4).cast(pl.String).str.strip_suffix(".0"), pl.lit(" "), pl.col(unit).fill_null("")
    ).str.strip_chars_end()


def _join(lane: pl.DataFrame, least: int, until: int) -> pl.DataFrame:
    """Join the bars of a lane that are less than `least` seconds apart; `count` is the number of joined bars."""
    starts = lane["start"].to_numpy()
    ends = lane["end"].fill_null(until).to_numpy()
    first = clusters(starts, ends, least)
    counts = np.diff(np.r_[first, len(starts)])
    reached = np.maximum.reduceat(ends, first)
    return pl.DataFrame(
        {
            "start": starts[first],
            "end": reached,
            "text": [text if n == 1 else "" for text, n in zip(lane["text"].gather(first), counts, strict=True)],
            "count": counts,
        }
    )
