"""Violations that a check found: their number, and the first examples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ehrtraj.checks.invariants import INVARIANTS

EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One violation of an invariant.

    Attributes:
        words: description of the violation.
        file: path of the file, relative to the dataset.
        row: row in the file, counted from 0.
        subject_id: the patient.
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
    """Violated invariants.

    Attributes:
        counts: number of violations of each invariant.
        places: the first violations of each invariant.
        skipped: invariants that could not be checked, with the reason.
    """

    counts: dict[str, int] = field(default_factory=dict)
    places: dict[str, list[Finding]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, invariant: str, places: Iterable[Finding], count: int) -> None:
        """Add violations of an invariant. Only as many places are consumed as are kept."""
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
        """Add one violation of an invariant."""
        self.add(invariant, [Finding(words, file, None, subject_id)], 1)

    def skip(self, why: str, *invariants: str) -> None:
        """Record that invariants could not be checked."""
        for invariant in invariants:
            self.skipped.setdefault(invariant, why)

    def take(self, other: Findings) -> None:
        """Add other findings."""
        for invariant, count in other.counts.items():
            self.add(invariant, other.places[invariant], count)
        for invariant, why in other.skipped.items():
            self.skipped.setdefault(invariant, why)

    def take_in_order(self, other: Findings) -> None:
        """Add the findings of another file. The kept places are those of the first files, in any order of calls."""
        for invariant, count in other.counts.items():
            places = [*self.places.get(invariant, []), *other.places[invariant]]
            self.counts[invariant] = self.counts.get(invariant, 0) + count
            self.places[invariant] = sorted(places, key=lambda place: place.file or "")[:EXAMPLES]
        for invariant, why in other.skipped.items():
            self.skipped.setdefault(invariant, why)
