"""Divide the patients: ranges of subject_id as shards, and a stable hash for the splits.

A shard is a range and not a hash class because the tables of a release are, for the most part, in order of
subject_id: a block of rows then falls into one or two shards, and staging writes long runs instead of crumbs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrtraj.format.arrays import Int64s

# Rows of work in a shard, by the estimate below: about 0.5 GB in memory, and enough that the fixed cost of a shard
# (0.25 s) is little beside its work.
SHARD_ROWS = 1_100_000

# A note weighs as much as so many bytes of rows: a row takes about 450, and a text is held three times at most.
BYTES_A_ROW = 150


@dataclass(frozen=True)
class Entries:
    """The entries of one table, by which the rows of a patient are estimated.

    Attributes:
        subject_ids: patient of each, in any order.
        rows: rows of all tables that come with one.
    """

    subject_ids: Int64s
    rows: int


@dataclass(frozen=True)
class ShardPlan:
    """Which patients belong to which shard.

    Attributes:
        starts: first subject_id of each shard, ascending; the first also takes everything below it.
        selected: the chosen subject_ids, sorted, or None for all.
    """

    starts: Int64s
    selected: Int64s | None = None

    @property
    def count(self) -> int:
        """Number of shards."""
        return len(self.starts)

    def shard_of(self, subject_ids: Int64s) -> npt.NDArray[np.uint16]:
        """Shard number of each subject_id."""
        return (np.searchsorted(self.starts[1:], subject_ids, side="right")).astype(np.uint16)

    def is_selected(self, subject_ids: Int64s) -> npt.NDArray[np.bool_] | None:
        """Which rows belong to chosen patients; None if all do."""
        if self.selected is None:
            return None
        return np.isin(subject_ids, self.selected)

    def to_json(self) -> dict[str, Any]:
        """As kept in the build's folder."""
        return {
            "starts": self.starts.tolist(),
            "selected": None if self.selected is None else self.selected.tolist(),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ShardPlan:
        """The inverse of `to_json`."""
        selected = content["selected"]
        return cls(
            np.array(content["starts"], np.int64),
            None if selected is None else np.array(selected, dtype=np.int64),
        )


def plan_shards(
    people: Entries,
    encounters: Entries,
    stays: Sequence[Entries],
    selected: Int64s | None,
    target: int = SHARD_ROWS,
    *,
    note_bytes: int = 0,
) -> ShardPlan:
    """Cut the patients into shards of about `target` rows each.

    Args:
        people: all patients; one that stands there again has more rows of no stay.
        encounters: stays in a hospital.
        stays: stays in its parts, such as intensive care.
        selected: the chosen patients, None for all.
        target: rows in a shard.
        note_bytes: of all notes, which are taken to lie with the encounters, or with the patients' rows.
    """
    everyone = np.unique(np.concatenate([e.subject_ids for e in (people, encounters, *stays)]))
    if selected is not None:
        selected = np.unique(selected)
        everyone = everyone[np.isin(everyone, selected)]
    if not len(everyone):
        return ShardPlan(np.zeros(1, np.int64), selected)
    listed = people.subject_ids[np.isin(people.subject_ids, everyone)]
    again = np.bincount(np.searchsorted(everyone, listed), minlength=len(everyone)) - 1
    rows = people.rows + np.maximum(again, 0)
    holders = encounters.subject_ids if len(encounters.subject_ids) else people.subject_ids
    notes = Entries(holders, note_bytes // BYTES_A_ROW // max(len(holders), 1))
    for entries in (encounters, *stays, notes):
        who = entries.subject_ids[np.isin(entries.subject_ids, everyone)]
        rows += entries.rows * np.bincount(np.searchsorted(everyone, who), minlength=len(everyone))
    before = np.concatenate([[0], np.cumsum(rows)[:-1]])
    count = max(1, min(int(np.ceil(rows.sum() / target)), len(everyone), np.iinfo(np.uint16).max))
    shard = before * count // max(int(rows.sum()), 1)
    first = np.concatenate([[True], shard[1:] != shard[:-1]])
    return ShardPlan(everyone[first], selected)
