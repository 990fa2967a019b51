"""The application that every command belongs to, and what commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

import ehrtraj
from ehrtraj import interrupt
from ehrtraj.cli.show.screen import write_lines

app = typer.Typer(
    name="ehrtraj",
    help="Patient trajectories from raw electronic health records: MIMIC-IV to MEDS 0.4.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

MAX_CPUS_HELP = "Most processors at work at once. (default all)"
MEMORY_HELP = "Maximum memory of all processes together, such as 4GB. (default 4GB)"


def _version(*, wanted: bool) -> None:
    if wanted:
        write_lines([f"ehrtraj {ehrtraj.__version__}"])
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
