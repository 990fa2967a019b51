"""What a build is given, and what each of its steps leaves for the next."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from ehrtraj.config import Settings
from ehrtraj.engines.base import Engine
from ehrtraj.pipeline.news import News
from ehrtraj.runtime.progress import Reporter
from ehrtraj.sources.source import Source
from ehrtraj.storage.base import Storage


def _no_hints(_root: Path) -> Iterable[str]:
    return ()


def _as_it_is(_data_dir: Path) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class BuildJob:
    """A build: its settings and what carries it out.

    Attributes:
        settings: of the build.
        source: of the release.
        output: the folder that receives the dataset.
        engine: works on the tasks.
        reporter: is notified of progress.
        news: collects notes and warnings.
        origins: where each setting came from.
        explain: wraps the search for the release in a folder, to add to its errors.
        hints: notes on the release in a folder, one sentence each.
        started: `time.monotonic()` at the start.
        timings: seconds of each step.
    """

    settings: Settings
    source: Source
    output: Storage
    engine: Engine
    reporter: Reporter
    news: News
    origins: Mapping[str, str] = field(default_factory=dict)
    explain: Callable[[Path], AbstractContextManager[None]] = _as_it_is
    hints: Callable[[Path], Iterable[str]] = _no_hints
    started: float = field(default_factory=time.monotonic)
    timings: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Record how long a step takes."""
        begun = time.monotonic()
        yield
        self.timings[step] = time.monotonic() - begun
