"""Mark values that repeat another event of the same patient and time, such as results copied into the chart."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from ehrtraj import rules
from ehrtraj.format.arrays import NULL, SECOND, Bools, Floats, Int32s, Int64s
from ehrtraj.pipeline.shard.codes import SortedCodes
from ehrtraj.pipeline.shard.events import Events
from ehrtraj.rules.copied_results import CopiedResult

# Numbers are 32-bit floats: equal numbers may differ by this fraction of their size.
_PRECISION = 1e-6


def mark_copied_results(
    events: Events, codes: SortedCodes, pairs: Iterable[CopiedResult], event_time: Int64s | None
) -> None:
    """Flag events that repeat an original event, and give them its link_id.

    If the original event has no link_id, both get the second at which they happened.

    Args:
        events: events in any order, with standardised numbers; flags and link_id are changed.
        codes: codes of the events; `events.code` is a position in them.
        pairs: pairs of codes, of which the first repeats the second.
        event_time: when the events happened, if this is not `events.time`.
    """
    pairs = list(pairs)
    copied, of = codes.positions([p.code for p in pairs]), codes.positions([p.of_code for p in pairs])
    present = [each for each in zip(pairs, copied, of, strict=True) if min(each[1:]) >= 0]
    if not present:
        return
    involved = np.zeros(len(codes), bool)
    involved[[place for _, *places in present for place in places]] = True
    rows = np.flatnonzero(involved.take(events.code) & ~np.isnan(events.number))
    time = (events.time if event_time is None else event_time)[rows]
    moment = _moments(events.subject[rows], time)
    rows_of, value = _rows_by_code(events.code[rows], involved), events.number[rows].astype(np.float64)
    link = events.ints["link_id"]
    for pair, copied_code, of_code in present:
        copied_result, origin = rows_of[copied_code], rows_of[of_code]
        # Among equal originals, the smallest link_id is used, so that the result does not depend on the input order.
        origin = origin[np.argsort(link[rows[origin]], kind="stable")]
        found = _match(moment[copied_result], value[copied_result], moment[origin], value[origin], pair.tolerance)
        repeats = found >= 0
        copies, originals = rows[copied_result[repeats]], rows[origin[found[repeats]]]
        unlinked = link[originals] == NULL
        link[originals[unlinked]] = time[origin[found[repeats]]][unlinked] // SECOND
        link[copies] = link[originals]
        events.ints["flags"][copies] |= rules.flags()["copied_result"]


def _rows_by_code(code: Int32s, involved: Bools) -> dict[int, npt.NDArray[np.intp]]:
    """Return the positions of each involved code in `code`, ascending."""
    codes = np.flatnonzero(involved)
    # numpy sorts 16-bit integers in linear time.
    number = np.zeros(len(involved), np.int16 if len(codes) < 1 << 15 else np.int64)
    number[codes] = np.arange(len(codes))
    numbers = number.take(code)
    order = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers, minlength=len(codes)))
    return dict(zip(codes.tolist(), np.split(order, ends[:-1]), strict=True))


def _moments(subject: Int64s, time: Int64s) -> Int64s:
    """Return a number for each event that is the same for events of the same patient and time."""
    order = np.lexsort((time, subject))
    new = np.append(True, (np.diff(subject[order]) != 0) | (np.diff(time[order]) != 0))
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(new[: len(order)])
    return numbers


def _match(moment: Int64s, value: Floats, of_moment: Int64s, of_value: Floats, tolerance: float) -> Int32s:
    """Return for each value the position of an equal value at the same moment, -1 if there is none."""
    order = np.lexsort((of_value, of_moment))
    of_moment, of_value = of_moment[order], of_value[order]
    at = np.searchsorted(of_moment, moment)
    max_count = min(len(of_moment), 1)
    while (of_moment[max_count:] == of_moment[: len(of_moment) - max_count]).any():
        max_count += 1
    found = np.full(len(moment), -1, np.int32)
    for step in range(max_count):
        candidate = np.minimum(at + step, len(of_moment) - 1)
        near = np.abs(of_value[candidate] - value) <= np.maximum(tolerance, _PRECISION * np.abs(value))
        hit = (found < 0) & (at + step < len(of_moment)) & (of_moment[candidate] == moment) & near
        found[hit] = order[candidate[hit]]
    return found
