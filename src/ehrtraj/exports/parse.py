"""Parse the events of an exported text file, with the columns and types of the dataset."""

from __future__ import annotations

import json

import polars as pl
import pyarrow as pa

from ehrtraj import rules
from ehrtraj.format.events import event_schema

_ATTRIBUTES = ',"attributes":'
_LAST_BIT = 62


def events_of_objects(lines: list[str]) -> pl.DataFrame:
    """Parse JSON objects, one per line. `attributes`, the last member, stays text."""
    events, attributes = [], []
    for line in lines:
        rest, separator, text = line.partition(_ATTRIBUTES)
        events.append(json.loads(rest + "}" if separator else rest))
        attributes.append(text[:-1] if separator else None)
    schema = schema_of(has_event_time=any("event_time" in event for event in events))
    bits = {name: 1 << bit for bit, name in ((i, f"bit{i}") for i in range(_LAST_BIT + 1))} | rules.flags()
    for event in events:
        event["flags"] = sum(bits[name] for name in event.get("flags", ()))
    columns = {f.name: _column([e.get(f.name) for e in events], f.type) for f in schema if f.name != "attributes"}
    columns["attributes"] = pa.array(attributes, pa.string())
    return frame_of(pa.table([columns[name] for name in schema.names], schema=schema))


def _column(values: list[object], kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.string()).cast(kind)
    if pa.types.is_floating(kind):
        # Written with the digits that identify a 32-bit number.
        return pa.array([None if v is None else float(str(v)) for v in values], pa.float64()).cast(kind)
    return pa.array(values, kind)


def schema_of(*, has_event_time: bool) -> pa.Schema:
    """Return the columns and types of the events of a dataset."""
    return event_schema("available" if has_event_time else "event")


def frame_of(table: pa.Table) -> pl.DataFrame:
    """Convert a table to polars."""
    frame = pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame):
        raise TypeError("polars did not convert the table to a DataFrame")
    return frame
