"""What a check found wrong: how often, and the first places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ehrtraj.checks.invariants import PROMISES

EXAMPLES = 5


@dataclass(frozen=True)
class Place:
    """One thing that is wrong.

    Attributes:
        words: what is wrong.
        file: where, relative to the dataset.
        row: position in the file, counted from 0.
        subject_id: whose.
    """

    words: str
    file: str | None = None
    row: int | None = None
    subject_id: int | None = None

    def __str__(self) -> str:
        parts = [self.file] if self.file is not None else []
        if self.row is not None:
            parts.append(f"row {self.row:,}")
        if self.subject_id is not None:
            parts.append(f"patient {self.subject_id}")
        return f"{', '.join(parts)}: {self.words}" if parts else self.words


@dataclass
class Findings:
    """Broken promises.

    Attributes:
        counts: how often each was broken.
        places: the first few places of each.
        skipped: promises that could not be looked at, and why.
    """

    counts: dict[str, int] = field(default_factory=dict)
    places: dict[str, list[Place]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, promise: str, places: Iterable[Place], count: int) -> None:
        """Add breaks of a promise; of the places only as many are asked for as are kept."""
        if promise not in PROMISES:
            raise KeyError(promise)
        if not count:
            return
        self.counts[promise] = self.counts.get(promise, 0) + count
        kept = self.places.setdefault(promise, [])
        for place in places:
            if len(kept) >= EXAMPLES:
                break
            kept.append(place)

    def one(self, promise: str, words: str, file: str | None = None, subject_id: int | None = None) -> None:
        """Add one break of a promise."""
        self.add(promise, [Place(words, file, None, subject_id)], 1)

    def skip(self, why: str, *promises: str) -> None:
        """Say that promises could not be looked at."""
        for promise in promises:
            self.skipped.setdefault(promise, why)

    def take(self, other: Findings) -> None:
        """Add another's findings."""
        for promise, count in other.counts.items():
            self.add(promise, other.places[promise], count)
        for promise, why in other.skipped.items():
            self.skipped.setdefault(promise, why)

    def take_in_order(self, other: Findings) -> None:
        """Add those of another file, whichever is finished first: the places kept are those of the first files."""
        for promise, count in other.counts.items():
            places = [*self.places.get(promise, []), *other.places[promise]]
            self.counts[promise] = self.counts.get(promise, 0) + count
            self.places[promise] = sorted(places, key=lambda place: place.file or "")[:EXAMPLES]
        for promise, why in other.skipped.items():
            self.skipped.setdefault(promise, why)
