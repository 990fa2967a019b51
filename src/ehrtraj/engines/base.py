"""Interface of an engine, which runs the tasks of a build: processes of this machine, later a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)

Report = Callable[[Any], None]
"""Receives the progress of a task. An engine may drop progress reports: no result depends on them."""


def ignore(_progress: object) -> None:
    """Drop a progress report. A `Report` that ignores everything."""


@dataclass(frozen=True)
class Need:
    """Resources that one task needs.

    Attributes:
        memory: memory in bytes.
        cores: number of CPU cores; None for all cores of the engine.
    """

    memory: int
    cores: int | None = 1


class Work(Protocol[Item_contra, Result_co]):
    """A kind of task, with the data that all its items share. It can be sent to other processes.

    A task reads only the inputs that its item names, and fails if one is missing. It writes files under names that are
    unique to the attempt, returns these names, and deletes nothing else: the same task may run twice, in two places, at
    the same time.
    """

    def open(self, report: Report) -> AbstractContextManager[Callable[[Item_contra], Result_co]]:
        """Prepare a process for the work, and clean up at the end.

        Args:
            report: receives the progress of a task.

        Returns:
            A function that works on one item.
        """


class MemoryMeter(Protocol):
    """Measures memory.

    Attributes:
        peak: largest amount of memory in use at the same time, in bytes.
    """

    peak: int


class Engine(Protocol):
    """Runs a kind of task on many items, several at a time."""

    def at_once(self, need: Need) -> int:
        """Return how many tasks with this need can run at the same time; at least 1."""

    def map(
        self, work: Work[Item, Result], items: Iterable[Item], need: Need, report: Report = ignore
    ) -> Iterator[Result]:
        """Run a task for each item at least once, in any order.

        Args:
            work: kind of task.
            items: items. An item is taken when its task can start: an iterator may wait for the results of earlier
                items before it yields more than `at_once` further ones.
            need: resources that one task needs.
            report: receives the progress of tasks, if the engine forwards it.

        Yields:
            Results, in any order; more than one for an item whose task ran more than once.

        Raises:
            EhrtrajError: if a task raised it, or if another program ended a process.
        """

    def prepare(self, work: type[Work[Any, Any]], count: int, need: Need) -> AbstractContextManager[None]:
        """Get processes ready for the next `map` with this kind of task, which is called inside the context.

        Args:
            work: kind of task.
            count: number of items, as far as it is known.
            need: resources that one task needs.
        """

    def memory(self) -> AbstractContextManager[MemoryMeter]:
        """Measure the memory of all processes that run tasks."""
