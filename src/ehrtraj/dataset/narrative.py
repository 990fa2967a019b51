"""A trajectory as text for people: by admission, one line per event."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import polars as pl

from ehrtraj.dataset.intervals import when
from ehrtraj.dataset.moments import Moment
from ehrtraj.format.patient import DescribedPatient
from ehrtraj.readable import sex_name

_DATES = re.compile(r"\b(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?)?\b")
_OUTSIDE = "outside of admissions"


@dataclass(frozen=True)
class Heading:
    """The heading of the events of an admission, or of events outside admissions."""

    text: str


@dataclass(frozen=True)
class Line:
    """One event.

    Attributes:
        when: time of the event, or `always` for a static fact.
        what: description of the code.
        value: number with unit, or text; empty if there is none.
        code: code of the event.
        attributes: attributes as `name value, name value`; empty if there are none, or if they were not requested.
        flags: names of the event's flags; empty if they were not requested.
    """

    when: str
    what: str
    value: str
    code: str
    attributes: str
    flags: tuple[str, ...]


Stay = dict[str, Any]


class Patient(DescribedPatient, Protocol):
    """The part of `Trajectory` that a narrative needs."""

    known: pl.DataFrame

    @property
    def birth_year(self) -> int | None:
        """Year of birth."""

    def age(self, at: Moment) -> int | None:
        """Return the age in completed years."""

    def __len__(self) -> int:
        """Return the number of events."""


class _Calendar:
    """Writes times as dates, or as days since an admission."""

    def __init__(self, starts: list[datetime], *, days: bool) -> None:
        self._starts = starts
        self._days = days

    def origin(self, stay: Stay | None, at: datetime | None) -> datetime | None:
        """Return day 0: the start of the admission, of the last admission before, or of the first admission."""
        if stay is not None and stay["start"] is not None:
            return stay["start"]  # type: ignore[no-any-return]
        if not self._starts:
            return at
        before = [] if at is None else [start for start in self._starts if start <= at]
        return max(before, default=self._starts[0])

    def write(self, time: datetime | None, precision: str, origin: datetime | None) -> str:
        """Return a time in the precision of the source."""
        if time is None:
            return "always"
        clock = "" if precision in ("day", "year") else f" {time:%H:%M}"
        if not self._days or origin is None:
            return f"{time:%Y}" if precision == "year" else f"{time:%Y-%m-%d}{clock}"
        if precision == "year":
            return f"year {time.year - origin.year}"
        return f"day {(time.date() - origin.date()).days}{clock}"

    def in_text(self, text: str, origin: datetime | None) -> str:
        """Return a text with its dates replaced by days."""
        if not self._days or origin is None:
            return text

        def in_days(found: re.Match[str]) -> str:
            try:
                date = datetime(*(int(part or 0) for part in found.groups()[:3]))  # type: ignore[arg-type]
            except ValueError:
                return found[0]
            clock = f" {found[4]}:{found[5]}" if found[4] else ""
            return f"day {(date.date() - origin.date()).days}{clock}"

        return _DATES.sub(in_days, text)


def narrate(trajectory: Patient, *, days: bool = False, attributes: bool = False) -> Iterator[Heading | Line]:
    """Yield the lines of a trajectory: the patient, then the events in order of time under their admissions.

    Args:
        trajectory: complete or cut.
        days: write times as days since the admission (day 0), without any dates, not even within texts.
        attributes: also read the attributes and flags of each event.
    """
    events = trajectory.events
    stays: dict[int, Stay] = {s["hadm_id"]: s for s in trajectory.admissions.iter_rows(named=True) if s["hadm_id"]}
    starts = sorted(s["start"] for s in stays.values() if s["start"] is not None)
    calendar = _Calendar(starts or _first(events), days=days)
    yield Heading(_who(trajectory, days=days))
    happened = when(events)
    current: int | None = None
    first = True
    seen: set[int | None] = set()
    for event in events.iter_rows(named=True):
        time = event["time"]
        section = _section(event["hadm_id"], current, event[happened], stays, cut=trajectory.known_until is not None)
        if time is not None and (first or section != current):
            heading = _heading(trajectory, section, stays.get(section or 0), seen, starts, days=days)
            yield Heading(heading)
            current, first = section, False
            seen.add(section)
        origin = calendar.origin(stays.get(section or 0), time)
        yield _line(event, trajectory, calendar, origin, attributes=attributes)


def _first(events: pl.DataFrame) -> list[datetime]:
    """Return day 0 of a patient without admissions: the first event with a day."""
    times = events.filter(pl.col("time_precision") != "year")["time"].drop_nulls()
    return times.head(1).to_list()


def _section(
    hadm_id: int | None, current: int | None, at: datetime | None, stays: dict[int, Stay], *, cut: bool
) -> int | None:
    """Return the admission of an event: its hadm_id, or else the current admission until that ends.

    In a cut trajectory, an admission without a discharge lasts until the cut. Otherwise an admission with an unknown
    end is over immediately.
    """
    if hadm_id is not None:
        return hadm_id
    stay = stays.get(current or 0)
    if stay is None or at is None:
        return None
    lasts = cut if stay["end"] is None else at <= stay["end"]
    return current if lasts else None


def _who(trajectory: Patient, *, days: bool) -> str:
    parts = [f"Patient {trajectory.subject_id}"]
    if trajectory.sex is not None:
        parts.append(sex_name(trajectory.sex))
    if trajectory.birth_year is not None and not days:
        parts.append(f"born {trajectory.birth_year}")
    if trajectory.death_time is not None:
        parts.append("died" if days else f"died {trajectory.death_time:%Y-%m-%d}")
    until = "" if trajectory.known_until is None or days else f", as known by {trajectory.known_until:%Y-%m-%d %H:%M}"
    all_events = trajectory.known.height
    of_all = "" if all_events == len(trajectory) else f" of {all_events:,}"
    return ", ".join(parts) + f": {len(trajectory):,}{of_all} events{until}"


def _heading(
    trajectory: Patient, hadm_id: int | None, stay: Stay | None, seen: set[int | None],
    starts: list[datetime], *, days: bool,
) -> str:  # fmt: skip
    if hadm_id is None:
        return _OUTSIDE.capitalize()
    again = " (continued)" if hadm_id in seen else ""
    if stay is None or stay["start"] is None:
        return f"Admission {hadm_id}{again}"
    parts = [f"Admission {hadm_id}{again}"]
    kind, left_for = _names(trajectory)
    if stay.get(kind):
        parts.append(stay[kind])
    start, end = stay["start"], stay["end"]
    if days and start > starts[0]:
        parts.append(f"{(start.date() - starts[0].date()).days} days after the first")
    if stay["end_before_start"]:
        parts += [] if days else [f"{start:%Y-%m-%d %H:%M}"]
        parts.append("its recorded end is before its start")
    elif days:
        parts.append("not discharged yet" if end is None else f"discharged on day {(end.date() - start.date()).days}")
    else:
        parts.append(f"{start:%Y-%m-%d %H:%M} to {'...' if end is None else format(end, '%Y-%m-%d %H:%M')}")
    if stay.get(left_for):
        parts.append(f"to {stay[left_for]}")
    if (age := trajectory.age(start)) is not None:
        parts.append(f"age {age}")
    return ", ".join(parts)


def _names(trajectory: Patient) -> tuple[str, str]:
    """Return the names of the columns of an admission with its type and with the discharge location."""
    for line in trajectory.source.intervals:
        if line["interval"] == "admission":
            return line["start_item"], line["end_item"]
    return "", ""


def _line(
    event: dict[str, Any], trajectory: Patient, calendar: _Calendar, origin: datetime | None, *, attributes: bool
) -> Line:
    number, text = event["numeric_value"], event["text_value"]
    value = "" if number is None else f"{number:.7g} {event['unit'] or ''}".strip()
    if text is not None:
        value = f"{value} {' '.join(text.split())}".strip()
    return Line(
        when=calendar.write(event["time"], event["time_precision"], origin),
        what=trajectory.descriptions.get(event["code"], event["code"]),
        value=calendar.in_text(value, origin),
        code=event["code"],
        attributes=calendar.in_text(_attributes(event["attributes"]), origin) if attributes else "",
        flags=tuple(name for name, bit in trajectory.flags.items() if event["flags"] & bit) if attributes else (),
    )


def _attributes(text: str | None) -> str:
    if text is None:
        return ""
    return ", ".join(f"{name} {' '.join(str(value).split())}" for name, value in json.loads(text).items())
