"""Coded diagnoses, procedures, DRGs and HCPCS codes of the admissions, and the dictionaries of the codes.

diagnoses.csv and procedures.csv say which codes belong to which condition, illness or treatment, and how they weigh
against each other; drgs.csv and hcpcs.csv the same for payment. choices_coding.csv holds the rules between them:

* coding_number: how many codes there are, and other single figures
* coding_condition_share, coding_operation_share, coding_care_share: how often a condition is coded, an illness operated
  on (or otherwise treated by a procedure of its own), a treatment in intensive care coded
* coding_factor: "situation code", a code's weight is multiplied by this in the situation
* coding_with, coding_operation_with: "first>second", how often the first code (by its beginning) brings the second
* coding_one_of_9, coding_one_of_10: beginnings of codes of which an admission has only one
* coding_operation_for: "illness diagnoses>procedure", the procedures for these principal diagnoses
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import BLOCK_PATIENTS, Block
from ehrtraj.synth.draw import DAY, NONE, Bools, Floats, Ints, dates, integers, repeat

DIAGNOSES = "diagnoses.csv"
PROCEDURES = "procedures.csv"
CARE = ("critical", "surgical", "end_stage")
"""Situations of coding_factor beside catalog.causes(): an ICU stay, a surgical illness, end stage kidney disease."""
TREATMENTS = (
    "ventilated_under_a_day",
    "ventilated_to_4_days",
    "ventilated_over_4_days",
    "intubated",
    "dialysis",
    "arterial_line",
)
NEEDS = ("alive", "died", "operated", "not_operated", "ventilated_under_4_days", "ventilated_over_4_days")
"""What the column needs of drgs.csv may ask for."""
NEVER = 1e-12
DECADE = 10


def draw(block: Block) -> dict[str, pl.DataFrame]:
    """Return diagnoses_icd, procedures_icd, drgcodes and hcpcsevents of a block's admissions."""
    stays = _stays(block)
    diagnoses = _diagnoses(block, stays)
    principal = diagnoses.number[diagnoses.ordinal == 0]
    procedures, operated = _procedures(block, stays, principal)
    return {
        "hosp/diagnoses_icd": _code_frame(block, DIAGNOSES, diagnoses, with_day=False),
        "hosp/procedures_icd": _code_frame(block, PROCEDURES, procedures, with_day=True),
        "hosp/drgcodes": _drg_codes(block, stays, diagnoses, operated),
        "hosp/hcpcsevents": _hcpcs_events(block, stays),
    }


def dictionaries() -> dict[str, pl.DataFrame]:
    """Return d_icd_diagnoses, d_icd_procedures and d_hcpcs: all codes of the catalog."""
    codes = ["icd_code", "icd_version", "long_title"]
    hcpcs = ["code", "category", "long_description", "short_description"]
    return {
        "hosp/d_icd_diagnoses": _book(DIAGNOSES).select(codes).sort(codes[:2]),
        "hosp/d_icd_procedures": _book(PROCEDURES).select(codes).sort(codes[:2]),
        "hosp/d_hcpcs": _hcpcs_codes().select(hcpcs).sort("code"),
    }


# The catalog, in the form of arrays. A code's number is its place in its book.


@dataclass(frozen=True)
class _Menu:
    """Codes to choose from, a line for each cause and version: line 2 * cause for ICD-9, the next for ICD-10."""

    number: Ints
    weight: Floats


@cache
def _number(name: str) -> float:
    return _shares("coding_number")[name]


@cache
def _shares(field: str) -> dict[str, float]:
    values, weights = catalog.choices(field)
    return dict(zip(values.to_list(), weights.tolist(), strict=True))


@cache
def _book(file: str) -> pl.DataFrame:
    """Return the different codes of a file."""
    return catalog.read(file).unique(["icd_version", "icd_code"], keep="first", maintain_order=True)


