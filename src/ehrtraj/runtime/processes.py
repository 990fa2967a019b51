"""Processes of this machine that work on tasks: started, fed one task at a time, ended.

Processes and not threads: much of the work is in Python and numpy calls too short to let go of the interpreter lock,
and a process gives its memory back. Only the tasks at work and their results are in memory.

Each process has a pipe of its own. `ProcessPoolExecutor` shares one pipe for all results, and its reader waits forever
if a process is ended while it writes a result: Ctrl-C then hangs.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

import pyarrow as pa

from ehrtraj import interrupt
from ehrtraj.errors import OutputError

Key = TypeVar("Key")
Result = TypeVar("Result")

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

# A process that does not end within this time after SIGTERM is killed.
_SECONDS_TO_END = 10


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


@dataclass
class _Worker(Generic[Key]):
    process: SpawnProcess
    connection: Connection
    key: Key


def _serve(connection: Connection, work: Callable[..., Any]) -> None:
    """Work on tasks until the other side closes the pipe. Runs in the new process."""
    prepare_worker()
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            arguments = connection.recv()
            try:
                connection.send((work(*arguments), None))
            except Exception as error:  # raised again in the main process
                error.add_note(traceback.format_exc())
                connection.send((None, error))


def _start(work: Callable[..., Any], started: list[SpawnProcess]) -> tuple[SpawnProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True)
    started.append(process)
    with main_module_hidden():
        process.start()
    # With the other end open here, the death of the process would not be seen.
    theirs.close()
    return process, ours


def _end(processes: Iterable[SpawnProcess]) -> None:
    """End processes that were started, whatever they are doing."""
    alive = [process for process in processes if process.pid is not None]
    for process in alive:
        process.terminate()
    for process in alive:
        process.join(_SECONDS_TO_END)
        if process.is_alive():
            process.kill()
            process.join()


def stream_tasks(
    work: Callable[..., Result], tasks: Iterable[tuple[Key, tuple[Any, ...]]], workers: int
) -> Iterator[tuple[Key, Result]]:
    """Call a function for each task, several at a time.

    Args:
        work: a function of a module, so that other processes find it.
        tasks: key and arguments of each task. A task is taken when a process is free.
        workers: maximum number of processes; with one, everything happens in this process.

    Yields:
        Key and result of each task, in the order they finish.

    Raises:
        OutputError: if a process was ended from outside, as happens when memory runs out.
    """
    if workers <= 1:
        for key, arguments in tasks:
            yield key, work(*arguments)
        return
    waiting = iter(tasks)
    started: list[SpawnProcess] = []
    running: dict[Connection, _Worker[Key]] = {}
    try:
        while len(running) < workers and (task := next(waiting, None)) is not None:
            process, connection = _start(work, started)
            running[connection] = _Worker(process, connection, task[0])
            _send(connection, task[1])
        while running:
            for ready in wait(list(running)):
                worker = running[ready]  # type: ignore[index]  # `wait` returns what it was given
                key, result = worker.key, _receive(worker.connection)
                if (task := next(waiting, None)) is not None:
                    worker.key = task[0]
                    _send(worker.connection, task[1])
                else:
                    # The process sees the end of its pipe, and ends.
                    del running[worker.connection]
                    worker.connection.close()
                yield key, result
        for process in started:
            process.join()
    finally:
        for connection in running:
            connection.close()
        _end(process for process in started if process.exitcode is None)


def _send(connection: Connection, arguments: tuple[Any, ...]) -> None:
    try:
        connection.send(arguments)
    except BrokenPipeError:
        raise _ended_from_outside() from None


def _receive(connection: Connection) -> Any:  # noqa: ANN401  # whatever the work returns
    try:
        result, error = connection.recv()
    except (EOFError, ConnectionResetError):
        raise _ended_from_outside() from None
    if error is not None:
        raise error
    return result


def _ended_from_outside() -> OutputError:
    return OutputError(
        "a worker process was ended from outside, most likely because memory ran out: give a smaller --max-cpus or "
        "--memory-limit and run the same command again"
    )
