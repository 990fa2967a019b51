"""Draw the resistance of isolates to antibiotics, and the resulting rows."""

from __future__ import annotations

import numpy as np
import polars as pl

from ehrtraj.synth.draw import Floats, Ints, repeat
from ehrtraj.synth.tables.microbiology.facts import group_ranges, places, read_facts
from ehrtraj.synth.tables.microbiology.results import Isolates, Tests
from ehrtraj.synth.tables.microbiology.specimens import MicroSpecimens

SAME_RESISTANCE = 0.55
"""Probability that resistance to a group of antibiotics follows the resistance common to all groups; an assumption."""


def draw_rows(
    rng: np.random.Generator, specimens: MicroSpecimens, tests: Tests, isolates: Isolates
) -> tuple[Ints, Ints, Ints, Ints]:
    """Return the test, isolate, line of micro_susceptibility.csv and interpretation of each row; -1 for none."""
    isolate, line, interpretation = _susceptibility(rng, specimens, tests, isolates)
    tests_without_growth = np.flatnonzero(~tests.grown)
    without_antibiotics = np.ones(len(isolates.test), dtype=bool)
    without_antibiotics[isolate] = False
    untested_isolates = np.flatnonzero(without_antibiotics)
    test = np.concatenate([tests_without_growth, isolates.test[untested_isolates], isolates.test[isolate]])
    number = np.concatenate([np.full(len(tests_without_growth), -1), untested_isolates, isolate])
    none = np.full(len(tests_without_growth) + len(untested_isolates), -1)
    line, interpretation = np.concatenate([none, line]), np.concatenate([none, interpretation])
    ordinal = np.where(number >= 0, isolates.number[number], 0)
    order = np.lexsort((line, ordinal, test))
    return test[order], number[order], line[order], interpretation[order]


def _susceptibility(
    rng: np.random.Generator, specimens: MicroSpecimens, tests: Tests, isolates: Isolates
) -> tuple[Ints, Ints, Ints]:
    """Test isolates against antibiotics. An organism of a patient has the same resistance in all specimens."""
    facts = read_facts()
    table = facts.antibiotics
    site = facts.site[tests.line[isolates.test]]
    often = facts.organisms["tested"].cast(pl.Float64).to_numpy()[isolates.organism]
    tested = facts.worked_up[site] & (rng.random(len(site)) < often)
    first, count = group_ranges(places(table["organism"], facts.organisms["organism"]), facts.organisms.height)
    isolate, ordinal = repeat(np.where(tested, count[isolates.organism], 0))
    line = first[isolates.organism[isolate]] + ordinal
    person = specimens.person[tests.specimen[isolates.test]]
    _, strain = np.unique(person * facts.organisms.height + isolates.organism, return_inverse=True)
    uniform = _resistance_quantiles(rng, strain)[isolate]
    rows = np.arange(len(line))
    resistant, medium, share = (
        table[name].cast(pl.Float64).to_numpy()[line] for name in ("resistant", "intermediate", "tested")
    )
    quantile = uniform[rows, facts.mechanism[line]]
    needed = facts.reflex[line]
    resists = uniform[rows, facts.mechanism[needed]] < table["resistant"].cast(pl.Float64).to_numpy()[needed]
    where = facts.only_site[line]
    keep = (rng.random(len(line)) < share) & ((needed < 0) | resists) & ((where < 0) | (where == site[isolate]))
    interpretation = np.select([quantile < resistant, quantile < resistant + medium], [2, 1], 0)
    return isolate[keep], line[keep], interpretation[keep]


def _resistance_quantiles(rng: np.random.Generator, strain: Ints) -> Floats:
    """Return [isolates, mechanisms]: uniform numbers that are equal for the same strain; lower means more resistant.

    Antibiotics of a group share a number, so an isolate that resists the stronger one also resists the weaker one.
    """
    shape = (int(strain.max(initial=0)) + 1, int(read_facts().mechanism.max()) + 1)
    quantile, common = rng.random(shape), rng.random((shape[0], 1))
    uniform: Floats = np.where(rng.random(shape) < SAME_RESISTANCE, common, quantile)[strain]
    return uniform
