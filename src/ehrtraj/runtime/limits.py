"""CPU cores and memory that a command may use."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ehrtraj.errors import SettingsError

_SIZE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


MIN_MEMORY = 10**9


DEFAULT_MEMORY = 4 * 10**9


# Nobody means so few bytes: the unit was left out.
_HARDLY_BYTES = 10_000


def usable_cpus() -> int:
    """Number of processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def capped_cpus(asked: int | None) -> tuple[int, str | None]:
    """Number of CPU cores to work on, and a note for the user where it is less than asked for.

    Args:
        asked: as given with `--max-cpus`; None for all usable ones.

    Raises:
        SettingsError: if it is less than 1.
    """
    usable = usable_cpus()
    if asked is None:
        return usable, None
    if asked < 1:
        raise SettingsError(f"max_cpus (--max-cpus) is {asked:,}: it takes 1 or more")
    if asked <= usable:
        return asked, None
    return usable, f"--max-cpus is {asked:,}, but {usable:,} CPU cores can be used here: using {usable:,}"


def parse_size(text: object) -> int:
    """Bytes of a size such as `4GB`, `512 MiB` or `1000000`.

    Raises:
        SettingsError: if it is not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(text))
    if not match or match[2].upper() not in _SIZE_UNITS:
        raise SettingsError(f"'{text}' is not a size: write a number and a unit, such as 4GB or 1500MB")
    return int(float(match[1]) * _SIZE_UNITS[match[2].upper()])


def check_memory_limit(size: int) -> None:
    """Refuse a memory limit (bytes) that is too small to work with.

    Raises:
        SettingsError: if it is less than `MIN_MEMORY`, with what may have been meant where it has no unit.
    """
    if size < MIN_MEMORY:
        meant = f" (did you mean {size}GB?)" if size < _HARDLY_BYTES else ""
        raise SettingsError(f"memory_limit is {size:,} bytes{meant}: it must be at least 1GB (the default is 4GB)")


@dataclass(frozen=True)
class ResourceLimits:
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


def find_limits(max_cpus: int | None = None, memory_limit: str | int | None = None) -> ResourceLimits:
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
    return ResourceLimits(cpus, memory, () if note is None else (note,))
