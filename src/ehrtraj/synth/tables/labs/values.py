"""Draws the values of the results, and works out those that follow from others."""

from __future__ import annotations

import numpy as np

from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import Floats, Ints
from ehrtraj.synth.tables.labs.items import APART, Formula, read_items, read_words
from ehrtraj.synth.tables.labs.occasions import Draws
from ehrtraj.synth.tables.labs.panels import CLINIC, ED_AGAIN, LINE, VENT
from ehrtraj.synth.tables.labs.specimens import Specimens


def draw_values(
    block: PatientBlock, rng: np.random.Generator, draws: Draws, specimens: Specimens, specimen: Ints, item: Ints
) -> Floats:
    """Return the results' numbers, or the numbers of their choices; not a number where inputs are missing."""
    items, words = read_items(), read_words()
    value = np.zeros(len(item))
    rows = np.flatnonzero(items.signal[item] >= 0)
    draw = specimens.draw[specimen[rows]]
    person, episode, time = draws.person[draw], draws.episode[draw], draws.time[draw]
    value[rows] = block.measure(rng, items.signal[item[rows]], person, episode, time)
    said = rows[words.first[item[rows]] >= 0]
    found = np.searchsorted(words.cuts, item[said] * APART + value[said])
    value[said] = found - words.first[item[said]]
    scale = 10.0 ** items.places[item]
    value = np.where(items.rounded[item], np.rint(value * scale) / scale, value)
    # Results of a specimen side by side, so that one can be had from others.
    linked = np.flatnonzero(items.slot[item] >= 0)
    slot, of = items.slot[item[linked]], specimen[linked]
    table = np.full((items.slot.max() + 1, len(specimens.draw)), np.nan)
    table[slot, of] = value[linked]
    for group in items.groups:
        _add_to_100(table, items.slot[group], items.places[group])
    inputs = _inputs(block, rng, draws, specimens)
    for formula in items.formulas:
        _apply(formula, table, inputs)
    value[linked] = table[slot, of]
    return value


def _inputs(block: PatientBlock, rng: np.random.Generator, draws: Draws, specimens: Specimens) -> dict[str, Floats]:
    """Return what formulas use besides results, for each specimen."""
    person, occasion = draws.person, draws.occasion
    # MIMIC-IV demo 2.2: a quarter of blood gases are venous, most of those outside of the wards.
    outside = (occasion <= ED_AGAIN) | (occasion == CLINIC)
    from_line = (occasion == LINE) | (occasion == VENT)
    venous = ~from_line & (rng.random(len(person)) < np.where(outside, 0.75, 0.3))
    known = {
        "age": block.age(person, draws.time),
        "female": block.people.female[person].astype(np.float64),
        "venous": venous.astype(np.float64),
        "ventilated": (occasion == VENT).astype(np.float64),
    }
    return {name: column[specimens.draw] for name, column in known.items()}


def _add_to_100(table: Floats, group: Ints, places: Ints) -> None:
    """Turn the parts in the slots of a group into percentages whose rounded values add to 100."""
    rows = np.flatnonzero(~np.isnan(table[group]).all(axis=0))
    parts = table[np.ix_(group, rows)]
    present = ~np.isnan(parts)
    scale = 10.0 ** np.where(present, places[:, None], 9).min(axis=0)
    upto = np.cumsum(np.where(present, parts, 0.0), axis=0)
    edges = np.rint(upto / upto[-1] * 100 * scale)
    shares = np.diff(edges, axis=0, prepend=0.0) / scale
    table[np.ix_(group, rows)] = np.where(present, shares, np.nan)


def _apply(formula: Formula, table: Floats, inputs: dict[str, Floats]) -> None:
    """Replace the formula's item by what follows from other results, wherever it is asked for."""
    rows = np.flatnonzero(~np.isnan(table[formula.slot]))
    total = np.zeros(len(rows))
    with np.errstate(divide="ignore", invalid="ignore"):
        for name, slot, factor in formula.terms:
            given = inputs[name][rows] if name else table[slot, rows]
            if formula.kind != "sum" and name in ("", "age"):
                given = np.log(given)
            total += factor * given
        if formula.kind == "product":
            total = formula.constant * np.exp(total)
        else:
            total = formula.constant + (total / np.log(10) if formula.kind == "log10" else total)
        scale = 10.0**formula.places
        table[formula.slot, rows] = np.rint(np.clip(total, formula.low, formula.high) * scale) / scale
