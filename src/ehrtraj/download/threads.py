"""Threads that do not delay the end of the process: Ctrl-C works while one resolves a name or hashes a large file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

_LONGEST_JOIN = 1.0
"""Seconds to wait for threads, which notice by themselves that their work was cancelled."""

P = ParamSpec("P")
T = TypeVar("T")


class CancelledWorkError(Exception):
    """The work of a thread was cancelled."""


class CancelToken:
    """Cancels work in threads.

    Pass it as a `check_cancelled` argument: calling it raises after `cancel` was called.
    """

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Cancel the work."""
        self._event.set()

    def __call__(self) -> None:
        """Return if the work was not cancelled.

        Raises:
            CancelledWorkError: if it was.
        """
        if self._event.is_set():
            raise CancelledWorkError


class DaemonExecutor(ThreadPoolExecutor):
    """An executor for an event loop that does not wait for threads that do not end.

    asyncio waits for all threads of its executor, and Python for those of every ThreadPoolExecutor: a name server that
    does not answer would delay Ctrl-C by half a minute. This executor starts one daemon thread per call, and the caller
    limits their number.
    """

    def __init__(self) -> None:
        super().__init__(1)
        self._running: set[threading.Thread] = set()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call in a new thread."""
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
        """Wait for the threads, but only for a limited time."""
        end = time.monotonic() + _LONGEST_JOIN
        for thread in list(self._running) if wait else ():
            thread.join(max(0.0, end - time.monotonic()))


def settle(future: Future[Any], action: Callable[[], object]) -> None:
    """Run an action, and set its result or its error on the future."""
    try:
        result = action()
    except BaseException as error:  # like ThreadPoolExecutor: raised again when the result is read
        future.set_exception(error)
    else:
        future.set_result(result)
