"""`ehrtraj explain`: trace events to their source rows and rules."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from ehrtraj.cli.application import Command, graceful_stop
from ehrtraj.cli.arguments import DATASET, TIMES
from ehrtraj.cli.show.screen import note_rest, out

_HELP = """Explain a patient's events: show the source row, the rules that changed or flagged it, and their references.

Without --time and --code, it explains events that a rule flagged, one for each table and combination of flags.

[bold]Examples[/bold]

  ehrtraj explain trajectories/v1 10000032

  ehrtraj explain trajectories/v1 10000032 --time '2180-07-23 14:00'

  ehrtraj explain trajectories/v1 10000032 --code 'LAB//50912' --time 2180-07-23

The rows are looked up in the release from which the dataset was built. If you moved the release, give its folder with
--release. Searching a file of many gigabytes takes minutes.

[bold]Exit codes[/bold]: 0 done; 2 invalid option; 7 the dataset cannot be read, or has no such patient or event.
"""


def explain(
    dataset: DATASET,
    subject: Annotated[int, typer.Argument(help="subject_id of the patient.", show_default=False)],
    time: Annotated[
        datetime | None, typer.Option(formats=TIMES, help="Only events in this minute, or on this day.")
    ] = None,
    code: Annotated[str | None, typer.Option(help="Only events with this code, or matching a pattern with *.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of events to explain.")] = 10,
    release: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Folder of the release. (default its location when the dataset was built)"),
    ] = None,
) -> None:
    """Explain a patient's events."""
    import ehrtraj
    from ehrtraj.cli.show.bars import waiting
    from ehrtraj.cli.show.explain import show_explanation
    from ehrtraj.dataset.explain import explain as look_up
    from ehrtraj.dataset.explain import explained_events, release_of
    from ehrtraj.readable import size

    opened, screen = ehrtraj.open(dataset), out()
    with graceful_stop(), waiting(screen, "looking up the rows") as update:
        explanations = look_up(
            opened,
            subject,
            time=time,
            code=code,
            limit=limit,
            release=release,
            looking=lambda path: update(f"looking up the rows in {path.name} ({size(path.stat().st_size)})"),
        )
    for explanation in explanations:
        show_explanation(screen, explanation)
    if not any(explanation.rows for explanation in explanations):
        folder = release_of(opened) if release is None else release
        screen.print(
            f"No source row was found. Is the release still in {folder}? If not, give its folder with --release."
        )
    total = explained_events(opened, subject, time=time, code=code).height
    note_rest(total - len(explanations), "events", total)


COMMAND = Command(explain, place=90, writes=False, help=_HELP)
