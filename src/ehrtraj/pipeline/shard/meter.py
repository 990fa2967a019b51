"""How much of a shard is done, as a worker reports it."""

from __future__ import annotations

from dataclasses import dataclass

from ehrtraj.engines.base import Report
from ehrtraj.runtime.progress import Share

# Shares of the CPU time of a part, measured on the demo: 63 % until its rows are events, 10 % to link and sort these,
# 23 % to write them, 4 % to count them.
_EXTRACTED, _SORTED, _WRITTEN = 0.63, 0.73, 0.96


@dataclass(frozen=True)
class ShardProgress:
    """How much of one attempt at a shard is done.

    Attributes:
        shard: number of the shard.
        share: share that is done.
    """

    shard: int
    share: Share


class ShardMeter:
    """Reports the progress of one attempt at a shard, which is built in parts."""

    def __init__(self, shard: int, rows: int, report: Report) -> None:
        """Begin an attempt.

        Args:
            shard: number of the shard.
            rows: number of its rows.
            report: receives the progress.
        """
        self._shard, self._rows, self._report = shard, max(rows, 1), report
        self._before = 0
        self._part = 0

    def extract(self, rows: float) -> None:
        """Report that the recipes have worked on this many rows of the part."""
        self._send(rows * _EXTRACTED)

    def sort(self, rows: int) -> None:
        """Report that all rows of the part are events, and begin to sort them.

        Args:
            rows: number of rows of the part.
        """
        self._part = rows
        self._send(rows * _EXTRACTED)

    def write(self, share: Share) -> None:
        """Report that the events of the part are sorted, and that this share of them is written."""
        self._send(self._part * (_SORTED + share * (_WRITTEN - _SORTED)))

    def end_part(self) -> None:
        """Report that the part is done."""
        self._before += self._part
        self._part = 0
        self._send(0)

    def _send(self, rows: float) -> None:
        self._report(ShardProgress(self._shard, min((self._before + rows) / self._rows, 1.0)))
