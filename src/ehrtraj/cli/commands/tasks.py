"""`ehrtraj tasks`: list the predefined tasks of `ehrtraj label`."""

from __future__ import annotations

from typing import Annotated

import typer

from ehrtraj.cli.application import SOURCE_HELP, Command
from ehrtraj.cli.show.screen import write_exact

_HELP = """List the predefined tasks, or print the file of one, which you can read or modify.

--meds-dev prints the predicates with which ACES runs the tasks of MEDS-DEV on a dataset.

[bold]Examples[/bold]

  ehrtraj tasks

  ehrtraj tasks aki_48h > my-aki.yaml

  ehrtraj tasks --meds-dev > predicates.yaml

[bold]Exit codes[/bold]: 0 done; 2 no such task, or no predicates for MEDS-DEV.
"""


def tasks(
    name: Annotated[str | None, typer.Argument(help="Print the file of this task.", show_default=False)] = None,
    meds_dev: Annotated[
        bool, typer.Option("--meds-dev", help="Print the predicates of MEDS-DEV's tasks for this source.")
    ] = False,
    source: Annotated[str | None, typer.Option(help=SOURCE_HELP, show_default=False)] = None,
) -> None:
    """List the predefined tasks, or print one."""
    from ehrtraj.cli.show.labels import show_tasks
    from ehrtraj.errors import SettingsError
    from ehrtraj.labels.ready import meds_dev_predicates, task_text
    from ehrtraj.sources.source import find_source

    found = find_source(source)
    if meds_dev and name is not None:
        raise SettingsError("give either the name of a task or --meds-dev")
    if meds_dev:
        write_exact(meds_dev_predicates(found))
    elif name is None:
        show_tasks(found)
    else:
        write_exact(task_text(name, found))


COMMAND = Command(tasks, place=120, writes=False, help=_HELP)
