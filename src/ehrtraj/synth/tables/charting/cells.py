"""Draw the cells of rounds (the items charted in each round), their order and their common columns."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import MINUTE, Ints, repeat, times
from ehrtraj.synth.tables.charting.plan import ChartedItems
from ehrtraj.synth.tables.charting.rounds import ITEM_BITS, ROW_BITS, TIME_BITS, Needs, Rounds, shift_counts


@cache
def _caregivers() -> Ints:
    return catalog.staff()[1].to_numpy()


def draw_cells(
    rng: np.random.Generator, items: ChartedItems, rounds: Rounds, needs: Needs, channel: Ints
) -> tuple[Ints, Ints]:
    """Draw which items are charted in each round; return the round and the line of each cell."""
    uniform = rng.random((len(needs.has), int(channel.max(initial=-1)) + 1))[:, channel]
    has = (uniform < items.share) & ((items.only < 0) | needs.has[:, items.only])
    stay, present = np.nonzero(has)
    count = np.bincount(stay * items.groups + items.group[present], minlength=len(has) * items.groups)
    place = rounds.stay * items.groups + rounds.group
    cell, ordinal = repeat(count[place])
    line = present[(np.cumsum(count) - count)[place][cell] + ordinal]
    keep = rng.random(len(cell), dtype=np.float32) < items.keep[line]
    return cell[keep], line[keep]


def in_order(block: PatientBlock, rounds: Rounds, round_index: Ints, rank: Ints) -> Ints:
    """Return the row numbers in order of stay, time and item. Sorting uses keys that end with the row number."""
    minute = (rounds.time - block.icu.arrival[rounds.stay] // MINUTE * MINUTE) // MINUTE
    head = ((rounds.stay << TIME_BITS) + minute) << (ITEM_BITS + ROW_BITS)
    key = head[round_index] + (rank << ROW_BITS) + np.arange(len(round_index))
    key.sort()
    return key & ((1 << ROW_BITS) - 1)


def shared_columns(block: PatientBlock, rounds: Rounds, round_index: Ints) -> dict[str, pl.Series]:
    """Return the columns that all rows of a round share."""
    rng = block.streams.rng("chart caregivers")
    stays = block.icu
    caregiver = _caregivers()[rng.integers(0, len(_caregivers()), int(shift_counts(block).sum()))]
    stay = rounds.stay[round_index]
    return {
        "subject_id": pl.Series(block.people.subject_id[stays.person][stay]),
        "hadm_id": pl.Series(block.admissions.hadm_id[stays.admission][stay]),
        "stay_id": pl.Series(stays.stay_id[stay]),
        "caregiver_id": pl.Series(caregiver[rounds.shift][round_index]),
        "charttime": times(rounds.time).gather(round_index),
        "storetime": times(rounds.store).gather(round_index),
    }
