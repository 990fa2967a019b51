"""Stays, the gaps between them in which lines break, and the period that is shown at first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from ehrtraj.timeline.patient import AT, Patient, seconds

# An admission often begins minutes after the visit to the emergency department has ended.
_SAME_VISIT = 3600
_KINDS = ("admission", "icu_stay", "ed_stay")
_KEYS = ("subject_id", "hadm_id", "stay_id", "start", "end", "source_table", "end_before_start")
_MARGIN = 0.02
_MOST_STAYS = 2000
_NEVER = 1 << 62


def stays_of(patient: Patient) -> list[dict[str, Any]]:
    """Return the stays: `kind` (`admission`, `icu_stay`, `ed_stay`), `start`, `end` (or null), `label`, IDs."""
    found: list[dict[str, Any]] = []
    for kind, frame in zip(_KINDS, (patient.admissions, patient.icu_stays, patient.ed_stays), strict=True):
        for stay in frame.iter_rows(named=True):
            start = seconds(stay["start"])
            if start is not None:
                names = list(dict.fromkeys(str(stay[name]) for name in stay if name not in _KEYS and stay[name]))
                ids = {name: stay[name] for name in ("hadm_id", "stay_id")}
                found.append(
                    {"kind": kind, "start": start, "end": seconds(stay["end"]), "label": " → ".join(names), **ids}
                )
    return sorted(found, key=lambda stay: stay["start"])


def joined(stays: list[dict[str, Any]], extent: tuple[int, int]) -> tuple[list[dict[str, Any]], bool]:
    """Join the stays of one kind that are too close to be distinguished, if there are very many.

    Returns:
        The stays, and whether some were joined. `label` is their number then, and the IDs are null.
    """
    if len(stays) <= _MOST_STAYS:
        return stays, False
    least = max(1, (extent[1] - extent[0]) // (_MOST_STAYS // len(_KINDS)))
    found: list[dict[str, Any]] = []
    for kind in _KINDS:
        chosen = [stay for stay in stays if stay["kind"] == kind]
        of_kind = runs_of(chosen, extent[1], least)
        counts = np.diff(np.searchsorted([stay["start"] for stay in chosen], [*of_kind.starts, _NEVER]))
        for start, end, count in zip(of_kind.starts.tolist(), of_kind.ends.tolist(), counts.tolist(), strict=True):
            names = {"label": f"{count} stays", "hadm_id": None, "stay_id": None}
            found.append({"kind": kind, "start": start, "end": end, **names})
    return found, True


@dataclass(frozen=True)
class Runs:
    """Stays joined into periods without a gap.

    Attributes:
        starts: starts of the periods, in order.
        ends: their ends.
    """

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    def of(self, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the number of the period that contains each time; -1 in a gap."""
        run = np.searchsorted(self.starts, times, side="right") - 1
        inside = (run >= 0) & (times <= self.ends[run]) if len(self.starts) else np.zeros(len(times), dtype=bool)
        return np.where(inside, run, -1)

    def breaks(self, times: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Return whether a line breaks after each time but the last.

        It breaks between periods, and at every point in a gap. Without stays it never breaks.
        """
        if not len(self.starts):
            return np.zeros(max(len(times) - 1, 0), dtype=bool)
        run = self.of(times)
        broken: npt.NDArray[np.bool_] = (run[1:] != run[:-1]) | (run[1:] < 0)
        return broken

    def gaps(self, extent: tuple[int, int]) -> list[list[int]]:
        """Return start and end of each gap in a period of time, those before the first and after the last included."""
        if not len(self.starts):
            return []
        starts, ends = [extent[0], *self.ends.tolist()], [*self.starts.tolist(), extent[1]]
        return [[start, end] for start, end in zip(starts, ends, strict=True) if end > start]


def runs_of(stays: list[dict[str, Any]], open_until: int, least: int = _SAME_VISIT) -> Runs:
    """Join stays that overlap or follow each other closely.

    Args:
        stays: stays by start.
        open_until: end of stays whose end is not known.
        least: stays that are more seconds apart are not joined.
    """
    starts: list[int] = []
    ends: list[int] = []
    for stay in stays:
        end = max(stay["start"], open_until if stay["end"] is None else stay["end"])
        if ends and stay["start"] <= ends[-1] + least:
            ends[-1] = max(ends[-1], end)
        else:
            starts.append(stay["start"])
            ends.append(end)
    return Runs(np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64))


def extent_of(events: pl.DataFrame) -> tuple[int, int] | None:
    """Return the times of the first and the last event; None without events that have a time.

    Events of which only the year is known, such as the birth, are not counted.
    """
    dated = (
        events.lazy().filter(pl.col("time_precision") != "year").select(first=pl.col(AT).min(), last=pl.col(AT).max())
    )
    first, last = dated.collect().row(0)
    return None if first is None else (first, last)


def first_view(times: npt.NDArray[np.int64], runs: Runs, extent: tuple[int, int], *, last: bool) -> tuple[int, int]:
    """Return the period that is shown at first: the one with the most events, or the last one.

    Args:
        times: times of the events, in order.
        runs: periods in which the patient was in hospital.
        extent: times of the first and the last event.
        last: whether to return the last one.
    """
    if not len(runs.starts):
        return extent
    counts = np.searchsorted(times, runs.ends, side="right") - np.searchsorted(times, runs.starts)
    chosen = len(counts) - 1 - (0 if last else int(np.argmax(counts[::-1])))
    start, end = int(runs.starts[chosen]), int(runs.ends[chosen])
    margin = int((end - start) * _MARGIN) + 60
    return start - margin, end + margin
