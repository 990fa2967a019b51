"""Count the numbers of each code before and after cleaning, and the times of events, while a shard is built."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj.format.arrays import NULL, SECOND, Bools, Floats, Int64s, Texts, with_nulls
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
        A table with `NUMBERS_SCHEMA`, in which bins may repeat.
    """
    events, raw = part.events, part.events.texts["raw_value"]
    first_bin = events.code.astype(np.int64) * NUMBER_BINS
    key, missing = first_bin + number_bin(events.number), np.isnan(events.number)
    cleaned = np.flatnonzero(raw.positions >= 0)
    # A number that is too large for the column is not counted: it becomes infinite, without a warning.
    with np.errstate(over="ignore"):
        written = _numbers(raw)[raw.positions[cleaned]].astype(np.float32)
    finite = np.isfinite(written)
    keys, after = _counts(key, missing)
    # Before cleaning, the cleaned rows had the written numbers in place of their own.
    own_keys, own = _counts(key[cleaned], missing[cleaned])
    written_keys, in_place = _counts(first_bin[cleaned[finite]] + number_bin(written[finite]))
    keys = np.concatenate([keys, own_keys, written_keys])
    low, high = number_bounds(keys % NUMBER_BINS)
    return pa.table(
        {
            "code": part.codes.names.take(pa.array(keys // NUMBER_BINS)),
            "low": low,
            "high": high,
            "before": np.concatenate([after, -own, in_place]),
            "after": np.concatenate([after, np.zeros(len(own) + len(in_place), np.int64)]),
        },
        schema=NUMBERS_SCHEMA,
    )


@lru_cache(1 << 16)
def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _numbers(texts: Texts) -> Floats:
    """Return the number in each distinct text, NaN where it is none."""
    return np.array([_number(text) for text in texts.values.to_pylist()], np.float64)


def _counts(keys: Int64s, missing: Bools | None = None) -> tuple[Int64s, Int64s]:
    """Return the distinct keys that are not missing, and how often each occurs."""
    counted = pc.value_counts(pa.array(keys) if missing is None else with_nulls(keys, missing, pa.int64()))
    counted = counted.filter(pc.is_valid(counted.field("values")))
    return counted.field("values").to_numpy(), counted.field("counts").to_numpy()


def count_times(part: OrderedEvents, time: Int64s) -> pa.Table:
    """Count the events of a part by event type and by days since the patient's first event.

    Args:
        part: assembled events.
        time: the times of the events, in the order of the trajectories.

    Returns:
        A table with `TIMES_SCHEMA`.
    """
    bins, lengths = _bins(part, time)
    place = (part.codes.type_of * _BINS).astype(np.int32)
    place = place.take(part.events.code, mode="clip").take(part.order, mode="clip")
    place += np.repeat(bins.astype(np.int32), lengths)
    counts = np.bincount(place, minlength=len(part.codes.event_types) * _BINS)
    counts.reshape(-1, _BINS)[:, _STATIC] = 0
    used = np.flatnonzero(counts)
    return _times(part.codes.event_types, used, counts[used])


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
