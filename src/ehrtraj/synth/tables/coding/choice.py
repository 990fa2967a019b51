"""Admissions from a coder's point of view, and the choice and sequence of their codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import BLOCK_PATIENTS, PatientBlock
from ehrtraj.synth.draw import DAY, NONE, Bools, Floats, Ints, repeat
from ehrtraj.synth.failures.summary import worst_failures
from ehrtraj.synth.tables.coding.books import Companions, figure

DECADE = 10


@dataclass(frozen=True)
class CodedAdmissions:
    """Facts about admissions that determine their codes, in the order of block.admissions. Days are midnights."""

    person: Ints
    icd10: Ints
    """1 for ICD-10, 0 for ICD-9."""
    illness: Ints
    severity: Floats
    age: Floats
    days: Floats
    first_day: Ints
    last_day: Ints
    surgical: Bools
    critical: Bools
    died: Bools
    end_stage: Bools
    failures: Floats
    """[admissions, summary_names()]: severity of infections, failures, sepsis and septic shock in intensive care."""
    situations: Floats
    """[admissions, situations]: 1 where the situation applies."""


def coded_admissions(block: PatientBlock) -> CodedAdmissions:
    """Return the facts about a block's admissions that determine their codes."""
    admissions, people = block.admissions, block.people
    person, total = admissions.person, len(admissions.person)
    month = admissions.discharge.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
    icd10 = month - 12 * people.shift[person] >= 12 * (2015 - 1970) + 9
    age = block.age(person, admissions.admit)
    died = admissions.death != NONE
    conditions = people.conditions
    end_stage = conditions[:, catalog.conditions().index("ckd")] & (
        block.streams.rng("coding people").random(BLOCK_PATIENTS) < figure("end_stage_of_ckd")
    )
    traits = np.stack([people.female[person], ~people.female[person], age >= 75, died], axis=1)
    care = np.stack([admissions.icu, admissions.surgical, end_stage[person]], axis=1)
    failures = worst_failures(block)
    without = admissions.icu[:, None] & (failures == 0)
    illness = np.arange(len(catalog.illnesses()))[None, :] == admissions.illness[:, None]
    return CodedAdmissions(
        person=person,
        icd10=icd10.astype(np.int64),
        illness=admissions.illness,
        severity=block.episodes.severity[:total],
        age=age,
        days=(admissions.discharge - admissions.admit) / DAY,
        first_day=admissions.admit - admissions.admit % DAY,
        last_day=admissions.discharge - admissions.discharge % DAY,
        surgical=admissions.surgical,
        critical=admissions.icu,
        died=died,
        end_stage=end_stage[person],
        failures=failures,
        situations=np.concatenate([conditions[person], traits, illness, care, without], axis=1).astype(np.float64),
    )


@dataclass(frozen=True)
class CodedRows:
    """Codes of admissions. They are sorted by `order`, lowest first; `ordinal` is the place in this sequence."""

    admission: Ints
    number: Ints
    order: Floats
    ordinal: Ints
    day: Ints


def coded_rows(admission: Ints, number: Ints, order: float, day: Ints | None = None) -> CodedRows:
    """Return codes of admissions that share `order`, without those of number -1."""
    valid = number >= 0
    admission, number = admission[valid], number[valid]
    none = np.full(len(admission), -1, dtype=np.int64)
    return CodedRows(admission, number, np.full(len(admission), order), none, none if day is None else day[valid])


def concat_rows(parts: list[CodedRows]) -> CodedRows:
    """Concatenate rows."""
    return CodedRows(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})


def _select(rows: CodedRows, index: Ints | Bools) -> CodedRows:
    return CodedRows(**{name: column[index] for name, column in vars(rows).items()})


def with_companions(rng: np.random.Generator, rows: CodedRows, companions: Companions, least: float) -> CodedRows:
    """Add the companions of codes, each after the code that brings it, with an order of at least `least`."""
    parent, ordinal = repeat(companions.count[rows.number])
    entry = companions.first[rows.number[parent]] + ordinal
    is_brought = rng.random(len(parent)) < companions.chance[entry]
    brought = _select(rows, parent[is_brought])
    order = np.maximum(brought.order + 0.5, least)
    more = CodedRows(brought.admission, companions.number[entry[is_brought]], order, brought.ordinal, brought.day)
    return concat_rows([rows, more])


def in_sequence(rng: np.random.Generator, rows: CodedRows, family: Ints, limit: int) -> CodedRows:
    """Sort codes into their sequence, keep only the first of each family, and number them from 0."""
    ranked = _select(rows, np.lexsort((rng.random(len(rows.admission)), rows.order, rows.admission)))
    _, first = np.unique(ranked.admission * len(family) + family[ranked.number], return_index=True)
    firsts = _select(ranked, np.sort(first))
    ordinal = np.arange(len(firsts.admission)) - np.searchsorted(firsts.admission, firsts.admission)
    return _select(CodedRows(firsts.admission, firsts.number, firsts.order, ordinal, firsts.day), ordinal < limit)


def choose_one(place: Floats, weight: Floats) -> Ints:
    """Choose a column in each row by weight; -1 if all weights are 0.

    Args:
        place: [rows], position from 0 to 1 within the cumulative weights.
        weight: [rows, columns].
    """
    edges = np.cumsum(weight, axis=1)
    column: Ints = (edges <= (place * edges[:, -1])[:, None]).sum(axis=1).astype(np.int64)
    return np.where(edges[:, -1] > 0, column, -1)


def choose_some(keys: Floats, weight: Floats, count: Ints) -> tuple[Ints, Ints]:
    """Choose different columns in each row by weight.

    Args:
        keys: [rows, columns], exponentially distributed random numbers.
        weight: [rows, columns].
        count: [rows], number of columns to choose.

    Returns:
        Row and column of each choice.
    """
    waiting_time = np.divide(keys, weight, out=np.full(keys.shape, np.inf), where=weight > 0)
    order = np.argsort(waiting_time, axis=1, kind="stable")
    row, place = np.nonzero(np.arange(weight.shape[1])[None, :] < np.minimum(count, (weight > 0).sum(axis=1))[:, None])
    return row, order[row, place]


def patient_columns(block: PatientBlock, admission: Ints) -> dict[str, pl.Series]:
    """Return the columns subject_id and hadm_id."""
    admissions = block.admissions
    return {
        "subject_id": block.subject_id(admissions.person[admission]),
        "hadm_id": pl.Series(admissions.hadm_id[admission]),
    }


def on_ventilator(block: PatientBlock) -> Bools:
    """Return in which ICU stays the patient was ventilated."""
    ventilated: Bools = block.icu.ventilated_from != NONE
    return ventilated