@cache
def _numbers(file: str) -> dict[tuple[int, str], int]:
    book = _book(file)
    return {key: number for number, key in enumerate(zip(book["icd_version"], book["icd_code"], strict=True))}


def _beginning_with(file: str, start: str) -> list[tuple[int, int]]:
    """Return version and number of the codes that begin so."""
    return [(version, number) for (version, code), number in _numbers(file).items() if code.startswith(start)]


def _exactly(file: str, code: str) -> list[tuple[int, int]]:
    return [(version, _numbers(file)[version, code]) for version in (9, 10) if (version, code) in _numbers(file)]


@cache
def _menu(file: str, role: str, causes: tuple[str, ...]) -> _Menu:
    lines: list[list[tuple[int, float]]] = [[] for _ in range(2 * len(causes))]
    chosen = catalog.read(file).filter(pl.col("role") == role, pl.col("cause").is_in(causes))
    for cause, version, code, weight in chosen.select("cause", "icd_version", "icd_code", "weight").iter_rows():
        lines[2 * causes.index(cause) + (version == 10)].append((_numbers(file)[version, code], weight))
    return _padded(lines)


def _padded(lines: list[list[tuple[int, float]]]) -> _Menu:
    width = max(1, *(len(line) for line in lines))
    number, weight = np.zeros((len(lines), width), dtype=np.int64), np.zeros((len(lines), width))
    for row, line in enumerate(lines):
        for column, (code, chance) in enumerate(line):
            number[row, column], weight[row, column] = code, chance
    return _Menu(number, weight)


@cache
def _factor_logs() -> tuple[Ints, Floats]:
    """Return each diagnosis' column, and [situations, columns]: logarithms of factors. Column 0 is all zeros."""
    situations = (*catalog.causes(), *CARE)
    column = np.zeros(_book(DIAGNOSES).height, dtype=np.int64)
    logs = np.zeros((len(situations), 1 + len(column)))
    for words, factor in _shares("coding_factor").items():
        situation, code = words.split()
        for _, number in _exactly(DIAGNOSES, code):
            column[number] = column[number] or column.max() + 1
            logs[situations.index(situation), column[number]] += np.log(max(factor, NEVER))
    return column, logs[:, : column.max() + 1]


@cache
def _families() -> Ints:
    """Return for each diagnosis a number that those share of which an admission has only one."""
    family = np.arange(_book(DIAGNOSES).height)
    for version in (9, 10):
        for words in catalog.choices(f"coding_one_of_{version}")[0]:
            members = [
                number for start in words.split() for own, number in _beginning_with(DIAGNOSES, start) if own == version
            ]
            # A code may stand in several families: they become one.
            family[np.isin(family, family[members])] = family[members].min()
    return family


@dataclass(frozen=True)
class _Companions:
    """Codes that others bring: those of code i are the `count[i]` from `first[i]` on."""

    first: Ints
    count: Ints
    number: Ints
    chance: Floats


@cache
def _companions(file: str, field: str) -> _Companions:
    total = _book(file).height
    lists: list[list[tuple[int, float]]] = [[] for _ in range(total)]
    for words, chance in _shares(field).items():
        leader, follower = words.split(">")
        for version, number in _beginning_with(file, leader):
            if (version, follower) in _numbers(file):
                lists[number].append((_numbers(file)[version, follower], chance))
    count = np.array([len(entries) for entries in lists], dtype=np.int64)
    flat = [entry for entries in lists for entry in entries]
    numbers, chances = np.array([entry[0] for entry in flat]), np.array([entry[1] for entry in flat])
    return _Companions(np.cumsum(count) - count, count, numbers.astype(np.int64), chances)


# What the codes are chosen by.


@dataclass(frozen=True)
class _Stays:
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


