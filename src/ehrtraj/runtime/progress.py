"""Progress of a build. The command line shows it; library calls are silent by default."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

_PARTS = 1_000_000

Share = float
"""How much of something is done, between 0 and 1."""

ShareReport = Callable[[Share], None]
"""Receives how much of a task is done."""


def no_report(_share: Share) -> None:
    """Drop a report."""


class TaskTally:
    """Adds up the progress of tasks of known sizes.

    A task may run twice, at the same time, and its reports may be missing or late. The share of a task therefore never
    decreases: reports of an attempt that is behind another one are ignored, and so are reports about a finished task.
    """

    def __init__(self, sizes: Mapping[Any, int], total: int | None = None) -> None:
        """Set the sizes of tasks.

        Args:
            sizes: size of each known task, in any unit.
            total: size of all tasks, if some are added later; by default the known ones are all.
        """
        self._open: dict[Hashable, int] = dict(sizes)
        self._total = sum(self._open.values()) if total is None else total
        # Millionths, because sums of floats depend on their order, and could decrease.
        self._parts: dict[Hashable, int] = {}
        self._done = 0

    @property
    def share(self) -> Share:
        """How much of all tasks is done."""
        return min(self._done / (self._total * _PARTS), 1.0) if self._total else 1.0

    def done_of(self, total: int) -> int:
        """Return how much is done in the unit of `total`, the size of all tasks."""
        return round(self.share * total)

    def add(self, task: Hashable, size: int) -> None:
        """Add a task."""
        self._open[task] = size

    def reach(self, task: Hashable, share: Share) -> None:
        """Record that an attempt at a task has done a share of it."""
        if task in self._open:
            self._set(task, int(min(max(0.0, share), 1.0) * _PARTS))

    def finish(self, task: Hashable) -> None:
        """Record that a task is done."""
        if task in self._open:
            self._set(task, _PARTS)
            del self._open[task], self._parts[task]

    def _set(self, task: Hashable, parts: int) -> None:
        before = self._parts.get(task, 0)
        self._parts[task] = max(parts, before)
        self._done += (self._parts[task] - before) * self._open[task]


class Reporter:
    """Receives the progress of a build. This class ignores it; subclasses show it."""

    def note(self, text: str) -> None:
        """Receive a note that the user should know."""

    def warn(self, text: str) -> None:
        """Receive a warning that the user must know before using the result."""

    def step(self, text: str) -> None:
        """A step without measurable progress begins."""

    def staging(self, total_bytes: int) -> None:
        """The build begins to read the tables."""

    def staged(self, table: str, consumed: int, rows: int) -> None:
        """More bytes of a table were read and more of its rows were staged."""

    def extracting(self, shards: int) -> None:
        """The build begins to work on the shards."""

    def extracting_share(self, share: Share) -> None:
        """This share of the work on all shards is done. It is called while shards are being worked on."""

    def extracted(self, events: int) -> None:
        """A shard with this many events is finished."""

    def exporting(self, what: str) -> None:
        """An export of the finished dataset begins, such as `patient-jsonl`."""

    def exported(self, events: int, total: int) -> None:
        """The export contains this many of all events."""

    def computing(self) -> None:
        """Computing the concepts of the finished dataset begins."""

    def computed(self, events: int, total: int) -> None:
        """The concepts of this many of all events are computed."""

    def close(self) -> None:
        """The build ended, successfully or not."""
