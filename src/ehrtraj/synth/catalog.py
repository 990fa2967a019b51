"""Figures and facts that synthetic patients are drawn from: CSV files in `catalog/`, with a source on every line."""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
import polars as pl

from ehrtraj.synth.draw import Floats, Ints, pick

TRAITS = ("female", "male", "elderly", "dying")
"""Causes in effects.csv that are neither a chronic condition nor an illness; elderly means 75 years or older."""
USUAL_NOISE, USUAL_DRIFT = 0.45, 0.35
"""Noise and drift of signals without a line in signal_noise.csv; assumptions."""


@cache
def read(name: str) -> pl.DataFrame:
    """Return a file of the catalog. Every file has a column `source`. Empty cells are null."""
    text = (resources.files("ehrtraj.synth") / "catalog" / name).read_bytes()
    return pl.read_csv(text, infer_schema_length=None)


@cache
def conditions() -> tuple[str, ...]:
    """Return the names of the chronic conditions, in the order of the columns of `People.conditions`."""
    return tuple(read("conditions.csv")["condition"])


@cache
def illnesses() -> tuple[str, ...]:
    """Return the names of the illnesses. The position of a name is the number of its illness."""
    return tuple(read("illnesses.csv")["illness"])


@cache
def causes() -> tuple[str, ...]:
    """Return all values that the column `cause` of effects.csv may have."""
    return (*conditions(), *TRAITS, *illnesses())


@cache
def signals() -> pl.DataFrame:
    """Return the signals that can be measured in a patient, from signals*.csv, in the order of their numbers."""
    return _read_all("signals")


@cache
def signal_numbers() -> dict[str, int]:
    """Return the number of each signal by its name."""
    return {name: number for number, name in enumerate(signals()["signal"])}


@cache
def signal_noise() -> tuple[Floats, Floats]:
    """Return the noise and the drift of each signal in its spreads: between two measurements, and over days."""
    noise, drift = np.full(signals().height, USUAL_NOISE), np.full(signals().height, USUAL_DRIFT)
    for signal, size, slow in read("signal_noise.csv").select("signal", "noise", "drift").iter_rows():
        noise[signal_numbers()[signal]], drift[signal_numbers()[signal]] = size, slow
    return noise, drift


@cache
def effects() -> Floats:
    """Return [causes, signals]: by how many spreads each cause shifts each signal at full severity."""
    matrix = np.zeros((len(causes()), signals().height))
    rows = {name: number for number, name in enumerate(causes())}
    for cause, signal, shift in _read_all("effects").select("cause", "signal", "shift").iter_rows():
        matrix[rows[cause], signal_numbers()[signal]] = shift
    return matrix


def _read_all(stem: str) -> pl.DataFrame:
    """Return the combined rows of all catalog files whose names begin with `stem`."""
    folder = resources.files("ehrtraj.synth") / "catalog"
    names = sorted(
        entry.name for entry in folder.iterdir() if entry.name.startswith(stem) and entry.name.endswith(".csv")
    )
    return pl.concat([read(name) for name in names], how="vertical_relaxed")


@cache
def choices(field: str) -> tuple[pl.Series, Floats]:
    """Return the values of a field in choices*.csv, and their weights."""
    rows = _read_all("choices").filter(pl.col("field") == field)
    if rows.is_empty():
        raise KeyError(f"choices*.csv has no field {field}")
    return rows["value"], rows["weight"].cast(pl.Float64).to_numpy()


def draw_choice(rng: np.random.Generator, field: str, count: int) -> pl.Series:
    """Draw `count` values of a field in proportion to their weights."""
    values, weights = choices(field)
    return values[pick(rng, weights, count)]


def illness_numbers(names: list[str]) -> Ints:
    """Return the number of each named illness."""
    order = {name: number for number, name in enumerate(illnesses())}
    return np.array([order[name] for name in names], dtype=np.int64)


@cache
def staff() -> tuple[pl.Series, pl.Series]:
    """Return provider IDs (P and five characters) and caregiver IDs. They are the same for every release."""
    rng = np.random.Generator(np.random.SFC64(0))
    letters = np.array(list("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    numbers = np.sort(rng.choice(36**5, PROVIDERS, replace=False))
    characters = np.stack([letters[numbers // 36**place % 36] for place in (4, 3, 2, 1, 0)], axis=1)
    providers = pl.Series(["P" + "".join(row) for row in characters])
    return providers, pl.Series(np.sort(rng.choice(99_999, CAREGIVERS, replace=False)) + 1)


# MIMIC-IV demo 2.2 lists 40,508 providers and 15,468 caregivers, most of whom appear once. A tenth is enough here.
PROVIDERS = 4_000
CAREGIVERS = 1_500
