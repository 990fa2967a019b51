"""Measure the CPU time of a build, by step and table."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

Seconds = Mapping[tuple[str, str], float]
"""CPU seconds by step and table; the table is empty for a step that works on all tables together."""

CUT, COPY, PARSE, SPLIT = "decompress and cut", "copy slices", "parse", "split by shard"
WRITE_STAGED, READ_STAGED = "write staged rows", "read staged rows"
DUPLICATES, SQL, CONVERT = "find duplicates", "run recipes", "convert to events"
SORT, COUNT, PARQUET, PUBLISH = "link and sort", "count", "write Parquet", "publish"
STEPS = (CUT, COPY, PARSE, SPLIT, WRITE_STAGED, READ_STAGED, DUPLICATES, SQL, CONVERT, SORT, COUNT, PARQUET, PUBLISH)
"""The steps that are measured, in the order of a build."""

_lock = threading.Lock()
_seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
"""What this process has measured since the last `take`."""


@contextmanager
def measured(step: str, table: str = "") -> Iterator[None]:
    """Add the CPU time of this thread in the context to a step and a table.

    It takes 2 us, and a shard has about 300 such contexts.
    """
    start = time.thread_time()
    try:
        yield
    finally:
        seconds = time.thread_time() - start
        with _lock:
            _seconds[step, table] += seconds


def take() -> dict[tuple[str, str], float]:
    """Return what this process has measured since the last call."""
    with _lock:
        taken = dict(_seconds)
        _seconds.clear()
    return taken
