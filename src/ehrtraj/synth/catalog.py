"""The figures and facts the synthetic patients are made of: CSV files in `catalog/`, a source on every line."""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
import polars as pl

from ehrtraj.synth.draw import Floats, Ints, pick

TRAITS = ("female", "male", "elderly", "dying")
"""Causes of effects.csv that are neither a chronic condition nor an illness; elderly is 75 and over."""


@cache
def read(name: str) -> pl.DataFrame:
    """Return one file of the catalog. Every file has a column `source`; empty cells are null."""
    text = (resources.files("ehrtraj.synth") / "catalog" / name).read_bytes()
    return pl.read_csv(text, infer_schema_length=None)


@cache
def conditions() -> tuple[str, ...]:
    """Return the chronic conditions' names, in the order of `People.conditions`' columns."""
    return tuple(read("conditions.csv")["condition"])


@cache
def illnesses() -> tuple[str, ...]:
    """Return the illnesses' names: the position of a name is its number."""
    return tuple(read("illnesses.csv")["illness"])


@cache
def causes() -> tuple[str, ...]:
    """Return everything that may stand in the column `cause` of effects.csv."""
    return (*conditions(), *TRAITS, *illnesses())


@cache
def signals() -> pl.DataFrame:
    """Return what can be measured in a patient: signals*.csv, one line each, in the order of signal numbers."""
    return _together("signals")


@cache
def signal_numbers() -> dict[str, int]:
    """Return each signal's number."""
    return {name: number for number, name in enumerate(signals()["signal"])}


@cache
def effects() -> Floats:
    """Return the shift, in spreads, that each cause (row) has on each signal (column) at full severity."""
    matrix = np.zeros((len(causes()), signals().height))
    rows = {name: number for number, name in enumerate(causes())}
    for cause, signal, shift in _together("effects").select("cause", "signal", "shift").iter_rows():
        matrix[rows[cause], signal_numbers()[signal]] = shift
    return matrix


def _together(stem: str) -> pl.DataFrame:
    folder = resources.files("ehrtraj.synth") / "catalog"
    names = sorted(
        entry.name for entry in folder.iterdir() if entry.name.startswith(stem) and entry.name.endswith(".csv")
    )
    return pl.concat([read(name) for name in names], how="vertical_relaxed")


@cache
def choices(field: str) -> tuple[pl.Series, Floats]:
    """Return the values of a field of choices*.csv, and their weights."""
    rows = _together("choices").filter(pl.col("field") == field)
    if rows.is_empty():
        raise KeyError(f"no choices for {field}")
    return rows["value"], rows["weight"].cast(pl.Float64).to_numpy()


def draw_choice(rng: np.random.Generator, field: str, count: int) -> pl.Series:
    """Draw `count` values of a field by their weights."""
    values, weights = choices(field)
    return values[pick(rng, weights, count)]


def illness_numbers(names: list[str]) -> Ints:
    """Return the numbers of illnesses by their names."""
    order = {name: number for number, name in enumerate(illnesses())}
    return np.array([order[name] for name in names], dtype=np.int64)


@cache
def staff() -> tuple[pl.Series, pl.Series]:
    """Return the providers' ids (P and five characters) and the caregivers' numbers, the same for every release."""
    rng = np.random.Generator(np.random.SFC64(0))
    letters = np.array(list("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
    numbers = np.sort(rng.choice(36**5, PROVIDERS, replace=False))
    spelled = np.stack([letters[numbers // 36**place % 36] for place in (4, 3, 2, 1, 0)], axis=1)
    providers = pl.Series(["P" + "".join(row) for row in spelled])
    return providers, pl.Series(np.sort(rng.choice(99_999, CAREGIVERS, replace=False)) + 1)


# MIMIC-IV demo 2.2 lists 40,508 providers and 15,468 caregivers, most of them seen once; a tenth is enough here.
PROVIDERS = 4_000
CAREGIVERS = 1_500
