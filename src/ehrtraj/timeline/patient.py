"""The part of a trajectory that its picture needs, and its events with their times in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol, Self

import polars as pl

from ehrtraj.format.patient import DescribedPatient, PatientWithStays
from ehrtraj.timeline.choices import Choices

AT = "seconds"
"""Column with the time at which an event happened, in seconds."""
POSITION = "position"
"""Column with the number of an event in the trajectory, from 0."""
TYPE = "event_type"
"""Column with the first part of the code."""
_SECOND = 1_000_000
"""Microseconds."""


class Patient(PatientWithStays, DescribedPatient, Protocol):
    """The part of `Trajectory` that the picture needs."""

    @property
    def choices(self) -> Choices:
        """How the source's events are shown."""

    @property
    def concept_values(self) -> Mapping[str, str]:
        """Meaning of each value of the concepts that are stored in the dataset, by code."""

    def age(self, at: datetime) -> int | None:
        """Return the age in completed years."""

    def intervals(self) -> pl.DataFrame:
        """Join the start and end events."""

    def codes(self, *patterns: str) -> Self:
        """Return the events whose code matches any of the patterns."""

    def filter(self, *predicates: pl.Expr) -> Self:
        """Return the events for which all expressions are true."""


def timed(events: pl.DataFrame) -> pl.DataFrame:
    """Add the columns `AT` and `POSITION` to all events of a trajectory.

    The time is when an event happened, whatever the dataset's clock. It is null for static facts.
    """
    happened = "event_time" if "event_time" in events.columns else "time"
    return events.with_columns(
        in_seconds(happened).alias(AT),
        pl.int_range(pl.len()).alias(POSITION),
    )


def typed(events: pl.DataFrame) -> pl.DataFrame:
    """Add the column `TYPE`. It takes 0.1 s for a million events, so only the outline does it."""
    return events.with_columns(pl.col("code").str.splitn("//", 2).struct.field("field_0").alias(TYPE))


def in_seconds(column: str) -> pl.Expr:
    """Return a column of times as whole seconds since 1970."""
    return pl.col(column).dt.epoch("us").floordiv(_SECOND)


def seconds(time: datetime | None) -> int | None:
    """Return a naive time as whole seconds since 1970; None stays None."""
    return None if time is None else (time - datetime(1970, 1, 1)).total_seconds().__floor__()


def label_of(code: str, descriptions: Mapping[str, str], meanings: Mapping[str, str]) -> str:
    """Return a short name of a code for a reader.

    Descriptions of codes that no dictionary explains begin with the meaning of the event type: it is left out, since
    it is the heading.
    """
    described = descriptions.get(code)
    name, _, rest = code.partition("//")
    if described is None or (rest and described == f"{meanings.get(name)}: {rest}"):
        described = rest or name
    return described.replace("//", " · ")
