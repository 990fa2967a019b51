"""Draws the coded procedures of the admissions: operations, treatments in intensive care, and others."""

from __future__ import annotations

from functools import cache

import numpy as np

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import DAY, NONE, Bools, Ints
from ehrtraj.synth.tables.coding.books import (
    DIAGNOSES,
    PROCEDURES,
    Menu,
    beginning_with,
    book_of,
    code_numbers,
    companions_of,
    figure,
    menu_of,
    padded,
    shares,
)
from ehrtraj.synth.tables.coding.choice import (
    Rows,
    Stays,
    choose_one,
    choose_some,
    in_sequence,
    joined,
    on_ventilator,
    rows_of,
    with_companions,
)

TREATMENTS = (
    "ventilated_under_a_day",
    "ventilated_to_4_days",
    "ventilated_over_4_days",
    "intubated",
    "dialysis",
    "arterial_line",
)


def draw_procedures(block: PatientBlock, stays: Stays, diagnosis: Ints) -> tuple[Rows, Bools]:
    """Return the procedures, and which admissions had the one their illness is treated by."""
    rng = block.streams.rng("procedures")
    main, operated, day = _operations(rng, stays, diagnosis)
    parts = [main, *_with_operation(rng, stays, operated, day), *_treatments(block, rng, stays), _others(rng, stays)]
    rows = with_companions(rng, joined(parts), companions_of(PROCEDURES, "coding_operation_with"), 0.5)
    own = np.arange(book_of(PROCEDURES).height)
    kept = in_sequence(rng, rows, own, len(own))
    inside = np.clip(kept.day, stays.first_day[kept.stay], stays.last_day[kept.stay])
    return Rows(kept.stay, kept.number, kept.order, kept.ordinal, inside), operated


@cache
def _operation_menu() -> tuple[Menu, Ints]:
    """Return the menu of operations, and [illnesses, diagnoses]: its line for a principal diagnosis, or -1."""
    illnesses = catalog.illnesses()
    base = menu_of(PROCEDURES, "principal", illnesses)
    lines = [list(zip(*pair, strict=True)) for pair in zip(base.number.tolist(), base.weight.tolist(), strict=True)]
    special: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for words, weight in shares("coding_operation_for").items():
        left, procedure = words.split(">")
        illness, *starts = left.split()
        for start in starts:
            for version, number in beginning_with(DIAGNOSES, start):
                if (version, procedure) in code_numbers(PROCEDURES):
                    entry = (code_numbers(PROCEDURES)[version, procedure], weight)
                    special.setdefault((illnesses.index(illness), number), []).append(entry)
    line = np.full((len(illnesses), book_of(DIAGNOSES).height), -1, dtype=np.int64)
    for (row, number), entries in special.items():
        line[row, number] = len(lines)
        lines.append(entries)
    return padded(lines), line


def _operations(rng: np.random.Generator, stays: Stays, diagnosis: Ints) -> tuple[Rows, Bools, Ints]:
    menu, special = _operation_menu()
    total = len(diagnosis)
    share = np.array([shares("coding_operation_share")[name] for name in catalog.illnesses()])
    own = special[stays.illness, diagnosis]
    line = np.where(own >= 0, own, 2 * stays.illness + stays.ten)
    column = choose_one(rng.random(total), menu.weight[line])
    operated = (rng.random(total) < share[stays.illness]) & (column >= 0)
    next_day = rng.random(total) < figure("day_after_operation")
    later = np.where(stays.surgical, next_day, rng.exponential(figure("days_to_procedure"), total).astype(np.int64))
    day = np.minimum(stays.first_day + DAY * later, stays.last_day)
    stay = np.flatnonzero(operated)
    return rows_of(stay, menu.number[line[stay], column[stay]], 0.0, day[stay]), operated, day


