"""Marks for events at one moment, such as cultures and diagnoses, and notes."""

from __future__ import annotations

from typing import Any

import polars as pl

from ehrtraj.timeline.choices import Choice, ShownAs
from ehrtraj.timeline.patient import AT, POSITION, TYPE, Patient, label_of
from ehrtraj.timeline.thin import FEWEST_PIXELS

# Above these numbers, marks of one pixel are joined.
_MOST_MARKS = 2000
_MOST_NOTES = 1000
_MOST_TEXT = 80


def marks_of(
    patient: Patient, events: pl.DataFrame, period: tuple[int, int] | None, width: int
) -> tuple[list[dict[str, Any]], bool]:
    """Return the marks of a period in order of time, and whether some were joined.

    Args:
        patient: a trajectory.
        events: its events with times in seconds.
        period: start and end, inclusive; None if nothing has a time.
        width: width of the picture in pixels.

    Returns:
        Marks with `t`, `group`, `open`, `code`, `label`, `text`, `position`, and `more`: the number of further marks
        of the same group and pixel that it represents.
    """
    found, joined = _moments(patient, events, period, width, "mark", _MOST_MARKS)
    meanings = patient.source.meanings
    return [
        {
            "t": row[AT],
            "group": choice.group,
            "open": choice.at_first,
            "code": row["code"],
            "label": label_of(row["code"], patient.descriptions, meanings),
            "text": row["shown"],
            "position": row[POSITION],
            "more": row["more"],
        }
        for choice, row in found
    ], joined


def notes_of(
    patient: Patient, events: pl.DataFrame, period: tuple[int, int] | None, width: int
) -> tuple[list[dict[str, Any]], bool]:
    """Return the notes of a period in order of time, and whether some were joined.

    Returns:
        Notes with `t`, `title`, `code`, `position`, by which `note` returns the text, and `more` as of marks.
    """
    found, joined = _moments(patient, events, period, width, "note", _MOST_NOTES)
    return [
        {
            "t": row[AT],
            "title": f"{choice.group} {row['code'].partition('//')[2]}".strip(),
            "code": row["code"],
            "position": row[POSITION],
            "more": row["more"],
        }
        for choice, row in found
    ], joined


def _moments(
    patient: Patient, events: pl.DataFrame, period: tuple[int, int] | None, width: int, shown_as: ShownAs, most: int
) -> tuple[list[tuple[Choice, dict[str, Any]]], bool]:
    """Return the events that are shown in one way, each with the line that chose it."""
    choices = {choice.name: choice for choice in patient.choices.of(shown_as)}
    if period is None or not choices:
        return [], False
    within = pl.col(AT).is_between(*period)
    rows = events.lazy().filter(pl.col(TYPE).is_in(list(choices)), within)
    first = pl.col("text_value").str.head(_MOST_TEXT).alias("shown")
    found = rows.select("code", TYPE, AT, POSITION, first, more=pl.lit(0)).collect()
    pixels = width
    joined = found
    while joined.height > most and pixels >= FEWEST_PIXELS:
        joined = _join(found, max(1, (period[1] - period[0]) // pixels), period[0])
        pixels //= 2
    rows_of = joined.sort(AT, POSITION).iter_rows(named=True)
    return [(choices[row[TYPE]], row) for row in rows_of], pixels < width


def _join(found: pl.DataFrame, least: int, start: int) -> pl.DataFrame:
    """Keep the first event of each group and pixel, with the number of further ones."""
    pixel = ((pl.col(AT) - start) // least).alias("pixel")
    joined = found.group_by(TYPE, pixel, maintain_order=True).agg(
        pl.col("code", AT, POSITION, "shown").first(), more=pl.len().cast(pl.Int32) - 1
    )
    return joined.drop("pixel")
