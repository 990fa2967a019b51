"""The events of a period as rows of a table, and the text of one event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from ehrtraj.errors import SettingsError
from ehrtraj.timeline.patient import AT, POSITION, Patient, label_of, seconds, timed

_MOST_ROWS = 1000
# A note can have ten thousand characters: its text is returned by `text_of`.
_MOST_TEXT = 300


def events(
    patient: Patient,
    start: int | None = None,
    end: int | None = None,
    codes: Sequence[str] | None = None,
    offset: int = 0,
    limit: int = 200,
) -> dict[str, Any]:
    """Return the events of a period as rows of a table.

    Args:
        patient: a trajectory.
        start: start of the period in seconds; None also includes events without a time, such as the sex.
        end: end of the period, inclusive; None for the last event.
        codes: only events with these codes.
        offset: number of rows to skip.
        limit: maximum number of rows.

    Returns:
        `total` (events of the period) and `rows`, in the order of the trajectory: `time` and `available_time` (seconds,
        or null), `precision`, `code`, `description`, `value` (number with unit, or text), `cut` (whether the text is
        longer), `flags` (names), `source_table`, `source_key` and `position` in the trajectory.

    Raises:
        SettingsError: if the offset or the limit is not valid.
    """
    if offset < 0 or not 0 <= limit <= _MOST_ROWS:
        raise SettingsError(f"offset is {offset} and limit is {limit}: use 0 or more, and at most {_MOST_ROWS:,}")
    rows = timed(patient.events).lazy()
    if start is not None:
        rows = rows.filter(pl.col(AT) >= start)
    if end is not None:
        rows = rows.filter(pl.col(AT).is_null() | (pl.col(AT) <= end))
    if codes is not None:
        rows = rows.filter(pl.col("code").is_in(list(codes)))
    found = rows.collect()
    return {
        "total": found.height,
        "rows": [_row(event, patient) for event in found.slice(offset, limit).iter_rows(named=True)],
    }


def text_of(patient: Patient, position: int) -> dict[str, Any]:
    """Return the complete text of an event, such as a note.

    Args:
        patient: a trajectory; for notes in separate files, the result of `with_notes`.
        position: position of the event in the trajectory.

    Returns:
        `time` (seconds, or null), `code`, `title` and `text`, which is null if there is none.

    Raises:
        SettingsError: if there is no such event.
    """
    if not 0 <= position < patient.events.height:
        raise SettingsError(f"there is no event {position}: the trajectory has {patient.events.height:,}")
    event = timed(patient.events.slice(position, 1)).row(0, named=True)
    title = label_of(event["code"], patient.descriptions, patient.source.meanings)
    return {"time": event[AT], "code": event["code"], "title": title, "text": event["text_value"]}


def _row(event: dict[str, Any], patient: Patient) -> dict[str, Any]:
    number, text = event["numeric_value"], event["text_value"]
    value = "" if number is None else f"{number:.7g} {event['unit'] or ''}".strip()
    if text is not None:
        value = f"{value} {text[:_MOST_TEXT]}".strip()
    return {
        "time": event[AT],
        "available_time": seconds(event["available_time"]),
        "precision": event["time_precision"],
        "code": event["code"],
        "description": patient.descriptions.get(event["code"], event["code"]),
        "value": value,
        "cut": text is not None and len(text) > _MOST_TEXT,
        "flags": [name for name, bit in patient.flags.items() if event["flags"] & bit],
        "source_table": event["source_table"],
        "source_key": event["source_key"],
        "position": event[POSITION],
    }
