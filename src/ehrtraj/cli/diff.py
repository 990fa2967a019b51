"""`ehrtraj diff`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import MAX_CPUS_HELP, app, tidy_end
from ehrtraj.cli.show.screen import write_json

DIFFERENT = 1

_DIFF_HELP = """Say what differs between two datasets: patients, splits, codes, events, and which columns of these.

[bold]Examples[/bold]

  ehrtraj diff trajectories/v1 trajectories/v2

  ehrtraj diff trajectories/v1 trajectories/v2 --json > difference.json

An event counts as changed where both have one of the same row of the source, by its key, or by its time where it has
none. How the datasets are divided into files does not matter.

[bold]Exit codes[/bold]: 0 the same; 1 different; 7 one of them is no dataset; 130 Ctrl-C.
"""


@app.command(help=_DIFF_HELP)
def diff(
    a: Annotated[Path, typer.Argument(help="Folder of a dataset.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="Folder of another one.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    max_cpus: Annotated[int | None, typer.Option(help=MAX_CPUS_HELP)] = None,
) -> None:
    """Say what differs between two datasets."""
    from ehrtraj.dataset.diff.run import diff as compare
    from ehrtraj.dataset.diff.show import show_diff
    from ehrtraj.progress import bar

    with tidy_end(), bar("comparing") as advance:
        report = compare(a, b, max_cpus=max_cpus, progress=advance)
    if as_json:
        write_json(report.to_json(), indent=1, default=str)
    else:
        show_diff(report)
    if not report.same:
        raise typer.Exit(DIFFERENT)
