"""Tables of counts that describe a dataset as a whole: the numbers of each code, and the times of events."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

NUMBERS = "tallies/numbers.parquet"
TIMES = "tallies/times.parquet"

NUMBERS_SCHEMA = pa.schema(
    [
        pa.field("code", pa.string(), nullable=False),
        pa.field("low", pa.float32(), nullable=False),
        pa.field("high", pa.float32(), nullable=False),
        pa.field("before", pa.int64(), nullable=False),
        pa.field("after", pa.int64(), nullable=False),
    ]
)
"""Columns of `tallies/numbers.parquet`: a histogram of the numbers of each code, before and after cleaning.

`low` and `high` are the bounds of a bin, which contains the bound that is nearer to 0 and not the other one. `before`
counts the numbers of the source: those in raw_value, and those that cleaning left as they were. `after` counts
numeric_value.
"""

TIMES_SCHEMA = pa.schema(
    [
        pa.field("event_type", pa.string(), nullable=False),
        pa.field("from_day", pa.int64(), nullable=False),
        pa.field("to_day", pa.int64(), nullable=False),
        pa.field("events", pa.int64(), nullable=False),
    ]
)
"""Columns of `tallies/times.parquet`: events by their time since the first event of their patient, in days.

Events of an event type from `from_day` to `to_day`, without `to_day` itself. Static facts, which have no time, are left
out.
"""

# A bin of numbers is identified by the sign, the exponent and the first three bits of the mantissa of a 32-bit float:
# there are eight bins between a number and its double.
_SHIFT = 20
NUMBER_BINS = 1 << 12
"""Number of bins of numbers."""


def number_bin(numbers: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Return the bin of each number, which is not NaN: from 0 to `NUMBER_BINS` - 1."""
    # -0.0 belongs to the same bin as 0.0.
    return ((numbers + np.float32(0)).view(np.uint32) >> _SHIFT).astype(np.int64)


def number_bounds(bins: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return the lower and the upper bound of each bin."""
    near = (bins.astype(np.uint32) << _SHIFT).view(np.float32)
    far = ((bins.astype(np.uint32) + 1) << _SHIFT).view(np.float32)
    negative = bins >= NUMBER_BINS // 2
    return np.where(negative, far, near), np.where(negative, near, far)


def all_numbers(pieces: Sequence[pa.Table]) -> pa.Table:
    """Add up the counts of numbers of several parts."""
    return _added(pieces, NUMBERS_SCHEMA, 3)


def all_times(pieces: Sequence[pa.Table]) -> pa.Table:
    """Add up the counts of times of several parts."""
    return _added(pieces, TIMES_SCHEMA, 3)


def _added(pieces: Sequence[pa.Table], schema: pa.Schema, keys: int) -> pa.Table:
    """Add up the columns after the first `keys` ones, which identify the rows; sorted by these."""
    by, counts = schema.names[:keys], schema.names[keys:]
    rows = pa.concat_tables([schema.empty_table(), *pieces])
    added = rows.group_by(by, use_threads=False).aggregate([(name, "sum") for name in counts])
    added = added.rename_columns([name.removesuffix("_sum") for name in added.column_names]).select(schema.names)
    return added.sort_by([(name, "ascending") for name in by]).cast(schema)