def _stays(block: Block) -> _Stays:
    admissions, people = block.admissions, block.people
    person, total = admissions.person, len(admissions.person)
    month = admissions.discharge.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
    ten = month - 12 * people.shift[person] >= 12 * (2015 - 1970) + 9
    age = block.age(person, admissions.admit)
    died = admissions.death != NONE
    conditions = people.conditions
    end_stage = conditions[:, catalog.conditions().index("ckd")] & (
        block.streams.rng("coding people").random(BLOCK_PATIENTS) < _number("end_stage_of_ckd")
    )
    traits = np.stack([people.female[person], ~people.female[person], age >= 75, died], axis=1)
    care = np.stack([admissions.icu, admissions.surgical, end_stage[person]], axis=1)
    illness = np.arange(len(catalog.illnesses()))[None, :] == admissions.illness[:, None]
    return _Stays(
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
class _Rows:
    """Codes of admissions; `order` decides their sequence, lower first, before `ordinal` is known."""

    stay: Ints
    number: Ints
    order: Floats
    ordinal: Ints
    day: Ints


def _rows(stay: Ints, number: Ints, order: float, day: Ints | None = None) -> _Rows:
    found = number >= 0
    stay, number = stay[found], number[found]
    none = np.full(len(stay), -1, dtype=np.int64)
    return _Rows(stay, number, np.full(len(stay), order), none, none if day is None else day[found])


def _joined(parts: list[_Rows]) -> _Rows:
    return _Rows(**{name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])})


def _taken(rows: _Rows, index: Ints | Bools) -> _Rows:
    return _Rows(**{name: column[index] for name, column in vars(rows).items()})


def _with_companions(rng: np.random.Generator, rows: _Rows, companions: _Companions, least: float) -> _Rows:
    """Add what the codes bring: after the code that brings it, and with an order of `least` or more."""
    parent, ordinal = repeat(companions.count[rows.number])
    entry = companions.first[rows.number[parent]] + ordinal
    comes = rng.random(len(parent)) < companions.chance[entry]
    brought = _taken(rows, parent[comes])
    order = np.maximum(brought.order + 0.5, least)
    more = _Rows(brought.stay, companions.number[entry[comes]], order, brought.ordinal, brought.day)
    return _joined([rows, more])


def _in_sequence(rng: np.random.Generator, rows: _Rows, family: Ints, most: int) -> _Rows:
    """Put codes in their sequence, the first of each family only, and number them from 0."""
    ranked = _taken(rows, np.lexsort((rng.random(len(rows.stay)), rows.order, rows.stay)))
    _, first = np.unique(ranked.stay * len(family) + family[ranked.number], return_index=True)
    kept = _taken(ranked, np.sort(first))
    ordinal = np.arange(len(kept.stay)) - np.searchsorted(kept.stay, kept.stay)
    return _taken(_Rows(kept.stay, kept.number, kept.order, ordinal, kept.day), ordinal < most)


def _one(place: Floats, weight: Floats) -> Ints:
    """Return a column of each row by weight, where `place` (0 to 1) falls in it; -1 where nothing has any weight."""
    edges = np.cumsum(weight, axis=1)
    column: Ints = (edges <= (place * edges[:, -1])[:, None]).sum(axis=1).astype(np.int64)
    return np.where(edges[:, -1] > 0, column, -1)


def _some(keys: Floats, weight: Floats, count: Ints) -> tuple[Ints, Ints]:
    """Return rows and columns: `count` different ones of each row by weight; `keys` are exponentially distributed."""
    late = np.divide(keys, weight, out=np.full(keys.shape, np.inf), where=weight > 0)
    order = np.argsort(late, axis=1, kind="stable")
    row, place = np.nonzero(np.arange(weight.shape[1])[None, :] < np.minimum(count, (weight > 0).sum(axis=1))[:, None])
    return row, order[row, place]


# Diagnoses


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


def _factors(stays: _Stays) -> _Factors:
    column, logs = _factor_logs()
    table = np.exp(stays.situations @ logs)
    table[table < NEVER * 1e3] = 0.0
    return _Factors(table, column)


