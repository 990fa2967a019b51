"""Draws what is measured on each occasion, and the specimens it is measured in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import Bools, Ints
from ehrtraj.synth.tables.labs.items import read_items
from ehrtraj.synth.tables.labs.occasions import Draws
from ehrtraj.synth.tables.labs.panels import read_panels


@dataclass(frozen=True)
class Specimens:
    """Specimens in the order of the table: by patient, time and specimen_id."""

    draw: Ints
    tube: Ints
    specimen_id: Ints


def _asked(block: PatientBlock, rng: np.random.Generator, draws: Draws) -> Bools:
    """Return [draws, panels]: which panels are asked for."""
    panels, people, names = read_panels(), block.people, catalog.conditions()
    illnesses = panels.factor[len(names) + len(catalog.TRAITS) :]
    traits = np.stack([people.female, ~people.female, people.anchor_age >= 75], axis=1)
    lifelong = np.concatenate([people.conditions, traits], axis=1) @ panels.factor[: len(names) + traits.shape[1]]
    chance = panels.chance[draws.occasion] * np.exp(lifelong)[draws.person]
    ill = np.flatnonzero(draws.episode >= 0)
    chance[ill] *= np.exp(illnesses)[block.episodes.illness[draws.episode[ill]]]
    asked: Bools = rng.random(chance.shape) < np.minimum(chance, 0.98)
    due = np.flatnonzero(draws.panel >= 0)
    asked[due, draws.panel[due]] = True
    asked[due] &= panels.family[draws.panel[due]]
    for panel in np.flatnonzero(panels.parent >= 0):
        asked[:, panel] &= asked[:, panels.parent[panel]]
    return asked


def draw_specimens(block: PatientBlock, rng: np.random.Generator, draws: Draws) -> tuple[Specimens, Ints, Ints]:
    """Return the specimens, and for each result its specimen and its item, in the order of the table."""
    panels, items = read_panels(), read_items()
    asked = _asked(block, rng, draws)
    measured = asked[:, panels.item_panel]
    for extra, panel in panels.more:
        measured[:, extra] |= asked[:, panel]
    result = np.flatnonzero(measured)
    draw, item = result // len(items.signal), result % len(items.signal)
    year = _true_year(block, draws)
    keep = (rng.random(len(item)) < items.share[item]) & (year[draw] >= items.since[item])
    draw, item = draw[keep], item[keep]
    tubes = len(panels.tubes)
    place = draw * tubes + panels.item_tube[item]
    used = np.zeros(len(draws.time) * tubes, dtype=bool)
    used[place] = True
    taken = np.flatnonzero(used)
    ids = block.streams.unique_ids("specimen", len(taken))
    order = np.lexsort((ids, draws.time[taken // tubes], draws.person[taken // tubes]))
    taken, ids = taken[order], ids[order]
    rank = np.zeros(len(used), dtype=np.int64)
    rank[taken] = np.arange(len(taken))
    key = np.sort(rank[place] * len(items.signal) + item)
    return Specimens(taken // tubes, taken % tubes, ids), key // len(items.signal), key % len(items.signal)


def _true_year(block: PatientBlock, draws: Draws) -> Ints:
    year = draws.time.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    return year - block.people.shift[draws.person]
