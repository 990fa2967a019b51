"""Output of `ehrtraj info`, `codes` and `show`: a summary, a list of codes, a patient's timeline."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, cast

import polars as pl

from ehrtraj.cli.show.screen import Piece, Screen, line, out
from ehrtraj.dataset.narrative import Heading, Line, narrate
from ehrtraj.dataset.trajectory import Trajectory
from ehrtraj.readable import release_name, size

if TYPE_CHECKING:
    from rich.table import Table

# Each event type has a colour, so that labs, drugs and stays are easy to distinguish. The choice has no meaning.
_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")
_EVENT_TYPE_WIDTH, _DESCRIPTION_WIDTH = 19, 44


@contextmanager
def paged(*, enabled: bool) -> Iterator[Screen]:
    """Yield a screen that prints through the user's pager if stdout is a terminal, otherwise directly to stdout.

    The pager shows the first page while the rest is being printed. The user can close it at any time.
    """
    screen = out()
    command = shlex.split(os.environ.get("PAGER") or "less")
    program = shutil.which(command[0]) if command else None
    if not (enabled and screen.is_terminal) or program is None:
        yield screen
        return
    # The same flags that git uses: less keeps colours, and exits at once if everything fits on the screen.
    environment = {"LESS": "FRX", **os.environ}
    with subprocess.Popen([program, *command[1:]], stdin=subprocess.PIPE, text=True, env=environment) as pager:  # noqa: S603  # the user's pager
        try:
            yield Screen(file=cast("IO[str]", pager.stdin), force_terminal=True, width=screen.width)
        except BrokenPipeError:
            pass
        finally:
            with suppress(BrokenPipeError):
                pager.communicate()


def show_trajectory(
    screen: Screen, trajectory: Trajectory, *, days: bool = False, attributes: bool = False, most: int | None = None
) -> None:
    """Print a timeline with one line per event, grouped by admission.

    Args:
        screen: screen to print to.
        trajectory: a patient's complete trajectory or a part of it.
        days: show times as days since the admission.
        attributes: also show each event's attributes and flags.
        most: maximum number of lines; None prints all.
    """
    parts = narrate(trajectory, days=days, attributes=attributes)
    meanings = trajectory.source.meanings
    for part in parts if most is None else islice(parts, most):
        if isinstance(part, Heading):
            if part.text[:7] != "Patient":
                screen.print()
            screen.print(line((part.text, "bold")))
        else:
            screen.print_line(*_pieces(part, meanings))


def _pieces(event: Line, meanings: Mapping[str, str]) -> list[Piece]:
    """Return the line of an event, in pieces with their styles."""
    name, _, item = event.code.partition("//")
    colour = _COLOURS[sum(name.encode()) % len(_COLOURS)]
    description = _without_meaning(event.what, meanings.get(name))
    pieces: list[Piece] = [
        (f"  {event.when:<16}  ", "dim"),
        (f"{name:<{_EVENT_TYPE_WIDTH}}  ", colour),
        f"{description:<{_DESCRIPTION_WIDTH}}",
    ]
    if event.value:
        pieces += ["  ", (event.value, "bold")]
    for more, style in ((event.attributes, ""), (", ".join(event.flags), "italic yellow")):
        if more:
            pieces += ["  ", (f"({more})", style)]
    if item and item != description:
        pieces.append((f"  {item}", "dim"))
    return pieces


def _without_meaning(description: str, meaning: str | None) -> str:
    """Remove the meaning of the event type from a description: `Start of a drug's order: Senna` becomes `Senna`."""
    return description if meaning is None else description.removeprefix(f"{meaning}: ")


def show_summary(screen: Screen, summary: dict[str, Any]) -> None:
    """Print the result of `ehrtraj.dataset.summary.summarise`."""
    built, name = summary["built"], release_name(summary["source"], summary["release"])
    first, last = (f"{summary[name]:%Y}" for name in ("first_time", "last_time"))
    screen.print(line((summary["path"], "bold")), soft_wrap=True)
    screen.print(f"from {name} by ehrtraj {built['ehrtraj']} on {built['at'][:10]}, {size(summary['bytes'])}")
    screen.print(
        f"{summary['patients']:,} patients, {summary['events']:,} events of {summary['codes']:,} codes, "
        f"from {first} to {last} including births (dates are shifted by a different number of days for each patient)"
    )
    numbers = "in the standard unit of their item" if summary["standardised"] else "as written in the source"
    screen.print(f"column time: when the event {_CLOCKS[summary['clock']]}; numbers: {numbers}")
    screen.print()
    for title, rows in (
        ("split", summary["splits"]),
        ("table", summary["tables"]),
        ("event_type", summary["event_types"]),
    ):
        screen.print(_numbers(title, rows))
        screen.print()
    screen.print(line(("most frequent codes", "bold"), " (`ehrtraj codes` lists all)"))
    screen.print(_codes(summary["most_frequent"]))


_CLOCKS = {"event": "happened", "available": "became known"}


def _plain_table() -> Table:
    from rich.table import Table  # a patient's timeline does not need it

    return Table(box=None, pad_edge=False, header_style="bold")


def _numbers(title: str, rows: list[dict[str, Any]]) -> Table:
    """Return a table with a name and numbers in each row."""
    table = _plain_table()
    names = list(rows[0]) if rows else []
    for name in names:
        is_name = isinstance(rows[0][name], str)
        table.add_column(title if is_name else name.replace("_", " "), justify="left" if is_name else "right")
    for row in rows:
        table.add_row(*(v if isinstance(v, str) else f"{v:,}" for v in row.values()))
    return table


def show_codes(screen: Screen, codes: pl.DataFrame, most: int) -> None:
    """Print at most `most` codes."""
    screen.print(_codes(codes.head(most).to_dicts()))
    if codes.height > most:
        screen.print(f"... and {codes.height - most:,} more: --limit {codes.height} shows all", style="dim")


def _codes(rows: list[dict[str, Any]]) -> Table:
    """Return a table of codes with their descriptions, units and counts."""
    table = _plain_table()
    table.add_column("code", overflow="fold")
    table.add_column("description", overflow="fold", max_width=60)
    table.add_column("unit")
    for name in ("events", "patients"):
        table.add_column(name, justify="right")
    for row in rows:
        counts = (f"{row[name]:,}" for name in ("n_events", "n_subjects"))
        table.add_row(row["code"], row["description"] or "", row["unit"] or "", *counts)
    return table