def _diagnoses(block: Block, stays: _Stays) -> _Rows:
    rng = block.streams.rng("diagnoses")
    factors = _factors(stays)
    parts = [
        _principal(rng, stays, factors),
        _of_conditions(block, rng, stays, factors),
        _of_illness(rng, stays, factors),
        _of_any(block, rng, stays, factors),
    ]
    rows = _with_companions(rng, _joined(parts), _companions(DIAGNOSES, "coding_with"), 2.0)
    return _in_sequence(rng, rows, _families(), int(_number("most_codes")))


def _principal(rng: np.random.Generator, stays: _Stays, factors: _Factors) -> _Rows:
    menu = _menu(DIAGNOSES, "principal", catalog.illnesses())
    line = 2 * stays.illness + stays.ten
    number = menu.number[line]
    stay = np.arange(len(line))
    column = _one(rng.random(len(line)), menu.weight[line] * factors.of(stay, number))
    return _rows(stay, number[stay, column], 0.0)


def _of_conditions(block: Block, rng: np.random.Generator, stays: _Stays, factors: _Factors) -> _Rows:
    """One code for each condition. A patient keeps it: the place within the weights is drawn once."""
    names = catalog.conditions()
    menu = _menu(DIAGNOSES, "secondary", names)
    share = np.array([_shares("coding_condition_share")[name] for name in names])
    place = block.streams.rng("coding conditions").random((BLOCK_PATIENTS, len(names)))
    coded = block.people.conditions[stays.person] & (rng.random((len(stays.person), len(names))) < share)
    stay, condition = np.nonzero(coded)
    line = 2 * condition + stays.ten[stay]
    number = menu.number[line]
    column = _one(place[stays.person[stay], condition], menu.weight[line] * factors.of(stay, number))
    return _rows(stay, np.where(column < 0, -1, number[np.arange(len(stay)), column]), 1.0)


def _of_illness(rng: np.random.Generator, stays: _Stays, factors: _Factors) -> _Rows:
    menu = _menu(DIAGNOSES, "secondary", catalog.illnesses())
    line = 2 * stays.illness + stays.ten
    number = menu.number[line]
    mean = _number("secondary") + _number("secondary_per_severity") * stays.severity
    count = rng.poisson(mean + _number("secondary_in_icu") * stays.critical)
    weight = menu.weight[line] * factors.of(np.arange(len(line)), number)
    stay, column = _some(rng.exponential(size=number.shape), weight, count)
    return _rows(stay, number[stay, column], 2.0)


@cache
def _status() -> Bools:
    """Say which diagnoses are history or status rather than a disease."""
    return _book(DIAGNOSES)["icd_code"].str.contains("^[VZ]").to_numpy()


def _of_any(block: Block, rng: np.random.Generator, stays: _Stays, factors: _Factors) -> _Rows:
    """Codes that come with any illness; a patient's history and status (V and Z) are much the same every time."""
    menu = _menu(DIAGNOSES, "secondary", ("any",))
    number = menu.number[stays.ten]
    lifelong = block.streams.rng("coding history").exponential(size=(BLOCK_PATIENTS, number.shape[1]))
    keys = np.where(_status()[number], lifelong[stays.person], rng.exponential(size=number.shape))
    mean = (
        _number("any")
        + _number("any_per_decade_over_50") * np.maximum(stays.age - 50, 0) / DECADE
        + _number("any_per_severity") * stays.severity
        + _number("any_per_day") * np.minimum(stays.days, 30)
    )
    shape = _number("any_shape")
    count = rng.poisson(mean * rng.gamma(shape, 1 / shape, len(mean)))
    stay, column = _some(keys, menu.weight[stays.ten] * factors.of(np.arange(len(mean)), number), count)
    return _rows(stay, number[stay, column], 3.0)


