"""Summaries of the failures of a block, for tables that depend on them."""

from __future__ import annotations

import numpy as np

from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import NONE, Floats, Ints
from ehrtraj.synth.failures.draws import INFECTION, failure_names, septic_illnesses

SEPSIS, SEPTIC_SHOCK = "sepsis", "septic_shock"


def summary_names() -> tuple[str, ...]:
    """Return the columns of worst_failures(): the failures, then sepsis and septic shock."""
    return (*failure_names(), SEPSIS, SEPTIC_SHOCK)


def worst_failures(block: PatientBlock) -> Floats:
    """Return [admissions, summary_names()]: the highest severity of each; 0 without it.

    Sepsis is as severe as the worst failure that an infection causes, septic shock as the failure of the circulation.
    """
    courses, names = block.courses, summary_names()
    admission = block.icu.admission[courses.stay]
    worst = np.zeros((len(block.admissions.person), len(names)))
    np.maximum.at(worst, (admission, courses.failure), courses.severity)
    shock = courses.failure == failure_names().index("cardiovascular_failure")
    for name, chosen in ((SEPSIS, courses.by_infection), (SEPTIC_SHOCK, courses.by_infection & shock)):
        np.maximum.at(worst[:, names.index(name)], admission[chosen], courses.severity[chosen])
    return worst


def later_infections(block: PatientBlock) -> Ints:
    """Return the start of the infection in each ICU stay, if it is not the illness of the admission; NONE without."""
    courses = block.courses
    start = np.full(len(block.icu.person), NONE)
    illness = block.admissions.illness[block.icu.admission[courses.stay]]
    chosen = np.flatnonzero((courses.failure == INFECTION) & ~septic_illnesses()[illness])
    start[courses.stay[chosen]] = courses.start[chosen]
    return start
