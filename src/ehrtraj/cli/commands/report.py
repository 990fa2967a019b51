"""`ehrtraj report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import Command, graceful_stop

_HELP = """Write a report of a dataset as one HTML file: what became of every row, and what cleaning changed.

[bold]Examples[/bold]

  ehrtraj report trajectories/v1

  ehrtraj report trajectories/v1 --output report.html

  ehrtraj report trajectories/v1 --with-examples

A build writes the same report, as does ehrtraj concepts --events, unless --no-report is given. The report contains only
aggregates, with counts below 10 masked, so that it can be shared. With --with-examples it shows exact counts and
examples of values, and must not be shared. An existing report is replaced, but no other file.

[bold]Exit codes[/bold]: 0 done; 4 the file cannot be written, or is not a report; 7 the folder is not a dataset;
130 Ctrl-C.
"""


def report(
    dataset: Annotated[Path, typer.Argument(help="Folder of the dataset.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write. (default <dataset>-report.html)", show_default=False),
    ] = None,
    with_examples: Annotated[
        bool, typer.Option("--with-examples", help="Show exact counts and examples. The report must not be shared.")
    ] = False,
) -> None:
    """Write a report of a dataset."""
    from ehrtraj.cli.show.report import show_report
    from ehrtraj.reports.run import report as write

    with graceful_stop(": no report was written"):
        path = write(dataset, output, with_examples=with_examples)
    show_report(path, with_examples=with_examples)


COMMAND = Command(report, place=55, writes=True, help=_HELP)
