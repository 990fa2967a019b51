"""Count the numbers of each code before and after cleaning, and the times of events, while a shard is built."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj.format.arrays import NULL, SECOND, Floats, Int64s, Texts
from ehrtraj.format.event_types import event_type_of
from ehrtraj.format.tallies import NUMBER_BINS, NUMBERS_SCHEMA, TIMES_SCHEMA, number_bin, number_bounds
from ehrtraj.pipeline.shard.assemble import OrderedEvents

_DAY = 86_400 * SECOND
# Bins: static facts; day 0; day 1; days 2 to 3; days 4 to 7; ...; days 32,768 and later.
_BINS, _STATIC = 18, 0
_ENDS = _DAY << np.arange(_BINS - 2, dtype=np.int64)


def count_numbers(part: OrderedEvents) -> pa.Table:
    """Count the numbers of a part's events by code and bin.

    Args:
        part: assembled events.

    Returns:
        A table with `NUMBERS_SCHEMA`, sorted by code and bin.
    """
    events = part.events
    present = ~np.isnan(events.number)
    key = events.code.astype(np.int64) * NUMBER_BINS
    after = key + number_bin(events.number)
    cleaned = np.flatnonzero(events.texts["raw_value"].positions >= 0)
    raw = events.texts["raw_value"]
    # A number that is too large for the column is not counted: it becomes infinite, without a warning.
    with np.errstate(over="ignore"):
        number = _numbers(raw)[raw.positions[cleaned]].astype(np.float32)
    written = np.isfinite(number)
    unchanged = np.ones(len(events), bool)
    unchanged[cleaned] = False
    keys = [after[present], after[present & ~unchanged], key[cleaned[written]] + number_bin(number[written])]
    distinct, counts = _count(keys)
    low, high = number_bounds(distinct % NUMBER_BINS)
    return pa.table(
        {
            "code": pa.array(part.codes, pa.string()).take(pa.array(distinct // NUMBER_BINS)),
            "low": low,
            "high": high,
            "before": counts[0] - counts[1] + counts[2],
            "after": counts[0],
        },
        schema=NUMBERS_SCHEMA,
    )


def _numbers(texts: Texts) -> Floats:
    """Return the number in each distinct text, NaN where it is none."""

    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return np.nan

    return np.array([number(text) for text in texts.values.to_pylist()], np.float64)


def _count(keys: Sequence[Int64s]) -> tuple[Int64s, list[Int64s]]:
    """Return the distinct keys of all arrays, sorted, and how often each occurs in each array."""
    counted = [pc.value_counts(pa.array(each)) for each in keys]
    distinct = np.unique(np.concatenate([each.field("values").to_numpy() for each in counted]))
    counts = []
    for each in counted:
        count = np.zeros(len(distinct), np.int64)
        count[np.searchsorted(distinct, each.field("values").to_numpy())] = each.field("counts").to_numpy()
        counts.append(count)
    return distinct, counts


def count_times(part: OrderedEvents, time: Int64s) -> pa.Table:
    """Count the events of a part by event type and by days since the patient's first event.

    Args:
        part: assembled events.
        time: the times of the events, in the order of the trajectories.

    Returns:
        A table with `TIMES_SCHEMA`, sorted.
    """
    bin_of = np.repeat(*_bins(part, time))
    types = list(map(event_type_of, part.codes))
    names = sorted(set(types))
    place_of = {name: at * _BINS for at, name in enumerate(names)}
    place = np.array([place_of[name] for name in types], np.int64)
    counts = np.bincount(place[part.events.code][part.order] + bin_of, minlength=len(names) * _BINS)
    counts.reshape(-1, _BINS)[:, _STATIC] = 0
    used = np.flatnonzero(counts)
    return _times(names, used, counts[used])


def _bins(part: OrderedEvents, time: Int64s) -> tuple[Int64s, Int64s]:
    """Return the bins of runs of events, and the lengths of the runs.

    The events of a patient are ordered by time, so that the bins begin at a few positions.
    """
    lengths = []
    for start, stop in zip(part.starts[:-1].tolist(), part.starts[1:].tolist(), strict=True):
        of_patient = time[start:stop]
        static = int(np.searchsorted(of_patient, NULL, side="right"))
        days = of_patient[static] if static < len(of_patient) else 0
        ends = np.searchsorted(of_patient, days + _ENDS)
        lengths.append(np.diff([0, static, *ends.tolist(), len(of_patient)]))
    return np.tile(np.arange(_BINS), len(lengths)), np.concatenate(lengths)


def _times(names: Sequence[str], keys: npt.NDArray[np.intp], counts: Int64s) -> pa.Table:
    day = keys % _BINS - 1
    return pa.table(
        {
            "event_type": pa.array(names, pa.string()).take(pa.array(keys // _BINS)),
            "from_day": np.where(day == 0, 0, 1 << np.maximum(day - 1, 0)),
            "to_day": 1 << day,
            "events": counts,
        },
        schema=TIMES_SCHEMA,
    )