def _code_frame(block: Block, file: str, rows: _Rows, *, with_day: bool) -> pl.DataFrame:
    codes = _book(file)[rows.number]
    columns = {**_whose(block, rows.stay), "seq_num": pl.Series(rows.ordinal + 1)}
    if with_day:
        columns["chartdate"] = dates(rows.day)
    return pl.DataFrame({**columns, "icd_code": codes["icd_code"], "icd_version": codes["icd_version"]})


def _whose(block: Block, stay: Ints) -> dict[str, pl.Series]:
    admissions = block.admissions
    return {
        "subject_id": block.subject_id(admissions.person[stay]),
        "hadm_id": pl.Series(admissions.hadm_id[stay]),
    }


# Procedures


def _procedures(block: Block, stays: _Stays, diagnosis: Ints) -> tuple[_Rows, Bools]:
    """Return the procedures, and which admissions had the one their illness is treated by."""
    rng = block.streams.rng("procedures")
    main, operated, day = _operations(rng, stays, diagnosis)
    parts = [main, *_with_operation(rng, stays, operated, day), *_treatments(block, rng, stays), _others(rng, stays)]
    rows = _with_companions(rng, _joined(parts), _companions(PROCEDURES, "coding_operation_with"), 0.5)
    own = np.arange(_book(PROCEDURES).height)
    kept = _in_sequence(rng, rows, own, len(own))
    inside = np.clip(kept.day, stays.first_day[kept.stay], stays.last_day[kept.stay])
    return _Rows(kept.stay, kept.number, kept.order, kept.ordinal, inside), operated


@cache
def _operation_menu() -> tuple[_Menu, Ints]:
    """Return the menu of operations, and [illnesses, diagnoses]: its line for a principal diagnosis, or -1."""
    illnesses = catalog.illnesses()
    base = _menu(PROCEDURES, "principal", illnesses)
    lines = [list(zip(*pair, strict=True)) for pair in zip(base.number.tolist(), base.weight.tolist(), strict=True)]
    special: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for words, weight in _shares("coding_operation_for").items():
        left, procedure = words.split(">")
        illness, *starts = left.split()
        for start in starts:
            for version, number in _beginning_with(DIAGNOSES, start):
                if (version, procedure) in _numbers(PROCEDURES):
                    entry = (_numbers(PROCEDURES)[version, procedure], weight)
                    special.setdefault((illnesses.index(illness), number), []).append(entry)
    line = np.full((len(illnesses), _book(DIAGNOSES).height), -1, dtype=np.int64)
    for (row, number), entries in special.items():
        line[row, number] = len(lines)
        lines.append(entries)
    return _padded(lines), line


def _operations(rng: np.random.Generator, stays: _Stays, diagnosis: Ints) -> tuple[_Rows, Bools, Ints]:
    menu, special = _operation_menu()
    total = len(diagnosis)
    share = np.array([_shares("coding_operation_share")[name] for name in catalog.illnesses()])
    own = special[stays.illness, diagnosis]
    line = np.where(own >= 0, own, 2 * stays.illness + stays.ten)
    column = _one(rng.random(total), menu.weight[line])
    operated = (rng.random(total) < share[stays.illness]) & (column >= 0)
    next_day = rng.random(total) < _number("day_after_operation")
    later = np.where(stays.surgical, next_day, rng.exponential(_number("days_to_procedure"), total).astype(np.int64))
    day = np.minimum(stays.first_day + DAY * later, stays.last_day)
    stay = np.flatnonzero(operated)
    return _rows(stay, menu.number[line[stay], column[stay]], 0.0, day[stay]), operated, day


def _with_operation(rng: np.random.Generator, stays: _Stays, operated: Bools, day: Ints) -> list[_Rows]:
    menu = _menu(PROCEDURES, "secondary", catalog.illnesses())
    line = 2 * stays.illness + stays.ten
    count = np.where(operated, rng.poisson(_number("operation_secondary"), len(line)), 0)
    stay, column = _some(rng.exponential(size=(len(line), menu.number.shape[1])), menu.weight[line], count)
    return [_rows(stay, menu.number[line[stay], column], 1.0, day[stay])]


