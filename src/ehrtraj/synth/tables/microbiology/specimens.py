"""Draw which specimens are taken from which patients, and when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import BLOCK_PATIENTS, PatientBlock
from ehrtraj.synth.draw import DAY, HOUR, MINUTE, NONE, Bools, Floats, Ints, repeat
from ehrtraj.synth.failures.summary import later_infections
from ehrtraj.synth.tables.encounters import inside_stay
from ehrtraj.synth.tables.microbiology.facts import read_facts

ED_SHARE = 0.38
"""Specimens in an ED visit without admission, relative to the same illness on a ward; an assumption."""


@dataclass(frozen=True)
class MicroSpecimens:
    """Specimens, ordered by patient and time."""

    person: Ints
    episode: Ints
    time: Ints
    kind: Ints
    clinic: Bools
    """The specimen was taken outside of any stay or visit."""

    def select(self, keep: Ints | Bools) -> MicroSpecimens:
        """Return the specimens at the given positions, or where `keep` is true."""
        return MicroSpecimens(**{name: column[keep] for name, column in vars(self).items()})


def draw_specimens(rng: np.random.Generator, block: PatientBlock) -> MicroSpecimens:
    """Draw the specimens of a block."""
    mean, early, person, episode, begin, end = _occasions(block)
    source, kind = np.nonzero(count := rng.poisson(mean))
    row, _ = repeat(count[source, kind])
    source, kind = source[row], kind[row]
    sets = read_facts().specimens["sets"].cast(pl.Float64).to_numpy()[kind]
    order, in_set = repeat(1 + (rng.random(len(kind)) < sets - 1))
    clinic = source >= len(begin) - BLOCK_PATIENTS
    span = np.maximum(end - begin, MINUTE)[source]
    soon = np.minimum(rng.exponential(5 * HOUR, len(kind)), 0.9 * span)
    later = np.where(clinic, rng.random(len(kind)), rng.random(len(kind)) ** 1.4) * span
    time = begin[source] + np.where(rng.random(len(kind)) < early[source, kind], soon, later).astype(np.int64)
    time = np.where(clinic, time - time % DAY + rng.integers(8 * HOUR, 17 * HOUR, len(kind)), time)
    time = np.minimum(time[order] + in_set * rng.integers(2, 25, len(order)) * MINUTE, end[source[order]])
    source = source[order]
    specimens = MicroSpecimens(person[source], episode[source], time, kind[order], clinic[order])
    women = (read_facts().specimens["only_of"] == "female").fill_null(value=False).to_numpy()
    invalid = specimens.clinic & inside_stay(block, specimens.person, specimens.time)
    invalid |= women[specimens.kind] & ~block.people.female[specimens.person]
    specimens = specimens.select(~invalid)
    return specimens.select(np.lexsort((specimens.kind, specimens.time, specimens.person)))


def _occasions(block: PatientBlock) -> tuple[Floats, Floats, Ints, Ints, Ints, Ints]:
    """Return the occasions for taking specimens. The last ones are the years of each patient outside the hospital.

    Returns:
        Mean numbers [occasions, specimens], shares taken early [occasions, specimens], person, episode, start, end.
    """
    facts, episodes, stays, icu, people = read_facts(), block.episodes, block.admissions, block.icu, block.people
    admitted = len(stays.person)
    everyone = np.arange(len(episodes.person))
    need = np.clip(episodes.severity, 0.4, 1.8) * np.where(everyone < admitted, 1.0, ED_SHARE)
    in_illness = np.stack([facts.mean[name] for name in catalog.illnesses()])[episodes.illness] * need[:, None]
    early = np.stack([facts.early[name] for name in catalog.illnesses()])[episodes.illness]
    ventilated = np.flatnonzero(icu.ventilated_from != NONE)
    infected = np.flatnonzero((infection := later_infections(block)) != NONE)
    suspected = np.clip(infection[infected], stays.admit[icu.admission[infected]], icu.departure[infected])
    last = np.where(people.death == NONE, people.window_end, np.minimum(people.window_end, people.death))
    none = np.full(BLOCK_PATIENTS, -1)
    # Context, unit of its means in seconds, and person, episode, start and end of its occasions.
    parts = [
        ("admission", 0, stays.person, everyone[:admitted], stays.admit, stays.discharge),
        ("admission_day", DAY, stays.person, everyone[:admitted], stays.admit, stays.discharge),
        ("icu_stay", 0, icu.person, icu.admission, icu.arrival, icu.departure),
        ("icu_day", DAY, icu.person, icu.admission, icu.arrival, icu.departure),
        ("ventilated_day", DAY, icu.person[ventilated], icu.admission[ventilated], icu.ventilated_from[ventilated],
         icu.ventilated_until[ventilated]),
        ("infection", 0, icu.person[infected], icu.admission[infected], suspected,
         np.minimum(suspected + DAY, stays.discharge[icu.admission[infected]])),
        ("ed_visit", 0, episodes.person[admitted:], everyone[admitted:], episodes.start[admitted:],
         episodes.end[admitted:]),
        ("outpatient", 365 * DAY, np.arange(BLOCK_PATIENTS), none, people.window_start, last),
    ]  # fmt: skip
    means, earlies = [in_illness], [early]
    for context, unit, person, _, begin, end in parts:
        units = np.maximum(end - begin, 0) / unit if unit else np.ones(len(person))
        means.append(units[:, None] * facts.mean[context])
        earlies.append(np.broadcast_to(facts.early[context], means[-1].shape))
    columns = zip((episodes.person, everyone, episodes.start, episodes.end), *(part[2:] for part in parts), strict=True)
    person, episode, begin, end = (np.concatenate(column) for column in columns)
    return np.concatenate(means), np.concatenate(earlies), person, episode, begin, end
