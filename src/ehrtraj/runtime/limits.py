"""CPU cores and memory that a command may use."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ehrtraj.errors import SettingsError

_SIZE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


MIN_MEMORY = 10**9


DEFAULT_MEMORY = 4 * 10**9


# A smaller number is not meant as bytes: the user left out the unit.
_UNIT_LEFT_OUT = 10_000


def usable_cpus() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def capped_cpus(requested: int | None) -> tuple[int, str | None]:
    """Return the number of CPU cores to use, and a note for the user if it is less than requested.

    Args:
        requested: value of `--max-cpus`; None for all usable cores.

    Raises:
        SettingsError: if the requested number is less than 1.
    """
    usable = usable_cpus()
    if requested is None:
        return usable, None
    if requested < 1:
        raise SettingsError(f"max_cpus (--max-cpus) is {requested:,}: it must be 1 or more")
    if requested <= usable:
        return requested, None
    return usable, f"--max-cpus is {requested:,}, but only {usable:,} CPU cores are available: using {usable:,}"


def parse_size(text: object) -> int:
    """Return the number of bytes in a size such as `4GB`, `512 MiB` or `1000000`.

    Raises:
        SettingsError: if the text is not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(text))
    if not match or match[2].upper() not in _SIZE_UNITS:
        raise SettingsError(f"'{text}' is not a size: write a number and a unit, such as 4GB or 1500MB")
    return int(float(match[1]) * _SIZE_UNITS[match[2].upper()])


def check_memory_limit(size: int) -> None:
    """Check that a memory limit (bytes) is large enough.

    Raises:
        SettingsError: if it is less than `MIN_MEMORY`; the message suggests a unit if the user left it out.
    """
    if size < MIN_MEMORY:
        suggestion = f" (did you mean {size}GB?)" if size < _UNIT_LEFT_OUT else ""
        raise SettingsError(f"memory_limit is {size:,} bytes{suggestion}: it must be at least 1GB (the default is 4GB)")


@dataclass(frozen=True)
class ResourceLimits:
    """CPU cores and memory that a command may use.

    Attributes:
        cpus: maximum number of CPU cores.
        memory: maximum memory of all processes together, in bytes.
        notes: which limits differ from the requested ones, and why.
    """

    cpus: int
    memory: int
    notes: tuple[str, ...] = ()

    def workers(self, each: int, base: int) -> int:
        """Return the number of worker processes that fit within the limits; at least one.

        Args:
            each: memory of one worker process in bytes.
            base: memory of the main process in bytes.
        """
        return max(1, min(self.cpus, (self.memory - base) // each))


def find_limits(max_cpus: int | None = None, memory_limit: str | int | None = None) -> ResourceLimits:
    """Return the limits for the requested cores and memory.

    Args:
        max_cpus: maximum number of CPU cores; all usable cores by default, and never more.
        memory_limit: maximum memory, as bytes or a size such as `4GB`, which is the default.

    Raises:
        SettingsError: if one of them is invalid.
    """
    cpus, note = capped_cpus(max_cpus)
    memory = DEFAULT_MEMORY if memory_limit is None else parse_size(memory_limit)
    check_memory_limit(memory)
    return ResourceLimits(cpus, memory, () if note is None else (note,))
