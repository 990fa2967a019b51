"""The header of a recipe: the comment lines before its first statement that contain declarations."""

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
"""The form of each declaration."""


@dataclass(frozen=True)
class Header:
    """The declarations of a header.

    Attributes:
        keys: key columns and duplicate columns of a table that is not in `tables.csv`.
        event_types: lines like those of `event_types.csv`.
        left_out: columns that reach no event, with the reason.
        rejected: reasons and SQL conditions, in order.
        separate: why text_value may be stored in a separate file; empty if it may not.
    """

    keys: tuple[tuple[str, ...], tuple[str, ...]] | None
    event_types: tuple[dict[str, str], ...]
    left_out: dict[str, str]
    rejected: tuple[tuple[str, str], ...]
    separate: str


def read_header(header: str, error: Callable[[int, str], RecipeError]) -> Header:
    """Read the header of a recipe.

    Args:
        header: text before the first statement.
        error: function that returns an error for a position in the text and a problem.

    Raises:
        RecipeError: if a declaration does not have the required form.
    """
    found = _pairs(header, error)
    if len(found["keys"]) > 1:
        raise error(header.index("-- keys:"), "the header contains more than one line '-- keys:': write only one")
    return Header(
        keys=next(((tuple(keys.split()), tuple(same.split())) for keys, same in found["keys"]), None),
        event_types=tuple(_event_type(name, rest) for name, rest in found["event type"]),
        left_out={column.strip(): why for what, why in found["left out"] for column in what.split(",")},
        rejected=tuple(found["rejected"]),
        separate=next((why for what, why in found["separate"] if what == "text_value"), ""),
    )


def _pairs(header: str, error: Callable[[int, str], RecipeError]) -> dict[str, list[tuple[str, str]]]:
    """Return the two parts of each declaration, by the declaration's keyword."""
    found: dict[str, list[tuple[str, str]]] = {key: [] for key in _FORMS}
    at = 0
    for line in header.splitlines(keepends=True):
        for key, pairs in found.items():
            if line.startswith(f"-- {key}:"):
                what, _, why = (part.strip() for part in line.removeprefix(f"-- {key}:").partition("|"))
                if not what or not why or not _is_usable(key, what, why):
                    raise error(at, f"'{line.strip()[:80]}' is not a valid declaration: write -- {key}: {_FORMS[key]}")
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
