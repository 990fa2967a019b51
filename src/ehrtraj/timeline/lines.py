"""The points of series: thinned, and broken at gaps between stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ehrtraj.errors import SettingsError
from ehrtraj.format.event_types import CONCEPT
from ehrtraj.timeline.overview import Frame, frame_of
from ehrtraj.timeline.patient import AT, Patient, label_of, timed
from ehrtraj.timeline.ranges import last_ranges
from ehrtraj.timeline.thin import thin

_MOST_WIDTH = 10_000
_SHOWN = ["code", AT, "numeric_value", "unit", "flags", "attributes"]


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
    names = list(dict.fromkeys(codes))
    rows = _rows(patient, frame, names)
    by_code = {str(key[0]): part for key, part in rows.partition_by("code", as_dict=True).items()}
    return {name: _line(patient, frame, name, by_code.get(name, rows.clear()), start, end, width) for name in names}


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


def _line(
    patient: Patient, frame: Frame, code: str, rows: pl.DataFrame, start: int | None, end: int | None, width: int
) -> dict[str, Any]:
    times = rows[AT].to_numpy()
    if start is None:
        start = int(times[0]) if len(times) else 0
    if end is None:
        end = int(times[-1]) if len(times) else 0
    first, after = np.searchsorted(times, start), np.searchsorted(times, end, side="right")
    values = rows["numeric_value"].to_numpy()
    inside = thin(times[first:after], values[first:after].astype(np.float64), start, end, width) + first
    edges = [at for at in (first - 1, after) if 0 <= at < len(times)]
    kept = np.union1d(inside, np.array(edges, dtype=np.int64)).astype(np.int64)
    low, high = last_ranges(rows, patient.choices.ranges).get(code, (None, None))
    shown = rows[kept.tolist()]
    # By way of the text: 1.1 stays 1.1 in 64 bits, and is not 1.10000002384.
    exact = shown["numeric_value"].cast(pl.String).cast(pl.Float64).to_list()
    t, v, moved = _broken(times[kept], exact, frame.runs.breaks(times[kept]))
    return {
        "label": label_of(code, patient.descriptions, patient.source.meanings),
        "unit": rows["unit"].drop_nulls().last() if rows["unit"].drop_nulls().len() else None,
        "n": int(after - first),
        "t": t,
        "v": v,
        "low": low,
        "high": high,
        "flags": _flags(patient, shown["flags"].to_numpy(), moved),
    }


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


def _flags(patient: Patient, flags: npt.NDArray[np.int64], moved: npt.NDArray[np.int64]) -> dict[str, list[int]]:
    """Return the positions of the points with a flag, without flags that all points have."""
    found = {}
    for name, bit in patient.flags.items():
        marked = (flags & bit) != 0
        if marked.any() and not marked.all():
            found[name] = moved[marked].tolist()
    return found
