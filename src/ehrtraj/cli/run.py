"""Run a command, and turn whatever ends it into a message and an exit code."""

from __future__ import annotations

import gc
import io
import os
import sys
import traceback
from typing import NoReturn

import typer

from ehrtraj import interrupt
from ehrtraj.cli.application import what_was_kept
from ehrtraj.cli.registry import app
from ehrtraj.cli.show import screen
from ehrtraj.errors import EhrtrajError
from ehrtraj.paths import error_of_path


def run() -> NoReturn:
    """Run the command that the arguments name, and end the process."""
    interrupt.silence()
    for stream in (sys.stdout, sys.stderr):
        # Help is printed by typer, which fails on consoles that lack a character.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run()
        if not interrupt.requested():
            interrupt.finish(code)
    except KeyboardInterrupt:
        # It came between two of the lines above. It comes once.
        interrupt.request()
    if interrupt.requested():
        code = interrupt.EXIT_CODE
        # What the stopped frames held is released, and generators among it clean up.
        gc.collect()
        screen.print_after_interrupt(f"stopped{what_was_kept()}")
    code = _flush() or code
    interrupt.finish(code)
    sys.exit(code)


def _run() -> int:
    try:
        code = app(standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        interrupt.request()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:
        # Libraries turn KeyboardInterrupt into errors of their own.
        if not interrupt.requested():
            return _report(error)
    else:
        if code == interrupt.EXIT_CODE:
            interrupt.request()
        return code if isinstance(code, int) else 0
    return interrupt.EXIT_CODE


def _report(error: Exception) -> int:
    """Print what went wrong, and return the exit code."""
    if isinstance(error, OSError) and not isinstance(error, EhrtrajError):
        error = error_of_path(error) or error
    if isinstance(error, EhrtrajError):
        if not isinstance(error, screen.ClosedOutputError):
            screen.error(str(error))
        return error.exit_code
    if hasattr(error, "format_message"):
        return _report_usage(error)
    screen.say("".join(traceback.format_exception(error)))
    return 1


def _report_usage(error: Exception) -> int:
    """Print what is wrong with the arguments. Which library the error is of depends on the version of typer."""
    if type(error).__name__ != "NoArgsIsHelpError":  # the help is printed already
        context = getattr(error, "ctx", None)
        hint = "" if context is None else f"\nTry `{context.command_path} --help`"
        screen.error(f"{error.format_message()}{hint}")  # type: ignore[attr-defined]  # see above
    return int(getattr(error, "exit_code", 2))


def _flush() -> int:
    """Write what is left in the buffer of stdout; returns an exit code if that fails."""
    try:
        screen.flush()
    except EhrtrajError as error:
        code = _report(error)
        # Else the interpreter tries again at its end, and complains.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code
    return 0
