"""Run a command and measure it: wall and CPU time, memory of its processes, and the disk that its folder takes.

Memory is the sum of the resident memory (RSS) of the command and all its descendants, so pages that several of them
share, such as those of libraries, count once per process. Memory and disk are sampled: a peak that is shorter than the
interval can be missed.
"""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

_INTERVAL = 0.2
_DISK_EVERY = 5
"""Samples of memory per sample of disk, which takes longer."""
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Usage:
    """What a command used.

    Attributes:
        wall: seconds until it ended.
        cpu: seconds of user and system time of all its processes.
        memory: largest sum of resident memory, in bytes.
        disk: largest size of the files in its folder, in bytes.
    """

    wall: float
    cpu: float
    memory: float
    disk: float


def median(usages: Sequence[Usage]) -> Usage:
    """Return the median of each figure."""
    return Usage(*(statistics.median(figures) for figures in zip(*map(astuple, usages), strict=True)))


def disk_use(folder: Path) -> int:
    """Return the bytes that the files in a folder take on disk, without following links."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_blocks * 512  # noqa: PTH118  # called for each file, often
            except FileNotFoundError:
                continue
    return total


def _memory_of_children() -> int:
    total = 0
    for child in psutil.Process().children(recursive=True):
        try:
            total += child.memory_info().rss
        except psutil.Error:
            continue
    return total


class _Sampler:
    """Context manager that samples the memory of all child processes, and the size of a folder."""

    def __init__(self, folder: Path) -> None:
        self.memory = 0
        self.disk = 0
        self._folder = folder
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        samples = 0
        while not self._done.wait(_INTERVAL):
            self.memory = max(self.memory, _memory_of_children())
            if samples % _DISK_EVERY == 0:
                self.disk = max(self.disk, disk_use(self._folder))
            samples += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()
        self.disk = max(self.disk, disk_use(self._folder))


def _adopt_orphans() -> None:
    """Make this process the parent of descendants whose parent ends, so that their CPU time is counted too."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _wait(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Wait for a process and all its descendants. Return when it ended, and the CPU time of all of them."""
    ended, cpu = 0.0, 0.0
    while True:
        try:
            pid, status, used = os.wait4(-1, 0)
        except ChildProcessError:
            return ended, cpu
        cpu += used.ru_utime + used.ru_stime
        if pid == process.pid:
            ended = time.monotonic()
            process.returncode = os.waitstatus_to_exitcode(status)


def run(command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str] | None = None) -> Usage:
    """Run a command and measure it. This process must have no other child processes.

    Args:
        command: program and arguments.
        folder: folder in which it writes. Temporary files are written into it too.
        log: file that receives its output.
        environment: additional environment variables.
    """
    if psutil.Process().children():
        raise RuntimeError("other child processes would be measured too")
    _adopt_orphans()
    temporary = folder / "tmp"
    temporary.mkdir(parents=True)
    variables = os.environ | {"TMPDIR": str(temporary)} | dict(environment or {})
    with log.open("wb") as out, _Sampler(folder) as sampler:
        begun = time.monotonic()
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=variables)
        ended, cpu = _wait(process)
    if process.returncode:
        raise SystemExit(f"{command[0]} failed with exit code {process.returncode}: see {log}")
    return Usage(ended - begun, cpu, sampler.memory, sampler.disk)
