"""`ehrtraj show`: show a patient's timeline."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from ehrtraj.cli.application import Command, graceful_stop
from ehrtraj.cli.arguments import DATASET, TIMES
from ehrtraj.cli.show.screen import note_rest

_HELP = """Show a patient's timeline by admission. On a terminal it is coloured and opens in your pager (PAGER).

[bold]Examples[/bold]

  ehrtraj show trajectories/v1 10000032

  ehrtraj show trajectories/v1 10000032 --code 'LAB//*' --code 'ICU_*' --from 2180-07-23 --to 2180-07-26

  ehrtraj show trajectories/v1 10000032 --as-of '2180-07-23 14:00' --attributes

  ehrtraj show trajectories/v1 10000032 --days > timeline.txt

[bold]Exit codes[/bold]: 0 done; 2 invalid option; 7 the dataset cannot be read, or has no such patient.
"""


def show(
    dataset: DATASET,
    subject: Annotated[int, typer.Argument(help="subject_id of the patient.", show_default=False)],
    code: Annotated[
        list[str] | None, typer.Option("--code", help="Only events with this code or pattern; repeatable.")
    ] = None,
    begin: Annotated[
        datetime | None, typer.Option("--from", formats=TIMES, help="Only events at this time or later.")
    ] = None,
    end: Annotated[datetime | None, typer.Option("--to", formats=TIMES, help="Only events before this time.")] = None,
    as_of: Annotated[
        datetime | None, typer.Option("--as-of", formats=TIMES, help="Only events that were known at this time.")
    ] = None,
    days: Annotated[
        bool, typer.Option("--days", help="Show times as days since the admission, without dates.")
    ] = False,
    attributes: Annotated[
        bool, typer.Option("--attributes", help="Also show each event's attributes and flags.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of events to show. (default all)")] = None,
    pager: Annotated[bool, typer.Option("--pager/--no-pager", help="On a terminal, use the pager or not.")] = True,
) -> None:
    """Show a patient's timeline."""
    import polars as pl

    import ehrtraj
    from ehrtraj.cli.show.trajectory import paged, show_trajectory

    trajectory = ehrtraj.open(dataset)[subject]
    if as_of is not None:
        trajectory = trajectory.as_of(as_of)
    if begin is not None or end is not None:
        trajectory = trajectory.between(begin, end)
    if code:
        trajectory = trajectory.codes(*code)
    listed = trajectory if limit is None else trajectory.filter(pl.int_range(pl.len()) < limit)
    with graceful_stop(), paged(enabled=pager) as screen:
        show_trajectory(screen, listed, days=days, attributes=attributes)
    note_rest(len(trajectory) - len(listed), "events", len(trajectory))


COMMAND = Command(show, place=40, writes=False, help=_HELP)
