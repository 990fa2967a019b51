"""The application that every command belongs to, and what commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer

from ehrtraj import interrupt
from ehrtraj.cli.show.screen import write_lines
from ehrtraj.version import __version__

app = typer.Typer(
    name="ehrtraj",
    help="Patient trajectories from raw electronic health records: MIMIC-IV to MEDS 0.4.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

MAX_CPUS_HELP = "Most processors at work at once. (default all)"
SOURCE_HELP = "Name of a source, or the folder of your own."
OVERLAY_HELP = "Folder with your own recipes/ and rules/."
MEMORY_HELP = "Maximum memory of all processes together, such as 4GB. (default 4GB)"


def _version(*, wanted: bool) -> None:
    if wanted:
        write_lines([f"ehrtraj {__version__}"])
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and end.",
            callback=lambda v: _version(wanted=v),
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Patient trajectories from raw electronic health records: MIMIC-IV to MEDS 0.4."""


@dataclass(frozen=True)
class Command:
    """What the file of a command declares, as `COMMAND`. Its name is that of the file.

    Attributes:
        run: the function, or an application with commands of its own.
        place: position in --help, ascending; applications come after all functions.
        writes: whether it writes files that stay. One that does must never replace what ehrtraj did not write.
        help: what its --help prints; an application has its own.
    """

    run: Callable[..., None] | typer.Typer
    place: int
    writes: bool
    help: str | None = None

    def add_to(self, application: typer.Typer, name: str) -> None:
        """Make it a command of an application."""
        if isinstance(self.run, typer.Typer):
            application.add_typer(self.run, name=name)
        else:
            application.command(name, help=self.help)(self.run)


_kept: Callable[[], str] = str


def what_was_kept() -> str:
    """Describe what a stopped command left, to be put after the word `stopped`."""
    return _kept()


class tidy_end(interrupt.working):  # noqa: N801  # used as a function
    """The part of a command that must clean up when it is stopped.

    Without it, Ctrl-C ends the process at once. Everything that a command imports is imported before.
    """

    def __init__(self, kept: str | Callable[[], str] = "") -> None:
        """Take what to print after the word `stopped`, such as `: no labels were written`."""
        self._kept = kept if callable(kept) else lambda: kept

    def __enter__(self) -> None:
        global _kept  # printed where the process ends, when everything is cleaned up
        _kept = self._kept
        super().__enter__()
