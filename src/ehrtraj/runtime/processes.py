"""Run tasks in worker processes of this machine, one task at a time in each.

Processes are used instead of threads because much of the work is in Python code and numpy calls that are too short to
release the interpreter lock, and because a process returns its memory when it ends. Only the running tasks and their
results are in memory.

Each process has a separate pipe. `ProcessPoolExecutor` uses one pipe for the results of all processes, and its reader
waits forever if a process is ended while it writes a result: Ctrl-C then hangs.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

import pyarrow as pa

from ehrtraj import interrupt
from ehrtraj.errors import OutputError
from ehrtraj.runtime.without_pandas import keep_pandas_out

Key = TypeVar("Key")
Result = TypeVar("Result")

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8

# pyarrow in workers uses jemalloc. With its default, mimalloc, a build of 46 million events takes 0.14 GB more, in the
# same time: it keeps up to three times as much memory as pyarrow needs. If pyarrow shares glibc's memory with numpy,
# their arrays fragment it, and builds take 10 % longer.
_POOL = "ARROW_DEFAULT_MEMORY_POOL"
# jemalloc keeps freed memory, and divides large pieces of it. With pyarrow's settings, it returns memory to the system
# after a second: a build of 46 million events has 1.1 instead of 0.5 million page faults, takes 4 % more CPU time, and
# needs the same memory.
_JEMALLOC = {
    "JE_ARROW_MALLOC_CONF": "oversize_threshold:0,dirty_decay_ms:-1,muzzy_decay_ms:-1,background_thread:false,"
    "lg_extent_max_active_fit:12"
}

# A process that does not end within this time after SIGTERM is killed.
_SECONDS_TO_END = 10
# Seconds between two progress reports of a process. Sending one takes 20 us, and receiving it about as much.
_SECONDS_BETWEEN_REPORTS = 0.2


def lean_memory() -> None:
    """Use little memory in this process, and one thread in pyarrow.

    glibc is configured to keep freed memory: the system provides new memory page by page, which takes 10 % of the time
    of a shard.
    """
    pa.set_cpu_count(1)
    if libc := _glibc():
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 1 << 30)
        # Otherwise each thread keeps its freed memory for itself.
        libc.mallopt(_M_ARENA_MAX, 1)


def return_memory() -> None:
    """Return freed memory to the system, which `lean_memory` keeps. To get it again costs time.

    Call this once, where a process begins to need less: staging leaves 50 MB in the main process of a build.
    """
    pa.default_memory_pool().release_unused()
    if libc := _glibc():
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library if it is glibc."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            libc = ctypes.CDLL(None)
            return libc if hasattr(libc, "gnu_get_libc_version") else None
    return None


@contextlib.contextmanager
def without_collections() -> Iterator[None]:
    """Collect no cyclic garbage in the context.

    A task creates hundreds of thousands of small objects and hardly any cycles: the collector, which starts again and
    again, takes 9 % of the time of a shard.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def prepare_worker() -> None:
    """Configure a new process as a worker.

    Its files are private, it ignores Ctrl-C, it ends when its parent ends, and it uses little memory.
    """
    os.umask(0o077)
    # A terminal sends Ctrl-C to all of its processes: only the main process decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Each worker uses one CPU core. polars reads this variable when it is first imported.
    os.environ["POLARS_MAX_THREADS"] = "1"
    keep_pandas_out()
    lean_memory()


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start processes inside this context so that Ctrl-C does not reach them while they import modules.

    Each would print a traceback. The new processes inherit the blocked signals; `prepare_worker` runs too late.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # Starting the resource tracker unblocks Ctrl-C, so it must be running already.
    multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _variables_of_workers() -> Iterator[None]:
    """Start processes inside this context to set environment variables that libraries read when they are imported."""
    variables = {"OPENBLAS_NUM_THREADS": "1"}  # otherwise numpy's OpenBLAS starts threads: 60 ms of CPU time
    if _POOL not in os.environ and _has_jemalloc():
        variables |= {_POOL: "jemalloc", **{name: os.environ.get(name, value) for name, value in _JEMALLOC.items()}}
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _has_jemalloc() -> bool:
    """Return whether pyarrow was built with jemalloc, as it is on Linux."""
    try:
        pa.jemalloc_memory_pool()
    except NotImplementedError:
        return False
    return True


@contextlib.contextmanager
def main_module_hidden() -> Iterator[None]:
    """Prevent new processes from running the user's script again if it lacks `if __name__ == "__main__"`.

    Workers need nothing from the script.
    """
    main = sys.modules["__main__"]
    hidden = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    for name in hidden:
        setattr(main, name, None)
    try:
        with interrupt.held(), _interrupts_blocked():
            yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)


@dataclass(frozen=True)
class WaitingWorker:
    """A process that has no task yet.

    Attributes:
        process: the process.
        connection: the main process's end of its pipe.
    """

    process: SpawnProcess
    connection: Connection

    def prepare(self, work: Callable[..., object], *arguments: object) -> None:
        """Let the process call a function before its first task. An exception is the result of this task.

        Args:
            work: a function at module level. If the tasks report progress, it has a keyword argument `report`.
            arguments: its arguments.
        """
        _send(self.connection, _Preparation(work, arguments))


@dataclass(frozen=True)
class _Preparation:
    """A message that is not a task, and thus has no result."""

    work: Callable[..., object]
    arguments: tuple[object, ...]


@dataclass
class _Worker(Generic[Key]):
    process: SpawnProcess
    connection: Connection
    key: Key


class _Kind(Enum):
    """Kind of a message from a worker process."""

    PROGRESS = auto()
    RESULT = auto()
    ERROR = auto()


