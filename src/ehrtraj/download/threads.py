"""Threads that do not delay the end of the process: Ctrl-C works while one resolves a name or hashes a large file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

_LONGEST_JOIN = 1.0
"""Seconds that are given to threads that notice by themselves that their work is no longer wanted."""

P = ParamSpec("P")
T = TypeVar("T")


class AbandonedError(Exception):
    """What a thread does is no longer wanted."""


class Abandon:
    """Stops work in threads.

    For `proceed` parameters: calling it raises once `now` was called.
    """

    def __init__(self) -> None:
        self._event = threading.Event()

    def now(self) -> None:
        """Stop the work."""
        self._event.set()

    def __call__(self) -> None:
        """Return if the work is still wanted.

        Raises:
            AbandonedError: if not.
        """
        if self._event.is_set():
            raise AbandonedError


class DaemonExecutor(ThreadPoolExecutor):
    """An executor for an event loop that is left behind where its threads do not end.

    asyncio waits for all threads of its executor, and Python for those of every ThreadPoolExecutor: a name server that
    does not answer would hold up Ctrl-C for half a minute. Its threads are daemons, one for each call; the caller
    limits their number.
    """

    def __init__(self) -> None:
        super().__init__(1)
        self._running: set[threading.Thread] = set()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a call in a thread of its own."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                if future.set_running_or_notify_cancel():
                    settle(future, lambda: fn(*args, **kwargs))
            finally:
                self._running.discard(threading.current_thread())

        thread = threading.Thread(target=run, daemon=True)
        self._running.add(thread)
        thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the threads, though not for long."""
        end = time.monotonic() + _LONGEST_JOIN
        for thread in list(self._running) if wait else ():
            thread.join(max(0.0, end - time.monotonic()))


def settle(future: Future[Any], action: Callable[[], object]) -> None:
    """Do something, and let the future have its result or its error."""
    try:
        result = action()
    except BaseException as error:  # as ThreadPoolExecutor: it is raised where the result is taken
        future.set_exception(error)
    else:
        future.set_result(result)
