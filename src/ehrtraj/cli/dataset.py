"""`ehrtraj info`, `ehrtraj show` and `ehrtraj codes`: look into a finished dataset."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import app, tidy_end
from ehrtraj.cli.show.screen import out, write_exact, write_json
from ehrtraj.errors import DatasetError

TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]

DATASET = Annotated[Path, typer.Argument(help="Folder of the dataset, such as trajectories/v1.", show_default=False)]

_INFO_HELP = """Show what a dataset contains: patients, events and codes by split, table and event type, and when.

[bold]Examples[/bold]

  ehrtraj info trajectories/v1

  ehrtraj info trajectories/v1 --json

[bold]Exit codes[/bold]: 0 done; 7 the dataset.
"""

_SHOW_HELP = """Show a patient's timeline, by admission: on a terminal in colour, in the pager that PAGER names.

[bold]Examples[/bold]

  ehrtraj show trajectories/v1 10000032

  ehrtraj show trajectories/v1 10000032 --code 'LAB//*' --code 'ICU_*' --from 2180-07-23 --to 2180-07-26

  ehrtraj show trajectories/v1 10000032 --as-of '2180-07-23 14:00' --attributes

  ehrtraj show trajectories/v1 10000032 --days > account.txt

[bold]Exit codes[/bold]: 0 done; 2 an option; 7 the dataset, or no such patient.
"""

_CODES_HELP = """List codes with what they mean, their unit and how often they occur, the most frequent first.

PATTERN is a code, a code with * for any text, or a word of the description or of a parent code.

[bold]Examples[/bold]

  ehrtraj codes trajectories/v1 creatinine

  ehrtraj codes trajectories/v1 'LAB//*' --limit 100

  ehrtraj codes trajectories/v1 --csv > codes.csv

[bold]Exit codes[/bold]: 0 done; 7 the dataset, or no such code.
"""


@app.command(help=_INFO_HELP)
def info(
    dataset: DATASET,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """Say what a dataset holds."""
    import ehrtraj
    from ehrtraj.dataset.show import show_summary
    from ehrtraj.dataset.summary import summarise

    summary = summarise(ehrtraj.open(dataset))
    if as_json:
        write_json(summary, indent=2, default=_iso)
    else:
        show_summary(out(), summary)


def _iso(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


@app.command(help=_SHOW_HELP)
def show(
    dataset: DATASET,
    subject: Annotated[int, typer.Argument(help="subject_id of the patient.", show_default=False)],
    code: Annotated[
        list[str] | None, typer.Option("--code", help="Only events with this code, or matching a pattern; repeatable.")
    ] = None,
    begin: Annotated[
        datetime | None, typer.Option("--from", formats=TIMES, help="Only what happened at this time or later.")
    ] = None,
    end: Annotated[datetime | None, typer.Option("--to", formats=TIMES, help="Only what happened before.")] = None,
    as_of: Annotated[
        datetime | None, typer.Option("--as-of", formats=TIMES, help="Only what could be known at this time.")
    ] = None,
    days: Annotated[bool, typer.Option("--days", help="Times as days from the admission, no dates.")] = False,
    attributes: Annotated[
        bool, typer.Option("--attributes", help="With what qualifies each event, and its flags.")
    ] = False,
    pager: Annotated[bool, typer.Option("--pager/--no-pager", help="On a terminal, page by page.")] = True,
) -> None:
    """Show a patient's timeline."""
    import ehrtraj
    from ehrtraj.dataset.show import paged, show_trajectory

    trajectory = ehrtraj.open(dataset)[subject]
    if as_of is not None:
        trajectory = trajectory.as_of(as_of)
    if begin is not None or end is not None:
        trajectory = trajectory.between(begin, end)
    if code:
        trajectory = trajectory.codes(*code)
    with tidy_end(), paged(wanted=pager) as screen:
        show_trajectory(screen, trajectory, days=days, attributes=attributes)


@app.command(help=_CODES_HELP)
def codes(
    dataset: DATASET,
    pattern: Annotated[str | None, typer.Argument(help="Code, pattern or word. (default all)")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most codes to list.")] = 40,
    as_csv: Annotated[bool, typer.Option("--csv", help="All that match, as CSV with every column.")] = False,
) -> None:
    """List codes."""
    import polars as pl

    import ehrtraj
    from ehrtraj.dataset.show import show_codes
    from ehrtraj.dataset.summary import find_codes

    found = find_codes(ehrtraj.open(dataset), pattern)
    if found.is_empty():
        raise DatasetError(
            f"no code of {dataset} matches {pattern}: try a word of its description, or a pattern with *"
        )
    if as_csv:
        lists = pl.col("parent_codes", "units").list.join(";")
        write_exact(found.with_columns(lists).write_csv())
    else:
        show_codes(out(), found, limit)