class _Reports:
    """Sends the progress of tasks to the main process, and drops most reports of a task that makes many."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._next = 0.0

    def begin_task(self) -> None:
        """Send the first report of the next task in any case."""
        self._next = 0.0

    def __call__(self, progress: object) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _SECONDS_BETWEEN_REPORTS
            self._connection.send((_Kind.PROGRESS, progress))


def _serve(connection: Connection, work: Callable[..., Any], *, reports: bool) -> None:
    """Work on tasks until the main process closes the pipe. Runs in the new process."""
    prepare_worker()
    report = _Reports(connection)
    keywords = {"report": report} if reports else {}
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            message = connection.recv()
            report.begin_task()
            try:
                if isinstance(message, _Preparation):
                    message.work(*message.arguments, **keywords)
                else:
                    connection.send((_Kind.RESULT, work(*message, **keywords)))
            except Exception as error:  # the main process raises it again
                error.add_note(traceback.format_exc())
                connection.send((_Kind.ERROR, error))
    # The main process waits for this one.
    interrupt.end_process(0)


def _start(work: Callable[..., Any], started: list[SpawnProcess], *, reports: bool) -> WaitingWorker:
    context = multiprocessing.get_context("spawn")
    main_end, worker_end = context.Pipe()
    process = context.Process(target=_serve, args=(worker_end, work), kwargs={"reports": reports}, daemon=True)
    started.append(process)
    with main_module_hidden(), _variables_of_workers():
        process.start()
    # If the worker's end stayed open here, the main process would not notice when the worker dies.
    worker_end.close()
    return WaitingWorker(process, main_end)


@contextlib.contextmanager
def workers_in_advance(work: Callable[..., Any], count: int, *, reports: bool) -> Iterator[list[WaitingWorker]]:
    """Start processes for `stream_tasks` before their tasks are known.

    Args:
        work: the function that `stream_tasks` will get.
        count: number of processes.
        reports: whether `stream_tasks` will get a function that receives the progress of tasks.

    Yields:
        The processes. Those that are still in the list at the end are ended.
    """
    started: list[SpawnProcess] = []
    waiting: list[WaitingWorker] = []
    try:
        waiting.extend(_start(work, started, reports=reports) for _ in range(count))
        yield waiting
    finally:
        for worker in waiting:
            worker.connection.close()
        _end(worker.process for worker in waiting)


def _end(processes: Iterable[SpawnProcess]) -> None:
    """End processes, even if they are still working."""
    alive = [process for process in processes if process.pid is not None]
    for process in alive:
        process.terminate()
    for process in alive:
        process.join(_SECONDS_TO_END)
        if process.is_alive():
            process.kill()
            process.join()


def stream_tasks(
    work: Callable[..., Result],
    tasks: Iterable[tuple[Key, tuple[Any, ...]]],
    workers: int,
    report: Callable[[Key, Any], None] | None = None,
    *,
    waiting: Sequence[WaitingWorker] = (),
) -> Iterator[tuple[Key, Result]]:
    """Call a function for each task, several at a time.

    Args:
        work: a function at module level, so that other processes can import it.
        tasks: key and arguments of each task. The next task is taken when a process becomes free.
        workers: maximum number of processes; with one worker, everything runs in this process.
        report: receives the key and the progress of a task, in this process. If it is given, `work` has a keyword
            argument `report`, a function that takes the progress: any object. Not every report arrives.
        waiting: processes from `workers_in_advance` to use first. This function ends them.

    Yields:
        Key and result of each task, in the order in which they finish.

    Raises:
        OutputError: if another program ended a process, as the system does when memory runs out.
    """
    if workers <= 1:
        for key, arguments in tasks:
            yield key, work(*arguments, **({} if report is None else {"report": partial(report, key)}))
        return
    remaining = iter(tasks)
    started, idle = [worker.process for worker in waiting], list(waiting)
    running: dict[Connection, _Worker[Key]] = {}
    try:
        while len(running) < workers and (task := next(remaining, None)) is not None:
            worker = idle.pop() if idle else _start(work, started, reports=report is not None)
            running[worker.connection] = _Worker(worker.process, worker.connection, task[0])
            _send(worker.connection, task[1])
        for worker in idle:
            worker.connection.close()
        while running:
            for ready in wait(list(running)):
                busy = running[ready]  # type: ignore[index]  # `wait` returns the same objects
                kind, content = _receive(busy.connection)
                if kind is _Kind.PROGRESS:
                    if report is not None:
                        report(busy.key, content)
                    continue
                key = busy.key
                if (task := next(remaining, None)) is not None:
                    busy.key = task[0]
                    _send(busy.connection, task[1])
                else:
                    # The process ends when its pipe is closed.
                    del running[busy.connection]
                    busy.connection.close()
                yield key, content
        for process in started:
            process.join()
    finally:
        for connection in running:
            connection.close()
        _end(process for process in started if process.exitcode is None)


def _send(connection: Connection, arguments: tuple[Any, ...] | _Preparation) -> None:
    try:
        connection.send(arguments)
    except BrokenPipeError:
        raise _killed_error() from None


def _receive(connection: Connection) -> tuple[_Kind, Any]:
    """Return the next message of a process: the progress or the result of its task."""
    try:
        kind, content = connection.recv()
    except (EOFError, ConnectionResetError):
        raise _killed_error() from None
    if kind is _Kind.ERROR:
        raise content
    return kind, content


def _killed_error() -> OutputError:
    return OutputError(
        "the system ended a worker process, most likely because memory ran out: choose a smaller --max-cpus or "
        "--memory-limit and run the same command again"
    )
