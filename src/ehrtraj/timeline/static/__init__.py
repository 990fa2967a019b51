"""The JavaScript and CSS that draw a timeline. A page loads `scripts` in this order."""

from __future__ import annotations

from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent


def scripts() -> tuple[str, ...]:
    """Return the scripts in the order in which a page must load them."""
    return ("uplot/uPlot.iife.min.js", "dates.js", "strips.js", "chart.js", "timeline.js")


def styles() -> tuple[str, ...]:
    """Return the style sheets. Those of uPlot are not needed."""
    return ("timeline.css",)


@cache
def read_static(name: str) -> str:
    """Return the text of one of the files."""
    return (FOLDER / name).read_text(encoding="utf-8")
