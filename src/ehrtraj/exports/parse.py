"""Events out of the texts of an exported file, with the columns and types that the dataset has."""

from __future__ import annotations

import json

import polars as pl
import pyarrow as pa

from ehrtraj import rules
from ehrtraj.format.events import event_schema

_ATTRIBUTES = ',"attributes":'
_LAST_BIT = 62


def events_of_objects(lines: list[str]) -> pl.DataFrame:
    """Events from JSON objects, one a line. `attributes`, the last member, stays as it is written."""
    events, attributes = [], []
    for line in lines:
        rest, found, text = line.partition(_ATTRIBUTES)
        events.append(json.loads(rest + "}" if found else rest))
        attributes.append(text[:-1] if found else None)
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
        # Written with the digits that tell 32-bit numbers apart.
        return pa.array([None if v is None else float(str(v)) for v in values], pa.float64()).cast(kind)
    return pa.array(values, kind)


def schema_of(*, has_event_time: bool) -> pa.Schema:
    """Columns and types of the events of a dataset."""
    return event_schema("available" if has_event_time else "event")


def frame_of(table: pa.Table) -> pl.DataFrame:
    """The same table for polars."""
    frame = pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame):
        raise TypeError("a table became something else than a frame")
    return frame
