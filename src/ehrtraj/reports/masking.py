"""How counts appear in a report, so that a report can be shared.

In a report to share, a count of patients, rows or events is 0, `<10`, or rounded down to tens. Every number, length and
order in the report follows from these shown counts, never from the exact ones. docs/decisions/report-masking.md has the
reasons.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

FEWEST = 10
"""The smallest count that is shown, and the fewest patients and events of a code that is named.

Free text in a rare code can identify a patient.
"""

_STEP = 10
_LIKELY_SMALL = 5
"""Size of a masked count in drawings: the middle of 1 to 9."""
_MOST_POSSIBLE = FEWEST - 1
_FEWEST_POSSIBLE = 7
"""A total is shown only if each masked part of it can still have this many values: part of two totals, it has five."""

# Counts in sentences: numbers that are not part of a version, a code, a name or a path.
_NUMBER = re.compile(r"(?<![\w./#,-])(?:\d{1,3}(?:,\d{3})+|\d+)(?![\w-]|[./,]\d)")
_LONGEST_COUNT = 5
"""Longer numbers without separators are identifiers: counts in messages have a separator after three digits."""
_PATH = re.compile(r"(?<![\w.~])(?:~|\.{1,2})?/[^\s,;:'\"]+")


@dataclass(frozen=True)
class Shown:
    """A count as it is shown.

    Attributes:
        text: text in the report.
        size: number for drawings, percentages and the order.
        masked: whether the text does not contain a number.
    """

    text: str
    size: int
    masked: bool = False

    def __str__(self) -> str:
        return self.text


NOT_SHOWN = Shown("not shown", 0, masked=True)
"""A total that would reveal a part of it."""


class Masking:
    """How the counts of one report are shown.

    Attributes:
        exact: whether counts are exact and all codes are named, for private use.
    """

    def __init__(self, *, exact: bool = False) -> None:
        self.exact = exact

    def count(self, number: int) -> Shown:
        """Return a count of patients, rows or events as it is shown."""
        number = int(number)
        if self.exact or number == 0:
            return Shown(f"{number:,}", number)
        if number < FEWEST:
            return Shown(f"<{FEWEST}", _LIKELY_SMALL, masked=True)
        rounded = number // _STEP * _STEP
        return Shown(f"{rounded:,}", rounded)

    def total(self, number: int, *partitions: Iterable[int]) -> Shown:
        """Return a count that is the sum of other shown counts, possibly in several ways.

        Args:
            number: the total.
            partitions: exact counts whose sum is the total, each shown with `count`.
        """
        if self.exact or all(keeps_parts(number, list(parts)) for parts in partitions):
            return self.count(number)
        return NOT_SHOWN

    def codes(self, number: int, events: Shown) -> Shown:
        """Return a number of codes of some events. Each code has an event, so it is masked if their number is masked.

        Args:
            number: number of codes.
            events: number of events as it is shown.
        """
        return replace(events, size=0) if events.masked else Shown(f"{number:,}", number)

    def text(self, text: str, secrets: Collection[str] = ()) -> str:
        """Return a message of the build with its counts masked, and without the folders of the user.

        Args:
            text: the message.
            secrets: texts to remove, such as subject IDs.
        """
        if self.exact:
            return text
        for secret in sorted(secrets, key=len, reverse=True):
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "...", text)
        return _NUMBER.sub(self._number, self.without_folders(text))

    def without_folders(self, text: str) -> str:
        """Return a text with only the last part of each path, since the folders can name the user."""
        return text if self.exact else _PATH.sub(lambda path: path[0].rstrip("/").rpartition("/")[2], text)

    def _number(self, found: re.Match[str]) -> str:
        digits = found[0].replace(",", "")
        if "," not in found[0] and len(digits) > _LONGEST_COUNT:
            return "..."
        return self.count(int(digits)).text


def keeps_parts(total: int, parts: Collection[int]) -> bool:
    """Return whether a shown total leaves each masked part open, although the other parts are known to the ten.

    Args:
        total: the exact total.
        parts: exact counts of which it is the sum.
    """
    small = sum(0 < part < FEWEST for part in parts)
    if not small:
        return True
    known = [part // _STEP * _STEP for part in parts if part >= FEWEST]
    lowest, highest = (1, _MOST_POSSIBLE) if total < FEWEST else (total // _STEP * _STEP, total // _STEP * _STEP + 9)
    # What the masked parts can be together, and then what one of them can be.
    fewest = max(small, lowest - sum(known) - (_STEP - 1) * len(known))
    most = min(small * _MOST_POSSIBLE, highest - sum(known))
    one_fewest = max(1, fewest - (small - 1) * _MOST_POSSIBLE)
    one_most = min(_MOST_POSSIBLE, most - (small - 1))
    return one_most - one_fewest + 1 >= _FEWEST_POSSIBLE
