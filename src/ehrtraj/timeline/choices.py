"""How the events of a source are shown: as bars, marks, notes or series, under which heading, and which at first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from ehrtraj.errors import SettingsError
from ehrtraj.format.event_types import CONCEPT
from ehrtraj.sources.source import source_of

ShownAs = Literal["bar", "mark", "note", "series", "range"]


@dataclass(frozen=True)
class Choice:
    """A line of a source's `timeline.csv`.

    Attributes:
        shown_as: how the events are shown; for `range`, `name` is an attribute that contains a reference range.
        name: event type; for bars, it may also be a kind of interval.
        items: name of a concept in `concepts/items.csv`, to whose items the line applies; for values of concepts, the
            text after the event type. Empty if the line applies to all. For bars, the beginning of the item that labels
            omit. For `range`, `low` or `high`.
        without_flag: events with this flag are not shown; empty if there is none.
        group: heading.
        at_first: whether it is visible at first.
    """

    shown_as: str
    name: str
    items: str
    without_flag: str
    group: str
    at_first: bool


@dataclass(frozen=True)
class Choices:
    """All choices of a source, in the order in which they are shown.

    Attributes:
        lines: the lines of `timeline.csv`.
        concepts: names of the concepts to which each item belongs, by event type and item.
    """

    lines: tuple[Choice, ...] = ()
    concepts: Mapping[tuple[str, str], frozenset[str]] | None = None

    def of(self, shown_as: ShownAs) -> list[Choice]:
        """Return the lines for one way to show events, in order."""
        return [line for line in self.lines if line.shown_as == shown_as]

    @cached_property
    def ranges(self) -> dict[str, str]:
        """Attribute with the `low` and the `high` end of the reference range."""
        return {line.items: line.name for line in self.of("range")}

    def place_of(self, code: str) -> int | None:
        """Return the number of the first line about series that applies to a code, or None."""
        event_type, _, rest = code.partition("//")
        item = rest.partition("//")[0]
        of_item = (self.concepts or {}).get((event_type, item), frozenset())
        named = {"", rest} if event_type == CONCEPT else {"", *of_item}
        for place, line in enumerate(self.of("series")):
            if line.name == event_type and line.items in named:
                return place
        return None


def choices(lines: Sequence[Mapping[str, str]], concept_items: Sequence[Mapping[str, str]]) -> Choices:
    """Return the choices in the lines of `timeline.csv` and of `concepts/items.csv`."""
    concepts: dict[tuple[str, str], set[str]] = {}
    for line in concept_items:
        concepts.setdefault((line["event_type"], line["item"]), set()).add(line["concept"])
    read = (
        Choice(
            shown_as=line["shown_as"],
            name=line["name"],
            items=line["items"],
            without_flag=line["without_flag"],
            group=line["group"],
            at_first=line["at_first"] == "yes",
        )
        for line in lines
    )
    return Choices(tuple(read), {key: frozenset(names) for key, names in concepts.items()})


def choices_of(manifest: Mapping[str, Any]) -> Choices:
    """Return the choices of the source of a dataset; none, if its custom source no longer exists.

    Args:
        manifest: the dataset's manifest.
    """
    try:
        source = source_of(manifest)
        return choices(source.timeline, source.concept_lists.get("concept_items", []))
    except SettingsError:
        return Choices()
