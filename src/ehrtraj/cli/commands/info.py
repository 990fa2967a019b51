"""`ehrtraj info`: summarise a dataset."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from ehrtraj.cli.application import Command
from ehrtraj.cli.arguments import DATASET
from ehrtraj.cli.show.screen import out, write_json

_HELP = """Show what a dataset contains: patients, events and codes by split, table and event type, and the time range.

[bold]Examples[/bold]

  ehrtraj info trajectories/v1

  ehrtraj info trajectories/v1 --json

[bold]Exit codes[/bold]: 0 done; 7 the dataset cannot be read.
"""


def info(
    dataset: DATASET,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show what a dataset contains."""
    import ehrtraj
    from ehrtraj.cli.show.trajectory import show_summary
    from ehrtraj.dataset.summary import summarise

    summary = summarise(ehrtraj.open(dataset))
    if as_json:
        write_json(summary, indent=2, default=_iso)
    else:
        show_summary(out(), summary)


def _iso(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


COMMAND = Command(info, place=30, writes=False, help=_HELP)
