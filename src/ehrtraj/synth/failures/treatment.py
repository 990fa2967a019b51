"""Treatments that failures call for, and when they are given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import HOUR, Bools, Ints
from ehrtraj.synth.failures.courses import Courses
from ehrtraj.synth.failures.draws import failure_names


class _Rule(NamedTuple):
    """A line of failure_treatments.csv."""

    failure: int
    half_at: float
    steepness: float
    after_hours: float
    until_level: float


@dataclass(frozen=True)
class Treatment:
    """A treatment of each ICU stay, for failures. Times are valid where `given` is true."""

    given: Bools
    start: Ints
    end: Ints


@cache
def _rules(treatment: str) -> tuple[_Rule, ...]:
    table = catalog.read("failure_treatments.csv")
    columns = ["failure", "half_at", "steepness", "after_hours", "until_level"]
    chosen = table.filter(table["treatment"] == treatment).select(columns)
    return tuple(_Rule(failure_names().index(name), *numbers) for name, *numbers in chosen.iter_rows())


def treat_failures(
    rng: np.random.Generator, courses: Courses, treatment: str, arrival: Ints, departure: Ints
) -> Treatment:
    """Draw which ICU stays get a treatment for their failures. Severe failures are more often treated.

    The treatment starts some time after the failure, and ends when its level has fallen, but stays within the stay.
    """
    given = np.zeros(len(arrival), dtype=bool)
    start, end = departure.copy(), arrival.copy()
    for rule in _rules(treatment):
        course = np.flatnonzero(courses.failure == rule.failure)
        chance = 1 / (1 + np.exp(-rule.steepness * (courses.severity[course] - rule.half_at)))
        course = course[rng.random(len(course)) < chance]
        wait = rule.after_hours * HOUR * rng.exponential(1.0, len(course))
        stay = courses.stay[course]
        begin = np.maximum(courses.start[course] + wait.astype(np.int64), arrival[stay])
        stop = np.minimum(courses.until_level(course, rule.until_level), departure[stay])
        treated = np.flatnonzero(stop - begin >= HOUR)
        stay = stay[treated]
        given[stay] = True
        np.minimum.at(start, stay, begin[treated])
        np.maximum.at(end, stay, stop[treated])
    return Treatment(given, start, end)


def also_given(treatment: Treatment, given: Bools, start: Ints, end: Ints) -> Treatment:
    """Return the treatment, also given for other reasons from `start` to `end`."""
    return Treatment(
        treatment.given | given,
        np.where(given, np.where(treatment.given, np.minimum(treatment.start, start), start), treatment.start),
        np.where(given, np.where(treatment.given, np.maximum(treatment.end, end), end), treatment.end),
    )
