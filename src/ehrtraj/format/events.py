"""The columns of an event: schema of `data/<split>/<shard>.parquet`."""

from __future__ import annotations

import pyarrow as pa

PRECISIONS = ("second", "minute", "day", "year")

EVENT_SCHEMA = pa.schema(
    [
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("time", pa.timestamp("us")),
        pa.field("code", pa.string(), nullable=False),
        pa.field("numeric_value", pa.float32()),
        pa.field("text_value", pa.large_string()),
        pa.field("unit", pa.string()),
        pa.field("available_time", pa.timestamp("us")),
        pa.field("time_precision", pa.string(), nullable=False),
        pa.field("hadm_id", pa.int64()),
        pa.field("stay_id", pa.int64()),
        pa.field("raw_value", pa.string()),
        pa.field("raw_unit", pa.string()),
        pa.field("flags", pa.int64(), nullable=False),
        pa.field("source_table", pa.string(), nullable=False),
        pa.field("source_key", pa.int64()),
        pa.field("link_id", pa.int64()),
        pa.field("attributes", pa.string()),
    ]
)
"""Columns of `data/**/*.parquet`: those of MEDS 0.4 first, then those that ehrtraj adds."""


EVENT_TIME = pa.field("event_time", pa.timestamp("us"))
"""Added with `--clock available`: the time at which an event happened. `time` is then when it became available."""


INT_COLUMNS = ("available_time", "hadm_id", "stay_id", "flags", "source_key", "link_id")


TEXT_COLUMNS = ("text_value", "unit", "raw_value", "raw_unit", "attributes")


def event_schema(clock: str) -> pa.Schema:
    """Return the schema of the data files for a clock."""
    return EVENT_SCHEMA if clock == "event" else EVENT_SCHEMA.append(EVENT_TIME)
