"""Draw omr: blood pressure, weight, height and similar results from clinic visits over the years."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import BLOCK_PATIENTS, PatientBlock
from ehrtraj.synth.draw import DAY, HOUR, NONE, Bools, Floats, Ints, choose, dates, decimals, pick, repeat
from ehrtraj.synth.tables.encounters import inside_stay

# 7,753,027 rows of 364,627 patients are 21 rows per patient. The share of patients without rows, and the distribution
# among the others, are assumptions (MIMIC-IV demo 2.2: 79 of 100 patients have rows; half of these have at most 18
# rows, one has 391).
VISITOR_SHARE = 0.68
VISITS = 9.6
VISITS_SHAPE = 0.55
"""Shape of the gamma distribution of visits. A lower shape concentrates the visits on fewer patients."""
MAX_VISITS = 150
ON_ADMISSION = 0.3
REPEATED_READING = 0.048
"""Share of blood pressures that are taken twice (MIMIC-IV demo 2.2: on 39 of 827 days)."""
COPIED_WEIGHT = 0.09
"""Share of weights on admission that appear in omr several times (MIMIC-IV demo 2.2: up to 27 times)."""
MAX_COPIES = 27
LBS_PER_KG = 2.20462
CM_PER_INCH = 2.54
PRESSURES = {
    "Blood Pressure": 0,
    "Blood Pressure Sitting": 0,
    "Blood Pressure Lying": 3,
    "Blood Pressure Standing": -5,
    "Blood Pressure Standing (1 min)": -8,
    "Blood Pressure Standing (3 mins)": -5,
}
"""Difference of the systolic pressure in mmHg from that of a sitting patient."""


@dataclass(frozen=True)
class _Days:
    """Days with measurements, ordered by patient and time."""

    person: Ints
    time: Ints
    combination: Ints
    """Row of _combinations() with the measured results."""
    admission: Bools
    """The day is the first day of an admission."""


def draw(block: PatientBlock) -> dict[str, pl.DataFrame]:
    """Return omr for a block."""
    rng = block.streams.rng("omr")
    days = _days(rng, block)
    _, names, _ = _combinations()
    day, result, sequence = _rows(rng, days)
    frame = pl.DataFrame(
        {
            "subject_id": block.subject_id(days.person[day]),
            "chartdate": dates(days.time[day]),
            "seq_num": sequence,
            "result_name": choose(pl.Series(names), result),
            "result_value": _values(rng, block, days, day, result, sequence),
        }
    )
    return {"hosp/omr": frame}


@cache
def _combinations() -> tuple[Bools, tuple[str, ...], tuple[Floats, Floats]]:
    """Return [combinations, results] that occur together, the result names, and weights for clinic and admission."""
    fields = [catalog.choices(field) for field in ("omr_visit", "omr_admission")]
    lists = [value.split(";") for values, _ in fields for value in values]
    names = tuple(sorted({name for combination in lists for name in combination}))
    has = np.array([[name in combination for name in names] for combination in lists])
    clinic, hospital = (weights for _, weights in fields)
    zeros = [np.zeros(len(weights)) for weights in (clinic, hospital)]
    return has, names, (np.concatenate([clinic, zeros[1]]), np.concatenate([zeros[0], hospital]))


def _days(rng: np.random.Generator, block: PatientBlock) -> _Days:
    people, stays = block.people, block.admissions
    burden = 0.7 + 0.12 * people.conditions.sum(axis=1)
    mean = VISITS * burden * rng.gamma(VISITS_SHAPE, 1 / VISITS_SHAPE, BLOCK_PATIENTS)
    visits = rng.random(BLOCK_PATIENTS) < VISITOR_SHARE
    person, _ = repeat(np.where(visits, np.minimum(rng.poisson(mean), MAX_VISITS), 0))
    end = np.where(people.death == NONE, people.window_end, np.minimum(people.window_end, people.death))
    span = np.maximum(end - people.window_start, DAY)
    time = people.window_start[person] + (rng.random(len(person)) * span[person]).astype(np.int64)
    time = time - time % DAY + rng.integers(8 * HOUR, 17 * HOUR, len(time))
    clinic = ~inside_stay(block, person, time) & (time < end[person])
    weighed = rng.random(len(stays.person)) < ON_ADMISSION
    person = np.concatenate([person[clinic], stays.person[weighed]])
    time = np.concatenate([time[clinic], stays.admit[weighed]])
    admission = np.arange(len(person)) >= clinic.sum()
    order = np.lexsort((time, person))
    person, time, admission = person[order], time[order], admission[order]
    first = np.ones(len(person), dtype=bool)
    first[1:] = (person[1:] != person[:-1]) | (time[1:] // DAY != time[:-1] // DAY)
    person, time, admission = person[first], time[first], admission[first]
    in_clinic, in_hospital = (pick(rng, weights, len(person)) for weights in _combinations()[2])
    return _Days(person, time, np.where(admission, in_hospital, in_clinic), admission)


def _rows(rng: np.random.Generator, days: _Days) -> tuple[Ints, Ints, Ints]:
    """Return the day, the result and the seq_num of each row."""
    has, names, _ = _combinations()
    day, result = np.nonzero(has[days.combination])
    count = np.ones(len(day), dtype=np.int64)
    sitting, weight = names.index("Blood Pressure"), names.index("Weight (Lbs)")
    count += (result == sitting) & (rng.random(len(day)) < REPEATED_READING)
    copied = (result == weight) & days.admission[day] & (rng.random(len(day)) < COPIED_WEIGHT)
    count += np.where(copied, np.minimum(rng.geometric(0.15, len(day)), MAX_COPIES - 1), 0)
    row, ordinal = repeat(count)
    return day[row], result[row], ordinal + 1


def _values(
    rng: np.random.Generator, block: PatientBlock, days: _Days, day: Ints, result: Ints, sequence: Ints
) -> pl.Series:
    names = pl.Series(_combinations()[1])[result]
    number, places = _body_measures(rng, block, days)
    kind = {"Weight (Lbs)": 0, "Weight": 0, "Height (Inches)": 1, "Height": 1, "BMI (kg/m2)": 2, "BMI": 2}
    column = names.replace_strict(kind, default=0, return_dtype=pl.Int64).to_numpy()
    _, text = decimals(number[day, column], places[day, column])
    pressure = names.str.starts_with("Blood Pressure")
    values: pl.Series = _pressures(rng, block, days, day, names, sequence).zip_with(pressure, text)
    return _egfr(rng, block, days.person[day]).zip_with(names == "eGFR", values)


def _body_measures(rng: np.random.Generator, block: PatientBlock, days: _Days) -> tuple[Floats, Ints]:
    """Return weight, height and body mass index (columns) of each day, and their numbers of decimal places."""
    total = len(days.person)
    kilograms = _level(rng, block, days, "weight", drift=0.14, scatter=0.04)
    centimetres = _level(rng, block, days, "height", drift=0.0, scatter=0.1)
    places = np.stack(
        [
            # MIMIC-IV demo 2.2: 376, 377 and 188 weights, and 265, 71 and 42 heights, have 0, 1 and 2 decimal places.
            pick(rng, np.array([376.0, 377.0, 188.0]), total),
            pick(rng, np.array([265.0, 71.0, 42.0]), total),
            np.ones(total, dtype=np.int64),
        ],
        axis=1,
    )
    index = kilograms / (centimetres / 100) ** 2
    return np.stack([kilograms * LBS_PER_KG, centimetres / CM_PER_INCH, index], axis=1), places


def _level(
    rng: np.random.Generator, block: PatientBlock, days: _Days, name: str, *, drift: float, scatter: float
) -> Floats:
    """Return a body measure, which changes over years, unlike other signals, which change from hour to hour."""
    signal = catalog.signal_numbers()[name]
    row = catalog.signals().row(signal, named=True)
    wave = np.sin(days.time / (3.1 * 365 * DAY) * (2 * np.pi) + block.phases[days.person, signal])
    z = block.levels[days.person, signal] + drift * wave + scatter * rng.standard_normal(len(days.person))
    value = row["typical"] * np.exp(row["spread"] * z) if row["scale"] == "log" else row["typical"] + row["spread"] * z
    return np.asarray(np.clip(value, row["low"], row["high"]))


def _pressures(
    rng: np.random.Generator, block: PatientBlock, days: _Days, day: Ints, names: pl.Series, sequence: Ints
) -> pl.Series:
    """Return blood pressures such as 120/80. Readings of the same day are close to each other."""
    total = len(days.person)
    outside = np.full(total, -1)
    number = catalog.signal_numbers()
    upper, lower = (
        block.measure(rng, np.full(total, number[name]), days.person, outside, days.time)[day]
        for name in ("systolic_pressure", "diastolic_pressure")
    )
    posture = names.replace_strict(PRESSURES, default=0, return_dtype=pl.Int64).to_numpy()
    differs = (sequence > 1) | (posture != 0)
    shift = posture + np.where(differs, rng.normal(-1.5, 5.0, len(day)), 0.0)
    systolic = np.rint(upper + shift).astype(np.int64)
    diastolic = np.minimum(np.rint(lower + shift / 2), systolic - 18).astype(np.int64)
    # Manual readings are even numbers.
    even = (rng.random(total) < 0.5)[day]
    systolic, diastolic = (np.where(even, value - value % 2, value) for value in (systolic, diastolic))
    return pl.select(pl.format("{}/{}", pl.Series(systolic), pl.Series(diastolic))).to_series()


def _egfr(rng: np.random.Generator, block: PatientBlock, person: Ints) -> pl.Series:
    kidneys = block.people.conditions[person, catalog.conditions().index("ckd")]
    ill, healthy = (catalog.draw_choice(rng, field, len(person)) for field in ("omr_egfr_ckd", "omr_egfr"))
    return ill.zip_with(pl.Series(kidneys), healthy)


__all__ = ["draw"]
