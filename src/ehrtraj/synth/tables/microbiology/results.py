"""Draws the tests of the specimens, and what grows in them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ehrtraj.synth.block import BLOCK_PATIENTS, PatientBlock
from ehrtraj.synth.draw import DAY, Bools, Ints, repeat
from ehrtraj.synth.tables.microbiology.facts import places, read_facts, runs
from ehrtraj.synth.tables.microbiology.specimens import Taken

SAME_GROWTH = 0.6
"""How often a further specimen of an illness grows if, and only if, the one before did: an assumption."""
SAME_ORGANISM = 0.75
SHARED_STAIN = 0.5
"""How often a stain shows what then grows."""


@dataclass(frozen=True)
class Tests:
    """Tests, ordered as their specimens are."""

    specimen: Ints
    line: Ints
    """Of micro_tests.csv."""
    grown: Bools
    remark: Ints
    """Number of its phrase, or -1."""


@dataclass(frozen=True)
class Isolates:
    """What grew, with the number of its test."""

    test: Ints
    number: Ints
    organism: Ints


def draw_results(rng: np.random.Generator, block: PatientBlock, taken: Taken) -> tuple[Tests, Isolates]:
    """Return the tests that are done on the specimens, and what grew."""
    facts = read_facts()
    first, count = runs(places(facts.tests["specimen"], facts.specimens["specimen"]), facts.specimens.height)
    specimen, ordinal = repeat(count[taken.kind])
    line = first[taken.kind[specimen]] + ordinal
    done = rng.random(len(line)) < facts.tests["share"].cast(pl.Float64).to_numpy()[line]
    specimen, line = specimen[done], line[done]
    site = facts.site[line]
    grown, isolates = _isolates(rng, block, taken, specimen, site)
    # What a culture of the specimen grew is what its stain shows; bottles are stained only then.
    shown = np.full(len(taken.person), -1)
    ahead = isolates.number == 1
    shown[specimen[isolates.test[ahead]]] = isolates.organism[ahead]
    coloured = facts.organisms["gram_stain"].is_not_null().to_numpy()
    seen = np.where(shown >= 0, coloured[shown], False)[specimen]
    kept = (site != facts.bottle) | seen
    lots = facts.remark_lots.draw(2 * site + grown, rng.random(len(site)))
    remark = np.where(lots >= 0, facts.remark[lots], -1)
    stained = facts.stain[site] & seen & (rng.random(len(site)) < SHARED_STAIN)
    remark = np.where(stained, len(facts.remark) + shown[specimen], remark)
    place = np.cumsum(kept) - 1
    tests = Tests(specimen[kept], line[kept], grown[kept], remark[kept])
    return tests, Isolates(place[isolates.test], isolates.number, isolates.organism)


def _isolates(
    rng: np.random.Generator, block: PatientBlock, taken: Taken, specimen: Ints, site: Ints
) -> tuple[Bools, Isolates]:
    """Draw which tests grow something, and what: alike in all specimens of an illness."""
    facts, episodes = read_facts(), block.episodes
    episode, person = taken.episode[specimen], taken.person[specimen]
    cause = np.where(episode >= 0, episodes.illness[episode] + 1, 0)
    days = np.where(episode >= 0, taken.time[specimen] - episodes.start[episode], 0) / DAY
    # Treatment clears what the illness itself brought.
    usual = facts.chance[0, site]
    chance = usual + (facts.chance[cause, site] - usual) * (0.35 + 0.65 * np.exp(-np.maximum(days, 0) / 2))
    case = np.where(episode >= 0, episode, len(episodes.person) + person)
    shared = rng.random((len(episodes.person) + BLOCK_PATIENTS, facts.chance.shape[1]))
    alike, luck = rng.random(len(site)) < SAME_GROWTH, rng.random(len(site))
    grown = np.where(alike, shared[case, site], luck) < chance
    test = np.flatnonzero(grown)
    common = rng.random(len(shared))[case[test]]
    flora = facts.flora[cause, site][test]
    same = rng.random(len(test)) < SAME_ORGANISM
    organism = facts.organism[facts.organism_lots.draw(flora, np.where(same, common, rng.random(len(test))))]
    other = facts.organism[facts.organism_lots.draw(flora, rng.random(len(test)))]
    real = facts.organisms["gram_stain"].is_not_null().to_numpy()
    two = (rng.random(len(test)) < facts.second[cause, site][test]) & (other != organism) & real[other] & real[organism]
    isolates = Isolates(
        np.concatenate([test, test[two]]),
        np.concatenate([np.ones(len(test), dtype=np.int64), np.full(int(two.sum()), 2)]),
        np.concatenate([organism, other[two]]),
    )
    return grown, isolates
