"""What is in a dataset, on the screen: a summary, a list of codes, a patient's timeline."""

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
from rich.table import Table
from rich.text import Text

from ehrtraj.cli.show.readable import release_name, size
from ehrtraj.cli.show.screen import Screen, line, out
from ehrtraj.dataset.narrative import Heading, Line, narrate
from ehrtraj.dataset.trajectory import Trajectory

# Colours go by event type, so that labs, drugs and stays can be told apart; which has which means nothing.
_COLOURS = ("cyan", "green", "magenta", "yellow", "blue", "bright_cyan", "bright_green", "bright_magenta")
_DOMAIN_WIDTH, _WHAT_WIDTH = 19, 44


@contextmanager
def paged(*, wanted: bool) -> Iterator[Screen]:
    """Give a console that prints through the user's pager where there is a terminal, else straight to stdout.

    The pager shows the first page while the rest is being printed, and may be left at any time.
    """
    screen = out()
    command = shlex.split(os.environ.get("PAGER") or "less")
    program = shutil.which(command[0]) if command else None
    if not (wanted and screen.is_terminal) or program is None:
        yield screen
        return
    # As git does: less keeps colours, and ends at once where everything fits.
    environment = {"LESS": "FRX", **os.environ}
    with subprocess.Popen([program, *command[1:]], stdin=subprocess.PIPE, text=True, env=environment) as pager:  # noqa: S603  # the user's own pager
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
    """Print a timeline: a line for each event, by admission.

    Args:
        screen: where to.
        trajectory: whole or cut.
        days: times as days from the admission.
        attributes: with what qualifies each event, and its flags.
        most: stop after so many lines.
    """
    parts = narrate(trajectory, days=days)
    for part in parts if most is None else islice(parts, most):
        if isinstance(part, Heading):
            if part.text[:7] != "Patient":
                screen.print()
            screen.print(line((part.text, "bold")))
        else:
            screen.print(_styled(part, trajectory.source.meanings, attributes=attributes), soft_wrap=True)


def _styled(event: Line, meanings: Mapping[str, str], *, attributes: bool) -> Text:
    name, _, item = event.code.partition("//")
    colour = _COLOURS[sum(name.encode()) % len(_COLOURS)]
    what = _without_meaning(event.what, meanings.get(name))
    text = line((f"  {event.when:<16}  ", "dim"), (f"{name:<{_DOMAIN_WIDTH}}  ", colour), f"{what:<{_WHAT_WIDTH}}")
    if event.value:
        text.append_text(line("  ", (event.value, "bold")))
    if attributes:
        for more, style in ((event.attributes, ""), (", ".join(event.flags), "italic yellow")):
            if more:
                text.append_text(line("  ", (f"({more})", style)))
    if item and item != what:
        text.append_text(line((f"  {item}", "dim")))
    text.rstrip()
    return text


def _without_meaning(what: str, meaning: str | None) -> str:
    """What an event is, without what its event type says already: `Senna`, not `Start of a drug's order: Senna`."""
    return what if meaning is None else what.removeprefix(f"{meaning}: ")


def show_summary(screen: Screen, summary: dict[str, Any]) -> None:
    """Print what `ehrtraj.dataset.summary.summarise` found."""
    built, name = summary["built"], release_name(summary["source"], summary["release"])
    first, last = (f"{summary[name]:%Y}" for name in ("first_time", "last_time"))
    screen.print(line((summary["path"], "bold")), soft_wrap=True)
    screen.print(f"from {name} by ehrtraj {built['ehrtraj']} on {built['at'][:10]}, {size(summary['bytes'])}")
    screen.print(
        f"{summary['patients']:,} patients, {summary['events']:,} events of {summary['codes']:,} codes, "
        f"from {first} to {last}, births included: dates are shifted, each patient's by an own number of days"
    )
    numbers = "in their item's own unit" if summary["standardised"] else "as the source has them"
    screen.print(f"column time: when it {_CLOCKS[summary['clock']]}; numbers: {numbers}")
    screen.print()
    for title, rows in (
        ("split", summary["splits"]),
        ("table", summary["tables"]),
        ("event_type", summary["event_types"]),
    ):
        screen.print(_numbers(title, rows))
        screen.print()
    screen.print(line(("most frequent codes", "bold"), " (ehrtraj codes lists all)"))
    screen.print(_codes(summary["most_frequent"]))


_CLOCKS = {"event": "happened", "available": "was known"}


def _numbers(title: str, rows: list[dict[str, Any]]) -> Table:
    """A table with a name and some numbers in each row."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = list(rows[0]) if rows else []
    for name in names:
        is_name = isinstance(rows[0][name], str)
        table.add_column(title if is_name else name.replace("_", " "), justify="left" if is_name else "right")
    for row in rows:
        table.add_row(*(v if isinstance(v, str) else f"{v:,}" for v in row.values()))
    return table


def show_codes(screen: Screen, codes: pl.DataFrame, most: int) -> None:
    """Print codes, `most` of them."""
    screen.print(_codes(codes.head(most).to_dicts()))
    if codes.height > most:
        screen.print(f"... and {codes.height - most:,} more: --limit {codes.height} shows all", style="dim")


def _codes(rows: list[dict[str, Any]]) -> Table:
    """A table of codes with what they mean and how often they occur."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("code", overflow="fold")
    table.add_column("description", overflow="fold", max_width=60)
    table.add_column("unit")
    for name in ("events", "patients"):
        table.add_column(name, justify="right")
    for row in rows:
        counts = (f"{row[name]:,}" for name in ("n_events", "n_subjects"))
        table.add_row(row["code"], row["description"] or "", row["unit"] or "", *counts)
    return table
