"""Fewer points with the same picture: the extremes of each pixel of a line, and clusters of bars and marks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.int64]
Places = npt.NDArray[np.int64]
FEWEST_PIXELS = 8
"""Bars and marks are joined until they are few enough, or as on a picture of this width."""


def thin(pixels: Places, values: npt.NDArray[np.float64]) -> Places:
    """Return the positions of the points that draw the same line.

    Of each pixel, the first, the last, the lowest and the highest point remain. So every extreme remains, the line
    enters and leaves each pixel at the right height, and there are at most 4 points for a pixel.

    Args:
        pixels: pixel of each point, in increasing order; equal pixels are next to each other.
        values: finite values.

    Returns:
        Positions in increasing order, without duplicates.
    """
    if not len(pixels):
        return np.arange(0)
    first = np.flatnonzero(np.r_[True, pixels[1:] != pixels[:-1]])
    last = np.r_[first[1:], len(pixels)] - 1
    # Sorted by value within each pixel, the lowest point of a pixel comes first and the highest last.
    by_value = np.lexsort((values, pixels))
    return np.unique(np.concatenate([first, last, by_value[first], by_value[last]]))


@dataclass(frozen=True)
class Scale:
    """Pixels of a time axis, on which each period between two edges may have another width.

    Attributes:
        edges: start of the first period and ends of all, in order.
        pixels: pixel of each edge.
    """

    edges: tuple[int, ...]
    pixels: tuple[int, ...]

    @classmethod
    def plain(cls, start: int, end: int, width: int) -> Scale:
        """Return an axis of one period."""
        return cls((start, max(end, start + 1)), (0, width))

    @property
    def start(self) -> int:
        """Time at the left edge."""
        return self.edges[0]

    @property
    def end(self) -> int:
        """Time at the right edge."""
        return self.edges[-1]

    def of(self, times: Times) -> Places:
        """Return the pixel of each time, from 0 on."""
        pixels = np.interp(times, self.edges, self.pixels)
        return np.minimum(pixels.astype(np.int64), self.pixels[-1] - 1)


def clusters(starts: Times, ends: Times, least: int) -> Places:
    """Return the position of the first bar of each cluster: bars that are too close to be distinguished.

    Args:
        starts: starts of bars, in order.
        ends: their ends, none before its start.
        least: bars with a smaller distance, in seconds, are in one cluster.
    """
    if not len(starts):
        return np.arange(0)
    reached = np.maximum.accumulate(ends)
    return np.flatnonzero(np.r_[True, starts[1:] - reached[:-1] >= least])
