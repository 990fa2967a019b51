"""Flag events with contradictory times: outside the stay that their row names, or after the patient's death."""

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
    """Set the flags `outside_stay` and `after_death`.

    Times are compared by the minute, since admissions have no seconds but transfers do, and by the day if a time is
    only precise to the day. Planned times (such as the end of an order) are not compared with stays.

    Args:
        events: events in any order; their flags are changed.
        planned: which codes belong to an event type whose times are planned.
        event_time: when the events happened, if this is not `events.time`.
        stays: the result of `stays.sql`.
        subjects: the result of `subjects.sql`.
    """
    time = events.time if event_time is None else event_time
    bits, flags = rules.flags(), events.ints["flags"]
    timed = time != NULL
    compared = timed & ~planned.take(events.code)
    inferred = (flags & bits["hadm_inferred"]) != 0
    outside = np.zeros(len(time), bool)
    for kind in ("hadm_id", "stay_id"):
        of_kind = stays.filter(pc.equal(stays["kind"], kind))
        stay = events.ints[kind]
        in_stay = compared & (stay != NULL)
        # An inferred admission contains the time by definition.
        outside |= _outside(time, events.precision >= _TO_THE_DAY, stay, of_kind) & (
            in_stay & ~inferred if kind == "hadm_id" else in_stay
        )
    flags[outside] |= bits["outside_stay"]
    if subjects["death_time"].null_count < len(subjects):
        late = _after_death(time, events.precision >= _TO_THE_DAY, events.subject, subjects)
        flags[timed & late] |= bits["after_death"]


def _outside(time: Int64s, to_the_day: Bools, stay: Int64s, stays: pa.Table) -> Bools:
    """Return which events are outside their stay. Stays that are unknown or end before they begin are ignored."""
    ids, start, stop = (to_int64(stays[name]) for name in ("id", "start", "stop"))
    usable = (start == NULL) | (stop == NULL) | (stop >= start)
    ids, start, stop = ids[usable], start[usable], stop[usable]
    if not len(ids):
        return np.zeros(len(time), bool)
    order = np.argsort(ids)
    ids, start, stop = ids[order], start[order], np.where(stop == NULL, _FOREVER - _MINUTE, stop)[order]
    # Rows of the same stay form runs: one lookup is enough for each run.
    begins = np.flatnonzero(np.append(True, stay[1:] != stay[:-1]))
    at = np.minimum(np.searchsorted(ids, stay[begins]), len(ids) - 1)
    known = ids[at] == stay[begins]
    lengths = np.diff(np.append(begins, len(stay)))
    low = np.repeat(np.where(known, start[at] // _MINUTE * _MINUTE, NULL), lengths)
    high = np.repeat(np.where(known, stop[at] // _MINUTE * _MINUTE + _MINUTE - 1, _FOREVER), lengths)
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
