"""The processors and the memory that a command over finished datasets may use."""

from __future__ import annotations

from dataclasses import dataclass

from ehrtraj.config import DEFAULT_MEMORY, MIN_MEMORY, parse_size, usable_cpus
from ehrtraj.errors import SettingsError


@dataclass(frozen=True)
class Limits:
    """What a command may use.

    Attributes:
        cpus: maximum number of CPU cores.
        memory: maximum number of bytes of all processes together.
        notes: what is not as it was asked for, and why.
    """

    cpus: int
    memory: int
    notes: tuple[str, ...] = ()

    def workers(self, each: int, base: int) -> int:
        """Number of processes that fit beside the main process; at least one.

        Args:
            each: bytes of one worker process.
            base: bytes of the main process beside them.
        """
        return max(1, min(self.cpus, (self.memory - base) // each))


def find_limits(max_cpus: int | None = None, memory_limit: str | int | None = None) -> Limits:
    """Settle the limits that were asked for.

    Args:
        max_cpus: maximum number of CPU cores; all usable cores by default, and never more than these.
        memory_limit: maximum memory, as bytes or a size such as `4GB`, which is the default.

    Raises:
        SettingsError: if one of them cannot be used.
    """
    usable = usable_cpus()
    notes = []
    if max_cpus is None:
        max_cpus = usable
    elif max_cpus < 1:
        raise SettingsError(f"max_cpus is {max_cpus}: it must be at least 1")
    elif max_cpus > usable:
        notes.append(f"max_cpus is {max_cpus:,}, but {usable:,} can be used here: using {usable:,}")
        max_cpus = usable
    memory = DEFAULT_MEMORY if memory_limit is None else parse_size(memory_limit)
    if memory < MIN_MEMORY:
        raise SettingsError(
            f"memory_limit is {memory:,} bytes: it must be at least 1GB. Write a number and a unit, such as 4GB "
            "(the default)"
        )
    return Limits(max_cpus, memory, tuple(notes))
