"""Draw the values of results, and calculate those that depend on others."""

from __future__ import annotations

import numpy as np

from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import Floats, Ints
from ehrtraj.synth.tables.labs.items import CUT_SPACING, Formula, read_items, read_worded_results
from ehrtraj.synth.tables.labs.occasions import Occasions
from ehrtraj.synth.tables.labs.panels import CLINIC, ED_AGAIN, LINE, VENT
from ehrtraj.synth.tables.labs.specimens import Specimens


def draw_values(
    block: PatientBlock,
    rng: np.random.Generator,
    occasions: Occasions,
    specimens: Specimens,
    specimen: Ints,
    item: Ints,
) -> Floats:
    """Return the number of each result, or the position of its text among those of its item; NaN without inputs."""
    items, worded = read_items(), read_worded_results()
    value = np.zeros(len(item))
    rows = np.flatnonzero(items.signal[item] >= 0)
    occasion = specimens.occasion[specimen[rows]]
    person, episode, time = occasions.person[occasion], occasions.episode[occasion], occasions.time[occasion]
    value[rows] = block.measure(rng, items.signal[item[rows]], person, episode, time)
    in_words = rows[worded.first[item[rows]] >= 0]
    choice = np.searchsorted(worded.cuts, item[in_words] * CUT_SPACING + value[in_words])
    value[in_words] = choice - worded.first[item[in_words]]
    scale = 10.0 ** items.places[item]
    value = np.where(items.rounded[item], np.rint(value * scale) / scale, value)
    # One column per specimen, so that formulas can use several results of a specimen.
    linked = np.flatnonzero(items.slot[item] >= 0)
    slot, of = items.slot[item[linked]], specimen[linked]
    table = np.full((items.slot.max() + 1, len(specimens.occasion)), np.nan)
    table[slot, of] = value[linked]
    for group in items.groups:
        _add_to_100(table, items.slot[group], items.places[group])
    inputs = _inputs(block, rng, occasions, specimens)
    for formula in items.formulas:
        _apply(formula, table, inputs)
    value[linked] = table[slot, of]
    return value


def _inputs(
    block: PatientBlock, rng: np.random.Generator, occasions: Occasions, specimens: Specimens
) -> dict[str, Floats]:
    """Return the inputs of formulas that are not results, for each specimen."""
    person, kind = occasions.person, occasions.kind
    # MIMIC-IV demo 2.2: a quarter of blood gases are venous, mostly outside of the wards.
    outside = (kind <= ED_AGAIN) | (kind == CLINIC)
    from_line = (kind == LINE) | (kind == VENT)
    venous = ~from_line & (rng.random(len(person)) < np.where(outside, 0.75, 0.3))
    inputs = {
        "age": block.age(person, occasions.time),
        "female": block.people.female[person].astype(np.float64),
        "venous": venous.astype(np.float64),
        "ventilated": block.on_ventilator(person, occasions.time).astype(np.float64),
    }
    return {name: column[specimens.occasion] for name, column in inputs.items()}


def _add_to_100(table: Floats, group: Ints, places: Ints) -> None:
    """Turn the parts in the slots of a group into percentages whose rounded values sum to 100."""
    rows = np.flatnonzero(~np.isnan(table[group]).all(axis=0))
    parts = table[np.ix_(group, rows)]
    present = ~np.isnan(parts)
    scale = 10.0 ** np.where(present, places[:, None], 9).min(axis=0)
    cumulative = np.cumsum(np.where(present, parts, 0.0), axis=0)
    edges = np.rint(cumulative / cumulative[-1] * 100 * scale)
    shares = np.diff(edges, axis=0, prepend=0.0) / scale
    table[np.ix_(group, rows)] = np.where(present, shares, np.nan)


def _apply(formula: Formula, table: Floats, inputs: dict[str, Floats]) -> None:
    """Calculate the item of a formula from other results, in all specimens in which it is measured."""
    rows = np.flatnonzero(~np.isnan(table[formula.slot]))
    total = np.zeros(len(rows))
    with np.errstate(divide="ignore", invalid="ignore"):
        for name, slot, factor in formula.terms:
            values = inputs[name][rows] if name else table[slot, rows]
            if formula.kind != "sum" and name in ("", "age"):
                values = np.log(values)
            total += factor * values
        if formula.kind == "product":
            total = formula.constant * np.exp(total)
        else:
            total = formula.constant + (total / np.log(10) if formula.kind == "log10" else total)
        scale = 10.0**formula.places
        table[formula.slot, rows] = np.rint(np.clip(total, formula.low, formula.high) * scale) / scale
