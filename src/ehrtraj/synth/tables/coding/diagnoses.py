"""Draws the coded diagnoses of the admissions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from ehrtraj.synth import catalog
from ehrtraj.synth.block import BLOCK_PATIENTS, PatientBlock
from ehrtraj.synth.draw import Bools, Floats, Ints
from ehrtraj.synth.tables.coding.books import (
    DIAGNOSES,
    beginning_with,
    book_of,
    companions_of,
    exactly,
    figure,
    menu_of,
    shares,
)
from ehrtraj.synth.tables.coding.choice import (
    DECADE,
    Rows,
    Stays,
    choose_one,
    choose_some,
    in_sequence,
    joined,
    rows_of,
    with_companions,
)

CARE = ("critical", "surgical", "end_stage")
"""Situations of coding_factor beside catalog.causes(): an ICU stay, a surgical illness, end stage kidney disease."""
NEVER = 1e-12


@cache
def _factor_logs() -> tuple[Ints, Floats]:
    """Return each diagnosis' column, and [situations, columns]: logarithms of factors. Column 0 is all zeros."""
    situations = (*catalog.causes(), *CARE)
    column = np.zeros(book_of(DIAGNOSES).height, dtype=np.int64)
    logs = np.zeros((len(situations), 1 + len(column)))
    for words, factor in shares("coding_factor").items():
        situation, code = words.split()
        for _, number in exactly(DIAGNOSES, code):
            column[number] = column[number] or column.max() + 1
            logs[situations.index(situation), column[number]] += np.log(max(factor, NEVER))
    return column, logs[:, : column.max() + 1]


@cache
def _families() -> Ints:
    """Return for each diagnosis a number that those share of which an admission has only one."""
    family = np.arange(book_of(DIAGNOSES).height)
    for version in (9, 10):
        for words in catalog.choices(f"coding_one_of_{version}")[0]:
            members = [
                number for start in words.split() for own, number in beginning_with(DIAGNOSES, start) if own == version
            ]
            # A code may stand in several families: they become one.
            family[np.isin(family, family[members])] = family[members].min()
    return family


@dataclass(frozen=True)
class _Factors:
    """What multiplies a code's weight in each admission."""

    table: Floats
    """[admissions, 1 + diagnoses that any factor applies to]: ones first, for all others."""
    column: Ints
    """The column of each diagnosis."""

    def of(self, stay: Ints, number: Ints) -> Floats:
        """Return the factors of a matrix of diagnoses, each of its rows for one admission."""
        found: Floats = self.table[stay[:, None], self.column[number]]
        return found


def _factors(stays: Stays) -> _Factors:
    column, logs = _factor_logs()
    table = np.exp(stays.situations @ logs)
    table[table < NEVER * 1e3] = 0.0
    return _Factors(table, column)


def draw_diagnoses(block: PatientBlock, stays: Stays) -> Rows:
    """Return the diagnoses in their sequence, the principal one first."""
    rng = block.streams.rng("diagnoses")
    factors = _factors(stays)
    parts = [
        _principal(rng, stays, factors),
        _of_conditions(block, rng, stays, factors),
        _of_illness(rng, stays, factors),
        _of_any(block, rng, stays, factors),
    ]
    rows = with_companions(rng, joined(parts), companions_of(DIAGNOSES, "coding_with"), 2.0)
    return in_sequence(rng, rows, _families(), int(figure("most_codes")))


def _principal(rng: np.random.Generator, stays: Stays, factors: _Factors) -> Rows:
    menu = menu_of(DIAGNOSES, "principal", catalog.illnesses())
    line = 2 * stays.illness + stays.ten
    number = menu.number[line]
    stay = np.arange(len(line))
    column = choose_one(rng.random(len(line)), menu.weight[line] * factors.of(stay, number))
    return rows_of(stay, number[stay, column], 0.0)


def _of_conditions(block: PatientBlock, rng: np.random.Generator, stays: Stays, factors: _Factors) -> Rows:
    """One code for each condition. A patient keeps it: the place within the weights is drawn once."""
    names = catalog.conditions()
    menu = menu_of(DIAGNOSES, "secondary", names)
    share = np.array([shares("coding_condition_share")[name] for name in names])
    place = block.streams.rng("coding conditions").random((BLOCK_PATIENTS, len(names)))
    coded = block.people.conditions[stays.person] & (rng.random((len(stays.person), len(names))) < share)
    stay, condition = np.nonzero(coded)
    line = 2 * condition + stays.ten[stay]
    number = menu.number[line]
    column = choose_one(place[stays.person[stay], condition], menu.weight[line] * factors.of(stay, number))
    return rows_of(stay, np.where(column < 0, -1, number[np.arange(len(stay)), column]), 1.0)


def _of_illness(rng: np.random.Generator, stays: Stays, factors: _Factors) -> Rows:
    menu = menu_of(DIAGNOSES, "secondary", catalog.illnesses())
    line = 2 * stays.illness + stays.ten
    number = menu.number[line]
    mean = figure("secondary") + figure("secondary_per_severity") * stays.severity
    count = rng.poisson(mean + figure("secondary_in_icu") * stays.critical)
    weight = menu.weight[line] * factors.of(np.arange(len(line)), number)
    stay, column = choose_some(rng.exponential(size=number.shape), weight, count)
    return rows_of(stay, number[stay, column], 2.0)


@cache
def _status() -> Bools:
    """Say which diagnoses are history or status rather than a disease."""
    return book_of(DIAGNOSES)["icd_code"].str.contains("^[VZ]").to_numpy()


def _of_any(block: PatientBlock, rng: np.random.Generator, stays: Stays, factors: _Factors) -> Rows:
    """Codes that come with any illness; a patient's history and status (V and Z) are much the same every time."""
    menu = menu_of(DIAGNOSES, "secondary", ("any",))
    number = menu.number[stays.ten]
    lifelong = block.streams.rng("coding history").exponential(size=(BLOCK_PATIENTS, number.shape[1]))
    keys = np.where(_status()[number], lifelong[stays.person], rng.exponential(size=number.shape))
    mean = (
        figure("any")
        + figure("any_per_decade_over_50") * np.maximum(stays.age - 50, 0) / DECADE
        + figure("any_per_severity") * stays.severity
        + figure("any_per_day") * np.minimum(stays.days, 30)
    )
    shape = figure("any_shape")
    count = rng.poisson(mean * rng.gamma(shape, 1 / shape, len(mean)))
    stay, column = choose_some(keys, menu.weight[stays.ten] * factors.of(np.arange(len(mean)), number), count)
    return rows_of(stay, number[stay, column], 3.0)
