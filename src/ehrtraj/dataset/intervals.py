"""Stays and intervals: pairs of start and end events, defined in the rule table `intervals.csv`."""

from __future__ import annotations

import polars as pl

from ehrtraj.errors import SettingsError
from ehrtraj.format.names import NO_UNIT
from ehrtraj.suggestions import did_you_mean

_SIDES = ("start", "end")
# Columns in which a start and its end agree within a patient; `nth` numbers pairs that agree in all others.
_KEYS = ["subject_id", "line", "link_id", "source_key", "match", "nth"]


def when(events: pl.DataFrame) -> str:
    """Return the column with the time at which things happened, whatever the clock."""
    return "event_time" if "event_time" in events.columns else "time"


def item_of() -> pl.Expr:
    """Return the item of a code: the text after the event type, without a unit that is part of the code."""
    rest = pl.col("code").str.splitn("//", 2).struct.field("field_1")
    return rest.str.strip_suffix(pl.concat_str(pl.lit("//"), pl.col("unit").fill_null(NO_UNIT))).fill_null("")


def intervals(events: pl.DataFrame, pairs: pl.DataFrame, kind: str | None = None) -> pl.DataFrame:
    """Join the start and end events of any number of patients.

    A start belongs to the end of the same pair of event types with the same link_id and source_key, and with the same
    item if an order contains several. The end is null if it is not among the events, and so is the start.

    Args:
        events: events with all columns.
        pairs: the rule table, as in `DatasetLayout.intervals`.
        kind: return only intervals of this kind, such as `admission` or `input`.

    Returns:
        A row for each interval, by patient and start: `subject_id`, `interval`, `item`, `start`, `end` (when it
        happened), `start_code`, `end_code`, `start_available`, `end_available`, `start_value`, `start_unit`,
        `end_value`, `end_unit`, `start_attributes`, `end_attributes`, `hadm_id`, `stay_id`, `flags` (of both),
        `source_table`, `source_key`, `link_id`, and `line`, the line of the rule table.

    Raises:
        SettingsError: if the kind does not exist.
    """
    kinds = pairs["interval"].unique(maintain_order=True).to_list()
    if kind is not None and kind not in kinds:
        raise SettingsError(f"there is no interval '{kind}'{did_you_mean(kind, kinds)}: use one of {', '.join(kinds)}")
    table = pairs if kind is None else pairs.filter(interval=kind)
    happened = when(events)
    halves = []
    for side in _SIDES:
        half = events.with_columns(event_type=pl.col("code").str.splitn("//", 2).struct.field("field_0")).join(
            table, left_on="event_type", right_on=side, maintain_order="left"
        )
        half = half.with_columns(item=item_of())
        if side == "start":
            half = half.filter((pl.col("opens_nothing") == "") | (pl.col("item") != pl.col("opens_nothing")))
        half = half.with_columns(match=pl.when(pl.col("same_item") == "yes").then("item").otherwise(pl.lit("")))
        half = half.with_columns(nth=pl.int_range(pl.len(), dtype=pl.UInt32).over(_KEYS[:-1]))
        both = [pl.col(name).alias(f"{side}_{name}") for name in _OF_BOTH]
        halves.append(
            half.select(
                *_KEYS, "interval", pl.col(happened).alias(side), pl.col("code").alias(f"{side}_code"),
                pl.col("available_time").alias(f"{side}_available"), pl.col("numeric_value").alias(f"{side}_value"),
                pl.col("unit").alias(f"{side}_unit"), pl.col("attributes").alias(f"{side}_attributes"), *both,
            )
        )  # fmt: skip
    joined = halves[0].join(halves[1], on=_KEYS, how="full", coalesce=True, nulls_equal=True, suffix="_of_end")
    either = {name: pl.coalesce(f"start_{name}", f"end_{name}") for name in _OF_BOTH if name != "flags"}
    flags = pl.col("start_flags").fill_null(0) | pl.col("end_flags").fill_null(0)
    return (
        joined.with_columns(interval=pl.coalesce("interval", "interval_of_end"), flags=flags, **either)
        .sort("subject_id", pl.coalesce("start", "end"), "line", "link_id", "source_key", "item", "nth")
        .select(_COLUMNS)
    )


_OF_BOTH = ("item", "hadm_id", "stay_id", "flags", "source_table")
_COLUMNS = [
    "subject_id", "interval", "item", "start", "end", "start_code", "end_code", "start_available", "end_available",
    "start_value", "start_unit", "end_value", "end_unit", "start_attributes", "end_attributes", "hadm_id", "stay_id",
    "flags", "source_table", "source_key", "link_id", "line",
]  # fmt: skip


def stays(events: pl.DataFrame, pairs: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Return the admissions, ICU stays or ED stays among events.

    If several lines of the rule table define one kind, an admission's stays come from the first line that has any.

    Args:
        events: events with all columns.
        pairs: the rule table, as in `DatasetLayout.intervals`.
        kind: `admission`, `icu_stay` or `ed_stay`.

    Returns:
        A row for each stay, by patient and start: `subject_id`, `hadm_id`, `stay_id`, `start`, `end`, the items of the
        start and end codes under the names in the rule table, `source_table`, and `end_before_start`: whether the
        recorded end is before the start. The column `end` is null then; `intervals` returns the recorded time.
    """
    found = intervals(events, pairs, kind)
    preferred = pl.col("line") == pl.col("line").min().over("subject_id", "hadm_id")
    found = found.filter(preferred | pl.col("hadm_id").is_null())
    names = pairs.filter(interval=kind).row(0, named=True)
    items = []
    for side in _SIDES:
        if name := names[f"{side}_item"]:
            item = pl.col(f"{side}_code").str.splitn("//", 2).struct.field("field_1")
            items.append(item.alias(name))
    found = found.with_columns(end_before_start=(pl.col("end") < pl.col("start")).fill_null(value=False))
    end = pl.when(~pl.col("end_before_start")).then("end").alias("end")
    return found.select("subject_id", "hadm_id", "stay_id", "start", end, *items, "source_table", "end_before_start")
