"""The truth of a release: the latent infections, failures and treatments of each ICU stay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import NONE, Floats, Ints, choose, times
from ehrtraj.synth.failures.courses import Courses
from ehrtraj.synth.failures.draws import failure_names
from ehrtraj.synth.write import TIMESTAMP

FILE = "truth.csv"
SEPSIS = "sepsis"
TREATMENTS = ("invasive_ventilation", "vasopressor", "dialysis")
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "subject_id": pl.Int64,
    "hadm_id": pl.Int64,
    "stay_id": pl.Int64,
    "condition": pl.String,
    "start": pl.Datetime("us"),
    "end": pl.Datetime("us"),
    "severity": pl.Float64,
}


def conditions() -> tuple[str, ...]:
    """Return all values of the column `condition`."""
    return (*failure_names(), SEPSIS, *TREATMENTS)


@dataclass(frozen=True)
class _Facts:
    """Conditions of ICU stays, with one element per row."""

    stay: Ints
    condition: Ints
    start: Ints
    end: Ints
    severity: Floats


def truth_of(block: PatientBlock) -> pl.DataFrame:
    """Return the truth of the ICU stays of a block, ordered by patient, stay, start and condition."""
    courses, icu = block.courses, block.icu
    parts = [
        _Facts(courses.stay, courses.failure, courses.start, courses.end, courses.severity),
        _sepsis(courses),
        _treatment("invasive_ventilation", icu.ventilated_from, icu.ventilated_until),
        _treatment("vasopressor", icu.pressors_from, icu.pressors_until),
        _treatment("dialysis", icu.dialysis_from, icu.dialysis_until),
    ]
    facts = _Facts(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})
    place = np.lexsort((facts.condition, facts.start, facts.stay))
    facts = _Facts(**{name: column[place] for name, column in vars(facts).items()})
    death = block.admissions.death[icu.admission[facts.stay]]
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(icu.person[facts.stay]),
            "hadm_id": block.hadm_id(icu.admission[facts.stay]),
            "stay_id": pl.Series(icu.stay_id[facts.stay]),
            "condition": choose(pl.Series(conditions()), facts.condition),
            "start": times(facts.start),
            "end": times(np.where(death == NONE, facts.end, np.minimum(facts.end, death))),
            "severity": pl.Series(facts.severity.round(3)).fill_nan(None),
        },
        schema=SCHEMA,
    )


def _sepsis(courses: Courses) -> _Facts:
    """Return the sepsis of stays: an infection together with the failures that it causes.

    It starts with the first of these failures, lasts until all of them have ended, and is as severe as the worst.
    """
    caused = np.flatnonzero(courses.by_infection)
    stay, place = np.unique(courses.stay[caused], return_inverse=True)
    start, end = np.full(len(stay), np.iinfo(np.int64).max), np.full(len(stay), NONE)
    severity = np.zeros(len(stay))
    np.minimum.at(start, place, courses.start[caused])
    np.maximum.at(end, place, courses.end[caused])
    np.maximum.at(severity, place, courses.severity[caused])
    return _Facts(stay, np.full(len(stay), conditions().index(SEPSIS)), start, end, severity)


def _treatment(name: str, start: Ints, end: Ints) -> _Facts:
    given = np.flatnonzero(start != NONE)
    condition = np.full(len(given), conditions().index(name))
    return _Facts(given, condition, start[given], end[given], np.full(len(given), np.nan))


class TruthFile:
    """`truth.csv`, written part by part, so that memory does not grow with the number of patients."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        pl.DataFrame(schema=SCHEMA).write_csv(self._file)

    def append(self, part: pl.DataFrame) -> None:
        """Append the truth of the next block."""
        part.write_csv(self._file, include_header=False, datetime_format=TIMESTAMP)

    def close(self) -> None:
        """Complete the file."""
        self._file.close()
