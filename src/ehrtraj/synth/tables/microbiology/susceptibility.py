"""Draws which antibiotics the isolates resist, and the rows this makes."""

from __future__ import annotations

import numpy as np
import polars as pl

from ehrtraj.synth.draw import Floats, Ints, repeat
from ehrtraj.synth.tables.microbiology.facts import places, read_facts, runs
from ehrtraj.synth.tables.microbiology.results import Isolates, Tests
from ehrtraj.synth.tables.microbiology.specimens import Taken

SAME_RESISTANCE = 0.55
"""How often resistance to one group of antibiotics goes with that to the others: an assumption."""


def draw_rows(
    rng: np.random.Generator, taken: Taken, tests: Tests, isolates: Isolates
) -> tuple[Ints, Ints, Ints, Ints]:
    """Return each row's test, isolate, line of micro_susceptibility.csv and interpretation; -1 for none."""
    isolate, line, interpretation = _susceptibility(rng, taken, tests, isolates)
    bare_test = np.flatnonzero(~tests.grown)
    bare = np.ones(len(isolates.test), dtype=bool)
    bare[isolate] = False
    bare_isolate = np.flatnonzero(bare)
    test = np.concatenate([bare_test, isolates.test[bare_isolate], isolates.test[isolate]])
    number = np.concatenate([np.full(len(bare_test), -1), bare_isolate, isolate])
    nothing = np.full(len(bare_test) + len(bare_isolate), -1)
    line, interpretation = np.concatenate([nothing, line]), np.concatenate([nothing, interpretation])
    ordinal = np.where(number >= 0, isolates.number[number], 0)
    order = np.lexsort((line, ordinal, test))
    return test[order], number[order], line[order], interpretation[order]


def _susceptibility(
    rng: np.random.Generator, taken: Taken, tests: Tests, isolates: Isolates
) -> tuple[Ints, Ints, Ints]:
    """Test isolates against antibiotics: an organism of one patient resists the same ones in all specimens."""
    facts = read_facts()
    table = facts.antibiotics
    site = facts.site[tests.line[isolates.test]]
    often = facts.organisms["tested"].cast(pl.Float64).to_numpy()[isolates.organism]
    tested = facts.worked_up[site] & (rng.random(len(site)) < often)
    first, count = runs(places(table["organism"], facts.organisms["organism"]), facts.organisms.height)
    isolate, ordinal = repeat(np.where(tested, count[isolates.organism], 0))
    line = first[isolates.organism[isolate]] + ordinal
    person = taken.person[tests.specimen[isolates.test]]
    _, strain = np.unique(person * facts.organisms.height + isolates.organism, return_inverse=True)
    luck = _luck(rng, strain)[isolate]
    rows = np.arange(len(line))
    resistant, medium, share = (
        table[name].cast(pl.Float64).to_numpy()[line] for name in ("resistant", "intermediate", "tested")
    )
    own = luck[rows, facts.mechanism[line]]
    needed = facts.reflex[line]
    resists = luck[rows, facts.mechanism[needed]] < table["resistant"].cast(pl.Float64).to_numpy()[needed]
    where = facts.only_site[line]
    kept = (rng.random(len(line)) < share) & ((needed < 0) | resists) & ((where < 0) | (where == site[isolate]))
    interpretation = np.select([own < resistant, own < resistant + medium], [2, 1], 0)
    return isolate[kept], line[kept], interpretation[kept]


def _luck(rng: np.random.Generator, strain: Ints) -> Floats:
    """Return [isolates, mechanisms] numbers from 0 to 1, equal for equal strains: the lower, the more resistant.

    Antibiotics of one group share a number, so whatever resists the stronger resists the weaker.
    """
    shape = (int(strain.max(initial=0)) + 1, int(read_facts().mechanism.max()) + 1)
    own, common = rng.random(shape), rng.random((shape[0], 1))
    luck: Floats = np.where(rng.random(shape) < SAME_RESISTANCE, common, own)[strain]
    return luck
