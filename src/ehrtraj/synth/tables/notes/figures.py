"""Figures that discharge summaries quote: vital signs, laboratory results, days of care."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import DAY, HOUR, MINUTE, NONE, Bools, Floats, Ints
from ehrtraj.synth.tables import labs
from ehrtraj.synth.tables.emergency import triage
from ehrtraj.synth.tables.notes.texts import (
    VITALS,
    blank_fields,
    field_numbers,
    lab_lines,
    number_places,
    read_fragments,
    read_labs,
)

SIGNALS = (
    "temperature", "heart_rate", "respiratory_rate", "oxygen_saturation", "systolic_pressure", "diastolic_pressure",
)  # fmt: skip
TRIAGE_COLUMNS = ("temperature", "heartrate", "resprate", "o2sat", "sbp", "dbp")


def icu_care(block: PatientBlock) -> dict[str, Floats]:
    """Return, by admission: seconds in the ICU and on a ventilator, and the number of stays with each kind of care."""
    icu, total = block.icu, len(block.admissions.person)
    on_ventilator = np.where(icu.ventilated_from != NONE, icu.ventilated_until - icu.ventilated_from, 0)
    any_care = (on_ventilator > 0) | icu.pressors | icu.dialysis | icu.arterial_line
    columns: dict[str, Ints | Bools] = {
        "stay": icu.departure - icu.arrival, "ventilated": on_ventilator, "dialysis": icu.dialysis,
        "pressors": icu.pressors, "line": icu.arterial_line, "any": any_care,
    }  # fmt: skip
    return {name: np.bincount(icu.admission, column, total).astype(np.float64) for name, column in columns.items()}


def summary_fields(rng: np.random.Generator, block: PatientBlock, stay: Ints, results: LabResults) -> Ints:
    """Return [notes, fields]: the values for the blanks of summaries, as positions in the vocabulary."""
    stays, care, number = block.admissions, icu_care(block), field_numbers()
    person = stays.person[stay]
    fields = blank_fields(block.people.female[person])
    vitals = _vitals(rng, block, stay)
    decimals = np.array([name == "t" for name in VITALS] * 2, dtype=np.int64)
    fields[:, number["t0"] : number["t0"] + len(decimals)] = number_places(vitals, decimals)
    start = block.episodes.start[stay]
    fields[:, number["los"]] = number_places(np.ceil((stays.discharge[stay] - start) / DAY), 0)
    fields[:, number["icu_days"]] = number_places(np.ceil(care["stay"][stay] / DAY), 0)
    fields[:, number["vent_days"]] = number_places(np.ceil(care["ventilated"][stay] / DAY), 0)
    signal = np.full(len(stay), catalog.signal_numbers()["weight"])
    fields[:, number["weight"]] = number_places(block.measure(rng, signal, person, stay, stays.admit[stay]), 1)
    low, high = (read_labs()[name].cast(pl.Float64).to_numpy() for name in ("low", "high"))
    for moment in (0, 1):
        lab_values = results.values[moment, stay]
        places = number_places(lab_values, read_labs()["decimals"].to_numpy(), (lab_values < low) | (lab_values > high))
        fields[:, number[f"lab{moment}_0"] : number[f"lab{moment}_0"] + len(low)] = places
        clock = read_fragments().clock + results.times[moment, stay] % DAY // MINUTE
        fields[:, number[f"clock{moment}_0"] : number[f"clock{moment}_0"] + clock.shape[1]] = clock
    return fields


def _vitals(rng: np.random.Generator, block: PatientBlock, stay: Ints) -> Floats:
    """Return [notes, 2 * VITALS]: vital signs of triage, or of admission without an ED stay, and before discharge."""
    stays, total, width = block.admissions, len(stay), len(SIGNALS)
    signals = np.array([catalog.signal_numbers()[name] for name in SIGNALS])
    moments = np.column_stack([stays.admit[stay], stays.discharge[stay] - 2 * HOUR])
    times_of_all = np.repeat(moments, width, axis=1).reshape(-1)
    each = np.repeat(stay, 2 * width)
    values = block.measure(rng, np.tile(signals, 2 * total), stays.person[each], each, times_of_all)
    values = values.reshape(total, 2, width)
    values[:, :, 0] = values[:, :, 0] * 1.8 + 32
    values[:, :, 5] = np.minimum(values[:, :, 5], values[:, :, 4] - 10)
    number = stays.ed[stay]
    at_triage = triage(block).select(TRIAGE_COLUMNS).to_numpy()[np.maximum(number, 0)]
    values[:, 0] = np.where((number >= 0)[:, None], at_triage, values[:, 0])
    return values.reshape(total, 2 * width)


@dataclass(frozen=True)
class LabResults:
    """The first and the last laboratory results of each admission."""

    values: Floats
    """[first and last, admissions, lines of note_labs.csv]; NaN without a result."""
    times: Ints
    """[first and last, admissions, panels]; NONE without a result."""


def lab_results(block: PatientBlock) -> LabResults:
    """Return the first and last results of each admission, from hosp/labevents."""
    table = block.cache[labs.TABLE] if labs.TABLE in block.cache else labs.draw(block)[labs.TABLE]
    slot = _lab_slots()[table["itemid"].to_numpy()]
    rows = np.flatnonzero((slot >= 0) & table["hadm_id"].is_not_null().to_numpy())
    result_rows, slot = table.select("hadm_id", "charttime", "valuenum")[rows], slot[rows]
    by_hadm = np.argsort(block.admissions.hadm_id)
    stay = by_hadm[np.searchsorted(block.admissions.hadm_id[by_hadm], result_rows["hadm_id"].to_numpy())]
    panel = np.array([lab_lines().index(name) for name in read_labs()["line"]])[slot]
    time = result_rows["charttime"].to_numpy().astype("datetime64[s]").astype(np.int64)
    number = result_rows["valuenum"].to_numpy()
    total = len(block.admissions.person)
    results = LabResults(np.full((2, total, read_labs().height), np.nan), np.full((2, total, len(lab_lines())), NONE))
    for target, column, source in ((results.values, slot, number), (results.times, panel, time)):
        for moment, (place, row) in enumerate(_first_and_last(stay * target.shape[2] + column)):
            target[moment].reshape(-1)[place] = source[row]
    return results


def _first_and_last(key: Ints) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
    """Return the distinct keys with the first row of each, and with the last row of each."""
    order = np.argsort(key, kind="stable")
    distinct, first = np.unique(key[order], return_index=True)
    last = np.append(first[1:], len(key)) - 1
    return (distinct, order[first]), (distinct, order[last])


@cache
def _lab_slots() -> Ints:
    """Return the line of note_labs.csv for each itemid, or -1."""
    items = read_labs()["itemid"].to_numpy()
    slots = np.full(100_000, -1)
    slots[items] = np.arange(len(items))
    return slots
