"""The rule table of codes that carry a flag by themselves, whatever the row says."""

from __future__ import annotations

from ehrtraj import rules
from ehrtraj.rules import Read

_REST = "*"


class ItemFlags:
    """`item_flags.csv`: by the item, by its first part (`Not Given//*`), or for all others of an event type (`*`).

    Attributes:
        event_types: that the table speaks of.
    """

    def __init__(self, read: Read) -> None:
        """Read the table.

        Args:
            read: reads a rule table of the source.
        """
        known = rules.flags()
        self._flags: dict[tuple[str, str], int] = {}
        for line in read("item_flags"):
            for event_type in line["event_types"].split():
                self._flags[event_type, line["item"]] = known[line["flag"]] if line["flag"] else 0
        self.event_types = frozenset(event_type for event_type, _ in self._flags)

    def of(self, event_type: str, item: str | None) -> int:
        """Return the bits that all events of an item have."""
        if item is None:
            return 0
        for key in (item, f"{item.split('//')[0]}//{_REST}", _REST):
            if (bits := self._flags.get((event_type, key))) is not None:
                return bits
        return 0
