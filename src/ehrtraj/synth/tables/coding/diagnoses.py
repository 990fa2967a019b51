"""Draw the coded diagnoses of admissions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ehrtraj.synth import catalog
from ehrtraj.synth.block import BLOCK_PATIENTS, PatientBlock
from ehrtraj.synth.draw import Bools, Floats, Ints
from ehrtraj.synth.failures.summary import summary_names
from ehrtraj.synth.tables.coding.books import (
    DIAGNOSES,
    beginning_with,
    code_table,
    companions_of,
    exactly,
    figure,
    menu_of,
    shares,
)
from ehrtraj.synth.tables.coding.choice import (
    DECADE,
    CodedAdmissions,
    CodedRows,
    choose_one,
    choose_some,
    coded_rows,
    concat_rows,
    in_sequence,
    with_companions,
)

CARE = ("critical", "surgical", "end_stage")
"""Situations of coding_factor besides catalog.causes(): an ICU stay, a surgical illness, end-stage kidney disease.

There is also `without_` with each of summary_names(): an ICU stay without that failure.
"""
NEVER = 1e-12


@cache
def _factor_logs() -> tuple[Ints, Floats]:
    """Return the column of each diagnosis, and [situations, columns]: logarithms of factors. Column 0 is all zeros."""
    situations = (*catalog.causes(), *CARE, *(f"without_{name}" for name in summary_names()))
    column = np.zeros(code_table(DIAGNOSES).height, dtype=np.int64)
    logs = np.zeros((len(situations), 1 + len(column)))
    for words, factor in shares("coding_factor").items():
        situation, code = words.split()
        for _, number in exactly(DIAGNOSES, code):
            column[number] = column[number] or column.max() + 1
            logs[situations.index(situation), column[number]] += np.log(max(factor, NEVER))
    return column, logs[:, : column.max() + 1]


@cache
def _families() -> Ints:
    """Return the family of each diagnosis. An admission has only one code of a family."""
    family = np.arange(code_table(DIAGNOSES).height)
    for version in (9, 10):
        for words in catalog.choices(f"coding_one_of_{version}")[0]:
            members = [
                number
                for prefix in words.split()
                for code_version, number in beginning_with(DIAGNOSES, prefix)
                if code_version == version
            ]
            # Families that share a code are merged.
            family[np.isin(family, family[members])] = family[members].min()
    return family


@dataclass(frozen=True)
class _Factors:
    """Factors that multiply the weights of codes in each admission."""

    table: Floats
    """[admissions, 1 + diagnoses with factors]: the first column is 1, for all other diagnoses."""
    column: Ints
    """Column of each diagnosis."""

    def of(self, admission: Ints, number: Ints) -> Floats:
        """Return the factors for a matrix of diagnoses, in which each row belongs to an admission."""
        factors: Floats = self.table[admission[:, None], self.column[number]]
        return factors


def _factors(admissions: CodedAdmissions) -> _Factors:
    column, logs = _factor_logs()
    table = np.exp(admissions.situations @ logs)
    table[table < NEVER * 1e3] = 0.0
    return _Factors(table, column)


def draw_diagnoses(block: PatientBlock, admissions: CodedAdmissions) -> CodedRows:
    """Draw the diagnoses in their sequence, the principal one first."""
    rng = block.streams.rng("diagnoses")
    factors = _factors(admissions)
    parts = [
        _principal(rng, admissions, factors),
        _of_conditions(block, rng, admissions, factors),
        _of_failures(block.streams.rng("failure codes"), admissions),
        _of_illness(rng, admissions, factors),
        _of_any(block, rng, admissions, factors),
    ]
    rows = with_companions(rng, concat_rows(parts), companions_of(DIAGNOSES, "coding_with"), 2.0)
    return in_sequence(rng, rows, _families(), int(figure("most_codes")))


def _principal(rng: np.random.Generator, admissions: CodedAdmissions, factors: _Factors) -> CodedRows:
    menu = menu_of(DIAGNOSES, "principal", catalog.illnesses())
    line = 2 * admissions.illness + admissions.icd10
    number = menu.number[line]
    admission = np.arange(len(line))
    column = choose_one(rng.random(len(line)), menu.weight[line] * factors.of(admission, number))
    return coded_rows(admission, number[admission, column], 0.0)


def _of_conditions(
    block: PatientBlock, rng: np.random.Generator, admissions: CodedAdmissions, factors: _Factors
) -> CodedRows:
    """Draw a code for each condition. It is the same in all admissions, since `place` is drawn once per patient."""
    names = catalog.conditions()
    menu = menu_of(DIAGNOSES, "secondary", names)
    share = np.array([shares("coding_condition_share")[name] for name in names])
    place = block.streams.rng("coding conditions").random((BLOCK_PATIENTS, len(names)))
    coded = block.people.conditions[admissions.person] & (rng.random((len(admissions.person), len(names))) < share)
    admission, condition = np.nonzero(coded)
    line = 2 * condition + admissions.icd10[admission]
    number = menu.number[line]
    column = choose_one(
        place[admissions.person[admission], condition], menu.weight[line] * factors.of(admission, number)
    )
    return coded_rows(admission, np.where(column < 0, -1, number[np.arange(len(admission)), column]), 1.0)


def _of_failures(rng: np.random.Generator, admissions: CodedAdmissions) -> CodedRows:
    """Draw codes of failures in intensive care. Severe ones are coded more often."""
    names = summary_names()
    menu = menu_of(DIAGNOSES, "failure", names)
    share = np.array([shares("coding_failure_share")[name] for name in names])
    chance = share * np.minimum(admissions.failures, 1.0)
    admission, failure = np.nonzero(rng.random(chance.shape) < chance)
    line = 2 * failure + admissions.icd10[admission]
    column = choose_one(rng.random(len(line)), menu.weight[line])
    return coded_rows(admission, menu.number[line, column], 1.5)


def _of_illness(rng: np.random.Generator, admissions: CodedAdmissions, factors: _Factors) -> CodedRows:
    menu = menu_of(DIAGNOSES, "secondary", catalog.illnesses())
    line = 2 * admissions.illness + admissions.icd10
    number = menu.number[line]
    mean = figure("secondary") + figure("secondary_per_severity") * admissions.severity
    count = rng.poisson(mean + figure("secondary_in_icu") * admissions.critical)
    weight = menu.weight[line] * factors.of(np.arange(len(line)), number)
    admission, column = choose_some(rng.exponential(size=number.shape), weight, count)
    return coded_rows(admission, number[admission, column], 2.0)


@cache
def _status() -> Bools:
    """Return which diagnoses are history or status instead of a disease."""
    return code_table(DIAGNOSES)["icd_code"].str.contains("^[VZ]").to_numpy()


def _of_any(block: PatientBlock, rng: np.random.Generator, admissions: CodedAdmissions, factors: _Factors) -> CodedRows:
    """Draw codes that occur with any illness. A patient's history and status codes (V and Z) are similar every time."""
    menu = menu_of(DIAGNOSES, "secondary", ("any",))
    number = menu.number[admissions.icd10]
    keys_of_patients = block.streams.rng("coding history").exponential(size=(BLOCK_PATIENTS, number.shape[1]))
    keys = np.where(_status()[number], keys_of_patients[admissions.person], rng.exponential(size=number.shape))
    mean = (
        figure("any")
        + figure("any_per_decade_over_50") * np.maximum(admissions.age - 50, 0) / DECADE
        + figure("any_per_severity") * admissions.severity
        + figure("any_per_day") * np.minimum(admissions.days, 30)
    )
    shape = figure("any_shape")
    count = rng.poisson(mean * rng.gamma(shape, 1 / shape, len(mean)))
    admission, column = choose_some(
        keys, menu.weight[admissions.icd10] * factors.of(np.arange(len(mean)), number), count
    )
    return coded_rows(admission, number[admission, column], 3.0)
