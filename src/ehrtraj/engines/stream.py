"""Tasks handed to processes one at a time: only the tasks at work and their results are in memory.

Each process has a pipe of its own. `ProcessPoolExecutor` shares one pipe for all results, and its reader waits forever
if a process is ended while it writes a result: Ctrl-C during `ehrtraj check` then hung.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

from ehrtraj.engines.local import main_module_hidden, prepare_worker
from ehrtraj.errors import OutputError

Key = TypeVar("Key")
Result = TypeVar("Result")

# A process that does not end within this time after SIGTERM is killed.
_SECONDS_TO_END = 10


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


@contextlib.contextmanager
def _interrupt_held() -> Iterator[None]:
    """Hold back Ctrl-C while a process starts, and keep it from the process: the main process decides what happens.

    Without this, a process that is still importing modules prints a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # The tracker unblocks SIGINT when it starts, so it has to be there before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(work: Callable[..., Any], started: list[SpawnProcess]) -> tuple[SpawnProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work), daemon=True)
    started.append(process)
    with main_module_hidden(), _interrupt_held():
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
