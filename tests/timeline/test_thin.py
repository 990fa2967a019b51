"""Fewer points with the same picture."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ehrtraj.timeline.thin import Scale, clusters, thin

TIMES = st.lists(st.integers(-10_000, 10_000), max_size=200).map(sorted)


@st.composite
def lines(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    times = draw(TIMES)
    few = st.sampled_from([0.0, 1.0, -1.0, 5.5, 1e30])
    values = draw(st.lists(few | st.floats(-1e6, 1e6), min_size=len(times), max_size=len(times)))
    return np.array(times, dtype=np.int64), np.array(values), draw(st.integers(1, 60))


def scale_of(times: np.ndarray, width: int) -> Scale:
    return Scale.plain(int(times[0]), int(times[-1]), width) if len(times) else Scale.plain(0, 1, width)


@given(lines())
@settings(max_examples=60, deadline=None)
def test_first_last_lowest_and_highest_of_each_pixel_remain(line: tuple[np.ndarray, np.ndarray, int]) -> None:
    times, values, width = line
    pixels = scale_of(times, width).of(times)
    kept = thin(pixels, values)
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert set(kept.tolist()) <= set(range(len(times)))
    for pixel in set(pixels.tolist()):
        inside = np.flatnonzero(pixels == pixel)
        chosen = kept[pixels[kept] == pixel]
        assert 1 <= len(chosen) <= 4
        assert {inside[0], inside[-1]} <= set(chosen.tolist())
        assert values[chosen].min() == values[inside].min()
        assert values[chosen].max() == values[inside].max()


@given(lines())
@settings(max_examples=40, deadline=None)
def test_pixels_are_in_order_and_within_the_width(line: tuple[np.ndarray, np.ndarray, int]) -> None:
    times, _, width = line
    pixels = scale_of(times, width).of(times)
    assert (np.diff(pixels) >= 0).all()
    assert ((pixels >= 0) & (pixels < width)).all()


def test_periods_of_a_scale_have_their_own_width() -> None:
    scale = Scale((0, 100, 1100), (0, 100, 110))
    assert scale.of(np.array([0, 50, 99, 100, 600, 1100])).tolist() == [0, 50, 99, 100, 105, 109]


@given(TIMES, st.integers(1, 500), st.data())
@settings(max_examples=40, deadline=None)
def test_bars_of_different_clusters_are_apart(times: list[int], least: int, data: st.DataObject) -> None:
    starts = np.array(times, dtype=np.int64)
    ends = starts + np.array([data.draw(st.integers(0, 300)) for _ in times], dtype=np.int64)
    first = clusters(starts, ends, least)
    assert first.tolist()[:1] == ([0] if times else [])
    for at in range(1, len(times)):
        apart = starts[at] - ends[:at].max() >= least
        assert (at in first) == apart
