"""The processors and the memory that a command over finished datasets may use."""

from __future__ import annotations

from dataclasses import dataclass

from ehrtraj.config import DEFAULT_MEMORY, capped_cpus, check_memory_limit, parse_size


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
    cpus, note = capped_cpus(max_cpus)
    memory = DEFAULT_MEMORY if memory_limit is None else parse_size(memory_limit)
    check_memory_limit(memory)
    return Limits(cpus, memory, () if note is None else (note,))
