"""Rule tables: clinical knowledge as CSV. Every line names its source."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

from ehrtraj.errors import RecipeError
from ehrtraj.files import header_of, names_in, read_csv_lines, read_source_file
from ehrtraj.format.event_types import EventType
from ehrtraj.user_files import File, UserFile

SPELLED = "The unit is spelled differently than in the source: raw_unit has the source's unit"
"""Meaning of the only rule that sets no flag."""

_EVENT_TYPE = re.compile(r"[A-Z0-9_]+")
_RANK = re.compile(r"[0-9]{1,4}")


Read = Callable[[str], list[dict[str, str]]]
"""A function that reads a rule table by name, such as `Source.rules`: general lines, then source, then overlay."""

_GENERAL = Path(__file__).parent
_OPTIONAL = {"limits": ("loinc",), "conversions": ("loinc",), "meant_units": ("from_unit", "weight")}
"""Columns that a user's table may lack, by table."""


def columns_of(name: str) -> list[str]:
    """Return the columns of a rule table, from `about.csv`."""
    return next(line["columns"].split() for line in read_general("about") if line["table"] == name)


def read_general(name: str) -> list[dict[str, str]]:
    """Return the lines of a rule table that apply to every source; empty if there are none."""
    return _read(_GENERAL / f"{name}.csv")


def _read(file: File) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(read_source_file(file)))) if file.is_file() else []


def read_rules(
    name: str, folder: File, overlay: UserFile | None = None, *, overlay_first: bool = False
) -> list[dict[str, str]]:
    """Return the lines of one rule table.

    Args:
        name: of the table, without file ending.
        folder: with the rule tables of a source, whose lines follow the general ones.
        overlay: a user's folder with rule tables, whose lines come last. They take precedence in tables where a later
            line replaces an earlier one.
        overlay_first: return the more specific lines first, for tables where the first matching line is used.

    Raises:
        RecipeError: if the user's file cannot be read, or a line is not valid in this table.
    """
    added = [] if overlay is None else [line for _, line in overlay_lines(name, overlay)]
    parts = [read_general(name), _read(folder / f"{name}.csv"), added]
    return [line for part in (reversed(parts) if overlay_first else parts) for line in part]


def overlay_lines(name: str, folder: UserFile) -> list[tuple[int, dict[str, str]]]:
    """Return the lines of a user's rule table with their line numbers; empty if the file does not exist.

    Args:
        name: of the table.
        folder: folder that may contain the table.

    Raises:
        RecipeError: if the file cannot be read, or a line is not valid in this table.
    """
    if f"{name}.csv" not in names_in(folder, RecipeError):
        return []
    path = folder / f"{name}.csv"
    lines = read_csv_lines(path, columns_of(name), RecipeError, _OPTIONAL.get(name, ()))
    for number, line in lines:
        if not line["source"].strip():
            raise RecipeError(f"{path}, line {number}: source is empty: write where the rule comes from")
    return lines


def with_overlay_lists(lists: Mapping[str, list[dict[str, str]]], folder: UserFile) -> dict[str, list[dict[str, str]]]:
    """Return lists of concepts with the lines of a user's lists before the others.

    A line of `items.csv` replaces those with the same event type and item. A list that the source does not have is
    added.

    Args:
        lists: the lists of the source, by name of their table: `concept_items`.
        folder: folder of the user with lists such as `items.csv`.

    Raises:
        RecipeError: if a file cannot be read, has other columns, or a line has no source.
    """
    found = dict(lists)
    for file in (file for file in folder.iterdir() if file.suffix == ".csv"):
        name = f"concept_{file.stem}"
        existing = found.get(name, [])
        columns = list(existing[0]) if existing else header_of(file, RecipeError)
        if "source" not in columns:
            raise RecipeError(f"{file}: it has no column source, which shows where each line comes from")
        added = _cited_lines(file, columns)
        replaced = {_item(line) for line in added} - {None}
        found[name] = added + [line for line in existing if _item(line) not in replaced]
    return found


def _cited_lines(file: File, columns: list[str]) -> list[dict[str, str]]:
    """Return the lines of a user's table, each of which must have a source."""
    lines = read_csv_lines(file, columns, RecipeError)
    for number, line in lines:
        if not line["source"].strip():
            raise RecipeError(f"{file}, line {number}: source is empty: write where the line comes from")
    return [line for _, line in lines]


def _item(line: Mapping[str, str]) -> tuple[str, str] | None:
    return (line["event_type"], line["item"]) if "event_type" in line and "item" in line else None


def event_types_of(lines: Iterable[Mapping[str, str]]) -> dict[str, EventType]:
    """Return all event types by name, in the order of their rank.

    Args:
        lines: lines of `event_types.csv`; later ones replace earlier ones of the same name.
    """
    by_name = {r["event_type"]: EventType(r["event_type"], int(r["rank"]), r["meaning"]) for r in lines}
    return dict(sorted(by_name.items(), key=lambda pair: pair[1].rank))


def read_overlay_event_types(folder: UserFile) -> list[dict[str, str]]:
    """Return the lines of a user's `event_types.csv`, which is in the folder of recipes.

    Args:
        folder: with the recipes of a user's overlay.

    Raises:
        RecipeError: if a line cannot be used.
    """
    lines = overlay_lines("event_types", folder)
    for number, line in lines:
        where = f"{folder / 'event_types.csv'}, line {number}"
        if not _EVENT_TYPE.fullmatch(line["event_type"]):
            raise RecipeError(f"{where}: '{line['event_type']}' is not a valid event type: use A-Z, 0-9 and _")
        if not _RANK.fullmatch(line["rank"]):
            raise RecipeError(
                f"{where}: the rank of {line['event_type']} is '{line['rank']}', but must be an integer from 0 to 9999"
            )
    return [line for _, line in lines]


@cache
def flags() -> dict[str, int]:
    """Return the value (a power of two) of each flag."""
    return {r["flag"]: 1 << int(r["bit"]) for r in read_general("flags")}
