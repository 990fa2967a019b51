"""The event types of a dataset, as listed in `metadata/event_types.json`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

CONCEPT = "CONCEPT"
"""Event type of the values of clinical concepts."""


@dataclass(frozen=True)
class EventType:
    """A type of event. Its name is the first part of an event's code.

    Attributes:
        name: first part of the code.
        rank: position among events of the same time.
        meaning: explanation in plain words.
    """

    name: str
    rank: int
    meaning: str


def event_type_of(code: str) -> str:
    """Return the name of a code's event type."""
    return code.partition("//")[0]


def to_json(event_types: Iterable[EventType]) -> dict[str, dict[str, Any]]:
    """Return the content of the file: rank and meaning by name."""
    return {e.name: {"rank": e.rank, "meaning": e.meaning} for e in event_types}


def from_json(content: Mapping[str, Any]) -> dict[str, EventType]:
    """Return the event types in the content of the file. The inverse of `to_json`.

    Raises:
        ValueError: if an entry does not have a rank and a meaning.
    """
    event_types = {}
    for name, entry in content.items():
        match entry:
            case {"rank": int(rank), "meaning": str(meaning)}:
                event_types[name] = EventType(name, rank, meaning)
            case _:
                raise ValueError(f"'{name}' has no rank and meaning")
    return event_types
