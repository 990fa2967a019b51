"""`ehrtraj demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import MAX_CPUS_HELP, Command, graceful_stop

_HELP = """Generate synthetic patients, build a dataset from them, and show one patient. Takes less than a minute.

You need no download and no PhysioNet account.

[bold]Examples[/bold]

  ehrtraj demo

  ehrtraj demo try-it --patients 500
"""


def demo(
    folder: Annotated[Path, typer.Argument(help="Folder for the release and the dataset.")] = Path("ehrtraj-demo"),
    patients: Annotated[int, typer.Option("--patients", "-n", help="Number of patients.")] = 200,
    max_cpus: Annotated[int | None, typer.Option(help=MAX_CPUS_HELP)] = None,
) -> None:
    """Generate a synthetic release, build it, and show a patient."""
    from ehrtraj.cli.demo import demo as show

    with graceful_stop():
        show(folder, patients, max_cpus)


COMMAND = Command(demo, place=140, writes=True, help=_HELP, long=True)
