"""Draw the measurements of each round, derived values, and the heart rhythm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import DAY, Bools, Floats, Ints, repeat
from ehrtraj.synth.tables.charting.plan import DERIVED, STATES, ChartingPlan
from ehrtraj.synth.tables.charting.rounds import Needs, Rounds

FAST, SLOW = 100, 60
"""Limits in beats per minute, by the definitions of tachycardia and bradycardia."""


@dataclass(frozen=True)
class Readings:
    """Measurements of all rounds. Those of round r start at first[r], in the order of the slots of its group."""

    value: Floats
    first: Ints


def draw_readings(rng: np.random.Generator, block: PatientBlock, plan: ChartingPlan, rounds: Rounds) -> Readings:
    """Draw the measurements of each round, and calculate the derived values."""
    slots = plan.slots
    count = slots.count[rounds.group]
    parent, ordinal = repeat(count)
    slot = slots.first[rounds.group][parent] + ordinal
    stay = rounds.stay[parent]
    value = np.zeros(len(parent))
    direct = np.flatnonzero(slots.signal[slot] >= 0)
    value[direct] = block.measure(
        rng,
        slots.signal[slot[direct]],
        block.icu.person[stay[direct]],
        block.icu.admission[stay[direct]],
        rounds.time[parent[direct]],
    )
    derived = slots.derived[slot]
    controlled = rounds.state[parent] == STATES.index("controlled")
    noise = rng.standard_normal(len(rounds.stay))
    for number, name in enumerate(DERIVED):
        rows = np.flatnonzero(derived == number)
        if not len(rows):
            continue
        places = [rows + slots.sources[slot[rows], part] for part in range(len(DERIVED[name]))]
        if places:
            value[rows] = _derive(name, value, places, controlled[rows])
        else:
            value[rows] = _patient_value(block, name, stay[rows], rounds.time[parent[rows]], noise[parent[rows]])
    return Readings(value, np.cumsum(count) - count)


def _derive(name: str, value: Floats, places: list[Ints], controlled: Bools) -> Floats:
    """Return the value derived from the values at `places`, which are adjusted in place if they are inconsistent."""
    first, second = places[0], places[1]
    if "pressure" in name and "airway" not in name and "plateau" not in name:
        value[second] = np.minimum(value[second], value[first] - 6)
        mean: Floats = (value[first] + 2 * value[second]) / 3
        return mean - value[places[2]] if name == "cerebral_perfusion_pressure" else mean
    if name == "breath_rate_total":
        return np.where(controlled, np.maximum(value[first], value[second]), value[first])
    if name == "breath_rate_spontaneous":
        return np.where(controlled, np.maximum(value[first] - value[second], 0.0), value[first])
    if name == "minute_volume":
        return np.asarray(value[first] * value[second] / 1000)
    value[first] = np.maximum(value[first], value[second] + 5)
    part = 0.62 if name == "plateau_pressure" else 0.3
    return np.asarray(value[second] + part * (value[first] - value[second]))


def _patient_value(block: PatientBlock, name: str, stay: Ints, time: Ints, noise: Floats) -> Floats:
    """Return a value that depends on the patient but not on the illness, such as weight or set tidal volume."""
    weight = block.icu.weight[stay]
    if name == "own_weight":
        return weight
    if name == "daily_weight":
        # Patients gain fluid in the first days and lose it later.
        days = (time - block.icu.arrival[stay]) / DAY
        return np.asarray(weight * (1 + 0.03 * days * np.exp(-days / 3) + 0.004 * noise))
    number = catalog.signal_numbers()[name.removeprefix("own_")]
    signal = catalog.signals().row(number, named=True)
    level = signal["spread"] * block.levels[block.icu.person[stay], number]
    value = signal["typical"] * np.exp(level) if signal["scale"] == "log" else signal["typical"] + level
    return np.asarray(np.clip(value, signal["low"], signal["high"]))


def heart_states(plan: ChartingPlan, needs: Needs, rounds: Rounds, readings: Readings) -> Ints:
    """Return the states of rounds. Rounds of vital signs get the state of the heart rhythm."""
    state = rounds.state.copy()
    rows = np.flatnonzero(rounds.group == plan.groups["vitals"])
    stay, time = rounds.stay[rows], rounds.time[rows]
    rate = readings.value[readings.first[rows]]
    kinds = [rate > FAST, rate < SLOW]
    for name in ("irregular_rhythm", "paced"):
        need = plan.needs[name]
        kinds.insert(0, needs.has[stay, need] & (time < needs.end[stay, need]))
    states = [STATES.index(name) for name in ("paced", "irregular", "fast", "slow")]
    state[rows] = np.select(kinds, states, STATES.index("normal"))
    return state
