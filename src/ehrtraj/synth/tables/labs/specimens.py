"""Draw the items measured on each occasion, and their specimens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import Bools, Ints
from ehrtraj.synth.tables.labs.items import read_items
from ehrtraj.synth.tables.labs.occasions import Occasions
from ehrtraj.synth.tables.labs.panels import read_panels


@dataclass(frozen=True)
class Specimens:
    """Specimens, ordered as in the table: by patient, time and specimen_id."""

    occasion: Ints
    tube: Ints
    specimen_id: Ints


def _ordered_panels(block: PatientBlock, rng: np.random.Generator, occasions: Occasions) -> Bools:
    """Return [occasions, panels]: which panels are ordered."""
    panels, people, names = read_panels(), block.people, catalog.conditions()
    illnesses = panels.factor[len(names) + len(catalog.TRAITS) :]
    traits = np.stack([people.female, ~people.female, people.anchor_age >= 75], axis=1)
    chronic_effects = (
        np.concatenate([people.conditions, traits], axis=1) @ panels.factor[: len(names) + traits.shape[1]]
    )
    chance = panels.chance[occasions.kind] * np.exp(chronic_effects)[occasions.person]
    ill = np.flatnonzero(occasions.episode >= 0)
    chance[ill] *= np.exp(illnesses)[block.episodes.illness[occasions.episode[ill]]]
    ordered: Bools = rng.random(chance.shape) < np.minimum(chance, 0.98)
    due = np.flatnonzero(occasions.panel >= 0)
    ordered[due, occasions.panel[due]] = True
    ordered[due] &= panels.family[occasions.panel[due]]
    for panel in np.flatnonzero(panels.parent >= 0):
        ordered[:, panel] &= ordered[:, panels.parent[panel]]
    return ordered


def draw_specimens(block: PatientBlock, rng: np.random.Generator, occasions: Occasions) -> tuple[Specimens, Ints, Ints]:
    """Return the specimens, and the specimen and item of each result, in the order of the table."""
    panels, items = read_panels(), read_items()
    ordered = _ordered_panels(block, rng, occasions)
    measured = ordered[:, panels.item_panel]
    for extra, panel in panels.more:
        measured[:, extra] |= ordered[:, panel]
    result = np.flatnonzero(measured)
    occasion, item = result // len(items.signal), result % len(items.signal)
    year = _true_year(block, occasions)
    keep = (rng.random(len(item)) < items.share[item]) & (year[occasion] >= items.since[item])
    occasion, item = occasion[keep], item[keep]
    tubes = len(panels.tubes)
    place = occasion * tubes + panels.item_tube[item]
    used = np.zeros(len(occasions.time) * tubes, dtype=bool)
    used[place] = True
    specimen_keys = np.flatnonzero(used)
    ids = block.streams.unique_ids("specimen", len(specimen_keys))
    order = np.lexsort((ids, occasions.time[specimen_keys // tubes], occasions.person[specimen_keys // tubes]))
    specimen_keys, ids = specimen_keys[order], ids[order]
    rank = np.zeros(len(used), dtype=np.int64)
    rank[specimen_keys] = np.arange(len(specimen_keys))
    key = np.sort(rank[place] * len(items.signal) + item)
    return (
        Specimens(specimen_keys // tubes, specimen_keys % tubes, ids),
        key // len(items.signal),
        key % len(items.signal),
    )


def _true_year(block: PatientBlock, occasions: Occasions) -> Ints:
    year = occasions.time.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    return year - block.people.shift[occasions.person]
