"""`ehrtraj flags`: explain the flags of events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import Command
from ehrtraj.cli.show.screen import note, write_exact, write_json
from ehrtraj.errors import SettingsError

_HELP = """Explain the flags of events: what each means, which rules set it, and how many events of a dataset have it.

The column flags of an event is the sum of the values of its flags: a flag with bit 3 has the value 8.

[bold]Examples[/bold]

  ehrtraj flags

  ehrtraj flags trajectories/v1

  ehrtraj flags trajectories/v1 --flag unit_converted

  ehrtraj flags trajectories/v1 --csv > flags.csv

`ehrtraj rules applied` shows which items have a flag, and `ehrtraj explain` shows it for the events of a patient.

[bold]Exit codes[/bold]: 0 done; 2 no such flag; 7 the dataset cannot be read, or ehrtraj did not write it.
"""


def flags(
    dataset: Annotated[
        Path | None, typer.Argument(help="Count the events of this dataset, such as trajectories/v1.")
    ] = None,
    flag: Annotated[str | None, typer.Option(help="Only this flag, such as unit_converted.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, with every column.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every column.")] = False,
) -> None:
    """Explain the flags of events."""
    import polars as pl

    from ehrtraj.cli.show.flags import show_flags
    from ehrtraj.rules.flag_list import list_flags

    if as_csv and as_json:
        raise SettingsError("give either --csv or --json")
    found = list_flags(dataset, flag)
    if as_csv:
        write_exact(found.with_columns(pl.col("rules").list.join(";")).write_csv())
    elif as_json:
        write_json(found.to_dicts(), indent=1)
    else:
        show_flags(found)
    if dataset is not None and found["events"].null_count():
        note(f"{dataset} does not record what the rules did, so that its events are not counted")


COMMAND = Command(flags, place=155, writes=False, help=_HELP)
