"""The rule table of copied results: items whose values repeat those of another item."""

from __future__ import annotations

from dataclasses import dataclass

from ehrtraj.rules import Read


@dataclass(frozen=True)
class CopiedResult:
    """A code whose values repeat those of another code at the same time.

    Attributes:
        code: the repeating code.
        of_code: the repeated code.
        tolerance: maximum difference of the values, in the item's unit.
    """

    code: str
    of_code: str
    tolerance: float


def copied_results(read: Read) -> tuple[CopiedResult, ...]:
    """Return all pairs of a source, including those of the user's overlay."""
    lines = read("copied_results")
    pairs = {
        (f"{r['event_type']}//{r['item']}", f"{r['of_event_type']}//{r['of_item']}"): float(r["tolerance"])
        for r in lines
    }
    return tuple(CopiedResult(code, of_code, tolerance) for (code, of_code), tolerance in pairs.items())
