"""Flag events whose time contradicts what else is known: outside the stay that their row names, or after death."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj import rules
from ehrtraj.format.arrays import NULL, SECOND, Bools, Int64s, to_int64
from ehrtraj.format.events import PRECISIONS
from ehrtraj.pipeline.shard.events import Events

_MINUTE = 60 * SECOND
_DAY = 86_400 * SECOND
_TO_THE_DAY = PRECISIONS.index("day")
_FOREVER = np.iinfo(np.int64).max


def flag_times(events: Events, planned: Bools, event_time: Int64s | None, stays: pa.Table, subjects: pa.Table) -> None:
    """Flag `outside_stay` and `after_death`.

    Times are compared by the minute, since admissions have no seconds while transfers have, and by the day where no
    more is known of one. What was planned (an order's end) is not held against stays.

    Args:
        events: in any order; their flags are changed.
        planned: which codes are of an event type whose times are planned.
        event_time: when they happened, where that is not `events.time`.
        stays: the result of `stays.sql`.
        subjects: the result of `subjects.sql`.
    """
    time = events.time if event_time is None else event_time
    bits, flags = rules.flags(), events.ints["flags"]
    timed = time != NULL
    held = timed & ~planned[events.code]
    inferred = (flags & bits["hadm_inferred"]) != 0
    outside = np.zeros(len(time), bool)
    for kind in ("hadm_id", "stay_id"):
        of_kind = stays.filter(pc.equal(stays["kind"], kind))
        named = events.ints[kind]
        known = held & (named != NULL)
        # An admission that was inferred holds the time by its making.
        outside |= _outside(time, events.precision >= _TO_THE_DAY, named, of_kind) & (
            known & ~inferred if kind == "hadm_id" else known
        )
    flags[outside] |= bits["outside_stay"]
    if subjects["death_time"].null_count < len(subjects):
        late = _after_death(time, events.precision >= _TO_THE_DAY, events.subject, subjects)
        flags[timed & late] |= bits["after_death"]


def _outside(time: Int64s, to_the_day: Bools, named: Int64s, stays: pa.Table) -> Bools:
    """Which events lie outside the stay they name; not those whose stay is not known, or ends before it begins."""
    ids, start, stop = (to_int64(stays[name]) for name in ("id", "start", "stop"))
    usable = (start == NULL) | (stop == NULL) | (stop >= start)
    ids, start, stop = ids[usable], start[usable], stop[usable]
    if not len(ids):
        return np.zeros(len(time), bool)
    order = np.argsort(ids)
    ids, start, stop = ids[order], start[order], np.where(stop == NULL, _FOREVER - _MINUTE, stop)[order]
    # Rows of one stay follow each other: one look-up for each run of them.
    begins = np.flatnonzero(np.append(True, named[1:] != named[:-1]))
    at = np.minimum(np.searchsorted(ids, named[begins]), len(ids) - 1)
    there = ids[at] == named[begins]
    lengths = np.diff(np.append(begins, len(named)))
    low = np.repeat(np.where(there, start[at] // _MINUTE * _MINUTE, NULL), lengths)
    high = np.repeat(np.where(there, stop[at] // _MINUTE * _MINUTE + _MINUTE - 1, _FOREVER), lengths)
    outside = (time < low) | (time > high)
    checked = np.flatnonzero(outside & to_the_day)
    day = time[checked] // _DAY
    outside[checked] = (day < low[checked] // _DAY) | (day > high[checked] // _DAY)
    return outside


def _after_death(time: Int64s, to_the_day: Bools, subject: Int64s, subjects: pa.Table) -> Bools:
    """Return which events are in a later minute than the death, or on a later day if only their day is known.

    A death of which only the day is known is at the last second of that day.
    """
    dead = subjects.filter(pc.is_valid(subjects["death_time"]))
    ids, death = to_int64(dead["subject_id"]), to_int64(dead["death_time"])
    order = np.lexsort((death, ids))
    ids, death = ids[order], death[order]
    begins = np.flatnonzero(np.append(True, subject[1:] != subject[:-1]))
    at = np.minimum(np.searchsorted(ids, subject[begins]), len(ids) - 1)
    found, lengths = ids[at] == subject[begins], np.diff(np.append(begins, len(subject)))
    next_minute = np.repeat(np.where(found, (death[at] // _MINUTE + 1) * _MINUTE, _FOREVER), lengths)
    late: Bools = time >= next_minute
    checked = np.flatnonzero(late & to_the_day)
    late[checked] = time[checked] // _DAY > (next_minute[checked] - _MINUTE) // _DAY
    return late
