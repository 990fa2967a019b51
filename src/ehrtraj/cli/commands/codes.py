"""`ehrtraj codes`: list the codes of a dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from ehrtraj.cli.application import Command
from ehrtraj.cli.arguments import DATASET
from ehrtraj.cli.show.screen import out, write_exact
from ehrtraj.errors import DatasetError

_HELP = """List codes with their description, unit and number of events, the most frequent first.

PATTERN is a code, a code in which * matches any text, or a word from the description or a parent code.

[bold]Examples[/bold]

  ehrtraj codes trajectories/v1 creatinine

  ehrtraj codes trajectories/v1 'LAB//*' --limit 100

  ehrtraj codes trajectories/v1 --csv > codes.csv

[bold]Exit codes[/bold]: 0 done; 7 the dataset cannot be read, or no code matches.
"""


def codes(
    dataset: DATASET,
    pattern: Annotated[str | None, typer.Argument(help="Code, pattern or word. (default all)")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of codes to list.")] = 40,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all matching codes as CSV, with every column.")] = False,
) -> None:
    """List codes."""
    import polars as pl

    import ehrtraj
    from ehrtraj.cli.show.trajectory import show_codes
    from ehrtraj.dataset.summary import find_codes

    opened = ehrtraj.open(dataset)
    found = find_codes(opened, pattern)
    if found.is_empty():
        raise DatasetError(
            f"no code in {dataset} matches '{pattern}'{opened.layout.known_codes.suggestion(pattern or '*')}"
        )
    if as_csv:
        lists = pl.col("parent_codes", "units").list.join(";")
        write_exact(found.with_columns(lists).write_csv())
    else:
        show_codes(out(), found, limit)


COMMAND = Command(codes, place=50, writes=False, help=_HELP)
