"""What carries out the tasks of a build: the processes of this machine, later a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)

Report = Callable[[Any], None]
"""Receives how far a task is. An engine may drop what tasks report: it decides nothing."""


def ignore(_progress: object) -> None:
    """A `Report` that drops everything."""


@dataclass(frozen=True)
class Need:
    """What one task takes.

    Attributes:
        memory: bytes.
        cores: CPU cores; None for all that the engine has.
    """

    memory: int
    cores: int | None = 1


class Work(Protocol[Item_contra, Result_co]):
    """A kind of task, with what all its items have in common. It can be sent to other processes.

    A task reads only the inputs that its item names, and fails if one is missing. It writes under names of its own
    attempt, returns them, and deletes nothing else: it may run twice, in two places, at the same time.
    """

    def open(self, report: Report) -> AbstractContextManager[Callable[[Item_contra], Result_co]]:
        """Prepare a process for the work, and clean up in the end.

        Args:
            report: receives how far a task is.

        Returns:
            A function that works on one item.
        """


class MemoryMeter(Protocol):
    """Measures memory.

    Attributes:
        peak: most bytes that were held at a time.
    """

    peak: int


class Engine(Protocol):
    """Works on items, several at a time."""

    def at_once(self, need: Need) -> int:
        """How many tasks of this size run at the same time; at least 1."""

    def map(
        self, work: Work[Item, Result], items: Sequence[Item], need: Need, report: Report = ignore
    ) -> Iterator[Result]:
        """Work on each item at least once, in any order.

        Args:
            work: what to do.
            items: the most expensive first.
            need: of one task.
            report: receives how far tasks are, where the engine passes that on.

        Yields:
            Results, in any order; several for an item that was worked on several times.

        Raises:
            EhrtrajError: what a task raised, or if a process was ended from outside.
        """

    def memory(self) -> AbstractContextManager[MemoryMeter]:
        """Measure the memory of everything that works on tasks."""
