"""The header of a recipe: the comment lines before its first statement that declare something."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ehrtraj.errors import RecipeError

_EVENT_TYPE = re.compile(r"[A-Z0-9_]+")
_RANK = re.compile(r"[0-9]{1,4}")
_REASON = re.compile(r"[a-z0-9_]+")
_FORMS = {
    "keys": "COLUMNS | COLUMNS OF DUPLICATES",
    "event type": "NAME | RANK | MEANING | SOURCE",
    "left out": "COLUMN | WHY",
    "rejected": "reason | CONDITION",
    "separate": "text_value | WHY",
}
"""How each line is written."""


@dataclass(frozen=True)
class Header:
    """What the lines of a header declare.

    Attributes:
        keys: key columns of a table that no `tables.csv` has, and the columns in which its exact duplicates agree.
        event_types: lines as those of `event_types.csv`.
        left_out: columns that reach no event, with the reason.
        rejected: reasons and SQL conditions, in order.
        separate: why text_value may be in a file of its own; empty where it may not.
    """

    keys: tuple[tuple[str, ...], tuple[str, ...]] | None
    event_types: tuple[dict[str, str], ...]
    left_out: dict[str, str]
    rejected: tuple[tuple[str, str], ...]
    separate: str


def read_header(header: str, wrong: Callable[[int, str], RecipeError]) -> Header:
    """Read the header of a recipe.

    Args:
        header: the text before the first statement.
        wrong: makes the error for what is wrong at a position of the text.

    Raises:
        RecipeError: if a line that declares something is not written as it must be.
    """
    found = _pairs(header, wrong)
    if len(found["keys"]) > 1:
        raise wrong(header.index("-- keys:"), "there are two lines -- keys: write one")
    return Header(
        keys=next(((tuple(keys.split()), tuple(same.split())) for keys, same in found["keys"]), None),
        event_types=tuple(_event_type(name, rest) for name, rest in found["event type"]),
        left_out={column.strip(): why for what, why in found["left out"] for column in what.split(",")},
        rejected=tuple(found["rejected"]),
        separate=next((why for what, why in found["separate"] if what == "text_value"), ""),
    )


def _pairs(header: str, wrong: Callable[[int, str], RecipeError]) -> dict[str, list[tuple[str, str]]]:
    """The two parts of each line that declares something, by its first words."""
    found: dict[str, list[tuple[str, str]]] = {key: [] for key in _FORMS}
    at = 0
    for line in header.splitlines(keepends=True):
        for key, pairs in found.items():
            if line.startswith(f"-- {key}:"):
                what, _, why = (part.strip() for part in line.removeprefix(f"-- {key}:").partition("|"))
                if not what or not why or not _is_usable(key, what, why):
                    raise wrong(at, f"'{line.strip()[:80]}' is not understood: write -- {key}: {_FORMS[key]}")
                pairs.append((what, why))
        at += len(line)
    return found


def _is_usable(key: str, what: str, why: str) -> bool:
    if key == "rejected":
        return _REASON.fullmatch(what) is not None
    if key == "event type":
        rank, *texts = (part.strip() for part in why.split("|"))
        return bool(_EVENT_TYPE.fullmatch(what) and _RANK.fullmatch(rank) and len(texts) == 2 and all(texts))
    return True


def _event_type(name: str, rest: str) -> dict[str, str]:
    rank, meaning, source = (part.strip() for part in rest.split("|"))
    return {"event_type": name, "rank": rank, "meaning": meaning, "source": source}
