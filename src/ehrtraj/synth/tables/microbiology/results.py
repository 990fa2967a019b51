"""Draw the tests of specimens, and the organisms that grow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ehrtraj.synth.block import BLOCK_PATIENTS, PatientBlock
from ehrtraj.synth.draw import DAY, NONE, Bools, Ints, repeat
from ehrtraj.synth.failures.summary import later_infections
from ehrtraj.synth.tables.microbiology.facts import group_ranges, places, read_facts
from ehrtraj.synth.tables.microbiology.specimens import MicroSpecimens

SAME_GROWTH = 0.6
"""Share of specimens of an illness whose growth depends on a random number that they share; an assumption."""
SAME_ORGANISM = 0.75
INFECTION_GROWS = 3 * DAY
"""Time after the start of an infection in which specimens grow its organisms more often; an assumption."""
SHARED_STAIN = 0.5
"""Probability that a stain shows the organism that grows."""


@dataclass(frozen=True)
class Tests:
    """Tests in the order of their specimens."""

    specimen: Ints
    line: Ints
    """Line of micro_tests.csv."""
    grown: Bools
    remark: Ints
    """Position of the phrase, or -1."""


@dataclass(frozen=True)
class Isolates:
    """Isolated organisms, with the number of their test."""

    test: Ints
    number: Ints
    organism: Ints


def draw_results(rng: np.random.Generator, block: PatientBlock, specimens: MicroSpecimens) -> tuple[Tests, Isolates]:
    """Draw the tests of the specimens, and the isolates."""
    facts = read_facts()
    first, count = group_ranges(places(facts.tests["specimen"], facts.specimens["specimen"]), facts.specimens.height)
    specimen, ordinal = repeat(count[specimens.kind])
    line = first[specimens.kind[specimen]] + ordinal
    done = rng.random(len(line)) < facts.tests["share"].cast(pl.Float64).to_numpy()[line]
    specimen, line = specimen[done], line[done]
    site = facts.site[line]
    grown, isolates = _isolates(rng, block, specimens, specimen, site)
    # The stain of a specimen shows the organism of its culture. Bottles are stained only after growth.
    stained_organism = np.full(len(specimens.person), -1)
    first_isolates = isolates.number == 1
    stained_organism[specimen[isolates.test[first_isolates]]] = isolates.organism[first_isolates]
    has_gram_stain = facts.organisms["gram_stain"].is_not_null().to_numpy()
    has_stained_organism = np.where(stained_organism >= 0, has_gram_stain[stained_organism], False)[specimen]
    keep = (site != facts.bottle) | has_stained_organism
    phrase = facts.remark_groups.pick(2 * site + grown, rng.random(len(site)))
    remark = np.where(phrase >= 0, facts.remark[phrase], -1)
    stained = facts.stain[site] & has_stained_organism & (rng.random(len(site)) < SHARED_STAIN)
    remark = np.where(stained, len(facts.remark) + stained_organism[specimen], remark)
    place = np.cumsum(keep) - 1
    tests = Tests(specimen[keep], line[keep], grown[keep], remark[keep])
    return tests, Isolates(place[isolates.test], isolates.number, isolates.organism)


def _infection_starts(block: PatientBlock, episode: Ints, time: Ints) -> Ints:
    """Return the start of the infection in intensive care for times in its first days; NONE for other times."""
    starts = np.full(len(block.episodes.person) + 1, NONE)
    starts[block.icu.admission] = later_infections(block)
    start = starts[episode]
    recent = (start != NONE) & (time >= start) & (time < start + INFECTION_GROWS)
    return np.where(recent, start, NONE)


def _isolates(
    rng: np.random.Generator, block: PatientBlock, specimens: MicroSpecimens, specimen: Ints, site: Ints
) -> tuple[Bools, Isolates]:
    """Draw which tests have growth, and of which organisms. Specimens of the same illness have similar results."""
    facts, episodes = read_facts(), block.episodes
    episode, person = specimens.episode[specimen], specimens.person[specimen]
    cause = np.where(episode >= 0, episodes.illness[episode] + 1, 0)
    time = specimens.time[specimen]
    infection = _infection_starts(block, episode, time)
    cause = np.where(infection != NONE, len(facts.chance) - 1, cause)
    begin = np.where(infection != NONE, infection, np.where(episode >= 0, episodes.start[episode], time))
    days = (time - begin) / DAY
    # Treatment reduces the growth that the illness caused.
    usual = facts.chance[0, site]
    chance = usual + (facts.chance[cause, site] - usual) * (0.35 + 0.65 * np.exp(-np.maximum(days, 0) / 2))
    case = np.where(episode >= 0, episode, len(episodes.person) + person)
    shared = rng.random((len(episodes.person) + BLOCK_PATIENTS, facts.chance.shape[1]))
    shares_growth, uniform = rng.random(len(site)) < SAME_GROWTH, rng.random(len(site))
    grown = np.where(shares_growth, shared[case, site], uniform) < chance
    test = np.flatnonzero(grown)
    common = rng.random(len(shared))[case[test]]
    flora = facts.flora[cause, site][test]
    same = rng.random(len(test)) < SAME_ORGANISM
    organism = facts.organism[facts.organism_groups.pick(flora, np.where(same, common, rng.random(len(test))))]
    other = facts.organism[facts.organism_groups.pick(flora, rng.random(len(test)))]
    real = facts.organisms["gram_stain"].is_not_null().to_numpy()
    two = (rng.random(len(test)) < facts.second[cause, site][test]) & (other != organism) & real[other] & real[organism]
    isolates = Isolates(
        np.concatenate([test, test[two]]),
        np.concatenate([np.ones(len(test), dtype=np.int64), np.full(int(two.sum()), 2)]),
        np.concatenate([organism, other[two]]),
    )
    return grown, isolates
