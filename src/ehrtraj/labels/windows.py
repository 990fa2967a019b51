"""Settle a task's windows around every trigger, whole arrays at a time.

The rows of up to 1,000 patients are put on one axis of 64-bit numbers (patient, then microseconds since the patient's
first row), so that every bound of every window is one binary search over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from ehrtraj.labels.task import RECORD_END, RECORD_START, TRIGGER, Boundary, Task, Window

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# 2**53 microseconds are 285 years: longer than any patient's record. 2**10 patients then fit into 63 bits.
_SPAN = 1 << 53
PATIENTS_AT_ONCE = 1_000


class Axis:
    """The rows of some patients (a row for each time at which anything that matters happened), on one axis.

    Attributes:
        subject: of each row, as a position among the patients.
        time: of each row, microseconds.
    """

    def __init__(self, rows: pl.DataFrame, bounds: pl.DataFrame) -> None:
        """Lay rows out.

        Args:
            rows: `subject_id`, `time` (microseconds), and a count for each predicate; sorted, no two of one time.
            bounds: `subject_id`, `first`, `last` (microseconds): a line for each patient, sorted. The patient's record.
        """
        self.subject_ids = bounds["subject_id"].to_numpy()
        self.record = {RECORD_START: bounds["first"].to_numpy(), RECORD_END: bounds["last"].to_numpy()}
        self.subject: Int64s = np.searchsorted(self.subject_ids, rows["subject_id"].to_numpy()).astype(np.int64)
        self.time: Int64s = rows["time"].to_numpy()
        at_first = np.searchsorted(self.subject, np.arange(len(self.subject_ids)))
        # A patient without rows has no trigger either: any number does.
        self._origin = np.append(self.time, 0)[at_first]
        self._rows = rows
        self._keys = self.keys(self.subject, self.time)
        self._sums: dict[str, Int64s] = {}
        self._with: dict[str, Int64s] = {}

    def keys(self, subject: Int64s, time: Int64s) -> Int64s:
        """Place of times on the axis. All before a patient's first row are one place."""
        since: Int64s = np.clip(time - self._origin[subject], -1, _SPAN - 2)
        return subject * _SPAN + since + 1

    def rows_with(self, predicate: str) -> Int64s:
        """Positions of the rows at which a predicate holds."""
        if predicate not in self._with:
            self._with[predicate] = np.flatnonzero(self._rows[predicate].to_numpy())
        return self._with[predicate]

    def count(self, predicate: str, subject: Int64s, window: Span) -> Int64s:
        """How many events with a predicate there are in each window."""
        if predicate not in self._sums:
            self._sums[predicate] = np.concatenate(([0], np.cumsum(self._rows[predicate].to_numpy())))
        begin, end = self.keys(subject, window.start), self.keys(subject, window.end)
        low = np.searchsorted(self._keys, begin, side="left" if window.start_inclusive else "right")
        high = np.searchsorted(self._keys, end, side="right" if window.end_inclusive else "left")
        counts: Int64s = np.maximum(self._sums[predicate][high] - self._sums[predicate][low], 0)
        return counts

    def nearest(
        self, predicate: str, subject: Int64s, time: Int64s, *, backwards: bool, inclusive: bool
    ) -> tuple[Int64s, Bools]:
        """The next or last time at which a predicate holds, and whether there is one."""
        rows = self.rows_with(predicate)
        keys = self.keys(subject, time)
        if backwards:
            at = np.searchsorted(self._keys[rows], keys, side="right" if inclusive else "left") - 1
        else:
            at = np.searchsorted(self._keys[rows], keys, side="left" if inclusive else "right")
        found = (at >= 0) & (at < len(rows))
        if not len(rows):
            return time, found
        row = rows[np.where(found, at, 0)]
        return self.time[row], found & (self.subject[row] == subject)


@dataclass(frozen=True)
class Span:
    """A window settled for every trigger: times in microseconds."""

    start: Int64s
    end: Int64s
    start_inclusive: bool
    end_inclusive: bool


@dataclass(frozen=True)
class Found:
    """What was found for each trigger that fits the task.

    Attributes:
        subject_ids: of the patients.
        prediction_times: microseconds.
        counts: events that make the label true.
        label_starts: where the label's window starts, microseconds.
    """

    subject_ids: Int64s
    prediction_times: Int64s
    counts: Int64s
    label_starts: Int64s


def settle(task: Task, axis: Axis) -> Found:
    """Find the triggers that fit a task, with their labels.

    A trigger is left out where a window's bound is an event that does not come, or a window does not hold what it must.
    """
    triggers = axis.rows_with(task.trigger)
    subject = axis.subject[triggers]
    fits = np.ones(len(triggers), dtype=bool)
    times: dict[str, Int64s] = {TRIGGER: axis.time[triggers]}
    spans: dict[str, Span] = {}
    for window in task.windows:
        for side in (window.root, "end" if window.root == "start" else "start"):
            times[f"{window.name}.{side}"], found = _bound(axis, window, side, subject, times)
            fits &= found
        start, end = times[f"{window.name}.start"], times[f"{window.name}.end"]
        spans[window.name] = Span(start, end, window.start_inclusive, window.end_inclusive)
        for predicate, (least, most) in window.has.items():
            count = axis.count(predicate, subject, spans[window.name])
            fits &= count >= (0 if least is None else least)
            if most is not None:
                fits &= count <= most
    labelled, index = task.label_window, task.index_window
    counts = axis.count(str(labelled.label), subject, spans[labelled.name])
    return Found(
        axis.subject_ids[subject[fits]],
        times[f"{index.name}.{index.index_timestamp}"][fits],
        counts[fits],
        spans[labelled.name].start[fits],
    )


def _bound(axis: Axis, window: Window, side: str, subject: Int64s, times: dict[str, Int64s]) -> tuple[Int64s, Bools]:
    boundary: Boundary = getattr(window, side)
    own = boundary.reference in ("start", "end")
    time = times[f"{window.name}.{boundary.reference}" if own else boundary.reference]
    if boundary.event is None:
        return time + boundary.offset, np.ones(len(time), dtype=bool)
    # As in ACES: an event at the very time counts as the bound only where the window takes in that bound, and never
    # where a window's first side is sought from outside of it.
    inclusive = own and (window.start_inclusive if side == "start" else window.end_inclusive)
    if boundary.event in axis.record:
        bound = axis.record[boundary.event][subject]
        ahead = time - bound if boundary.backwards else bound - time
        return bound, ahead >= (0 if inclusive else 1)
    return axis.nearest(boundary.event, subject, time, backwards=boundary.backwards, inclusive=inclusive)
