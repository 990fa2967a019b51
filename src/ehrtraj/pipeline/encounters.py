"""Check hadm_id against admissions, and infer it where it is null and exactly one encounter holds the event."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrtraj import rules
from ehrtraj.pipeline.events import NULL, SECOND, Events, Int64s, to_int64


@dataclass(frozen=True)
class Admissions:
    """hadm_id and subject_id of every admission of the release, sorted by hadm_id."""

    hadm_id: Int64s
    subject_id: Int64s

    @classmethod
    def of(cls, hadm_id: Int64s, subject_id: Int64s) -> Admissions:
        """Sort the admissions; rows may repeat."""
        order = np.argsort(hadm_id, kind="stable")
        return cls(hadm_id[order], subject_id[order])

    def owner(self, hadm_id: Int64s) -> Int64s:
        """subject_id of each admission, `NULL` where there is none."""
        if not len(self.hadm_id):
            return np.full(len(hadm_id), NULL, np.int64)
        at = np.minimum(np.searchsorted(self.hadm_id, hadm_id), len(self.hadm_id) - 1)
        return np.where(self.hadm_id[at] == hadm_id, self.subject_id[at], NULL)


@dataclass(frozen=True)
class Encounters:
    """Spans of time held by encounters: disjoint within a patient, sorted by patient and start.

    Attributes:
        subject_id: patient.
        start: seconds, within the span.
        stop: seconds, within the span.
        hadm_id: the one admission that holds the span, `NULL` where several do.
    """

    subject_id: Int64s
    start: Int64s
    stop: Int64s
    hadm_id: Int64s

    @classmethod
    def of(cls, table: pa.Table) -> Encounters:
        """From the result of `encounters.sql`: subject_id, start, stop (not within the span), hadm_id."""
        subject, start, stop, hadm = (to_int64(table[c]) for c in ("subject_id", "start", "stop", "hadm_id"))
        order = np.lexsort((start, subject))
        return cls(subject[order], start[order] // SECOND, (stop[order] - 1) // SECOND, hadm[order])

    def find(self, subject_id: Int64s, time: Int64s) -> npt.NDArray[np.int64]:
        """Position of the span that holds each time (in microseconds) of each patient, -1 where none does."""
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
        holds = (at >= 0) & (self.subject_id[near] == subject_id) & (seconds <= self.stop[near])
        return np.where(holds, near, -1)


def link_encounters(events: Events, event_time: Int64s | None, admissions: Admissions, encounters: Encounters) -> None:
    """Remove hadm_ids of other patients, infer those that are null, and flag what was done.

    Args:
        events: in any order; changed in place.
        event_time: when they happened, where that is not `events.time`.
        admissions: of the release.
        encounters: of these patients.
    """
    hadm, flags = events.ints["hadm_id"], events.ints["flags"]
    bits = rules.flags()
    if len(admissions.hadm_id):
        # One look-up for each run of events of the same patient and admission: rows lie in such runs.
        begins = np.flatnonzero(
            np.concatenate([[True], (hadm[1:] != hadm[:-1]) | (events.subject[1:] != events.subject[:-1])])
        )
        owner = admissions.owner(hadm[begins])
        given = hadm[begins] != NULL
        foreign = given & (owner != NULL) & (owner != events.subject[begins])
        unknown = given & (owner == NULL)
        if foreign.any() or unknown.any():
            lengths = np.diff(np.append(begins, len(hadm)))
            foreign_rows = np.repeat(foreign, lengths) & events.linked
            flags |= np.where(foreign_rows, bits["hadm_of_other_patient"], 0)
            flags |= np.where(np.repeat(unknown, lengths) & events.linked, bits["hadm_unknown"], 0)
            hadm[foreign_rows] = NULL
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
    hadm[missing] = found
    flags[missing] |= np.where(found == NULL, bits["hadm_ambiguous"], bits["hadm_inferred"])
