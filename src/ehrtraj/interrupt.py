"""Ctrl-C and SIGTERM: stop a command at any moment without leaving half-written files.

Until a command has something to clean up (its imports take most of a second), a signal ends the process at once: an
exception would be raised inside an import, where libraries turn it into something else. While a command is running, the
first signal raises KeyboardInterrupt. Further signals are ignored for a few seconds, so that they do not interrupt the
cleanup. Code that runs callbacks from C can lose the exception: `check` raises it again.

This module imports almost nothing, because the command line imports it first.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

EXIT_CODE = 130
# A second Ctrl-C within this time is treated as impatience, not as a sign that the first one was lost.
_SECONDS_TO_IGNORE = 5.0


class _State:
    installed = False
    working = 0
    held = 0
    requested_at: float | None = None
    ending: int | None = None
    stopping = False


def install() -> None:
    """Handle SIGINT and SIGTERM, unless the process already ignores them, as under `nohup`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    if not _State.installed:
        # The first function that is registered is called last.
        atexit.register(_ignore)
        _State.installed = True


def handled() -> list[signal.Signals]:
    """Return the signals that this module handles: none if the process uses the library without the command line."""
    return [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is _handle]


def requested() -> bool:
    """Return whether a signal has asked the process to stop."""
    return _State.requested_at is not None


def request() -> None:
    """Record that a signal asked the process to stop, for code that has its own handler."""
    _State.requested_at = time.monotonic()


def check() -> None:
    """Raise KeyboardInterrupt if a signal has asked the process to stop.

    Raises:
        KeyboardInterrupt: in that case, even if it was already raised once and then lost.
    """
    if requested() and not _State.held:
        raise KeyboardInterrupt


def finish(code: int) -> None:
    """Record that the command is done: signals no longer change the exit code."""
    # Python ends `python -m ehrtraj` with SIGINT instead of the exit code if the latest code that it ran from a string,
    # such as the methods of a dataclass, ended with KeyboardInterrupt.
    exec("")  # noqa: S102
    _State.ending = code


def end_process(code: int) -> NoReturn:
    """Run the functions registered with `atexit`, and end this process without freeing every object first.

    To free them takes 0.13 s after a build with two workers, and 0.03 s after `ehrtraj show`.

    Args:
        code: exit code.
    """
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            # The command has already reported that its output cannot be written.
            code = code or 1
    os._exit(code)


class working:  # noqa: N801  # used as a function
    """A section of a command that has something to clean up."""

    def __enter__(self) -> None:
        _State.working += 1

    def __exit__(self, kind: object, *_: object) -> None:
        # After an error, outer blocks still clean up: a signal must not end the process at once there.
        if kind is None:
            check()
            _State.working -= 1


class held:  # noqa: N801  # used as a function
    """A section that is not interrupted: KeyboardInterrupt is raised at its end."""

    def __enter__(self) -> None:
        _State.held += 1

    def __exit__(self, kind: object, *_: object) -> None:
        _State.held -= 1
        if kind is None:
            check()


def _ignore() -> None:
    """Ignore signals while the interpreter shuts down: it restores their default action, which kills the process."""
    for number in handled():
        signal.signal(number, signal.SIG_IGN)


def _handle(_number: int, _frame: object) -> None:
    if _State.ending is not None:
        os._exit(_State.ending)
    if not _State.working:
        _stop_at_once()
        # Only a second signal comes here. An exception would keep the first one from printing its message.
        return
    now = time.monotonic()
    before = _State.requested_at
    if before is None or now - before > _SECONDS_TO_IGNORE:
        _State.requested_at = now
        if not _State.held:
            raise KeyboardInterrupt


def _stop_at_once() -> None:
    if _State.stopping:
        # A second signal arrived before the first one ended the process.
        return
    _State.stopping = True
    try:
        # A terminal shows ^C at the start of the line.
        os.write(2, b"\nstopped\n" if os.isatty(2) else b"stopped\n")
    finally:
        os._exit(EXIT_CODE)


def silence() -> None:
    """Print no traceback for failures that the stop itself causes, such as those in a callback or another thread."""
    import threading

    report, report_thread = sys.unraisablehook, threading.excepthook

    def quiet(failure: sys.UnraisableHookArgs) -> None:
        if not requested():
            report(failure)

    def quiet_thread(failure: threading.ExceptHookArgs) -> None:
        if not requested():
            report_thread(failure)

    sys.unraisablehook, threading.excepthook = quiet, quiet_thread
