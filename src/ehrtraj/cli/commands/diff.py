"""`ehrtraj diff`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import MAX_CPUS_HELP, MEMORY_HELP, Command, graceful_stop
from ehrtraj.cli.show.screen import note, write_json
from ehrtraj.errors import SettingsError
from ehrtraj.runtime.limits import usable_cpus

DIFFERENT = 1

_DIFF_HELP = """Compare two datasets: patients, splits, codes, and events column by column.

[bold]Examples[/bold]

  ehrtraj diff trajectories/v1 trajectories/v2

  ehrtraj diff trajectories/v1 trajectories/v2 --json > difference.json

  ehrtraj diff trajectories/v1 trajectories/v2 --html difference.html

An event counts as changed if both datasets have an event from the same source row and the two differ. Rows are matched
by their key, or by time if they have no key. It does not matter how the datasets are divided into files.

The HTML file contains only aggregates, with counts below 10 masked, so that it can be shared.

[bold]Exit codes[/bold]: 0 the same; 1 different; 2 invalid setting; 4 the temporary folder is full, or the HTML file
cannot be written; 7 a folder is not a dataset; 130 Ctrl-C.
"""


def diff(
    a: Annotated[Path, typer.Argument(help="Folder of a dataset.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="Folder of another dataset.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write the differences as an HTML file.", show_default=False)
    ] = None,
    with_examples: Annotated[
        bool, typer.Option("--with-examples", help="Show exact counts and examples in it. It must not be shared.")
    ] = False,
    max_cpus: Annotated[int | None, typer.Option(help=MAX_CPUS_HELP)] = None,
    memory_limit: Annotated[str | None, typer.Option(help=MEMORY_HELP)] = None,
) -> None:
    """Compare two datasets."""
    if max_cpus is not None and max_cpus > 0:
        # polars reads this variable when it is first imported.
        os.environ.setdefault("POLARS_MAX_THREADS", str(min(max_cpus, usable_cpus())))
    from ehrtraj.cli.show.activity import bar
    from ehrtraj.cli.show.diff import show_diff
    from ehrtraj.diffs.run import diff as compare

    if html is not None:
        from ehrtraj.reports.run import diff_report, refuse_to_replace

        refuse_to_replace(html)
    elif with_examples:
        raise SettingsError("--with-examples is about the HTML file: also give --html")
    with graceful_stop(), bar("comparing") as advance:
        report = compare(a, b, max_cpus=max_cpus, memory_limit=memory_limit, progress=advance)
    for text in report.notes:
        note(text)
    if html is not None:
        diff_report(report, html, with_examples=with_examples)
    if as_json:
        write_json(report.to_json(), indent=1, default=str)
    else:
        show_diff(report)
    if not report.same:
        raise typer.Exit(DIFFERENT)


COMMAND = Command(diff, place=60, writes=True, help=_DIFF_HELP, long=True)
