"""`ehrtraj check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import MAX_CPUS_HELP, MEMORY_HELP, Command, tidy_end
from ehrtraj.cli.show.screen import note, write_json

BROKEN = 1

_CHECK_HELP = """Check a dataset on its files, and report what is wrong and where.

[bold]Examples[/bold]

  ehrtraj check trajectories/v1

  ehrtraj check trajectories/v1 --json > report.json

  ehrtraj check someones-meds-dataset

A MEDS dataset that ehrtraj did not make is held to the rules of MEDS 0.4 alone, also to those that no official call
checks: order, a patient in one file, every code described, one split each.

[bold]Exit codes[/bold]: 0 all is well; 1 something is wrong; 2 a setting; 4 the temporary folder is full;
7 there is no dataset; 130 Ctrl-C.
"""


def check(
    dataset: Annotated[Path, typer.Argument(help="Folder of the dataset.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    max_cpus: Annotated[int | None, typer.Option(help=MAX_CPUS_HELP)] = None,
    memory_limit: Annotated[str | None, typer.Option(help=MEMORY_HELP)] = None,
) -> None:
    """Check a dataset on its files."""
    from ehrtraj.checks.run import check as verify
    from ehrtraj.cli.show.bars import bar
    from ehrtraj.cli.show.check import show_report

    with tidy_end(), bar("checking") as advance:
        report = verify(dataset, max_cpus=max_cpus, memory_limit=memory_limit, progress=advance)
    for text in report.notes:
        note(text)
    if as_json:
        write_json(report.to_json(), indent=1)
    else:
        show_report(report)
    if report.broken:
        raise typer.Exit(BROKEN)


COMMAND = Command(check, place=20, writes=False, help=_CHECK_HELP)
