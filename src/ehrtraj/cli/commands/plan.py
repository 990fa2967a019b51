"""`ehrtraj plan`."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import Parameter
from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import Command
from ehrtraj.cli.show.screen import write_json

_HELP = """Show what a build would read, and how much time, memory and disk it needs on this machine. Writes nothing.

[bold]Examples[/bold]

  ehrtraj plan physionet.org/files/mimiciv/3.1

  ehrtraj plan mimic-iv --icu-only --max-cpus 8 --output /scratch/trajectories

  ehrtraj plan mimic-iv --json

The settings are those of `ehrtraj build`, and are also read from the environment and from a file. Row counts are the
published ones if the release is known, and are otherwise estimated from the beginning of each file. With --subjects or
--icu-only, the estimates are for the selected patients, from the tables of patients and stays. `ehrtraj verify` finds
truncated and damaged files, which this command does not.

[bold]Exit codes[/bold]: 0 done, also if something is missing; 2 invalid setting; 3 no release, or an invalid one.
"""

_SETTINGS = ("data_dir", "output", "max_cpus", "memory_limit", "tables", "subjects", "icu_only", "seed", "modules",
             "ed", "note", "notes", "source", "overlay", "allow_incomplete")  # fmt: skip
"""Settings of a build that affect what it reads and needs."""


def _parameters() -> Iterator[Parameter]:
    """Yield the parameter of the command line for each of these settings."""
    from ehrtraj.cli.commands.build import parameter_of
    from ehrtraj.config import SETTINGS

    for setting in SETTINGS:
        if setting.name in _SETTINGS:
            yield parameter_of(setting)


def plan(
    *,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="TOML file with settings.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    **given: object,
) -> None:
    """Show what a build would read and need."""
    from ehrtraj.api import plan_with
    from ehrtraj.config import resolve

    # The name of the dataset does not matter.
    settings, _ = resolve({**given, "trajectory_version": "v1"}, config)
    preview = plan_with(settings)
    if as_json:
        write_json(preview.to_json(), indent=1)
        return
    from ehrtraj.cli.show.plan import show_plan

    show_plan(preview)


COMMAND = Command(plan, place=15, writes=False, help=_HELP, parameters=_parameters)
