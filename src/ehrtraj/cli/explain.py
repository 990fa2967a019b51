"""`ehrtraj explain`: why an event is as it is."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehrtraj.cli.application import app, tidy_end
from ehrtraj.cli.dataset import DATASET, TIMES
from ehrtraj.cli.show.bars import waiting
from ehrtraj.cli.show.screen import Screen, line, out

if TYPE_CHECKING:
    from ehrtraj.dataset.explain import Explanation

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


@app.command(help=_HELP)
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
    from ehrtraj.dataset.explain import explain as look_up
    from ehrtraj.dataset.explain import release_of
    from ehrtraj.show import size

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
        _print(screen, one)
    if not any(one.rows for one in found):
        where = release_of(opened) if release is None else release
        screen.print(
            f"No row of the source was found: is the release still in {where}? --release says where.", soft_wrap=True
        )


def _print(screen: Screen, one: Explanation) -> None:
    event = one.event
    when = "always true" if event["time"] is None else f"{event['time']}"
    screen.print()
    screen.print(line((f"{when}  {event['code']}", "bold"), f"  {one.description or ''}"), soft_wrap=True)
    shown = {
        name: value for name, value in event.items() if value is not None and name not in ("time", "code", "flags")
    }
    _print_pairs(screen, "event", shown)
    for row in one.rows:
        _print_pairs(screen, "row of the source", {name: value for name, value in row.items() if value is not None})
    if len(one.rows) > 1:
        screen.print("  (several rows fit equally well)", style="dim")
    for mark in one.marks:
        screen.print(line("  ", (mark.flag, "yellow"), f": {mark.meaning}"), soft_wrap=True)
        screen.print(line((f"      source: {mark.source}", "dim")), soft_wrap=True)
    for table in one.rules:
        for rule in table.lines:
            said = ", ".join(f"{name} {value}" for name, value in rule.items() if value and name != "source")
            screen.print(line(f"  rule in {table.name}: {said}"), soft_wrap=True)
            screen.print(line((f"      source: {rule['source']}", "dim")), soft_wrap=True)


def _print_pairs(screen: Screen, what: str, pairs: dict[str, object]) -> None:
    said = ", ".join(f"{name} {value}" for name, value in pairs.items())
    screen.print(line("  ", (f"{what}: ", "cyan"), said), soft_wrap=True)
