"""Draw the coded procedures of admissions: operations, treatments in intensive care, and others."""

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
    code_numbers,
    code_table,
    companions_of,
    figure,
    menu_of,
    padded,
    shares,
)
from ehrtraj.synth.tables.coding.choice import (
    CodedAdmissions,
    CodedRows,
    choose_one,
    choose_some,
    coded_rows,
    concat_rows,
    in_sequence,
    on_ventilator,
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


def draw_procedures(block: PatientBlock, admissions: CodedAdmissions, diagnosis: Ints) -> tuple[CodedRows, Bools]:
    """Draw the procedures; also return which admissions had the specific procedure for their illness."""
    rng = block.streams.rng("procedures")
    main, operated, operation_day = _operations(rng, admissions, diagnosis)
    parts = [
        main,
        *_with_operation(rng, admissions, operated, operation_day),
        *_treatments(block, rng, admissions),
        _others(rng, admissions),
    ]
    rows = with_companions(rng, concat_rows(parts), companions_of(PROCEDURES, "coding_operation_with"), 0.5)
    families = np.arange(code_table(PROCEDURES).height)
    sequence = in_sequence(rng, rows, families, len(families))
    first_day, last_day = admissions.first_day[sequence.admission], admissions.last_day[sequence.admission]
    day = np.clip(sequence.day, first_day, last_day)
    return CodedRows(sequence.admission, sequence.number, sequence.order, sequence.ordinal, day), operated


@cache
def _operation_menu() -> tuple[Menu, Ints]:
    """Return the menu of operations, and [illnesses, diagnoses]: its line for the principal diagnosis, or -1."""
    illnesses = catalog.illnesses()
    base = menu_of(PROCEDURES, "principal", illnesses)
    lines = [list(zip(*pair, strict=True)) for pair in zip(base.number.tolist(), base.weight.tolist(), strict=True)]
    special: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for words, weight in shares("coding_operation_for").items():
        condition, procedure = words.split(">")
        illness, *starts = condition.split()
        for start in starts:
            for version, number in beginning_with(DIAGNOSES, start):
                if (version, procedure) in code_numbers(PROCEDURES):
                    entry = (code_numbers(PROCEDURES)[version, procedure], weight)
                    special.setdefault((illnesses.index(illness), number), []).append(entry)
    line = np.full((len(illnesses), code_table(DIAGNOSES).height), -1, dtype=np.int64)
    for (row, number), entries in special.items():
        line[row, number] = len(lines)
        lines.append(entries)
    return padded(lines), line


def _operations(
    rng: np.random.Generator, admissions: CodedAdmissions, diagnosis: Ints
) -> tuple[CodedRows, Bools, Ints]:
    menu, special = _operation_menu()
    total = len(diagnosis)
    share = np.array([shares("coding_operation_share")[name] for name in catalog.illnesses()])
    special_line = special[admissions.illness, diagnosis]
    line = np.where(special_line >= 0, special_line, 2 * admissions.illness + admissions.icd10)
    column = choose_one(rng.random(total), menu.weight[line])
    operated = (rng.random(total) < share[admissions.illness]) & (column >= 0)
    next_day = rng.random(total) < figure("day_after_operation")
    later = np.where(
        admissions.surgical, next_day, rng.exponential(figure("days_to_procedure"), total).astype(np.int64)
    )
    day = np.minimum(admissions.first_day + DAY * later, admissions.last_day)
    admission = np.flatnonzero(operated)
    return coded_rows(admission, menu.number[line[admission], column[admission]], 0.0, day[admission]), operated, day


def _with_operation(
    rng: np.random.Generator, admissions: CodedAdmissions, operated: Bools, day: Ints
) -> list[CodedRows]:
    menu = menu_of(PROCEDURES, "secondary", catalog.illnesses())
    line = 2 * admissions.illness + admissions.icd10
    count = np.where(operated, rng.poisson(figure("operation_secondary"), len(line)), 0)
    admission, column = choose_some(rng.exponential(size=(len(line), menu.number.shape[1])), menu.weight[line], count)
    return [coded_rows(admission, menu.number[line[admission], column], 1.0, day[admission])]


def _treatments(block: PatientBlock, rng: np.random.Generator, admissions: CodedAdmissions) -> list[CodedRows]:
    """Draw ventilation, dialysis and lines on the day they began, and other procedures in intensive care."""
    begin = _beginnings(block, rng, admissions)
    menu = menu_of(PROCEDURES, "secondary", TREATMENTS)
    parts = []
    for number, name in enumerate(TREATMENTS):
        admission = np.flatnonzero(
            (begin[name] != NONE) & (rng.random(len(admissions.person)) < shares("coding_care_share")[name])
        )
        line = 2 * number + admissions.icd10[admission]
        column = choose_one(rng.random(len(admission)), menu.weight[line])
        parts.append(coded_rows(admission, menu.number[line, column], 2.0, begin[name][admission]))
    critical = menu_of(PROCEDURES, "secondary", ("critical",))
    count = rng.poisson(figure("critical"), len(admissions.person)) * admissions.critical
    keys = rng.exponential(size=(len(admissions.person), critical.number.shape[1]))
    admission, column = choose_some(keys, critical.weight[admissions.icd10], count)
    day = begin["critical"][admission] + DAY * rng.exponential(1.0, len(admission)).astype(np.int64)
    return [*parts, coded_rows(admission, critical.number[admissions.icd10[admission], column], 3.0, day)]


def _beginnings(block: PatientBlock, rng: np.random.Generator, admissions: CodedAdmissions) -> dict[str, Ints]:
    """Return the day on which each treatment began in each admission; NONE if it was not needed."""
    icu, total = block.icu, len(admissions.person)
    hours = np.zeros(total)
    np.maximum.at(hours, icu.admission, np.where(on_ventilator(block), icu.ventilated_until - icu.ventilated_from, 0))
    air = _earliest(total, icu.admission[on_ventilator(block)], icu.ventilated_from[on_ventilator(block)])
    dialysis = _earliest(total, icu.admission[icu.dialysis], icu.dialysis_from[icu.dialysis])
    chronic = admissions.end_stage & (rng.random(total) < figure("dialysis_of_end_stage")) & (dialysis == NONE)
    return {
        "ventilated_under_a_day": np.where(hours < DAY, air, NONE),
        "ventilated_to_4_days": np.where((hours >= DAY) & (hours < 4 * DAY), air, NONE),
        "ventilated_over_4_days": np.where(hours >= 4 * DAY, air, NONE),
        "intubated": air,
        "dialysis": np.where(chronic, admissions.first_day + DAY, dialysis),
        "arterial_line": _earliest(total, icu.admission[icu.arterial_line], icu.arrival[icu.arterial_line]),
        "critical": _earliest(total, icu.admission, icu.arrival),
    }


def _earliest(total: int, admission: Ints, time: Ints) -> Ints:
    """Return the first day of each admission among `time`; NONE for admissions without any."""
    never = np.iinfo(np.int64).max
    first = np.full(total, never)
    np.minimum.at(first, admission, time)
    return np.where(first == never, NONE, first - first % DAY)


def _others(rng: np.random.Generator, admissions: CodedAdmissions) -> CodedRows:
    menu = menu_of(PROCEDURES, "secondary", ("any",))
    total = len(admissions.person)
    count = rng.poisson(figure("any_procedure") * np.minimum(admissions.severity, 2), total)
    admission, column = choose_some(
        rng.exponential(size=(total, menu.number.shape[1])), menu.weight[admissions.icd10], count
    )
    later = rng.exponential(figure("days_to_procedure"), len(admission)).astype(np.int64)
    return coded_rows(
        admission, menu.number[admissions.icd10[admission], column], 4.0, admissions.first_day[admission] + DAY * later
    )
