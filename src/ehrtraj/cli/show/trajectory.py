"""Output of `ehrtraj info`, `codes` and `show`: a summary, a list of codes, a patient's timeline."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from typing import IO, Any, cast

import polars as pl

from ehrtraj.cli.show.screen import Piece, Screen, fold, line, out
from ehrtraj.cli.show.table import Table, name_column, number_column, prose_column
from ehrtraj.dataset.narrative import Heading, Line, narrate
from ehrtraj.dataset.trajectory import Trajectory
from ehrtraj.readable import release_name, size

# Each event type has a colour, so that labs, drugs and stays are easy to distinguish. The choice has no meaning.
_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")
_TIME_WIDTH, _EVENT_TYPE_WIDTH, _DESCRIPTION_WIDTH, _VALUE_WIDTH = 16, 19, 44, 15
_PREFIX_WIDTH = _TIME_WIDTH + _EVENT_TYPE_WIDTH + 6
"""Columns to the left of the description: the time, the event type, and two spaces before, between and after them."""
_LEAST_WIDTH = 16
"""Columns for the description and what follows it, however narrow the terminal is."""


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
            yield Screen(file=cast("IO[str]", pager.stdin), force_terminal=True, width=screen.width, folds=True)
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
        elif screen.folds:
            _print_folded(screen, part, meanings)
        else:
            screen.print_line(*_pieces(part, meanings, _DESCRIPTION_WIDTH))


def _print_folded(screen: Screen, event: Line, meanings: Mapping[str, str]) -> None:
    """Print the line of an event. If it is too long, it folds between words, and continues below the description."""
    width = screen.width - _PREFIX_WIDTH
    when, event_type, *rest = _pieces(event, meanings, min(_DESCRIPTION_WIDTH, max(width - _VALUE_WIDTH, 0)))
    printed = line(when, event_type)
    for part in fold(line(*rest), max(width, _LEAST_WIDTH)):
        # A word that does not fit there begins further to the left.
        begin = max(min(_PREFIX_WIDTH, screen.width - part.cell_len), 0)
        if begin < printed.cell_len:
            screen.print_exact(printed)
            printed = line(" " * begin)
        screen.print_exact(printed.append(part))
        printed = line(" " * _PREFIX_WIDTH)


def _pieces(event: Line, meanings: Mapping[str, str], description_width: int) -> list[Piece]:
    """Return the line of an event, in pieces with their styles: the time, the event type, the description, and more."""
    name, _, item = event.code.partition("//")
    colour = _COLOURS[sum(name.encode()) % len(_COLOURS)]
    description = _without_meaning(event.what, meanings.get(name))
    pieces: list[Piece] = [
        (f"  {event.when:<{_TIME_WIDTH}}  ", "dim"),
        (f"{name:<{_EVENT_TYPE_WIDTH}}  ", colour),
        f"{description:<{description_width}}",
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
    screen.print(line((summary["path"], "bold")))
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


def _numbers(title: str, rows: list[dict[str, Any]]) -> Table:
    """Return a table with a name and numbers in each row."""
    columns = rows[0].items() if rows else ()
    table = Table(
        *(
            name_column(title) if isinstance(value, str) else number_column(column.replace("_", " "))
            for column, value in columns
        )
    )
    for row in rows:
        table.add(*(v if isinstance(v, str) else f"{v:,}" for v in row.values()))
    return table


def show_codes(screen: Screen, codes: pl.DataFrame) -> None:
    """Print codes with their descriptions, units and counts."""
    screen.print(_codes(codes.to_dicts()))


def _codes(rows: list[dict[str, Any]]) -> Table:
    """Return a table of codes with their descriptions, units and counts."""
    table = Table(
        name_column("code"),
        prose_column("description"),
        prose_column("unit"),
        number_column("events"),
        number_column("patients"),
    )
    for row in rows:
        counts = (f"{row[column]:,}" for column in ("n_events", "n_subjects"))
        table.add(row["code"], row["description"] or "", row["unit"] or "", *counts)
    return table