def _treatments(block: Block, rng: np.random.Generator, stays: _Stays) -> list[_Rows]:
    """Ventilation, dialysis and lines, on the day they began, and what else is done in intensive care."""
    begin = _beginnings(block, rng, stays)
    menu = _menu(PROCEDURES, "secondary", TREATMENTS)
    parts = []
    for number, name in enumerate(TREATMENTS):
        stay = np.flatnonzero(
            (begin[name] != NONE) & (rng.random(len(stays.person)) < _shares("coding_care_share")[name])
        )
        line = 2 * number + stays.ten[stay]
        column = _one(rng.random(len(stay)), menu.weight[line])
        parts.append(_rows(stay, menu.number[line, column], 2.0, begin[name][stay]))
    critical = _menu(PROCEDURES, "secondary", ("critical",))
    count = rng.poisson(_number("critical"), len(stays.person)) * stays.critical
    keys = rng.exponential(size=(len(stays.person), critical.number.shape[1]))
    stay, column = _some(keys, critical.weight[stays.ten], count)
    day = begin["critical"][stay] + DAY * rng.exponential(1.0, len(stay)).astype(np.int64)
    return [*parts, _rows(stay, critical.number[stays.ten[stay], column], 3.0, day)]


def _beginnings(block: Block, rng: np.random.Generator, stays: _Stays) -> dict[str, Ints]:
    """Return the day each treatment began in each admission, NONE where it was not needed."""
    icu, total = block.icu, len(stays.person)
    hours = np.zeros(total)
    np.maximum.at(hours, icu.admission, np.where(_ventilated(block), icu.ventilated_until - icu.ventilated_from, 0))
    air = _earliest(total, icu.admission[_ventilated(block)], icu.ventilated_from[_ventilated(block)])
    dialysis = _earliest(total, icu.admission[icu.dialysis], icu.arrival[icu.dialysis] + DAY)
    chronic = stays.end_stage & (rng.random(total) < _number("dialysis_of_end_stage")) & (dialysis == NONE)
    return {
        "ventilated_under_a_day": np.where(hours < DAY, air, NONE),
        "ventilated_to_4_days": np.where((hours >= DAY) & (hours < 4 * DAY), air, NONE),
        "ventilated_over_4_days": np.where(hours >= 4 * DAY, air, NONE),
        "intubated": air,
        "dialysis": np.where(chronic, stays.first_day + DAY, dialysis),
        "arterial_line": _earliest(total, icu.admission[icu.arterial_line], icu.arrival[icu.arterial_line]),
        "critical": _earliest(total, icu.admission, icu.arrival),
    }


def _ventilated(block: Block) -> Bools:
    found: Bools = block.icu.ventilated_from != NONE
    return found


def _earliest(total: int, admission: Ints, time: Ints) -> Ints:
    """Return the first day of each admission among `time`, NONE where it has none."""
    never = np.iinfo(np.int64).max
    first = np.full(total, never)
    np.minimum.at(first, admission, time)
    return np.where(first == never, NONE, first - first % DAY)


def _others(rng: np.random.Generator, stays: _Stays) -> _Rows:
    menu = _menu(PROCEDURES, "secondary", ("any",))
    total = len(stays.person)
    count = rng.poisson(_number("any_procedure") * np.minimum(stays.severity, 2), total)
    stay, column = _some(rng.exponential(size=(total, menu.number.shape[1])), menu.weight[stays.ten], count)
    later = rng.exponential(_number("days_to_procedure"), len(stay)).astype(np.int64)
    return _rows(stay, menu.number[stays.ten[stay], column], 4.0, stays.first_day[stay] + DAY * later)


# Payment


