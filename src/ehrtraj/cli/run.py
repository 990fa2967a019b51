"""Run a command, and turn the way in which it ends into a message and an exit code."""

from __future__ import annotations

import gc
import io
import os
import sys
import traceback
from typing import NoReturn

import typer

from ehrtraj import interrupt
from ehrtraj.cli.application import describe_kept_work
from ehrtraj.cli.registry import application
from ehrtraj.cli.show import screen
from ehrtraj.errors import EhrtrajError
from ehrtraj.paths import error_of_path
from ehrtraj.runtime.sizes import Sizes


def run(sizes: Sizes | None = None) -> NoReturn:
    """Run the command given by the arguments, and end the process.

    Args:
        sizes: batch sizes of a build; None for the default ones.
    """
    interrupt.silence()
    for stream in (sys.stdout, sys.stderr):
        # typer prints the help, and fails if the console's encoding lacks a character.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(sizes)
        if not interrupt.requested():
            interrupt.finish(code)
    except KeyboardInterrupt:
        # The signal arrived between two of the lines above. It is raised only once.
        interrupt.request()
    if interrupt.requested():
        code = interrupt.EXIT_CODE
        # Release the objects of the stopped frames, so that generators among them clean up.
        gc.collect()
        screen.print_after_interrupt(f"stopped{describe_kept_work()}")
    code = _flush() or code
    interrupt.finish(code)
    sys.exit(code)


def _run(sizes: Sizes | None) -> int:
    try:
        code = application(_arguments())(standalone_mode=False, obj=sizes)
    except (KeyboardInterrupt, typer.Abort):
        interrupt.request()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:
        # Libraries turn KeyboardInterrupt into their own exceptions.
        if not interrupt.requested():
            return _report(error)
    else:
        if code == interrupt.EXIT_CODE:
            interrupt.request()
        return code if isinstance(code, int) else 0
    return interrupt.EXIT_CODE


def _arguments() -> list[str] | None:
    """Return the arguments of the command line; None when a shell asks for completions, which can be of any command."""
    return None if "_EHRTRAJ_COMPLETE" in os.environ else sys.argv[1:]


def _report(error: Exception) -> int:
    """Print the error, and return the exit code."""
    if isinstance(error, OSError) and not isinstance(error, EhrtrajError):
        error = error_of_path(error) or error
    if isinstance(error, EhrtrajError):
        if not isinstance(error, screen.ClosedOutputError):
            screen.error(str(error))
        return error.exit_code
    if hasattr(error, "format_message"):
        return _report_usage(error)
    screen.write_err("".join(traceback.format_exception(error)))
    return 1


def _report_usage(error: Exception) -> int:
    """Print an error in the arguments, and return the exit code.

    The version of typer decides which library defines the exception, so its class cannot be imported here.
    """
    if type(error).__name__ != "NoArgsIsHelpError":  # the help is printed already
        context = getattr(error, "ctx", None)
        hint = "" if context is None else f"\nTry `{context.command_path} --help`"
        screen.error(f"{error.format_message()}{hint}")  # type: ignore[attr-defined]  # see above
    return int(getattr(error, "exit_code", 2))


def _flush() -> int:
    """Write the buffered output to stdout; return an exit code if that fails, otherwise 0."""
    try:
        screen.flush()
    except EhrtrajError as error:
        code = _report(error)
        # Otherwise the interpreter flushes stdout again when it exits, and prints an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code
    return 0
