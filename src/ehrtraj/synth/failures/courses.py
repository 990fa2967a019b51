"""Courses of failures: when each begins, rises, stays, falls and ends, and its level at any time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehrtraj.synth.draw import HOUR, Bools, Floats, Ints
from ehrtraj.synth.failures.draws import ICU_STAYS, INFECTION, FailureDraws, failure_names, figures

SPREAD = 0.4
"""Spread of the hours of a course, in natural logarithms; an assumption."""
PERSISTENT = 0.6
"""Severity from which a failure persists until death, in patients who die; an assumption."""
BEFORE_ADMISSION = 12 * HOUR
"""Failures begin at most this long before the patient arrives in the hospital; an assumption."""


@dataclass(frozen=True)
class Courses:
    """Courses of failures, ordered by ICU stay and failure.

    The level of a course is 0 until `start`, rises to `severity` at `peak`, falls from `fade` on and is 0 from `end`.
    """

    stay: Ints
    failure: Ints
    """Number of the failure; see failure_names()."""
    severity: Floats
    by_infection: Bools
    start: Ints
    peak: Ints
    fade: Ints
    end: Ints
    number: Ints
    """[failures, ICU stays of an admission, episodes + 1]: number of the course, or -1. The last column is for -1."""

    def level(self, course: Ints, time: Ints, lag: Floats | float = 0.0) -> Floats:
        """Return the level of each course at each time.

        Args:
            course: number of the course, for each row.
            time: seconds since 1970, for each row.
            lag: hours by which a measurement follows the level: the time constant of a first-order delay.
        """
        rise = self.severity[course] / (self.peak[course] - self.start[course])
        fall = self.severity[course] / (self.end[course] - self.fade[course])
        seconds = np.maximum(lag, 1e-3) * HOUR
        bends = ((self.start, rise), (self.peak, -rise), (self.fade, -fall), (self.end, fall))
        level = np.zeros(len(course))
        for knot, slope in bends:
            passed = np.maximum(time - knot[course], 0)
            level += slope * (passed + seconds * np.expm1(-passed / seconds))
        return level

    def until_level(self, course: Ints, level: float) -> Ints:
        """Return when each course falls below a level; its start if it never reaches it."""
        share = np.clip(level / self.severity[course], 0.0, 1.0)
        falling = self.end[course] - share * (self.end[course] - self.fade[course])
        return np.where(share < 1, falling, self.start[course]).astype(np.int64)


def place_courses(
    rng: np.random.Generator,
    draws: FailureDraws,
    *,
    admission: Ints,
    ordinal: Ints,
    arrival: Ints,
    departure: Ints,
    died: Bools,
    episode_start: Ints,
    episodes: int,
) -> Courses:
    """Place the failures of each ICU stay in time.

    Args:
        rng: source of random numbers.
        draws: failures of the admissions.
        admission: admission of each ICU stay.
        ordinal: number of the ICU stay within its admission.
        arrival: start of the ICU stay.
        departure: end of the ICU stay.
        died: whether the patient dies at the end of the stay.
        episode_start: arrival in the hospital.
        episodes: number of episodes of the block.
    """
    severity = draws.severity[admission, ordinal]
    stay, failure = np.nonzero(severity)
    peak_severity = severity[stay, failure]
    by_infection = draws.by_infection[admission, ordinal][stay, failure]
    hours = _hours(rng, failure)
    start = _onsets(rng, stay, failure, by_infection, arrival, departure, episode_start)
    peak = start + hours["rise_hours"]
    fade = peak + hours["lasts_hours"]
    until_death = died[stay] & ((peak_severity >= PERSISTENT) | (failure == INFECTION))
    fade = np.where(until_death, np.maximum(fade, departure[stay]), fade)
    number = np.full((len(failure_names()), ICU_STAYS, episodes + 1), -1)
    number[failure, ordinal[stay], admission[stay]] = np.arange(len(stay))
    return Courses(
        stay=stay,
        failure=failure,
        severity=peak_severity,
        by_infection=by_infection,
        start=start,
        peak=peak,
        fade=fade,
        end=fade + hours["falls_hours"],
        number=number,
    )


def _hours(rng: np.random.Generator, failure: Ints) -> dict[str, Ints]:
    """Return the length of each phase of each course, in whole seconds."""
    return {
        name: np.maximum(
            figures(name)[failure] * HOUR * np.exp(SPREAD * rng.standard_normal(len(failure))), HOUR / 2
        ).astype(np.int64)
        for name in ("rise_hours", "lasts_hours", "falls_hours")
    }


def _onsets(
    rng: np.random.Generator,
    stay: Ints,
    failure: Ints,
    by_infection: Bools,
    arrival: Ints,
    departure: Ints,
    episode_start: Ints,
) -> Ints:
    """Draw when each course begins: before or during the ICU stay, or some hours after the infection that causes it."""
    count = len(stay)
    before = arrival[stay] - (rng.random(count) * figures("before_hours")[failure] * HOUR).astype(np.int64)
    after = arrival[stay] + (rng.exponential(1.0, count) * figures("after_hours")[failure] * HOUR).astype(np.int64)
    onset = np.where(rng.random(count) < figures("before_arrival")[failure], before, after)
    infection_onset = np.zeros(len(arrival), dtype=np.int64)
    infections = np.flatnonzero(failure == INFECTION)
    infection_onset[stay[infections]] = onset[infections]
    delay = figures("infection_hours")[failure] * HOUR * np.exp(0.7 * rng.standard_normal(count))
    onset = np.where(by_infection, infection_onset[stay] + delay.astype(np.int64), onset)
    latest = departure[stay] - HOUR
    return np.maximum(np.minimum(onset, latest), episode_start[stay] - BEFORE_ADMISSION)
