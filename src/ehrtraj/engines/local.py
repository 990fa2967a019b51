"""The engine that runs tasks in processes of this machine.

Processes are spawned, not forked: a fork would copy pyarrow's threads and the memory of the main process.
"""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ehrtraj.engines.base import Item, Need, Report, Result, Work, ignore
from ehrtraj.runtime.memory import PeakMemory
from ehrtraj.runtime.processes import WaitingWorker, stream_tasks, without_collections, workers_in_advance

BASE_BYTES = 400 * 10**6
"""Memory of the main process in bytes, in addition to its workers: measured at 0.15 GB, with some headroom."""


@dataclass(frozen=True)
class LocalEngine:
    """Processes of this machine. See `Engine`.

    Attributes:
        cpus: maximum number of CPU cores.
        memory_limit: maximum memory of all processes together, in bytes.
    """

    cpus: int
    memory_limit: int
    _waiting: dict[type[Work[Any, Any]], list[WaitingWorker]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def at_once(self, need: Need) -> int:
        """Return how many tasks with this need can run at the same time; at least 1."""
        by_cores = self.cpus // (self.cpus if need.cores is None else need.cores)
        return max(1, min(by_cores, (self.memory_limit - BASE_BYTES) // need.memory))

    def map(
        self, work: Work[Item, Result], items: Iterable[Item], need: Need, report: Report = ignore
    ) -> Iterator[Result]:
        """Run a task for each item once. A single worker is this process; several workers drop progress reports."""
        workers = self.at_once(need)
        if isinstance(items, Sequence):
            workers = min(workers, len(items))
        if workers > 1:
            tasks = ((number, (work, item)) for number, item in enumerate(items))
            waiting = self._take(type(work))
            for worker in waiting:
                worker.prepare(_open, work)
            for _, result in stream_tasks(_run, tasks, workers, lambda _, progress: report(progress), waiting=waiting):
                yield result
        elif workers:
            with work.open(report) as run:
                for item in items:
                    with without_collections():
                        result = run(item)
                    yield result

    @contextlib.contextmanager
    def prepare(self, work: type[Work[Any, Any]], count: int, need: Need) -> Iterator[None]:
        """Start the processes in advance, unless a single one is enough: that is this process."""
        workers = min(self.at_once(need), count)
        with workers_in_advance(_run, workers if workers > 1 else 0, reports=True) as waiting:
            for worker in waiting:
                worker.prepare(_import, work)
            self._waiting[work] = waiting
            try:
                yield
            finally:
                del self._waiting[work]

    def _take(self, work: type[Work[Any, Any]]) -> list[WaitingWorker]:
        """Return the processes that were started for this kind of task, and forget them."""
        waiting = self._waiting.get(work, [])
        taken = waiting.copy()
        waiting.clear()
        return taken

    def memory(self) -> PeakMemory:
        """Measure the memory of this process and its children."""
        return PeakMemory()


_opened: list[tuple[Callable[[Any], Any], contextlib.ExitStack]] = []
"""The function that this worker process has opened, with its cleanup; empty until the first task."""


def _import(_work: type[Work[Any, Any]], *, report: Report) -> None:
    """Do nothing in a worker process: receiving a class imports its module."""


def _open(work: Work[Item, Result], *, report: Report) -> None:
    """Prepare a worker process. The prepared function is kept for all items, as `report` is the same."""
    if not _opened:
        cleanup = contextlib.ExitStack()
        _opened.append((cleanup.enter_context(work.open(report)), cleanup))
        atexit.register(_end)


def _run(work: Work[Item, Result], item: Item, *, report: Report) -> Result:
    """Work on an item in a worker process."""
    _open(work, report=report)
    with without_collections():
        result: Result = _opened[0][0](item)
    return result


def _end() -> None:
    """Clean up before the interpreter shuts down, since DuckDB complains about open connections at that point."""
    _, cleanup = _opened.pop()
    cleanup.close()
