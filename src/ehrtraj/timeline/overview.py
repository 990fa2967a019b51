"""The outline of a patient: all that is drawn except the points of series."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from ehrtraj.format.event_types import CONCEPT
from ehrtraj.timeline.bars import bars_of
from ehrtraj.timeline.marks import marks_of, notes_of
from ehrtraj.timeline.patient import AT, Patient, label_of, seconds, timed, typed
from ehrtraj.timeline.ranges import last_ranges
from ehrtraj.timeline.stays import Runs, extent_of, first_view, joined, runs_of, stays_of

# More codes with numbers than this are not listed; each can still be requested.
_MOST_SERIES = 1000
# Tracks that are shown at first.
_MOST_AT_FIRST = 14
# The page is seldom wider than this.
_WIDTH = 2000


@dataclass(frozen=True)
class Frame:
    """The events of a patient with their times, and the periods in which they are.

    Attributes:
        events: all events, with times in seconds.
        stays: stays by start.
        extent: times of the first and the last event; None if there is no event with a time.
        runs: stays joined into periods.
    """

    events: pl.DataFrame
    stays: list[dict[str, Any]]
    extent: tuple[int, int] | None
    runs: Runs


def frame_of(patient: Patient) -> Frame:
    """Prepare the events of a patient."""
    events = timed(patient.events)
    extent = extent_of(events)
    stays = stays_of(patient)
    until = seconds(patient.known_until)
    open_until = until if until is not None else (extent[1] if extent else 0)
    return Frame(events, stays, extent, runs_of(stays, open_until))


def outline(patient: Patient) -> dict[str, Any]:
    """Return the outline of a patient as JSON-able data.

    All times are integer seconds since 1970-01-01 of the shifted time, without a time zone. After `as_of`, nothing that
    was not known is in it, nor has an influence on it.

    Args:
        patient: a trajectory.

    Returns:
        `patient` (header), `extent`, `view` (what to show at first), `known_until`, `stays`, `bars` (a lane for each
        item), `marks`, `notes`, `series` (codes with numbers), `concepts` (stored ones), `gaps`, `flags` (names by
        bit), and `clustered`: whether bars or marks are joined because there are too many, so that `items` returns
        more detail of a shorter period.
    """
    frame = frame_of(patient)
    events = typed(frame.events)
    bars, bars_joined = bars_of(patient, events, frame.extent, _WIDTH)
    marks, marks_joined = marks_of(patient, events, frame.extent, _WIDTH)
    notes, notes_joined = notes_of(patient, events, frame.extent, _WIDTH)
    stays, stays_joined = (frame.stays, False) if frame.extent is None else joined(frame.stays, frame.extent)
    listed, more = _series(patient, frame.events)
    concepts = _concepts(patient)
    _choose(patient, listed, [column for concept in concepts for column in concept["columns"]])
    return {
        "patient": _header(patient, frame),
        "extent": _period(frame.extent),
        # After a cut, what matters is what happens at its time.
        "view": _period(_view(frame, last=patient.known_until is not None)),
        "known_until": seconds(patient.known_until),
        "stays": stays,
        "bars": bars,
        "marks": marks,
        "notes": notes,
        "series": listed,
        "more_series": more,
        "concepts": concepts,
        "gaps": [] if frame.extent is None else frame.runs.gaps(frame.extent),
        "clustered": stays_joined or bars_joined or marks_joined or notes_joined,
    }


def items(patient: Patient, start: int, end: int, width: int = _WIDTH) -> dict[str, Any]:
    """Return the stays, bars, marks and notes of a period, in more detail than the outline if that joined them.

    Args:
        patient: a trajectory.
        start: start of the period, in seconds.
        end: end of the period, inclusive.
        width: width of the picture in pixels.

    Returns:
        `stays`, `bars`, `marks` and `notes` as in the outline.
    """
    events = typed(timed(patient.events))
    bars, marks, notes = (found(patient, events, (start, end), width)[0] for found in (bars_of, marks_of, notes_of))
    within = [s for s in stays_of(patient) if s["start"] <= end and (s["end"] is None or s["end"] >= start)]
    return {"stays": joined(within, (start, end))[0], "bars": bars, "marks": marks, "notes": notes}


def _header(patient: Patient, frame: Frame) -> dict[str, Any]:
    ages = [patient.age(datetime(1970, 1, 1) + timedelta(seconds=at)) for at in frame.extent or ()]
    return {
        "subject_id": patient.subject_id,
        "sex": patient.sex,
        "age": ages if None not in ages else [],
        "death": seconds(patient.death_time),
        "n_events": frame.events.height,
    }


def _period(period: tuple[int, int] | None) -> dict[str, int] | None:
    return None if period is None else {"start": period[0], "end": period[1]}


def _view(frame: Frame, *, last: bool) -> tuple[int, int] | None:
    if frame.extent is None:
        return None
    times = frame.events[AT].drop_nulls()
    return first_view((times if times.is_sorted() else times.sort()).to_numpy(), frame.runs, frame.extent, last=last)


def _series(patient: Patient, events: pl.DataFrame) -> tuple[list[dict[str, Any]], int]:
    """Return the codes with numbers, in the order of the choices and then of frequency, and the number omitted."""
    numbers = events.lazy().filter(pl.col(AT).is_not_null() & pl.col("numeric_value").is_finite())
    counts = (
        numbers.group_by("code")
        .agg(n=pl.len(), unit=pl.col("unit").drop_nulls().last())
        .sort(["n", "code"], descending=[True, False])
        .collect()
    )
    ranges = last_ranges(events, patient.choices.ranges)
    lines = patient.choices.of("series")
    meanings = patient.source.meanings
    found = []
    for code, n, unit in counts.head(_MOST_SERIES).select("code", "n", "unit").iter_rows():
        name = code.partition("//")[0]
        place = patient.choices.place_of(code)
        low, high = ranges.get(code, (None, None))
        found.append(
            {
                "code": code,
                "label": label_of(code, patient.descriptions, meanings),
                "unit": unit,
                "n": n,
                "group": meanings.get(name, name) if place is None else lines[place].group,
                "low": low,
                "high": high,
                "default": False,
            }
        )
    return found, max(0, counts.height - _MOST_SERIES)


def _concepts(patient: Patient) -> list[dict[str, Any]]:
    """Return the stored concepts that the source's choices name, with their values that the patient has."""
    named = {line.items.partition("//")[0] for line in patient.choices.of("series") if line.name == CONCEPT}
    stored = [code for code in patient.concept_values if code.split("//")[1] in named]
    if not stored:
        return []
    # Without events, so that they need not be merged.
    values = patient.filter(pl.lit(value=False)).codes(*stored).events
    counts = dict(values.filter(pl.col("numeric_value").is_finite())["code"].value_counts().iter_rows())
    units = dict(values.group_by("code").agg(pl.col("unit").first()).iter_rows())
    found: dict[str, dict[str, Any]] = {}
    for code in stored:
        if counts.get(code):
            name, column = code.split("//")[1:3]
            concept = found.setdefault(name, {"name": name, "columns": []})
            concept["columns"].append(
                {
                    "code": code,
                    "label": (column if column.startswith(name) else f"{name}: {column}").replace("_", " "),
                    "meaning": patient.concept_values[code],
                    "unit": units.get(code),
                    "n": counts[code],
                    "group": "Concepts",
                    "low": None,
                    "high": None,
                    "default": False,
                }
            )
    return list(found.values())


def _choose(patient: Patient, listed: list[dict[str, Any]], of_concepts: list[dict[str, Any]]) -> None:
    """Mark the tracks that are shown at first: of each line of the choices the code with the most values.

    Without choices, they are the codes with the most values.
    """
    lines = patient.choices.of("series")
    best: dict[int, dict[str, Any]] = {}
    for one in [*of_concepts, *listed]:
        place = patient.choices.place_of(one["code"])
        if place is not None and lines[place].at_first and one["n"] > best.get(place, {"n": 0})["n"]:
            best[place] = one
    chosen = [best[place] for place in sorted(best)] or listed
    for order, one in enumerate(chosen[:_MOST_AT_FIRST]):
        one["default"] = True
        one["order"] = order
