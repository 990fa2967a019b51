"""Suggestions for names that do not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return `. Did you mean a, b?` with the nearest names, or an empty text if none is near."""
    by_lower = {one.lower(): one for one in known}
    near = [by_lower[lower] for lower in get_close_matches(name.lower(), by_lower, count)]
    return f". Did you mean {', '.join(near)}?" if near else ""
