"""Admissions as a coder sees them, and how codes are chosen for them and put in sequence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import BLOCK_PATIENTS, PatientBlock
from ehrtraj.synth.draw import DAY, NONE, Bools, Floats, Ints, repeat
from ehrtraj.synth.tables.coding.books import Companions, figure

DECADE = 10


@dataclass(frozen=True)
class Stays:
    """Admissions as a coder sees them, in the order of block.admissions. Days are their midnights."""

    person: Ints
    ten: Ints
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
    situations: Floats
    """[admissions, situations]: 1 where it applies."""


def coded_stays(block: PatientBlock) -> Stays:
    """Return the block's admissions as a coder sees them."""
    admissions, people = block.admissions, block.people
    person, total = admissions.person, len(admissions.person)
    month = admissions.discharge.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
    ten = month - 12 * people.shift[person] >= 12 * (2015 - 1970) + 9
    age = block.age(person, admissions.admit)
    died = admissions.death != NONE
    conditions = people.conditions
    end_stage = conditions[:, catalog.conditions().index("ckd")] & (
        block.streams.rng("coding people").random(BLOCK_PATIENTS) < figure("end_stage_of_ckd")
    )
    traits = np.stack([people.female[person], ~people.female[person], age >= 75, died], axis=1)
    care = np.stack([admissions.icu, admissions.surgical, end_stage[person]], axis=1)
    illness = np.arange(len(catalog.illnesses()))[None, :] == admissions.illness[:, None]
    return Stays(
        person=person,
        ten=ten.astype(np.int64),
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
        situations=np.concatenate([conditions[person], traits, illness, care], axis=1).astype(np.float64),
    )


@dataclass(frozen=True)
class Rows:
    """Codes of admissions; `order` decides their sequence, lower first, before `ordinal` is known."""

    stay: Ints
    number: Ints
    order: Floats
    ordinal: Ints
    day: Ints


def rows_of(stay: Ints, number: Ints, order: float, day: Ints | None = None) -> Rows:
    """Return codes of admissions that have the same order, without those of number -1."""
    found = number >= 0
    stay, number = stay[found], number[found]
    none = np.full(len(stay), -1, dtype=np.int64)
    return Rows(stay, number, np.full(len(stay), order), none, none if day is None else day[found])


def joined(parts: list[Rows]) -> Rows:
    """Return all parts, one after the other."""
    return Rows(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})


def _taken(rows: Rows, index: Ints | Bools) -> Rows:
    return Rows(**{name: column[index] for name, column in vars(rows).items()})


def with_companions(rng: np.random.Generator, rows: Rows, companions: Companions, least: float) -> Rows:
    """Add what the codes bring: after the code that brings it, and with an order of `least` or more."""
    parent, ordinal = repeat(companions.count[rows.number])
    entry = companions.first[rows.number[parent]] + ordinal
    comes = rng.random(len(parent)) < companions.chance[entry]
    brought = _taken(rows, parent[comes])
    order = np.maximum(brought.order + 0.5, least)
    more = Rows(brought.stay, companions.number[entry[comes]], order, brought.ordinal, brought.day)
    return joined([rows, more])


def in_sequence(rng: np.random.Generator, rows: Rows, family: Ints, most: int) -> Rows:
    """Put codes in their sequence, the first of each family only, and number them from 0."""
    ranked = _taken(rows, np.lexsort((rng.random(len(rows.stay)), rows.order, rows.stay)))
    _, first = np.unique(ranked.stay * len(family) + family[ranked.number], return_index=True)
    kept = _taken(ranked, np.sort(first))
    ordinal = np.arange(len(kept.stay)) - np.searchsorted(kept.stay, kept.stay)
    return _taken(Rows(kept.stay, kept.number, kept.order, ordinal, kept.day), ordinal < most)


def choose_one(place: Floats, weight: Floats) -> Ints:
    """Return a column of each row by weight, where `place` (0 to 1) falls in it; -1 where nothing has any weight."""
    edges = np.cumsum(weight, axis=1)
    column: Ints = (edges <= (place * edges[:, -1])[:, None]).sum(axis=1).astype(np.int64)
    return np.where(edges[:, -1] > 0, column, -1)


def choose_some(keys: Floats, weight: Floats, count: Ints) -> tuple[Ints, Ints]:
    """Return rows and columns: `count` different ones of each row by weight; `keys` are exponentially distributed."""
    late = np.divide(keys, weight, out=np.full(keys.shape, np.inf), where=weight > 0)
    order = np.argsort(late, axis=1, kind="stable")
    row, place = np.nonzero(np.arange(weight.shape[1])[None, :] < np.minimum(count, (weight > 0).sum(axis=1))[:, None])
    return row, order[row, place]


def whose(block: PatientBlock, stay: Ints) -> dict[str, pl.Series]:
    """Return the columns that say whose rows they are."""
    admissions = block.admissions
    return {
        "subject_id": block.subject_id(admissions.person[stay]),
        "hadm_id": pl.Series(admissions.hadm_id[stay]),
    }


def on_ventilator(block: PatientBlock) -> Bools:
    """Say in which ICU stays a ventilator was needed."""
    found: Bools = block.icu.ventilated_from != NONE
    return found
