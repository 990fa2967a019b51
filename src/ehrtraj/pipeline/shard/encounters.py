"""Check hadm_id and stay_id against the tables of stays; infer hadm_id if exactly one encounter contains the event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrtraj import rules
from ehrtraj.format.arrays import NULL, SECOND, Int64s, to_int64
from ehrtraj.pipeline.shard.events import Events

CONTESTED = NULL + 1
"""Used instead of a subject_id if several patients have the same number and the right one cannot be determined."""


_FLAGS = {
    "hadm_id": ("hadm_of_other_patient", "hadm_unknown"),
    "stay_id": ("stay_of_other_patient", "stay_unknown"),
}
"""Flags of a number that belongs to another patient, and of a number that no table of stays contains."""


@dataclass(frozen=True)
class Owners:
    """The patient of each admission or stay of the release, sorted by number.

    Attributes:
        number: hadm_id or stay_id, each once.
        subject_id: patient of the admission or stay, or `CONTESTED`.
    """

    number: Int64s
    subject_id: Int64s

    @classmethod
    def of(cls, number: Int64s, subject_id: Int64s) -> Owners:
        """Create the owners from the numbers and patients of admissions or stays; rows may be repeated."""
        known = number != NULL
        order = np.lexsort((subject_id[known], number[known]))
        number, subject_id = number[known][order], subject_id[known][order]
        if not len(number):
            return cls(number, subject_id)
        first = np.flatnonzero(np.append(True, number[1:] != number[:-1]))
        last = np.append(first[1:], len(number)) - 1
        owner = np.where(subject_id[first] == subject_id[last], subject_id[first], CONTESTED)
        return cls(number[first], owner)

    def owner(self, number: Int64s) -> Int64s:
        """Return the subject_id of each admission or stay, `NULL` if it is unknown."""
        if not len(self.number):
            return np.full(len(number), NULL, np.int64)
        at = np.minimum(np.searchsorted(self.number, number), len(self.number) - 1)
        return np.where(self.number[at] == number, self.subject_id[at], NULL)


@dataclass(frozen=True)
class Encounters:
    """Time spans covered by encounters: disjoint within a patient, sorted by patient and start.

    Attributes:
        subject_id: patient.
        start: first second of the span.
        stop: last second of the span.
        hadm_id: the only admission that covers the span, `NULL` if several do.
    """

    subject_id: Int64s
    start: Int64s
    stop: Int64s
    hadm_id: Int64s

    @classmethod
    def of(cls, table: pa.Table) -> Encounters:
        """Create the spans from the result of `encounters.sql`: subject_id, start, stop (exclusive), hadm_id."""
        subject, start, stop, hadm = (to_int64(table[c]) for c in ("subject_id", "start", "stop", "hadm_id"))
        order = np.lexsort((start, subject))
        return cls(subject[order], start[order] // SECOND, (stop[order] - 1) // SECOND, hadm[order])

    def find(self, subject_id: Int64s, time: Int64s) -> npt.NDArray[np.int64]:
        """Return the position of the span that contains each patient's time (in microseconds), -1 if there is none."""
        if not len(self.start):
            return np.full(len(time), -1, np.int64)
        seconds = time // SECOND
        subjects = np.unique(self.subject_id)
        patient = np.searchsorted(subjects, subject_id)
        low = min(int(self.start.min()), int(seconds.min()) if len(seconds) else 0)
        high = max(int(self.start.max()), int(seconds.max()) if len(seconds) else 0)
        width = np.int64(high - low + 1)
        starts = np.searchsorted(subjects, self.subject_id) * width + (self.start - low)
        at = np.searchsorted(starts, patient * width + (seconds - low), side="right") - 1
        near = np.maximum(at, 0)
        contains = (at >= 0) & (self.subject_id[near] == subject_id) & (seconds <= self.stop[near])
        return np.where(contains, near, -1)


def link_encounters(
    events: Events, event_time: Int64s | None, owners: Mapping[str, Owners], encounters: Encounters
) -> None:
    """Remove hadm_ids and stay_ids of other patients, infer hadm_ids that are null, and flag these events.

    Args:
        events: events in any order; changed in place.
        event_time: when the events happened, if this is not `events.time`.
        owners: owners of the release's admissions (`hadm_id`) and stays (`stay_id`).
        encounters: encounters of these patients.
    """
    hadm, flags, bits = events.ints["hadm_id"], events.ints["flags"], rules.flags()
    _check_owners(events, owners)
    time = events.time if event_time is None else event_time
    missing = np.flatnonzero(
        (hadm == NULL) & events.linked & (time != NULL) & ((flags & bits["hadm_of_other_patient"]) == 0)
    )
    if not len(missing):
        return
    at = encounters.find(events.subject[missing], time[missing])
    missing, at = missing[at >= 0], at[at >= 0]
    if not len(missing):
        return
    found = encounters.hadm_id[at]
    contested = owners["hadm_id"].owner(encounters.hadm_id)[at] == CONTESTED
    hadm[missing] = np.where(contested, NULL, found)
    inferred = np.where(found == NULL, bits["hadm_ambiguous"], bits["hadm_inferred"])
    flags[missing] |= np.where(contested, bits["hadm_of_other_patient"], inferred)


def _check_owners(events: Events, owners: Mapping[str, Owners]) -> None:
    """Remove and flag the numbers of other patients' admissions and stays, and flag unknown numbers."""
    numbers = {name: events.ints[name] for name, of in owners.items() if len(of.number)}
    if not numbers:
        return
    # Events of the same patient, admission and stay form runs: one lookup is enough for each run.
    changes = events.subject[1:] != events.subject[:-1]
    for number in numbers.values():
        changes |= number[1:] != number[:-1]
    begins = np.flatnonzero(np.append(True, changes))
    lengths = np.diff(np.append(begins, len(events.subject)))
    flags, bits = events.ints["flags"], rules.flags()
    for name, number in numbers.items():
        flag_foreign, flag_unknown = _FLAGS[name]
        owner = owners[name].owner(number[begins])
        has_number = number[begins] != NULL
        foreign = has_number & (owner != NULL) & (owner != events.subject[begins])
        unknown = has_number & (owner == NULL)
        if foreign.any() or unknown.any():
            foreign_rows = np.repeat(foreign, lengths)
            flags |= np.where(foreign_rows, bits[flag_foreign], 0)
            flags |= np.where(np.repeat(unknown, lengths), bits[flag_unknown], 0)
            number[foreign_rows] = NULL
