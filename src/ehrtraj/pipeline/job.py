"""The inputs of a build, passed to each of its steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from ehrtraj.config import Settings
from ehrtraj.engines.base import Engine
from ehrtraj.pipeline.news import News
from ehrtraj.runtime.profile import Seconds
from ehrtraj.runtime.progress import Reporter
from ehrtraj.runtime.sizes import DEFAULT, Sizes
from ehrtraj.sources.source import Source
from ehrtraj.storage.base import Storage


def _no_hints(_root: Path) -> Iterable[str]:
    return ()


def _unchanged(_data_dir: Path) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class BuildJob:
    """The settings of a build and the objects that run it.

    Attributes:
        settings: settings of the build.
        source: source of the release.
        output: storage that receives the dataset.
        engine: runs the tasks.
        reporter: is notified of progress.
        news: collects notes and warnings.
        origins: where each setting came from.
        explain: context manager around the search for the release in a folder, which adds advice to its errors.
        hints: returns notes about the release in a folder, one sentence each.
        started: `time.monotonic()` at the start of the build.
        timings: duration of each step in seconds.
        cpu: CPU seconds of all processes, by step and table.
    """

    settings: Settings
    source: Source
    output: Storage
    engine: Engine
    reporter: Reporter
    news: News
    origins: Mapping[str, str] = field(default_factory=dict)
    explain: Callable[[Path], AbstractContextManager[None]] = _unchanged
    hints: Callable[[Path], Iterable[str]] = _no_hints
    sizes: Sizes = DEFAULT
    started: float = field(default_factory=time.monotonic)
    timings: dict[str, float] = field(default_factory=dict)
    cpu: dict[tuple[str, str], float] = field(default_factory=dict)

    def add_cpu(self, seconds: Seconds) -> None:
        """Add the CPU time of a task."""
        for key, value in seconds.items():
            self.cpu[key] = self.cpu.get(key, 0.0) + value

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Record the duration of a step."""
        start = time.monotonic()
        yield
        self.timings[step] = time.monotonic() - start
