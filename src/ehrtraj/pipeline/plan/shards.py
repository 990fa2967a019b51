"""Divide the patients: ranges of subject_id as shards, and a stable hash for the splits.

A shard is a range and not a hash class because the tables of a release are, for the most part, in order of
subject_id: a block of rows then falls into one or two shards, and staging writes long runs instead of crumbs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrtraj.format.arrays import Int64s

# Rows of work in a shard, by the estimate below: about 0.5 GB in memory, and enough that the fixed cost of a shard
# (0.25 s) is little beside its work.
SHARD_ROWS = 1_100_000

# What an estimate of a patient's rows is made of, from the published row counts of MIMIC-IV 3.1: hosp has
# 386 million rows of labs, drugs and orders in 546,028 admissions, icu 460 million rows in 94,458 stays.
_ROWS_A_PATIENT = 30
_ROWS_AN_ADMISSION = 700
_ROWS_A_STAY = 4_900
# MIMIC-IV-ED 2.2: 7.9 million rows in 425,087 stays, which become twice as many events.
_ROWS_A_VISIT = 40
# A note weighs as much as so many bytes of rows: a row takes about 450, and a text is held three times at most.
BYTES_A_ROW = 150


@dataclass(frozen=True)
class Plan:
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
    def from_json(cls, content: dict[str, Any]) -> Plan:
        """The inverse of `to_json`."""
        selected = content["selected"]
        return cls(
            np.array(content["starts"], np.int64),
            None if selected is None else np.array(selected, dtype=np.int64),
        )


def plan_shards(
    subject_ids: Int64s,
    admissions: Int64s,
    stays: Int64s,
    selected: Int64s | None,
    target: int = SHARD_ROWS,
    *,
    visits: Int64s | None = None,
    note_bytes: int = 0,
) -> Plan:
    """Cut the patients into shards of about `target` rows each.

    Args:
        subject_ids: all patients, in any order; one that stands there again has more rows of no stay.
        admissions: subject_id of each admission.
        stays: subject_id of each ICU stay.
        selected: the chosen patients, None for all.
        target: rows in a shard.
        visits: subject_id of each stay in the emergency department.
        note_bytes: of all notes, which are taken to lie with the admissions, or with the patients' rows.
    """
    visits = np.empty(0, np.int64) if visits is None else visits
    everyone = np.unique(np.concatenate([subject_ids, admissions, stays, visits]))
    if selected is not None:
        selected = np.unique(selected)
        everyone = everyone[np.isin(everyone, selected)]
    if not len(everyone):
        return Plan(np.zeros(1, np.int64), selected)
    listed = subject_ids[np.isin(subject_ids, everyone)]
    again = np.bincount(np.searchsorted(everyone, listed), minlength=len(everyone)) - 1
    rows = _ROWS_A_PATIENT + np.maximum(again, 0)
    holders = admissions if len(admissions) else subject_ids
    a_note = note_bytes // BYTES_A_ROW // max(len(holders), 1)
    weights = (
        (admissions, _ROWS_AN_ADMISSION),
        (stays, _ROWS_A_STAY),
        (visits, _ROWS_A_VISIT),
        (holders, a_note),
    )
    for who, each in weights:
        who = who[np.isin(who, everyone)]
        rows += each * np.bincount(np.searchsorted(everyone, who), minlength=len(everyone))
    before = np.concatenate([[0], np.cumsum(rows)[:-1]])
    count = max(1, min(int(np.ceil(rows.sum() / target)), len(everyone), np.iinfo(np.uint16).max))
    shard = before * count // max(int(rows.sum()), 1)
    first = np.concatenate([[True], shard[1:] != shard[:-1]])
    return Plan(everyone[first], selected)
