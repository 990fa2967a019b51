"""Stays and intervals: start and end events joined, by the rule table `intervals.csv`."""

from __future__ import annotations

import polars as pl

from ehrtraj.errors import SettingsError

_SIDES = ("start", "end")
# Within a patient, what a start and its end have in common; `nth` tells apart those that share all the rest.
_KEYS = ["subject_id", "line", "link_id", "source_key", "match", "nth"]


def when(events: pl.DataFrame) -> str:
    """The column that says when things happened, whatever the clock."""
    return "event_time" if "event_time" in events.columns else "time"


def item_of() -> pl.Expr:
    """The item of a code: what follows the event type, without the unit where that is a part of the code."""
    rest = pl.col("code").str.splitn("//", 2).struct.field("field_1")
    return rest.str.strip_suffix(pl.concat_str(pl.lit("//"), "unit", ignore_nulls=True)).fill_null("")


def intervals(events: pl.DataFrame, pairs: pl.DataFrame, kind: str | None = None) -> pl.DataFrame:
    """Join the starts and ends among events of any number of patients.

    A start belongs to the end of its own pair of event types with the same link_id and source_key, and the same item
    where one order holds several. A start whose end is not among the events has a null end, and the other way round.

    Args:
        events: with all columns.
        pairs: the rule table, as `Layout.intervals` has it.
        kind: only intervals of this kind, such as `admission` or `input`.

    Returns:
        A row for each interval, by patient and start: `subject_id`, `interval`, `item`, `start`, `end` (when it
        happened), `start_code`, `end_code`, `start_available`, `end_available`, `start_value`, `start_unit`,
        `end_value`, `end_unit`, `start_attributes`, `end_attributes`, `hadm_id`, `stay_id`, `flags` (of both),
        `source_table`, `source_key`, `link_id`, and `line`, the line of the rule table.

    Raises:
        SettingsError: if there is no such kind.
    """
    kinds = pairs["interval"].unique(maintain_order=True).to_list()
    if kind is not None and kind not in kinds:
        raise SettingsError(f"no kind of interval is called '{kind}': there are {', '.join(kinds)}")
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
    """The admissions, ICU stays or ED stays among events.

    Where several lines of the rule table tell of one kind, an admission's stays come from the first line that has any.

    Args:
        events: with all columns.
        pairs: the rule table, as `Layout.intervals` has it.
        kind: `admission`, `icu_stay` or `ed_stay`.

    Returns:
        A row for each stay, by patient and start: `subject_id`, `hadm_id`, `stay_id`, `start`, `end`, what the items of
        the start and the end say, under the names that the rule table gives them, and `source_table`.
    """
    found = intervals(events, pairs, kind)
    preferred = pl.col("line") == pl.col("line").min().over("subject_id", "hadm_id")
    found = found.filter(preferred | pl.col("hadm_id").is_null())
    names = pairs.filter(interval=kind).row(0, named=True)
    said = []
    for side in _SIDES:
        if name := names[f"{side}_item"]:
            item = pl.col(f"{side}_code").str.splitn("//", 2).struct.field("field_1")
            said.append(item.alias(name))
    return found.select("subject_id", "hadm_id", "stay_id", "start", "end", *said, "source_table")
