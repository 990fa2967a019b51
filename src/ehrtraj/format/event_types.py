"""The kinds of events of a dataset, as `metadata/event_types.json` lists them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EventType:
    """A kind of event: the first part of its code.

    Attributes:
        name: as in the code.
        rank: its place among events of the same time.
        meaning: in plain words.
    """

    name: str
    rank: int
    meaning: str


def to_json(event_types: Iterable[EventType]) -> dict[str, dict[str, Any]]:
    """Content of the file: rank and meaning by name."""
    return {e.name: {"rank": e.rank, "meaning": e.meaning} for e in event_types}


def from_json(content: Mapping[str, Any]) -> dict[str, EventType]:
    """The inverse of `to_json`.

    Raises:
        ValueError: if an entry is not one that `to_json` makes.
    """
    found = {}
    for name, entry in content.items():
        match entry:
            case {"rank": int(rank), "meaning": str(meaning)}:
                found[name] = EventType(name, rank, meaning)
            case _:
                raise ValueError(f"'{name}' has no rank and meaning")
    return found
