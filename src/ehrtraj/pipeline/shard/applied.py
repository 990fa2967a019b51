"""Count the effects of the rules: events by rule, table, code and unit as written, each with an example."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj import rules
from ehrtraj.format.arrays import NULL, Int64s, Texts
from ehrtraj.pipeline.shard.assemble import OrderedEvents

SPELLED = "unit_spelled"
"""Rule of events whose unit is only spelled differently from the source. raw_unit shows this, so it needs no flag."""

EXAMPLE_LENGTH = 100
"""Number of characters of a text to keep as an example, since notes are long."""

APPLIED_SCHEMA = pa.schema(
    [
        pa.field("rule", pa.string(), nullable=False),
        pa.field("source_table", pa.string(), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("raw_unit", pa.string()),
        pa.field("unit", pa.string()),
        pa.field("events", pa.int64(), nullable=False),
        pa.field("example_subject_id", pa.int64(), nullable=False),
        pa.field("example_time", pa.timestamp("us")),
        pa.field("example_raw_value", pa.string()),
        pa.field("example_numeric_value", pa.float32()),
        pa.field("example_text_value", pa.string()),
    ]
)
"""Columns of `rules_applied.parquet`: one row for each combination of rule, table, code and unit as written."""

_GROUP_KEYS = ["rule", "source_table", "code", "raw_unit", "unit"]


def count_applied(part: OrderedEvents, tables: Sequence[str]) -> pa.Table:
    """Count the events of a part that each rule changed or flagged.

    Args:
        part: assembled events.
        tables: full names of the tables; `Events.table` is a position in them.

    Returns:
        A table with `APPLIED_SCHEMA`, in which combinations may repeat. The example of each row is its first event.
    """
    events = part.events
    flags, raw_unit, unit = events.ints["flags"], events.texts["raw_unit"], events.texts["unit"]
    spelled = (raw_unit.positions >= 0) & ((flags & rules.flags()["unit_converted"]) == 0) & ~np.isnan(events.number)
    rows = np.flatnonzero((flags != 0) | spelled)
    combined = Texts.encode(pa.chunked_array([pa.array(flags[rows] * 2 + spelled[rows])]))
    key = combined.positions.astype(np.int64)
    for positions, size in (
        (events.table[rows], len(tables)),
        (events.code[rows], len(part.codes)),
        (raw_unit.positions[rows] + 1, len(raw_unit.values) + 1),
        (unit.positions[rows] + 1, len(unit.values) + 1),
    ):
        key = key * size + positions
    groups = Texts.encode(pa.chunked_array([pa.array(key)]))
    count = np.bincount(groups.positions, minlength=len(groups.values))
    place = np.empty(len(events), np.int64)
    place[part.order] = np.arange(len(events))
    first_place = np.full(len(groups.values), len(events))
    np.minimum.at(first_place, groups.positions, place[rows])
    by_place = np.argsort(first_place)
    first = part.order[first_place[by_place]]
    return _by_rule(flags[first] * 2 + spelled[first], _described(part, tables, first, count[by_place]))


def _described(part: OrderedEvents, tables: Sequence[str], rows: Int64s, count: Int64s) -> pa.Table:
    """Return the columns that describe each group, taken from its first event."""
    events = part.events
    time, number = events.time[rows], events.number[rows]
    texts = {name: events.texts[name].of_rows(rows) for name in ("raw_unit", "unit", "raw_value", "text_value")}
    return pa.table(
        {
            "source_table": pa.array(tables).take(pa.array(events.table[rows])),
            "code": part.codes.names.take(pa.array(events.code[rows])),
            **{name: texts[name].cast(pa.string()) for name in ("raw_unit", "unit")},
            "events": pa.array(count),
            "example_subject_id": pa.array(events.subject[rows]),
            "example_time": pa.array(time, mask=time == NULL).cast(pa.timestamp("us")),
            "example_raw_value": texts["raw_value"].cast(pa.string()),
            "example_numeric_value": pa.array(number, mask=np.isnan(number)),
            "example_text_value": pc.utf8_slice_codeunits(texts["text_value"], 0, EXAMPLE_LENGTH).cast(pa.string()),
        }
    )


def _by_rule(marks: Int64s, groups: pa.Table) -> pa.Table:
    """Return a row for each rule and group of events.

    Args:
        marks: flags of each group, shifted left by one bit. The lowest bit marks a different spelling of the unit.
        groups: the groups of events.
    """
    bits = {SPELLED: 1, **{name: 2 * value for name, value in rules.flags().items()}}
    found = (marks & np.array(list(bits.values()), np.int64)[:, np.newaxis]) != 0
    rule, group = np.divmod(np.flatnonzero(found), len(marks))
    rows = groups.take(pa.array(group)).add_column(0, "rule", pa.array(list(bits), pa.string()).take(pa.array(rule)))
    return rows.select(APPLIED_SCHEMA.names).cast(APPLIED_SCHEMA)


def _merged(rows: pa.Table) -> pa.Table:
    """Add up rows of the same rule, table, code and units, and keep the example of the first row."""
    examples = [name for name in APPLIED_SCHEMA.names if name.startswith("example_")]
    # Nulls must not be skipped: an example is one event, not the first value of each column.
    first = pc.ScalarAggregateOptions(skip_nulls=False)
    aggregations = [("events", "sum"), *((name, "first", first) for name in examples)]
    merged = rows.group_by(_GROUP_KEYS, use_threads=False).aggregate(aggregations)
    names = [name.removesuffix("_sum").removesuffix("_first") for name in merged.column_names]
    return merged.rename_columns(names).select(APPLIED_SCHEMA.names).cast(APPLIED_SCHEMA)


def all_applied(pieces: Sequence[pa.Table]) -> pa.Table:
    """Combine the counts of all parts, sorted by rule, table and code."""
    merged = _merged(pa.concat_tables([APPLIED_SCHEMA.empty_table(), *pieces]))
    return merged.take(pc.sort_indices(merged, [(name, "ascending") for name in _GROUP_KEYS]))
