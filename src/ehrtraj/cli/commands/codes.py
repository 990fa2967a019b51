"""`ehrtraj codes`: list the codes of a dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from ehrtraj.cli.application import Command
from ehrtraj.cli.arguments import DATASET
from ehrtraj.cli.show.screen import note_rest, out, write_exact
from ehrtraj.errors import DatasetError

_HELP = """List codes with their description, unit and number of events, the most frequent first.

PATTERN is a code, a code in which * matches any text, or a word from the description or a parent code.

[bold]Examples[/bold]

  ehrtraj codes trajectories/v1 creatinine

  ehrtraj codes trajectories/v1 'LAB//*' --limit 100

  ehrtraj codes trajectories/v1 --csv > codes.csv

[bold]Exit codes[/bold]: 0 done; 7 the dataset cannot be read, or no code matches.
"""


_MOST = 40


def codes(
    dataset: DATASET,
    pattern: Annotated[str | None, typer.Argument(help="Code, pattern or word. (default all)")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of codes to list. (default 40, with --csv all)")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the codes as CSV, with every column.")] = False,
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
    most = limit or (found.height if as_csv else _MOST)
    listed = found.head(most)
    if as_csv:
        lists = pl.col("parent_codes", "units").list.join(";")
        write_exact(listed.with_columns(lists).write_csv())
    else:
        show_codes(out(), listed)
    note_rest(found.height - listed.height, "codes", found.height)


COMMAND = Command(codes, place=50, writes=False, help=_HELP)
