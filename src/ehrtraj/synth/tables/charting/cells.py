"""Draws the cells of rounds, the items charted in each, and gives them their order and common columns."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import MINUTE, Ints, repeat, times
from ehrtraj.synth.tables.charting.plan import Lines
from ehrtraj.synth.tables.charting.rounds import ITEM_BITS, ROW_BITS, TIME_BITS, Needs, Rounds, shift_counts


@cache
def _caregivers() -> Ints:
    return catalog.staff()[1].to_numpy()


def draw_cells(
    rng: np.random.Generator, lines: Lines, rounds: Rounds, needs: Needs, channel: Ints
) -> tuple[Ints, Ints]:
    """Draw what is charted: return each cell's round and line."""
    luck = rng.random((len(needs.has), int(channel.max(initial=-1)) + 1))[:, channel]
    has = (luck < lines.share) & ((lines.only < 0) | needs.has[:, lines.only])
    stay, present = np.nonzero(has)
    count = np.bincount(stay * lines.groups + lines.group[present], minlength=len(has) * lines.groups)
    place = rounds.stay * lines.groups + rounds.group
    cell, ordinal = repeat(count[place])
    line = present[(np.cumsum(count) - count)[place][cell] + ordinal]
    kept = rng.random(len(cell), dtype=np.float32) < lines.keep[line]
    return cell[kept], line[kept]


def in_order(block: PatientBlock, rounds: Rounds, visit: Ints, rank: Ints) -> Ints:
    """Return the rows in order of stay, time and item: by sorting keys that end in the row's number."""
    minute = (rounds.time - block.icu.arrival[rounds.stay] // MINUTE * MINUTE) // MINUTE
    head = ((rounds.stay << TIME_BITS) + minute) << (ITEM_BITS + ROW_BITS)
    key = head[visit] + (rank << ROW_BITS) + np.arange(len(visit))
    key.sort()
    return key & ((1 << ROW_BITS) - 1)


def shared_columns(block: PatientBlock, rounds: Rounds, visit: Ints) -> dict[str, pl.Series]:
    """Return the columns that all rows of a round have in common."""
    rng = block.streams.rng("chart caregivers")
    stays = block.icu
    caregiver = _caregivers()[rng.integers(0, len(_caregivers()), int(shift_counts(block).sum()))]
    stay = rounds.stay[visit]
    return {
        "subject_id": pl.Series(block.people.subject_id[stays.person][stay]),
        "hadm_id": pl.Series(block.admissions.hadm_id[stays.admission][stay]),
        "stay_id": pl.Series(stays.stay_id[stay]),
        "caregiver_id": pl.Series(caregiver[rounds.shift][visit]),
        "charttime": times(rounds.time).gather(visit),
        "storetime": times(rounds.store).gather(visit),
    }
