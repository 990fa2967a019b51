"""The values of measures in one data file, each with the period in which it holds and the time when it was known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import polars as pl

from ehrtraj.cohorts.measures import Measure
from ehrtraj.concepts.session import ConceptMode
from ehrtraj.dataset.concepts import find_stored, scan_shard
from ehrtraj.dataset.intervals import item_of
from ehrtraj.dataset.layout import READ_ERRORS, DataFile, DatasetLayout, broken
from ehrtraj.format.names import CONCEPT_FOLDERS

Clock = Literal["available", "time"]

# Times are in microseconds. `known` and `end_known`: when the start and the end could be known. `is_period` is false
# for a value of one moment, whose start and end are equal. The end of a period is null if it is not recorded.
SCHEMA: dict[str, Any] = {
    "subject_id": pl.Int64, "measure": pl.Int32, "value": pl.Float64, "start": pl.Int64, "end": pl.Int64,
    "known": pl.Int64, "end_known": pl.Int64, "is_period": pl.Boolean,
}  # fmt: skip


def read_values(
    layout: DatasetLayout, file: DataFile, subjects: pl.Series, measures: Sequence[Measure]
) -> pl.DataFrame:
    """Read the values of measures of some patients in one file.

    Args:
        layout: files of the dataset.
        file: data file.
        subjects: subject_id of the patients.
        measures: what to read; the column `measure` is the position in it.

    Returns:
        Frame with the columns of `SCHEMA`, and `place`: position among values of the same time.

    Raises:
        DatasetError: if a file cannot be read.
    """
    parts = [pl.DataFrame(schema=SCHEMA), *_of_events(file, subjects, measures)]
    parts += [_of_table(layout, file, subjects, number, one) for number, one in enumerate(measures) if one.table]
    return pl.concat(parts).with_row_index("place")


def _of_events(file: DataFile, subjects: pl.Series, measures: Sequence[Measure]) -> Iterator[pl.DataFrame]:
    codes = sorted({code for measure in measures for code in (*measure.codes, *measure.ends)})
    if not codes:
        return
    of_periods = ["unit", "source_key"] if any(measure.is_rate for measure in measures) else []
    try:
        events = pl.scan_parquet(file.path, glob=False)
        when = "event_time" if "event_time" in events.collect_schema() else "time"
        read = events.filter(pl.col("code").is_in(codes), pl.col("subject_id").is_in(subjects.implode())).select(
            "subject_id", "code", "numeric_value", *of_periods,
            time=pl.col(when).dt.epoch("us"), known=pl.col("available_time").dt.epoch("us"),
        ).collect()  # fmt: skip
    except READ_ERRORS as error:
        raise broken(file.path, error) from None
    read = read.filter(pl.col("time").is_not_null())
    yield _single(read, _numbers(measures, rates=False))
    if of_periods:
        yield _periods(read, _numbers(measures, rates=True), _numbers(measures, rates=True, ends=True))


def _numbers(measures: Sequence[Measure], *, rates: bool, ends: bool = False) -> pl.DataFrame:
    """Return the codes of measures with the numbers of the measures. A code may belong to several."""
    rows = [
        (code, number)
        for number, one in enumerate(measures)
        if one.is_rate == rates
        for code in (one.ends if ends else one.codes)
    ]
    return pl.DataFrame(rows, schema={"code": pl.String, "measure": pl.Int32}, orient="row")


def _decimal(column: str) -> pl.Expr:
    # By way of the text: 1.1 stays 1.1 in 64 bits, and is not 1.10000002384.
    return pl.col(column).cast(pl.String).cast(pl.Float64)


def _single(events: pl.DataFrame, numbers: pl.DataFrame) -> pl.DataFrame:
    found = events.filter(pl.col("numeric_value").is_not_null()).join(
        numbers, on="code", how="inner", maintain_order="left"
    )
    return found.select(
        "subject_id", "measure", value=_decimal("numeric_value"), start="time", end="time", known="known",
        end_known="known", is_period=pl.lit(value=False),
    )  # fmt: skip


_SAME_PERIOD = ["subject_id", "measure", "item", "source_key"]


def _periods(events: pl.DataFrame, starts: pl.DataFrame, ends: pl.DataFrame) -> pl.DataFrame:
    """Join the starts and ends of periods with a constant rate. A push has no rate, and is left out."""
    events = events.with_columns(item=item_of())
    begun = events.filter(pl.col("numeric_value").is_not_null()).join(starts, on="code", maintain_order="left")
    over = (
        events.join(ends, on="code")
        .group_by(_SAME_PERIOD)
        .agg(end=pl.col("time").max(), end_known=pl.col("known").max())
    )
    found = begun.join(over, on=_SAME_PERIOD, how="left", nulls_equal=True, maintain_order="left")
    return found.select(
        "subject_id", "measure", value=_decimal("numeric_value"), start="time",
        end=pl.when(pl.col("end").is_not_null()).then(pl.max_horizontal("time", "end")),
        known="known", end_known="end_known", is_period=pl.lit(value=True),
    )  # fmt: skip


def _of_table(
    layout: DatasetLayout, file: DataFile, subjects: pl.Series, number: int, measure: Measure
) -> pl.DataFrame:
    """Read one column of a computed concept."""
    mode = ConceptMode()
    concept = find_stored(layout, measure.table, mode)
    try:
        rows = scan_shard(layout, concept, mode, file)
        names = rows.collect_schema().names()
        start, end = ("time", "time") if "time" in names else ("start", "end")
        mine = pl.col("subject_id").is_in(subjects.implode())
        used = pl.col(measure.column).is_not_null() & pl.col(start).is_not_null()
        columns = list(dict.fromkeys(["subject_id", start, end, "available_time", measure.column]))
        found = rows.filter(mine, used).select(columns).collect()
    except READ_ERRORS as error:
        raise broken(layout.root / CONCEPT_FOLDERS[0] / concept.name, error) from None
    known = pl.col("available_time").dt.epoch("us")
    return found.select(
        pl.col("subject_id").cast(pl.Int64), measure=pl.lit(number, dtype=pl.Int32),
        value=pl.col(measure.column).cast(pl.Float64), start=pl.col(start).dt.epoch("us"),
        end=pl.col(end).dt.epoch("us"), known=known, end_known=known, is_period=pl.lit(start != end),
    )  # fmt: skip
