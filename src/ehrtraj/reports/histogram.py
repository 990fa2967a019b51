"""Draw a histogram before and after cleaning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehrtraj.reports.items import Bars, Floats

WIDTH, HEIGHT = 240, 64
"""Size of the drawing, without the labels of the axis below."""


@dataclass(frozen=True)
class Drawing:
    """A histogram.

    Attributes:
        before: data of the SVG path of the outline.
        after: data of the SVG path of the filled bars.
        ticks: position and label of each tick, and where its text is anchored.
    """

    before: str
    after: str
    ticks: tuple[tuple[int, str, str], ...]


def draw_histogram(bars: Bars) -> Drawing:
    """Return the paths of a histogram."""
    x = np.rint(bars.edges * WIDTH).astype(int)
    ticks = tuple((round(at * WIDTH), label, _anchor(at)) for at, label in bars.ticks)
    return Drawing(_outline(x.tolist(), bars.before), f"{_outline(x.tolist(), bars.after)}Z", ticks)


def _outline(x: list[int], heights: Floats) -> str:
    """Return a line that goes up and down at the bounds of the bars. It begins and ends on the axis."""
    # A bar that is not empty has a height of at least one.
    y = [HEIGHT - (max(1, round(float(h) * (HEIGHT - 2))) if h > 0 else 0) for h in heights]
    pieces = [f"M{x[0]} {HEIGHT}"]
    at = HEIGHT
    for n, top in enumerate(y):
        if top != at:
            pieces.append(f"H{x[n]}V{top}")
            at = top
    return "".join([*pieces, f"H{x[-1]}", f"V{HEIGHT}" if at != HEIGHT else ""])


def _anchor(at: float) -> str:
    return "start" if at < 0.06 else "end" if at > 0.94 else "middle"
