"""The engine of one machine: its processes.

Spawned, not forked: a fork would take along pyarrow's threads and everything the main process holds.
"""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ehrtraj.engines.base import Item, Need, Report, Result, Work, ignore
from ehrtraj.runtime.memory import PeakMemory
from ehrtraj.runtime.processes import stream_tasks

# What the main process takes beside its workers, measured at 0.15 GB; the rest is head room.
_BASE_BYTES = 400 * 10**6


@dataclass(frozen=True)
class LocalEngine:
    """Processes of this machine. See `Engine`.

    Attributes:
        cpus: maximum number of CPU cores.
        memory_limit: bytes that all processes together may use.
    """

    cpus: int
    memory_limit: int

    def at_once(self, need: Need) -> int:
        """How many tasks of this size run at the same time; at least 1."""
        by_cores = self.cpus // (self.cpus if need.cores is None else need.cores)
        return max(1, min(by_cores, (self.memory_limit - _BASE_BYTES) // need.memory))

    def map(
        self, work: Work[Item, Result], items: Sequence[Item], need: Need, report: Report = ignore
    ) -> Iterator[Result]:
        """Work on each item once. A single worker is this process; several drop what tasks report."""
        workers = min(self.at_once(need), len(items))
        if workers > 1:
            for _, result in stream_tasks(_run, ((at, (work, item)) for at, item in enumerate(items)), workers):
                yield result
        elif items:
            with work.open(report) as run:
                for item in items:
                    yield run(item)

    def memory(self) -> PeakMemory:
        """Measure the memory of this process and its children."""
        return PeakMemory()


_opened: list[tuple[Callable[[Any], Any], contextlib.ExitStack]] = []
"""What this process was prepared for, once, and how that ends."""


def _run(work: Work[Item, Result], item: Item) -> Result:
    """Work on an item in a process that does nothing else; what was prepared is kept for the next item."""
    if not _opened:
        cleanup = contextlib.ExitStack()
        _opened.append((cleanup.enter_context(work.open(ignore)), cleanup))
        atexit.register(_end)
    result: Result = _opened[0][0](item)
    return result


def _end() -> None:
    """End the work while the interpreter is still complete, and forget it: DuckDB complains of what is left behind."""
    _, cleanup = _opened.pop()
    cleanup.close()
