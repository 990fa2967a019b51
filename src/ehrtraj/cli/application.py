"""The application that all commands belong to, and what the commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any

import typer

from ehrtraj import interrupt
from ehrtraj.cli.help import Application
from ehrtraj.cli.show.screen import configure, write_lines
from ehrtraj.version import __version__

HELP_OPTIONS = frozenset({"-h", "--help"})
MAX_CPUS_HELP = "Maximum number of CPU cores to use. (default all)"
SOURCE_HELP = "Name of a source, or the folder of a custom one."
OVERLAY_HELP = "Folder with custom recipes/ and rules/."
MEMORY_HELP = "Maximum memory of all processes together, such as 4GB. (default 4GB)"


def _print_version(*, requested: bool) -> None:
    if requested:
        write_lines([f"ehrtraj {__version__}"])
        raise typer.Exit


def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            callback=lambda value: _print_version(requested=value),
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Patient trajectories from raw electronic health records: MIMIC-IV to MEDS 0.4."""


def new_application() -> typer.Typer:
    """Return the application without any command."""
    application = Application(
        name="ehrtraj",
        help="Patient trajectories from raw electronic health records: MIMIC-IV to MEDS 0.4.",
        no_args_is_help=True,
        context_settings={"help_option_names": sorted(HELP_OPTIONS, key=len)},
    )
    application.callback()(_main)
    return application


@dataclass(frozen=True)
class Command:
    """The declaration of a command, `COMMAND` in the command's file. The command is named after its file.

    Attributes:
        run: the function, or an application with subcommands.
        place: position in --help, ascending; applications are listed after all functions.
        writes: whether the command leaves files behind. Such a command must never replace files that ehrtraj did not
            write.
        help: text of its --help; None for an application, which declares its own.
        parameters: returns the parameters of a function with `**keywords`; None if its signature declares all.
        long: whether the command can take long. It then has --quiet, --verbose and --log-file.
    """

    run: Callable[..., None] | typer.Typer
    place: int
    writes: bool
    help: str | None = None
    parameters: Callable[[], Iterable[Parameter]] | None = None
    long: bool = False

    def add_to(self, application: typer.Typer, name: str) -> None:
        """Add the command to an application under a name."""
        if isinstance(self.run, typer.Typer):
            application.add_typer(self.run, name=name)
            return
        run = self.run
        if self.parameters is not None:
            from ehrtraj.declaration import show_parameters

            run = show_parameters(self.parameters())(run)
        if self.long:
            run = _with_output_options(run, name)
        application.command(name, help=self.help)(run)

    def list_in(self, application: typer.Typer, name: str) -> None:
        """Add the name and the help of the command, but not its parameters.

        Reading the parameters of all commands takes a sixth of the time of `ehrtraj --help`, which shows none.
        """
        text = self.run.info.help if isinstance(self.run, typer.Typer) else self.help
        application.command(name, help=text)(_do_nothing)


def _with_output_options(run: Callable[..., None], name: str) -> Callable[..., None]:
    """Return a command's function with the options that decide how much it prints."""
    panel = "How much to print"
    options: dict[str, tuple[Any, Any, list[str], str]] = {
        "quiet": (bool, False, ["--quiet", "-q"], "Print only errors, warnings and the result or the JSON."),
        "verbose": (bool, False, ["--verbose", "-v"], "Also print steps, their times, and versions."),
        "log_file": (Path | None, None, ["--log-file"], "Append all messages with their times to this file."),
    }

    @wraps(run)
    def run_with_options(*, quiet: bool, verbose: bool, log_file: Path | None, **given: object) -> None:
        configure(name, quiet=quiet, verbose=verbose, log_file=log_file)
        run(**given)

    original = signature(run, eval_str=True)
    added = [
        Parameter(
            option,
            Parameter.KEYWORD_ONLY,
            annotation=kind,
            default=typer.Option(default, *names, help=text, rich_help_panel=panel, show_default=False),
        )
        for option, (kind, default, names, text) in options.items()
    ]
    run_with_options.__signature__ = original.replace(  # type: ignore[attr-defined]  # typer reads this attribute
        parameters=[*original.parameters.values(), *added]
    )
    return run_with_options


def _do_nothing() -> None:
    """Do nothing, for a command that is only listed."""


_describe_kept_work: Callable[[], str] = str


def describe_kept_work() -> str:
    """Return the text to print after the word `stopped`: which work the stopped command kept."""
    return _describe_kept_work()


class graceful_stop(interrupt.working):  # noqa: N801  # used as a function
    """The part of a command that must clean up when it is stopped.

    Outside of this context, Ctrl-C ends the process at once. A command imports all it needs before it enters the
    context.
    """

    def __init__(self, kept: str | Callable[[], str] = "") -> None:
        """Set the text to print after the word `stopped`, such as `: no labels were written`."""
        self._describe = kept if callable(kept) else lambda: kept

    def __enter__(self) -> None:
        global _describe_kept_work  # printed after everything is cleaned up, when the process ends
        _describe_kept_work = self._describe
        super().__enter__()
