"""Ctrl-C and SIGTERM: how a command is stopped, at any moment, with nothing half-written.

Until a command has something to clean up (its imports take most of a second), a signal ends the process at once: an
exception would be raised inside of an import, where libraries turn it into something else. While a command is at work,
the first signal raises KeyboardInterrupt, and further ones are ignored for a while, so that they do not cut short the
cleaning up. Code that runs callbacks from C can lose the exception: `check` raises it again.

It imports next to nothing, since it is what the command line imports first.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time

EXIT_CODE = 130
# A second Ctrl-C within so many seconds is taken for impatience, not for a sign that the first one was lost.
_PATIENCE = 5.0


class _State:
    installed = False
    working = 0
    held = 0
    requested_at: float | None = None
    ending: int | None = None
    stopping = False


def install() -> None:
    """Handle SIGINT and SIGTERM, unless they are ignored, as they are under `nohup`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    if not _State.installed:
        # Registered first, so called last.
        atexit.register(_ignore)
        _State.installed = True


def handled() -> list[signal.Signals]:
    """Return the signals that stop this process in a tidy way: none where it is no command, but uses the library."""
    return [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is _handle]


def requested() -> bool:
    """Whether the process was told to stop."""
    return _State.requested_at is not None


def request() -> None:
    """Note that the process was told to stop, for code that has a handler of its own."""
    _State.requested_at = time.monotonic()


def check() -> None:
    """Raise KeyboardInterrupt if the process was told to stop.

    Raises:
        KeyboardInterrupt: in that case, also if it was raised before and got lost.
    """
    if requested() and not _State.held:
        raise KeyboardInterrupt


def finish(code: int) -> None:
    """Note that all is done: what happens from now on changes nothing of the exit code."""
    _State.ending = code


class working:  # noqa: N801  # used as a function
    """A part of a command that has something to clean up."""

    def __enter__(self) -> None:
        _State.working += 1

    def __exit__(self, kind: object, *_: object) -> None:
        # After an error the cleaning up goes on further out, where a signal must not end the process at once.
        if kind is None:
            check()
            _State.working -= 1


class held:  # noqa: N801  # used as a function
    """A part that is not cut short: KeyboardInterrupt waits until its end."""

    def __enter__(self) -> None:
        _State.held += 1

    def __exit__(self, kind: object, *_: object) -> None:
        _State.held -= 1
        if kind is None:
            check()


def _ignore() -> None:
    """Ignore signals while the interpreter is taken down: it restores what they did before, which is to kill."""
    for number in handled():
        signal.signal(number, signal.SIG_IGN)


def _handle(_number: int, _frame: object) -> None:
    if _State.ending is not None:
        os._exit(_State.ending)
    if not _State.working:
        _stop_at_once()
    now = time.monotonic()
    before = _State.requested_at
    if before is None or now - before > _PATIENCE:
        _State.requested_at = now
        if not _State.held:
            raise KeyboardInterrupt


def _stop_at_once() -> None:
    if _State.stopping:
        # A second signal came before the first one ended the process.
        return
    _State.stopping = True
    try:
        # On a terminal the line begins with ^C.
        os.write(2, b"\nstopped\n" if os.isatty(2) else b"stopped\n")
    finally:
        os._exit(EXIT_CODE)


def silence() -> None:
    """Print no traceback of what fails because the process was told to stop, such as a callback or another thread."""
    import threading

    tell, notify_of_thread = sys.unraisablehook, threading.excepthook

    def quiet(what: sys.UnraisableHookArgs) -> None:
        if not requested():
            tell(what)

    def quiet_thread(what: threading.ExceptHookArgs) -> None:
        if not requested():
            notify_of_thread(what)

    sys.unraisablehook, threading.excepthook = quiet, quiet_thread
