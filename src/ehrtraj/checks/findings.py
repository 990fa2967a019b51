"""What a check found wrong: how often, and the first places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ehrtraj.checks.invariants import INVARIANTS

EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
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
    """Broken invariants.

    Attributes:
        counts: how often each was broken.
        places: the first few places of each.
        skipped: invariants that could not be looked at, and why.
    """

    counts: dict[str, int] = field(default_factory=dict)
    places: dict[str, list[Finding]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, invariant: str, places: Iterable[Finding], count: int) -> None:
        """Add breaks of a invariant; of the places only as many are asked for as are kept."""
        if invariant not in INVARIANTS:
            raise KeyError(invariant)
        if not count:
            return
        self.counts[invariant] = self.counts.get(invariant, 0) + count
        kept = self.places.setdefault(invariant, [])
        for place in places:
            if len(kept) >= EXAMPLES:
                break
            kept.append(place)

    def one(self, invariant: str, words: str, file: str | None = None, subject_id: int | None = None) -> None:
        """Add one break of a invariant."""
        self.add(invariant, [Finding(words, file, None, subject_id)], 1)

    def skip(self, why: str, *invariants: str) -> None:
        """Say that invariants could not be looked at."""
        for invariant in invariants:
            self.skipped.setdefault(invariant, why)

    def take(self, other: Findings) -> None:
        """Add another's findings."""
        for invariant, count in other.counts.items():
            self.add(invariant, other.places[invariant], count)
        for invariant, why in other.skipped.items():
            self.skipped.setdefault(invariant, why)

    def take_in_order(self, other: Findings) -> None:
        """Add those of another file, whichever is finished first: the places kept are those of the first files."""
        for invariant, count in other.counts.items():
            places = [*self.places.get(invariant, []), *other.places[invariant]]
            self.counts[invariant] = self.counts.get(invariant, 0) + count
            self.places[invariant] = sorted(places, key=lambda place: place.file or "")[:EXAMPLES]
        for invariant, why in other.skipped.items():
            self.skipped.setdefault(invariant, why)
