"""Evaluate the windows of a task for all triggers at once, with arrays.

The rows of up to 1,000 patients are mapped to one axis of 64-bit integers (patient, then microseconds since the
patient's first row), so that each boundary of a window takes one binary search for all triggers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from ehrtraj.labels.task import RECORD_END, RECORD_START, TRIGGER, Boundary, Task, Window

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# 2**53 microseconds are 285 years, longer than any patient's record, so that 2**10 patients fit into 63 bits.
_SPAN = 1 << 53
PATIENTS_AT_ONCE = 1_000


class Axis:
    """The rows of some patients on one axis. Each row is a time with at least one event that the task uses.

    Attributes:
        subject: patient of each row, as a position among the patients.
        time: time of each row, in microseconds.
    """

    def __init__(self, rows: pl.DataFrame, bounds: pl.DataFrame) -> None:
        """Map rows to the axis.

        Args:
            rows: `subject_id`, `time` (microseconds), and a count for each predicate; sorted, with one row per time.
            bounds: `subject_id`, `first` and `last` time (microseconds) of each patient's record; sorted.
        """
        self.subject_ids = bounds["subject_id"].to_numpy()
        self.record = {RECORD_START: bounds["first"].to_numpy(), RECORD_END: bounds["last"].to_numpy()}
        self.subject: Int64s = np.searchsorted(self.subject_ids, rows["subject_id"].to_numpy()).astype(np.int64)
        self.time: Int64s = rows["time"].to_numpy()
        at_first = np.searchsorted(self.subject, np.arange(len(self.subject_ids)))
        # A patient without rows has no trigger either, so that the origin does not matter.
        self._origin = np.append(self.time, 0)[at_first]
        self._rows = rows
        self._keys = self.keys(self.subject, self.time)
        self._sums: dict[str, Int64s] = {}
        self._with: dict[str, Int64s] = {}

    def keys(self, subject: Int64s, time: Int64s) -> Int64s:
        """Return the positions of times on the axis. All times before a patient's first row have the same position."""
        since: Int64s = np.clip(time - self._origin[subject], -1, _SPAN - 2)
        return subject * _SPAN + since + 1

    def rows_with(self, predicate: str) -> Int64s:
        """Return the positions of the rows at which a predicate is true."""
        if predicate not in self._with:
            self._with[predicate] = np.flatnonzero(self._rows[predicate].to_numpy())
        return self._with[predicate]

    def count(self, predicate: str, subject: Int64s, window: ResolvedWindow) -> Int64s:
        """Return the number of events that match a predicate in each window."""
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
        """Return the next or previous time at which a predicate is true, and whether there is one."""
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
class ResolvedWindow:
    """A window with its start and end for every trigger, in microseconds."""

    start: Int64s
    end: Int64s
    start_inclusive: bool
    end_inclusive: bool


@dataclass(frozen=True)
class Predictions:
    """The predictions of a task, one for each trigger that satisfies its windows.

    Attributes:
        subject_ids: patient of each prediction.
        prediction_times: prediction times, in microseconds.
        counts: number of events that make the label true.
        label_starts: start of the label's window, in microseconds.
        rows: row of the trigger on the axis.
    """

    subject_ids: Int64s
    prediction_times: Int64s
    counts: Int64s
    label_starts: Int64s
    rows: Int64s


def evaluate_task(task: Task, axis: Axis) -> Predictions:
    """Find the triggers that satisfy the windows of a task, with their labels.

    A trigger is excluded if a boundary of a window is an event that does not occur, or if a window does not have the
    required number of events.
    """
    triggers = axis.rows_with(task.trigger)
    subject = axis.subject[triggers]
    is_valid = np.ones(len(triggers), dtype=bool)
    times: dict[str, Int64s] = {TRIGGER: axis.time[triggers]}
    resolved: dict[str, ResolvedWindow] = {}
    for window in task.windows:
        for side in (window.root, "end" if window.root == "start" else "start"):
            times[f"{window.name}.{side}"], found = _resolve_boundary(axis, window, side, subject, times)
            is_valid &= found
        start, end = times[f"{window.name}.start"], times[f"{window.name}.end"]
        resolved[window.name] = ResolvedWindow(start, end, window.start_inclusive, window.end_inclusive)
        for predicate, (least, most) in window.has.items():
            count = axis.count(predicate, subject, resolved[window.name])
            is_valid &= count >= (0 if least is None else least)
            if most is not None:
                is_valid &= count <= most
    labelled, index = task.label_window, task.index_window
    counts = axis.count(str(labelled.label), subject, resolved[labelled.name])
    return Predictions(
        axis.subject_ids[subject[is_valid]],
        times[f"{index.name}.{index.index_timestamp}"][is_valid],
        counts[is_valid],
        resolved[labelled.name].start[is_valid],
        triggers[is_valid],
    )


def _resolve_boundary(
    axis: Axis, window: Window, side: str, subject: Int64s, times: dict[str, Int64s]
) -> tuple[Int64s, Bools]:
    """Return the time of a boundary for every trigger, and whether there is one."""
    boundary: Boundary = getattr(window, side)
    is_internal = boundary.reference in ("start", "end")
    time = times[f"{window.name}.{boundary.reference}" if is_internal else boundary.reference]
    if boundary.event is None:
        return time + boundary.offset, np.ones(len(time), dtype=bool)
    # As in ACES, an event at exactly the reference time counts as the boundary only if the window includes that
    # boundary, and never if the reference is outside of the window.
    inclusive = is_internal and (window.start_inclusive if side == "start" else window.end_inclusive)
    if boundary.event in axis.record:
        bound = axis.record[boundary.event][subject]
        ahead = time - bound if boundary.backwards else bound - time
        return bound, ahead >= (0 if inclusive else 1)
    return axis.nearest(boundary.event, subject, time, backwards=boundary.backwards, inclusive=inclusive)
