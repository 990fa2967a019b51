"""The rule table of echoes: items whose values repeat those of another item."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ehrtraj import rules


@dataclass(frozen=True)
class Echo:
    """Values of one code repeat those of another at the same time.

    Attributes:
        code: that repeats.
        of_code: that is repeated.
        tolerance: by which they may differ, in the item's own unit.
    """

    code: str
    of_code: str
    tolerance: float


def echoes(extra: Path | None = None) -> tuple[Echo, ...]:
    """Return all pairs, a user's own in the folder `extra` included."""
    lines = rules.read_rules("echoes", extra)
    pairs = {(f"{r['domain']}//{r['item']}", f"{r['of_domain']}//{r['of_item']}"): float(r["tolerance"]) for r in lines}
    return tuple(Echo(code, of_code, tolerance) for (code, of_code), tolerance in pairs.items())
