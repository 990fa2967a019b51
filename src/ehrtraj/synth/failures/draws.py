"""Draw which infections and organ failures patients in intensive care have, and how severe they are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import Bools, Floats, Ints

INFECTION = 0
"""Number of the infection among the failures: it may cause the others."""
ICU_STAYS = 2
"""Most ICU stays in an admission: the first, and a return."""
USUAL_SEVERITY = 1.3
"""Severity of illness for which failure_chances.csv is valid."""
LEAST, MOST = 0.3, 2.6
"""Limits of the severity of a failure; assumptions."""
ELDERLY = 75


@dataclass(frozen=True)
class FailureDraws:
    """Failures of admissions. Arrays have the shape [admissions, ICU stays of an admission, failures]."""

    severity: Floats
    """Peak severity; 0 without the failure."""
    by_infection: Bools
    """The infection of the same stay causes the failure."""


@cache
def failure_names() -> tuple[str, ...]:
    """Return the names of the failures. The position of a name is its number; the infection is first."""
    return tuple(catalog.read("failures.csv")["failure"])


@cache
def figures(column: str) -> Floats:
    """Return a column of failures.csv, with one element per failure."""
    numbers: Floats = catalog.read("failures.csv")[column].cast(pl.Float64).to_numpy()
    return numbers


@cache
def _chances() -> Floats:
    """Return [illnesses, failures]: the chance of each failure, without those that an infection causes."""
    table = catalog.read("failure_chances.csv")
    order = {name: row for row, name in enumerate(table["illness"])}
    numbers: Floats = table.select(failure_names()).cast(pl.Float64).to_numpy()
    return numbers[[order[name] for name in catalog.illnesses()]]


@cache
def septic_illnesses() -> Bools:
    """Return which illnesses are infections."""
    table = catalog.read("failure_chances.csv")
    septic = dict(table.select("illness", "septic").iter_rows())
    return np.array([septic[name] == 1 for name in catalog.illnesses()])


@cache
def _factor_logs() -> Floats:
    """Return [conditions and elderly, failures]: logarithms of the factors that multiply the odds of each failure."""
    rows = {name: row for row, name in enumerate((*catalog.conditions(), "elderly"))}
    logs = np.zeros((len(rows), len(failure_names())))
    for column, entries in enumerate(catalog.read("failures.csv")["liked_by"].fill_null("")):
        for entry in entries.split():
            name, factor = entry.split(":")
            logs[rows[name], column] = np.log(float(factor))
    return logs


def draw_failures(
    rng: np.random.Generator, illness: Ints, severity: Floats, icu: Bools, conditions: Bools, age: Ints
) -> FailureDraws:
    """Draw the failures of admissions.

    Args:
        rng: source of random numbers.
        illness: number of the illness of each admission.
        severity: severity of the illness.
        icu: whether the admission has an ICU stay; the others have no failures.
        conditions: [admissions, conditions].
        age: age in years.
    """
    shape = (len(illness), ICU_STAYS, len(failure_names()))
    relative = np.maximum(severity, 0.1)[:, None, None] / USUAL_SEVERITY
    causes = np.concatenate([conditions, (age >= ELDERLY)[:, None]], axis=1).astype(np.float64)
    chance = np.clip(_chances()[illness], 1e-6, 1 - 1e-6)
    odds = (chance / (1 - chance) * np.exp(causes @ _factor_logs()))[:, None, :] * relative**1.5
    direct = icu[:, None, None] & (rng.random(shape) < odds / (1 + odds))
    peak = figures("severity") * relative**0.8 * np.exp(figures("spread") * rng.standard_normal(shape))
    peak = np.clip(peak, LEAST, MOST)
    infection = np.where(direct[..., INFECTION], peak[..., INFECTION], 0.0)[..., None]
    caused = rng.random(shape) < np.minimum(figures("by_infection") * infection**1.2, 0.9)
    by_infection = caused | (direct & (infection > 0) & septic_illnesses()[illness][:, None, None])
    by_infection[..., INFECTION] = False
    return FailureDraws(np.where(direct | caused, peak, 0.0), by_infection)


def death_odds(failures: FailureDraws) -> Floats:
    """Return the factor by which the failures of the first ICU stay of each admission multiply the odds of death."""
    return np.asarray(np.exp(failures.severity[:, 0] @ figures("death_log_odds")))
