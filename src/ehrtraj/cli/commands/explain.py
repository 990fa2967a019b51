"""`ehrtraj explain`: why an event is as it is."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import Command, tidy_end
from ehrtraj.cli.arguments import DATASET, TIMES
from ehrtraj.cli.show.screen import out

_HELP = """Explain a patient's events: the row of the source, the rules that marked it, and their sources.

Without --time and --code: events that a rule marked, one for each table and combination of marks.

[bold]Examples[/bold]

  ehrtraj explain trajectories/v1 10000032

  ehrtraj explain trajectories/v1 10000032 --time '2180-07-23 14:00'

  ehrtraj explain trajectories/v1 10000032 --code 'LAB//50912' --time 2180-07-23

The rows are looked up in the release that the dataset was built from; --release says where it lies now. A file of many
gigabytes takes minutes to search.

[bold]Exit codes[/bold]: 0 done; 2 an option; 7 the dataset, no such patient, or no such event.
"""


def explain(
    dataset: DATASET,
    subject: Annotated[int, typer.Argument(help="subject_id of the patient.", show_default=False)],
    time: Annotated[
        datetime | None, typer.Option(formats=TIMES, help="Only events of this minute, or of this day.")
    ] = None,
    code: Annotated[str | None, typer.Option(help="Only events with this code, or matching a pattern with *.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Most events to explain.")] = 10,
    release: Annotated[
        Path | None, typer.Option(help="Folder of the release. (default where it lay when the dataset was built)")
    ] = None,
) -> None:
    """Explain a patient's events."""
    import ehrtraj
    from ehrtraj.cli.show.bars import waiting
    from ehrtraj.cli.show.explain import show_explanation
    from ehrtraj.cli.show.readable import size
    from ehrtraj.dataset.explain import explain as look_up
    from ehrtraj.dataset.explain import release_of

    opened, screen = ehrtraj.open(dataset), out()
    with tidy_end(), waiting(screen, "looking up the rows") as update:
        found = look_up(
            opened,
            subject,
            time=time,
            code=code,
            limit=limit,
            release=release,
            looking=lambda path: update(f"looking up the rows in {path.name} ({size(path.stat().st_size)})"),
        )
    for one in found:
        show_explanation(screen, one)
    if not any(one.rows for one in found):
        where = release_of(opened) if release is None else release
        screen.print(
            f"No row of the source was found: is the release still in {where}? --release says where.", soft_wrap=True
        )


COMMAND = Command(explain, place=90, writes=False, help=_HELP)
