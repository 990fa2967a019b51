"""The JavaScript and CSS that draw a timeline. A page loads `scripts` in this order."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def scripts() -> tuple[str, ...]:
    """Return the scripts in the order in which a page must load them."""
    return ("uplot/uPlot.iife.min.js",)


def styles() -> tuple[str, ...]:
    """Return the style sheets."""
    return ()
