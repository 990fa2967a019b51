"""Divide the patients into shards, which are ranges of subject_id.

A shard is a range and not a hash class because most tables of a release are sorted by subject_id: a block of rows then
falls into one or two shards, and staging writes long runs instead of small pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrtraj.format.arrays import Int64s

# This many bytes of notes count as one row: a row takes about 450 bytes, and a text is in memory at most three times.
BYTES_A_ROW = 150


@dataclass(frozen=True)
class Entries:
    """The entries of one table, from which the number of a patient's rows is estimated.

    Attributes:
        subject_ids: patient of each entry, in any order.
        rows: rows of all tables that come with one entry.
    """

    subject_ids: Int64s
    rows: int


@dataclass(frozen=True)
class ShardPlan:
    """Assignment of patients to shards.

    Attributes:
        starts: first subject_id of each shard, ascending; the first shard also contains all lower subject_ids.
        selected: the selected subject_ids, sorted, or None for all.
    """

    starts: Int64s
    selected: Int64s | None = None

    @property
    def count(self) -> int:
        """Number of shards."""
        return len(self.starts)

    def shard_of(self, subject_ids: Int64s) -> npt.NDArray[np.uint16]:
        """Return the shard number of each subject_id."""
        return (np.searchsorted(self.starts[1:], subject_ids, side="right")).astype(np.uint16)

    def is_selected(self, subject_ids: Int64s) -> npt.NDArray[np.bool_] | None:
        """Return which rows belong to selected patients; None if all do."""
        if self.selected is None:
            return None
        return np.isin(subject_ids, self.selected)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file in the working folder."""
        return {
            "starts": self.starts.tolist(),
            "selected": None if self.selected is None else self.selected.tolist(),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> ShardPlan:
        """Return the plan in the content of the file. The inverse of `to_json`."""
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
    target: int,
    *,
    note_bytes: int = 0,
) -> ShardPlan:
    """Divide the patients into shards of about `target` rows each.

    Args:
        people: all patients. Each repetition of a patient stands for one more row without a stay.
        encounters: stays in a hospital.
        stays: stays in parts of the hospital, such as intensive care.
        selected: the selected patients, None for all.
        target: rows in a shard.
        note_bytes: size of all notes, which are assumed to be spread evenly over the encounters, or over the patients
            if there are no encounters.
    """
    everyone = np.unique(np.concatenate([e.subject_ids for e in (people, encounters, *stays)]))
    if selected is not None:
        selected = np.unique(selected)
        everyone = everyone[np.isin(everyone, selected)]
    if not len(everyone):
        return ShardPlan(np.zeros(1, np.int64), selected)
    listed = people.subject_ids[np.isin(people.subject_ids, everyone)]
    repetitions = np.bincount(np.searchsorted(everyone, listed), minlength=len(everyone)) - 1
    rows = people.rows + np.maximum(repetitions, 0)
    with_notes = encounters.subject_ids if len(encounters.subject_ids) else people.subject_ids
    notes = Entries(with_notes, note_bytes // BYTES_A_ROW // max(len(with_notes), 1))
    for entries in (encounters, *stays, notes):
        subject_ids = entries.subject_ids[np.isin(entries.subject_ids, everyone)]
        rows += entries.rows * np.bincount(np.searchsorted(everyone, subject_ids), minlength=len(everyone))
    before = np.concatenate([[0], np.cumsum(rows)[:-1]])
    count = max(1, min(int(np.ceil(rows.sum() / target)), len(everyone), np.iinfo(np.uint16).max))
    shard = before * count // max(int(rows.sum()), 1)
    if rows.sum() > target // 2:
        # The last shard is halved, since a worker that builds it alone keeps all others waiting. A single one is halved
        # only if half of it takes longer than starting another worker.
        shard += before * 2 * count // max(int(rows.sum()), 1) == 2 * count - 1
    first = np.concatenate([[True], shard[1:] != shard[:-1]])
    return ShardPlan(everyone[first], selected)
