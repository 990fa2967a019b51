"""`ehrtraj check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import MAX_CPUS_HELP, MEMORY_HELP, Command, graceful_stop
from ehrtraj.cli.show.screen import note, write_json

FAILED = 1

_CHECK_HELP = """Check the files of a dataset, and report every problem and its location.

[bold]Examples[/bold]

  ehrtraj check trajectories/v1

  ehrtraj check trajectories/v1 --json > report.json

  ehrtraj check someones-meds-dataset

A MEDS dataset that ehrtraj did not write is checked against MEDS 0.4 only. This includes rules that the official
validation does not check: events are in order, all events of a patient are in one file, every code is described, and
every patient has one split.

[bold]Exit codes[/bold]: 0 all checks passed; 1 a check failed; 2 invalid setting; 4 the temporary folder is full;
7 the folder is not a dataset; 130 Ctrl-C.
"""


def check(
    dataset: Annotated[Path, typer.Argument(help="Folder of the dataset.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    max_cpus: Annotated[int | None, typer.Option(help=MAX_CPUS_HELP)] = None,
    memory_limit: Annotated[str | None, typer.Option(help=MEMORY_HELP)] = None,
) -> None:
    """Check the files of a dataset."""
    from ehrtraj.checks.run import check as verify
    from ehrtraj.cli.show.activity import bar
    from ehrtraj.cli.show.check import show_report

    with graceful_stop(), bar("checking") as advance:
        report = verify(dataset, max_cpus=max_cpus, memory_limit=memory_limit, progress=advance)
    for text in report.notes:
        note(text)
    if as_json:
        write_json(report.to_json(), indent=1)
    else:
        show_report(report)
    if report.broken:
        raise typer.Exit(FAILED)


COMMAND = Command(check, place=20, writes=False, help=_CHECK_HELP, long=True)
