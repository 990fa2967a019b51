"""Rule tables: clinical knowledge as CSV, every line with its source."""

from __future__ import annotations

import csv
import hashlib
import re
from functools import cache
from importlib.resources import files
from pathlib import Path

from ehrtraj.errors import RecipeError
from ehrtraj.files import names_in, read_csv_lines, read_text_file
from ehrtraj.format.event_types import EventType

_EVENT_TYPE = re.compile(r"[A-Z0-9_]+")
_RANK = re.compile(r"[0-9]{1,4}")


def read_rules(name: str, extra: Path | None = None, *, own_first: bool = False) -> list[dict[str, str]]:
    """The lines of one rule table, `name` without its ending.

    Args:
        name: of the table.
        extra: folder in which a file of the same name may have a user's own lines: they come last, so that they win
            where a later line replaces an earlier one.
        own_first: put them first instead: they win where the first line that fits counts.
    """
    with (files("ehrtraj.rules") / f"{name}.csv").open(encoding="utf-8") as handle:
        lines = list(csv.DictReader(handle))
    if extra is None:
        return lines
    added = [line for _, line in own_lines(name, extra, list(lines[0]))]
    return added + lines if own_first else lines + added


def own_lines(name: str, folder: Path, columns: list[str] | None = None) -> list[tuple[int, dict[str, str]]]:
    """Return the lines of a user's rule table, each with its number in the file; none where there is no such file.

    Args:
        name: of the table.
        folder: that may hold it.
        columns: of the table; those of ours where they are not given.

    Raises:
        RecipeError: if the file cannot be read, or a line is not one of such a table.
    """
    if f"{name}.csv" not in names_in(folder, RecipeError):
        return []
    path = folder / f"{name}.csv"
    lines = read_csv_lines(path, columns or list(read_rules(name)[0]), RecipeError)
    for number, line in lines:
        if not line["source"].strip():
            raise RecipeError(f"{path}, line {number}: no source. Say where the rule comes from")
    return lines


@cache
def event_types(extra: Path | None = None) -> dict[str, EventType]:
    """All event types by name, in the order of their rank.

    Args:
        extra: folder with a user's own `event_types.csv`, whose lines come in the place of ours.

    Raises:
        RecipeError: if a user's line cannot be used.
    """
    lines = read_rules("event_types", extra)
    if extra is not None:
        _check_event_types(extra)
    by_name = {r["event_type"]: EventType(r["event_type"], int(r["rank"]), r["meaning"]) for r in lines}
    return dict(sorted(by_name.items(), key=lambda pair: pair[1].rank))


def _check_event_types(extra: Path) -> None:
    for number, line in own_lines("event_types", extra):
        where = f"{extra / 'event_types.csv'}, line {number}"
        if not _EVENT_TYPE.fullmatch(line["event_type"]):
            raise RecipeError(f"{where}: '{line['event_type']}' cannot be an event type: use A-Z, 0-9 and _")
        if not _RANK.fullmatch(line["rank"]):
            raise RecipeError(
                f"{where}: the rank of {line['event_type']} is '{line['rank']}', which is no number from 0 to 9999"
            )


@cache
def planned_event_types() -> frozenset[str]:
    """Event types whose times say what was planned, not what happened."""
    return frozenset(line["event_type"] for line in read_rules("planned_event_types"))


@cache
def flags() -> dict[str, int]:
    """Value (a power of two) of each flag."""
    return {r["flag"]: 1 << int(r["bit"]) for r in read_rules("flags")}


def digest(extra: Path | None = None) -> str:
    """SHA-256 over all rule tables, a user's own in the folder `extra` included."""
    total = hashlib.sha256()
    if extra is not None:
        for name in names_in(extra, RecipeError):
            if name.endswith(".csv"):
                text = read_text_file(extra / name, "the table", RecipeError)
                total.update(name.encode() + b"\0" + text.encode() + b"\0")
    for file in sorted(files("ehrtraj.rules").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".csv"):
            total.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()
