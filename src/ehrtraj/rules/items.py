"""The rule table of codes that always have a flag, whatever the row contains."""

from __future__ import annotations

from ehrtraj import rules
from ehrtraj.rules import Read

_REST = "*"


class ItemFlags:
    """`item_flags.csv`: flags by item, by the item's first part (`Not Given//*`), or for all other items (`*`).

    Attributes:
        event_types: the event types in the table.
    """

    def __init__(self, read: Read) -> None:
        """Read the table.

        Args:
            read: function that reads a rule table of the source.
        """
        known = rules.flags()
        self._flags: dict[tuple[str, str], int] = {}
        for line in read("item_flags"):
            for event_type in line["event_types"].split():
                self._flags[event_type, line["item"]] = known[line["flag"]] if line["flag"] else 0
        self.event_types = frozenset(event_type for event_type, _ in self._flags)

    def of(self, event_type: str, item: str | None) -> int:
        """Return the flag bits that all events of an item have."""
        if item is None:
            return 0
        for key in (item, f"{item.split('//')[0]}//{_REST}", _REST):
            if (bits := self._flags.get((event_type, key))) is not None:
                return bits
        return 0