@dataclass(frozen=True)
class _Groups:
    """Lines of drgs.csv of one type."""

    frame: pl.DataFrame
    """drg_type, drg_code (three digits), description"""
    line: Ints
    """[illnesses, places]: the lines of an illness, filled up with 0."""
    weight: Floats
    """[illnesses, places]: 0 where filled up."""
    low: Floats
    high: Floats
    needs: Ints
    """The sum of 2 ** place in NEEDS."""
    for_diagnosis: Bools
    """[diagnoses, lines]"""


@cache
def _groups(drg_type: str) -> _Groups:
    table = catalog.read("drgs.csv").filter(pl.col("drg_type") == drg_type)
    lines: list[list[tuple[int, float]]] = [[] for _ in catalog.illnesses()]
    for line, (illness, weight) in enumerate(
        zip(catalog.illness_numbers(table["cause"].to_list()), table["weight"], strict=True)
    ):
        lines[illness].append((line, weight))
    menu = _padded(lines)
    fits = np.zeros((_book(DIAGNOSES).height, table.height), dtype=bool)
    for line, words in enumerate(table["diagnoses"]):
        starts = words.split() if words else [""]
        fits[[number for start in starts for _, number in _beginning_with(DIAGNOSES, start)], line] = True
    needs = [sum(2 ** NEEDS.index(need) for need in (words or "").split()) for words in table["needs"]]
    return _Groups(
        frame=table.select("drg_type", pl.col("drg_code").cast(pl.String).str.zfill(3), "description"),
        line=menu.number,
        weight=menu.weight,
        low=table["severity_from"].fill_null(-np.inf).to_numpy(),
        high=table["severity_to"].fill_null(np.inf).to_numpy(),
        needs=np.array(needs, dtype=np.int64),
        for_diagnosis=fits,
    )


def _drg_codes(block: Block, stays: _Stays, diagnoses: _Rows, operated: Bools) -> pl.DataFrame:
    rng = block.streams.rng("drgcodes")
    total = len(stays.person)
    codes = np.bincount(diagnoses.stay, minlength=total) - _number("drg_usual_codes")
    score = stays.severity + _number("drg_per_code") * codes + rng.normal(0, _number("drg_noise"), total)
    principal = diagnoses.number[diagnoses.ordinal == 0]
    grouped = rng.random(total) < _by_kind(block, "coding_drg_share")
    facts = _facts(block, stays, operated)
    titles, found = [], []
    for drg_type in ("APR", "HCFA"):
        groups = _groups(drg_type)
        line = groups.line[stays.illness]
        fits = groups.for_diagnosis[principal[:, None], line] & (groups.needs[line] & ~facts[:, None] == 0)
        fits &= (groups.low[line] <= score[:, None]) & (score[:, None] < groups.high[line])
        place = _one(rng.random(total), groups.weight[stays.illness] * fits)
        stay = np.flatnonzero(grouped & (place >= 0) & (rng.random(total) < _number(f"drg_{drg_type.lower()}")))
        titles.append(groups.frame[line[stay, place[stay]]])
        found.append(stay)
    stay = np.concatenate(found)
    order = np.argsort(stay, kind="stable")
    return _refined(block, stays, score, stay[order], pl.concat(titles)[order])


def _facts(block: Block, stays: _Stays, operated: Bools) -> Ints:
    """Return which of NEEDS are met in each admission: the sum of 2 ** place."""
    icu = block.icu
    ventilated = _ventilated(block)
    long = ventilated & (icu.ventilated_until - icu.ventilated_from >= 4 * DAY)
    over, under = np.zeros(len(stays.person), dtype=bool), np.zeros(len(stays.person), dtype=bool)
    over[icu.admission[long]] = True
    under[icu.admission[ventilated & ~long]] = True
    met = np.stack([~stays.died, stays.died, operated, ~operated, under & ~over, over])
    total: Ints = (met.astype(np.int64) << np.arange(len(NEEDS))[:, None]).sum(axis=0)
    return total


