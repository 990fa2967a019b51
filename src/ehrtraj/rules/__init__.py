"""Rule tables: clinical knowledge as CSV, every line with its source."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

from ehrtraj.errors import RecipeError
from ehrtraj.files import names_in, read_csv_lines, read_source_file
from ehrtraj.format.event_types import EventType
from ehrtraj.user_files import File, UserFile

_EVENT_TYPE = re.compile(r"[A-Z0-9_]+")
_RANK = re.compile(r"[0-9]{1,4}")


Read = Callable[[str], list[dict[str, str]]]
"""Reads a rule table by its name, `Source.rules`: lines that hold everywhere, then the source's, then the user's."""

_GENERAL = Path(__file__).parent


def columns_of(name: str) -> list[str]:
    """Columns of a rule table, as `about.csv` lists them."""
    return next(line["columns"].split() for line in read_general("about") if line["table"] == name)


def read_general(name: str) -> list[dict[str, str]]:
    """The lines of one rule table that hold for every source, `name` without its ending; none where it has none."""
    return _read(_GENERAL / f"{name}.csv")


def _read(file: File) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(read_source_file(file)))) if file.is_file() else []


def read_rules(
    name: str, folder: File, own: UserFile | None = None, *, overlay_first: bool = False
) -> list[dict[str, str]]:
    """The lines of one rule table, `name` without its ending.

    Args:
        name: of the table.
        folder: with the rule tables of a source, whose lines come behind those that hold everywhere.
        own: folder in which a file of the same name may have a user's own lines: they come last, so that they win
            where a later line replaces an earlier one.
        overlay_first: put the more special lines first instead: they win where the first line that fits counts.

    Raises:
        RecipeError: if the user's file cannot be read, or a line is not one of such a table.
    """
    mine = [] if own is None else [line for _, line in overlay_lines(name, own)]
    parts = [read_general(name), _read(folder / f"{name}.csv"), mine]
    return [line for part in (reversed(parts) if overlay_first else parts) for line in part]


def overlay_lines(name: str, folder: UserFile) -> list[tuple[int, dict[str, str]]]:
    """Return the lines of a user's rule table, each with its number in the file; none where there is no such file.

    Args:
        name: of the table.
        folder: that may hold it.

    Raises:
        RecipeError: if the file cannot be read, or a line is not one of such a table.
    """
    if f"{name}.csv" not in names_in(folder, RecipeError):
        return []
    path = folder / f"{name}.csv"
    lines = read_csv_lines(path, columns_of(name), RecipeError)
    for number, line in lines:
        if not line["source"].strip():
            raise RecipeError(f"{path}, line {number}: no source. Say where the rule comes from")
    return lines


def event_types_of(lines: Iterable[Mapping[str, str]]) -> dict[str, EventType]:
    """All event types by name, in the order of their rank.

    Args:
        lines: as those of `event_types.csv`, later ones in the place of earlier ones of the same name.
    """
    by_name = {r["event_type"]: EventType(r["event_type"], int(r["rank"]), r["meaning"]) for r in lines}
    return dict(sorted(by_name.items(), key=lambda pair: pair[1].rank))


def read_overlay_event_types(folder: UserFile) -> list[dict[str, str]]:
    """The lines of a user's `event_types.csv`, which is among the recipes that need it.

    Args:
        folder: with a user's own recipes.

    Raises:
        RecipeError: if a line cannot be used.
    """
    lines = overlay_lines("event_types", folder)
    for number, line in lines:
        where = f"{folder / 'event_types.csv'}, line {number}"
        if not _EVENT_TYPE.fullmatch(line["event_type"]):
            raise RecipeError(f"{where}: '{line['event_type']}' cannot be an event type: use A-Z, 0-9 and _")
        if not _RANK.fullmatch(line["rank"]):
            raise RecipeError(
                f"{where}: the rank of {line['event_type']} is '{line['rank']}', which is no number from 0 to 9999"
            )
    return [line for _, line in lines]


@cache
def flags() -> dict[str, int]:
    """Value (a power of two) of each flag."""
    return {r["flag"]: 1 << int(r["bit"]) for r in read_general("flags")}
