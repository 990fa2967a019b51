"""The application that every command belongs to, and what commands share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

import ehrtraj

app = typer.Typer(
    name="ehrtraj",
    help="Patient trajectories from raw electronic health records: MIMIC-IV to MEDS 0.4.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

INTERRUPTED = 130
MAX_CPUS_HELP = "Most processors at work at once. (default all)"


def _version(*, wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"ehrtraj {ehrtraj.__version__}\n")
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


@contextmanager
def tidy_end(message: str) -> Iterator[None]:
    """Turn Ctrl-C into a line and its exit code (typer alone says nothing of what was kept)."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(message)
        raise typer.Exit(INTERRUPTED) from None
