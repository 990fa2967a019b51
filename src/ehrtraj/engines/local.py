"""The engine for one machine: a process for each shard at work."""

from __future__ import annotations

import atexit
import contextlib
from collections.abc import Iterator, Sequence

from ehrtraj.pipeline.shard.task import ShardJob, ShardResult, ShardTask
from ehrtraj.pipeline.shard.worker import ShardWorker
from ehrtraj.runtime.processes import stream_tasks

_worker: ShardWorker | None = None


def _build(job: ShardJob, task: ShardTask) -> ShardResult:
    """Build a shard in a process that does nothing else; its session is kept for the next shard."""
    global _worker  # one a process, made once
    if _worker is None:
        _worker = ShardWorker(job)
        atexit.register(_end)
    return _worker.build(task)


def _end() -> None:
    """End the session while the interpreter is still complete, which DuckDB asks for."""
    global _worker
    if _worker is not None:
        _worker.close()
        _worker = None


def run_shards(job: ShardJob, tasks: Sequence[ShardTask], workers: int) -> Iterator[ShardResult]:
    """Build shards, several at a time.

    Args:
        job: what they have in common.
        tasks: in the order to work on them.
        workers: processes at work at once; with one, everything happens in this process.

    Yields:
        What each attempt wrote, in the order they are finished. The caller commits it.

    Raises:
        OutputError: if a process was ended from outside, as happens when memory runs out.
    """
    workers = min(workers, len(tasks))
    if workers > 1:
        for _, result in stream_tasks(_build, ((task.shard, (job, task)) for task in tasks), workers):
            yield result
    elif tasks:
        with contextlib.closing(ShardWorker(job)) as worker:
            for task in tasks:
                yield worker.build(task)