def _with_operation(rng: np.random.Generator, stays: Stays, operated: Bools, day: Ints) -> list[Rows]:
    menu = menu_of(PROCEDURES, "secondary", catalog.illnesses())
    line = 2 * stays.illness + stays.ten
    count = np.where(operated, rng.poisson(figure("operation_secondary"), len(line)), 0)
    stay, column = choose_some(rng.exponential(size=(len(line), menu.number.shape[1])), menu.weight[line], count)
    return [rows_of(stay, menu.number[line[stay], column], 1.0, day[stay])]


def _treatments(block: PatientBlock, rng: np.random.Generator, stays: Stays) -> list[Rows]:
    """Ventilation, dialysis and lines, on the day they began, and what else is done in intensive care."""
    begin = _beginnings(block, rng, stays)
    menu = menu_of(PROCEDURES, "secondary", TREATMENTS)
    parts = []
    for number, name in enumerate(TREATMENTS):
        stay = np.flatnonzero(
            (begin[name] != NONE) & (rng.random(len(stays.person)) < shares("coding_care_share")[name])
        )
        line = 2 * number + stays.ten[stay]
        column = choose_one(rng.random(len(stay)), menu.weight[line])
        parts.append(rows_of(stay, menu.number[line, column], 2.0, begin[name][stay]))
    critical = menu_of(PROCEDURES, "secondary", ("critical",))
    count = rng.poisson(figure("critical"), len(stays.person)) * stays.critical
    keys = rng.exponential(size=(len(stays.person), critical.number.shape[1]))
    stay, column = choose_some(keys, critical.weight[stays.ten], count)
    day = begin["critical"][stay] + DAY * rng.exponential(1.0, len(stay)).astype(np.int64)
    return [*parts, rows_of(stay, critical.number[stays.ten[stay], column], 3.0, day)]


def _beginnings(block: PatientBlock, rng: np.random.Generator, stays: Stays) -> dict[str, Ints]:
    """Return the day each treatment began in each admission, NONE where it was not needed."""
    icu, total = block.icu, len(stays.person)
    hours = np.zeros(total)
    np.maximum.at(hours, icu.admission, np.where(on_ventilator(block), icu.ventilated_until - icu.ventilated_from, 0))
    air = _earliest(total, icu.admission[on_ventilator(block)], icu.ventilated_from[on_ventilator(block)])
    dialysis = _earliest(total, icu.admission[icu.dialysis], icu.arrival[icu.dialysis] + DAY)
    chronic = stays.end_stage & (rng.random(total) < figure("dialysis_of_end_stage")) & (dialysis == NONE)
    return {
        "ventilated_under_a_day": np.where(hours < DAY, air, NONE),
        "ventilated_to_4_days": np.where((hours >= DAY) & (hours < 4 * DAY), air, NONE),
        "ventilated_over_4_days": np.where(hours >= 4 * DAY, air, NONE),
        "intubated": air,
        "dialysis": np.where(chronic, stays.first_day + DAY, dialysis),
        "arterial_line": _earliest(total, icu.admission[icu.arterial_line], icu.arrival[icu.arterial_line]),
        "critical": _earliest(total, icu.admission, icu.arrival),
    }


def _earliest(total: int, admission: Ints, time: Ints) -> Ints:
    """Return the first day of each admission among `time`, NONE where it has none."""
    never = np.iinfo(np.int64).max
    first = np.full(total, never)
    np.minimum.at(first, admission, time)
    return np.where(first == never, NONE, first - first % DAY)


def _others(rng: np.random.Generator, stays: Stays) -> Rows:
    menu = menu_of(PROCEDURES, "secondary", ("any",))
    total = len(stays.person)
    count = rng.poisson(figure("any_procedure") * np.minimum(stays.severity, 2), total)
    stay, column = choose_some(rng.exponential(size=(total, menu.number.shape[1])), menu.weight[stays.ten], count)
    later = rng.exponential(figure("days_to_procedure"), len(stay)).astype(np.int64)
    return rows_of(stay, menu.number[stays.ten[stay], column], 4.0, stays.first_day[stay] + DAY * later)
