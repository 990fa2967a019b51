"""Mark values that repeat another event of the same patient and time, as results copied into the chart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ehrtraj import rules
from ehrtraj.format.arrays import NULL, SECOND, Floats, Int32s, Int64s
from ehrtraj.pipeline.shard.events import Events
from ehrtraj.rules.copied_results import CopiedResult

# Numbers are 32-bit floats: equal ones may differ by this much of their size.
_PRECISION = 1e-6


def mark_copied_results(
    events: Events, codes: Sequence[str], pairs: Iterable[CopiedResult], event_time: Int64s | None
) -> None:
    """Flag events that repeat another one, and give them its link_id.

    Where the event that is repeated has no link_id, both get the second at which they happened.

    Args:
        events: in any order, numbers standardised; flags and link_id are changed.
        codes: that `events.code` are positions in.
        pairs: which codes repeat which.
        event_time: when they happened, where that is not `events.time`.
    """
    place = {code: at for at, code in enumerate(codes)}
    present = [p for p in pairs if p.code in place and p.of_code in place]
    if not present:
        return
    involved = np.zeros(len(codes), bool)
    involved[[place[c] for p in present for c in (p.code, p.of_code)]] = True
    rows = np.flatnonzero(involved[events.code] & ~np.isnan(events.number))
    time = (events.time if event_time is None else event_time)[rows]
    moment = _moments(events.subject[rows], time)
    code, value = events.code[rows], events.number[rows].astype(np.float64)
    link = events.ints["link_id"]
    for pair in present:
        copied_result, origin = np.flatnonzero(code == place[pair.code]), np.flatnonzero(code == place[pair.of_code])
        # Of equal ones the one with the smallest link_id, so that the order of the input decides nothing.
        origin = origin[np.argsort(link[rows[origin]], kind="stable")]
        found = _nearest(moment[copied_result], value[copied_result], moment[origin], value[origin], pair.tolerance)
        repeats = found >= 0
        at, of = rows[copied_result[repeats]], rows[origin[found[repeats]]]
        unlinked = link[of] == NULL
        link[of[unlinked]] = time[origin[found[repeats]]][unlinked] // SECOND
        link[at] = link[of]
        events.ints["flags"][at] |= rules.flags()["copied_result"]


def _moments(subject: Int64s, time: Int64s) -> Int64s:
    """Return a number for each patient and time."""
    order = np.lexsort((time, subject))
    new = np.append(True, (np.diff(subject[order]) != 0) | (np.diff(time[order]) != 0))
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(new[: len(order)])
    return numbers


def _nearest(moment: Int64s, value: Floats, of_moment: Int64s, of_value: Floats, tolerance: float) -> Int32s:
    """Return for each value the position of an equal one of the same moment, -1 where there is none."""
    order = np.lexsort((of_value, of_moment))
    of_moment, of_value = of_moment[order], of_value[order]
    at = np.searchsorted(of_moment, moment)
    most = int(np.unique(of_moment, return_counts=True)[1].max(initial=0))
    found = np.full(len(moment), -1, np.int32)
    for step in range(most):
        there = np.minimum(at + step, len(of_moment) - 1)
        near = np.abs(of_value[there] - value) <= np.maximum(tolerance, _PRECISION * np.abs(value))
        hit = (found < 0) & (at + step < len(of_moment)) & (of_moment[there] == moment) & near
        found[hit] = order[there[hit]]
    return found
