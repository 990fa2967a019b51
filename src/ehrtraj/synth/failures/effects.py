"""Shifts of signals by failures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import Bools, Floats, Ints
from ehrtraj.synth.failures.courses import Courses
from ehrtraj.synth.failures.draws import failure_names, figures


@dataclass(frozen=True)
class FailureEffects:
    """failure_effects.csv as arrays. All but `replaces` have the shape [failures, signals]."""

    shift: Floats
    """Shift of the signal, in its spreads, at a level of 1."""
    lag: Floats
    """Hours by which the signal follows the level."""
    most: Floats
    """Level above which the signal shifts no further, since treatment prevents it."""
    replaces: Bools
    """[signals]: only failures shift the signal in admissions with an ICU stay. The illness as such does not."""


@cache
def read_effects() -> FailureEffects:
    """Return failure_effects.csv as arrays."""
    shape = (len(failure_names()), catalog.signals().height)
    shift, lag, most = np.zeros(shape), np.zeros(shape), np.full(shape, np.inf)
    replaces = np.zeros(shape[1], dtype=bool)
    table = catalog.read("failure_effects.csv").select("failure", "signal", "shift", "lag_hours", "most", "replaces")
    for failure, signal, size, hours, highest, only in table.iter_rows():
        place = failure_names().index(failure), catalog.signal_numbers()[signal]
        shift[place], lag[place] = size, hours
        most[place] = np.inf if highest is None else highest
        replaces[place[1]] |= only == 1
    return FailureEffects(shift, lag, most, replaces)


def signal_shifts(courses: Courses, signal: Ints, episode: Ints, time: Ints) -> Floats:
    """Return by how many spreads failures shift each measurement.

    Args:
        courses: courses of the failures.
        signal: number of the signal, for each row.
        episode: number of the episode, for each row; -1 outside of episodes.
        time: time of the measurement in seconds since 1970, for each row.
    """
    effects = read_effects()
    total = np.zeros(len(signal))
    has_course = courses.number.max(axis=(0, 1)) >= 0
    concerned = np.flatnonzero(has_course[episode])
    signal, episode, time = signal[concerned], episode[concerned], time[concerned]
    for failure, numbers in enumerate(courses.number):
        shifted = np.flatnonzero((effects.shift[failure] != 0)[signal])
        for number in numbers:
            rows = shifted[number[episode[shifted]] >= 0]
            level = courses.level(number[episode[rows]], time[rows], effects.lag[failure, signal[rows]])
            level = np.minimum(level, effects.most[failure, signal[rows]])
            total[concerned[rows]] += effects.shift[failure, signal[rows]] * level
    return total


def levels(courses: Courses, failure: str, admission: Ints, time: Ints) -> Floats:
    """Return the level of a failure at each time, 0 without the failure."""
    total = np.zeros(len(admission))
    for number in courses.number[failure_names().index(failure)]:
        rows = np.flatnonzero(number[admission] >= 0)
        total[rows] += courses.level(number[admission[rows]], time[rows])
    return total


def urine_share(courses: Courses, admission: Ints, time: Ints) -> Floats:
    """Return by which factor failures reduce the flow of urine."""
    total = np.zeros(len(admission))
    for name, change in zip(failure_names(), figures("urine_log"), strict=True):
        if change:
            total += change * levels(courses, name, admission, time)
    return np.exp(total)
