"""The engine for one machine: a process for each shard at work.

Processes and not threads: much of a shard's work is in Python and numpy calls too short to let go of the interpreter
lock, and a process gives its memory back.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import pyarrow as pa

from ehrtraj import interrupt
from ehrtraj.errors import OutputError
from ehrtraj.pipeline.shard import ShardJob, ShardResult, ShardTask, ShardWorker

Key = TypeVar("Key")
Result = TypeVar("Result")

_worker: ShardWorker | None = None

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def lean_memory() -> None:
    """Use the system's allocator in this process, and one thread in pyarrow.

    With pyarrow's default allocator, gathering the rows of a shard takes three times as long here: it returns memory
    to the system and takes it back, page by page (66 against 180 ns a row, measured on 1.4 million chart rows). For the
    same reason glibc is asked to keep what is freed until it is told to let go (6 % of the time of a shard).
    """
    pa.set_memory_pool(pa.system_memory_pool())
    pa.set_cpu_count(1)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library than glibc has no mallopt
            libc = ctypes.CDLL(None)
            libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
            libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def prepare_worker() -> None:
    """Make a new process a worker: private files, deaf to Ctrl-C, ending when its parent does, lean in memory."""
    os.umask(0o077)
    # Ctrl-C reaches all processes of a terminal: the main process alone decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Each worker has one processor; polars reads this when it is first imported.
    os.environ["POLARS_MAX_THREADS"] = "1"
    lean_memory()


def _start(job: ShardJob) -> None:
    global _worker  # one a process, made once
    prepare_worker()
    _worker = ShardWorker(job)
    atexit.register(_end)


def _end() -> None:
    global _worker
    if _worker is not None:
        _worker.close()
        _worker = None


def _build(task: ShardTask) -> ShardResult:
    if _worker is None:
        raise RuntimeError("the worker was not started")
    return _worker.build(task)


@contextlib.contextmanager
def _deaf_from_birth() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach while they import: each would print a traceback.

    They inherit the signals that are blocked; `prepare_worker` comes too late.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # It unblocks Ctrl-C when it is started, so that must have happened.
    multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def main_module_hidden() -> Iterator[None]:
    """Keep new processes from running the user's script again, as they do where it lacks `if __name__ == "__main__"`.

    Workers need nothing from it. Processes are started when work is submitted.
    """
    main = sys.modules["__main__"]
    hidden = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    for name in hidden:
        setattr(main, name, None)
    try:
        with interrupt.held(), _deaf_from_birth():
            yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)


@contextlib.contextmanager
def worker_pool(workers: int, start: Callable[..., None], *arguments: object) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of new processes, each begun with start(*arguments); nothing of it is left running afterwards.

    Submit within `main_module_hidden()`: that is when processes are started.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start, initargs=arguments)
    try:
        yield pool
        pool.shutdown()
    finally:
        # After an error or Ctrl-C nothing that is still running is of use.
        # (ProcessPoolExecutor.terminate_workers() does this from Python 3.14 on.)
        for process in list((getattr(pool, "_processes", None) or {}).values()):
            process.terminate()
        pool.shutdown(cancel_futures=True)


def run_tasks(
    work: Callable[..., Result], tasks: Mapping[Key, tuple[Any, ...]], workers: int
) -> Iterator[tuple[Key, Result]]:
    """Call a function for each task, several at a time.

    Args:
        work: of a module, so that other processes find it.
        tasks: its arguments, in the order to work on them.
        workers: processes at work at once; with one, everything happens in this process.

    Yields:
        Key and result of each task, in the order they are finished.

    Raises:
        OutputError: if a process was ended from outside, as happens when memory runs out.
    """
    if min(workers, len(tasks)) <= 1:
        for key, arguments in tasks.items():
            yield key, work(*arguments)
        return
    try:
        with worker_pool(min(workers, len(tasks)), prepare_worker) as pool:
            with main_module_hidden():
                running = {pool.submit(work, *arguments): key for key, arguments in tasks.items()}
            for future in as_completed(running):
                yield running[future], future.result()
    except BrokenProcessPool:
        raise OutputError(
            "a worker process was ended from outside, most likely because memory ran out: give a smaller --max-cpus "
            "and run the same command again"
        ) from None


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
    if not tasks:
        return
    if min(workers, len(tasks)) == 1:
        with contextlib.closing(ShardWorker(job)) as worker:
            for task in tasks:
                yield worker.build(task)
        return
    try:
        with worker_pool(min(workers, len(tasks)), _start, job) as pool:
            with main_module_hidden():
                running: set[Future[ShardResult]] = {pool.submit(_build, task) for task in tasks}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
    except BrokenProcessPool:
        raise OutputError(
            "a worker process was ended from outside, most likely because memory ran out: give a smaller "
            "--memory-limit or --max-cpus and run the same command again; finished shards are kept"
        ) from None
