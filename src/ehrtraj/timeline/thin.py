"""Fewer points with the same picture: the extremes of each pixel of a line, and clusters of bars and marks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.int64]
Places = npt.NDArray[np.int64]


def thin(times: Times, values: npt.NDArray[np.float64], start: int, end: int, width: int) -> Places:
    """Return the positions of the points that draw the same line at a width in pixels.

    Of each pixel, the first, the last, the lowest and the highest point remain. So every extreme remains, the line
    enters and leaves each pixel at the right height, and there are at most 4 points for a pixel.

    Args:
        times: times in order, from `start` to `end`; equal times are allowed.
        values: finite values.
        start: time at the left edge.
        end: time at the right edge.
        width: width in pixels.

    Returns:
        Positions in increasing order, without duplicates.
    """
    if len(times) <= 2 * width:
        return np.arange(len(times))
    pixels = pixels_of(times, start, end, width)
    first = np.flatnonzero(np.r_[True, pixels[1:] != pixels[:-1]])
    last = np.r_[first[1:], len(times)] - 1
    # Sorted by value within each pixel, the lowest point of a pixel comes first and the highest last.
    by_value = np.lexsort((values, pixels))
    return np.unique(np.concatenate([first, last, by_value[first], by_value[last]]))


def pixels_of(times: Times, start: int, end: int, width: int) -> Places:
    """Return the pixel of each time, from 0 to `width` - 1."""
    span = max(end - start, 1)
    return np.clip((times - start) * width // span, 0, width - 1)


def clusters(starts: Times, ends: Times, least: int) -> Places:
    """Return the position of the first bar of each cluster: bars that are too close to be told apart.

    Args:
        starts: starts of bars, in order.
        ends: their ends, none before its start.
        least: bars with a smaller distance, in seconds, are in one cluster.
    """
    if not len(starts):
        return np.arange(0)
    reached = np.maximum.accumulate(ends)
    return np.flatnonzero(np.r_[True, starts[1:] - reached[:-1] >= least])