def _refined(block: Block, stays: _Stays, score: Floats, stay: Ints, titles: pl.DataFrame) -> pl.DataFrame:
    """Give APR DRGs their severity of illness and risk of mortality; HCFA's carry theirs in the title."""
    decades = (stays.age - 65) / DECADE * _number("apr_mortality_per_decade_over_65")
    risk = score + decades + _number("apr_mortality_of_the_dead") * stays.died
    edges = np.array([_number(f"apr_severity_{level}") for level in (2, 3, 4)])
    apr = (titles["drg_type"] == "APR").to_numpy()
    grades = {
        name: integers(np.where(apr, 1 + np.searchsorted(edges, value[stay], side="right"), NONE))
        for name, value in (("drg_severity", score), ("drg_mortality", risk))
    }
    return pl.DataFrame({**_whose(block, stay), **titles.to_dict(), **grades})


@cache
def _hcpcs_codes() -> pl.DataFrame:
    return catalog.read("hcpcs.csv").unique("code", keep="first", maintain_order=True)


@cache
def _hcpcs_menu(causes: tuple[str, ...]) -> _Menu:
    numbers = {code: number for number, code in enumerate(_hcpcs_codes()["code"])}
    lines: list[list[tuple[int, float]]] = [[] for _ in causes]
    for code, cause, weight in catalog.read("hcpcs.csv").select("code", "cause", "weight").iter_rows():
        if cause in causes:
            lines[causes.index(cause)].append((numbers[code], weight))
    return _padded(lines)


def _hcpcs_events(block: Block, stays: _Stays) -> pl.DataFrame:
    """Hours under observation, the visits that go with them, and procedures billed by HCPCS."""
    rng = block.streams.rng("hcpcsevents")
    total = len(stays.person)
    observed = np.flatnonzero(rng.random(total) < _by_kind(block, "coding_hcpcs_observation"))
    visited = observed[rng.random(len(observed)) < _number("hcpcs_visit")]
    own, usual = _hcpcs_menu(catalog.illnesses()), _hcpcs_menu(("any",))
    weight = np.concatenate([own.weight[stays.illness], np.repeat(usual.weight, total, axis=0)], axis=1)
    number = np.concatenate([own.number[stays.illness], np.repeat(usual.number, total, axis=0)], axis=1)
    count = rng.poisson(_by_kind(block, "coding_hcpcs_procedures"))
    stay, column = _some(rng.exponential(size=weight.shape), weight, count)
    parts = [_rows(stay, number[stay, column], 0.0)]
    for order, (menu, chosen) in enumerate(
        ((_hcpcs_menu(("observation_visit",)), visited), (_hcpcs_menu(("observation",)), observed)), 1
    ):
        column = _one(rng.random(len(chosen)), np.repeat(menu.weight, len(chosen), axis=0))
        parts.append(_rows(chosen, menu.number[0, column], float(order)))
    own_codes = np.arange(_hcpcs_codes().height)
    rows = _in_sequence(rng, _joined(parts), own_codes, len(own_codes))
    later = DAY * (rng.random(len(rows.stay)) < _number("hcpcs_day_after"))
    codes = _hcpcs_codes()[rows.number]
    return pl.DataFrame(
        {
            **_whose(block, rows.stay),
            "chartdate": dates(np.minimum(stays.first_day[rows.stay] + later, stays.last_day[rows.stay])),
            "hcpcs_cd": codes["code"],
            "seq_num": pl.Series(rows.ordinal + 1),
            "short_description": codes["short_description"],
        }
    )


def _by_kind(block: Block, field: str) -> Floats:
    """Return a figure that depends on the type of admission, for each admission."""
    kinds = block.admissions.kind.to_numpy()
    found = np.full(len(kinds), np.nan)
    for kind, share in _shares(field).items():
        found[kinds == kind] = share
    return found
