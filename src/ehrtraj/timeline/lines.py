"""The points of series: thinned, and broken at gaps between stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ehrtraj.errors import SettingsError
from ehrtraj.format.event_types import CONCEPT
from ehrtraj.timeline.overview import Frame, frame_of
from ehrtraj.timeline.patient import AT, Patient, label_of, timed
from ehrtraj.timeline.ranges import last_ranges
from ehrtraj.timeline.thin import Scale, thin

_MOST_WIDTH = 10_000
_SHOWN = ["code", AT, "numeric_value", "unit", "flags", "attributes", "stay_id"]


def series(
    patient: Patient, codes: Sequence[str], start: int | None = None, end: int | None = None, width: int = 1000
) -> dict[str, Any]:
    """Return the points of series in a period, thinned so that no extreme is lost.

    The last point before the period and the first one after it are included, so that lines reach the edges.

    Args:
        patient: a trajectory.
        codes: codes, also of stored concepts: `CONCEPT//sofa//sofa_24hours`.
        start: start of the period in seconds; None for the first event.
        end: end of the period, inclusive; None for the last event.
        width: width of the picture in pixels: at most 4 points of each pixel are returned.

    Returns:
        For each code: `label`, `unit`, `n` (points in the period), `t` (seconds), `v` (null where the line breaks),
        `low` and `high` (the last recorded reference range), `flags` (positions in `t` of the points with a flag, by
        the flag's name).

    Raises:
        SettingsError: if a concept is not stored, or the width is not valid.
    """
    if not 0 < width <= _MOST_WIDTH:
        raise SettingsError(f"width is {width}, but must be from 1 to {_MOST_WIDTH:,}")
    frame = frame_of(patient)
    extent = frame.extent or (0, 0)
    first, last = (extent[0] if start is None else start), (extent[1] if end is None else end)
    return series_of(patient, frame, codes, Scale.plain(first, last, width))


def series_of(patient: Patient, frame: Frame, codes: Sequence[str], scale: Scale) -> dict[str, Any]:
    """Return the points of series on a time axis; see `series`."""
    names = list(dict.fromkeys(codes))
    rows = _rows(patient, frame, names)
    by_code = {str(key[0]): part for key, part in rows.partition_by("code", as_dict=True).items()}
    ranges = last_ranges(rows, patient.choices.ranges)
    units = dict(rows.group_by("code").agg(pl.col("unit").drop_nulls().last()).iter_rows())
    found = {}
    for name in names:
        low, high = ranges.get(name, (None, None))
        facts = {
            "label": label_of(name, patient.descriptions, patient.source.meanings),
            "unit": units.get(name),
            "low": low,
            "high": high,
        }
        found[name] = facts | _points(by_code.get(name, rows.clear()), frame, scale, patient.flags)
    return found


def _rows(patient: Patient, frame: Frame, codes: list[str]) -> pl.DataFrame:
    """Return the numbers of some codes in order of time."""
    rows = frame.events.filter(pl.col("code").is_in(codes)).select(_SHOWN)
    present = set(rows["code"].unique())
    of_concepts = [code for code in codes if code.startswith(f"{CONCEPT}//") and code not in present]
    if of_concepts:
        # Without events, so that they need not be merged.
        values = patient.filter(pl.lit(value=False)).codes(*of_concepts).events
        rows = pl.concat([rows, timed(values).select(_SHOWN)])
    valid = pl.col(AT).is_not_null() & pl.col("numeric_value").is_finite()
    return rows.filter(valid).sort(AT, maintain_order=True)


def _points(rows: pl.DataFrame, frame: Frame, scale: Scale, flags: Mapping[str, int]) -> dict[str, Any]:
    times = rows[AT].to_numpy()
    first, after = np.searchsorted(times, scale.start), np.searchsorted(times, scale.end, side="right")
    values = rows["numeric_value"].to_numpy().astype(np.float64)
    inside = thin(scale.of(times[first:after]), values[first:after]) + first
    edges = [at for at in (first - 1, after) if 0 <= at < len(times)]
    kept = np.union1d(inside, np.array(edges, dtype=np.int64)).astype(np.int64)
    shown = rows[kept.tolist()]
    # By way of the text: 1.1 stays 1.1 in 64 bits, and is not 1.10000002384.
    exact = shown["numeric_value"].cast(pl.String).cast(pl.Float64).to_list()
    stays = shown["stay_id"]
    # What is charted in one stay does not continue in the next one of the same admission.
    breaks = frame.runs.breaks(times[kept]) | (stays != stays.shift(1)).fill_null(value=False).to_numpy()[1:]
    t, v, moved = _broken(times[kept], exact, breaks)
    return {"n": int(after - first), "t": t, "v": v, "flags": _flags(flags, shown["flags"].to_numpy(), moved)}


def _broken(
    times: npt.NDArray[np.int64], values: list[float], breaks: npt.NDArray[np.bool_]
) -> tuple[list[int], list[float | None], npt.NDArray[np.int64]]:
    """Insert a null between points where the line breaks; return the new position of each point too."""
    at = np.flatnonzero(breaks) + 1
    middles = (times[at - 1] + times[at]) // 2
    moved = np.arange(len(times)) + np.searchsorted(at, np.arange(len(times)), side="right")
    t = np.insert(times, at, middles).tolist()
    v: list[float | None] = [None] * len(t)
    for place, value in zip(moved.tolist(), values, strict=True):
        v[place] = value
    return t, v, moved


def _flags(
    names: Mapping[str, int], flags: npt.NDArray[np.int64], moved: npt.NDArray[np.int64]
) -> dict[str, list[int]]:
    """Return the positions of the points with a flag, without flags that all points have."""
    found = {}
    for name, bit in names.items():
        marked = (flags & bit) != 0
        if marked.any() and not marked.all():
            found[name] = moved[marked].tolist()
    return found
