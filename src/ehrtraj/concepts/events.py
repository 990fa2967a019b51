"""Concepts as events: one event for each value of a row, with the code `CONCEPT//<concept>//<column>`.

The events of a row have the same source_key: its number among the rows of the patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import polars as pl

from ehrtraj.concepts.header import AVAILABLE, Column
from ehrtraj.format.event_types import CONCEPT

MEANING = "Value of a clinical concept, computed from other events"
_ENCOUNTERS = ("hadm_id", "stay_id")
_KEYS = frozenset({"subject_id", "time", "start", "end", AVAILABLE, *_ENCOUNTERS})
# Not the name of a column: those consist of a-z, 0-9 and _.
_ROW = "row number"
_NUMBERS = frozenset({"DOUBLE", "INTEGER", "BIGINT", "BOOLEAN"})


class Described(Protocol):
    """A concept with its columns: one of a library, or one that is stored in a dataset."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def start(self) -> str:
        """Name of the column with the time at which a row begins: `time` or `start`."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Its columns."""


def value_columns(concept: Described) -> list[tuple[str, str, str]]:
    """Return the columns of a concept that become events: name, type and unit.

    Identifiers (`..._id`) and times are not values.
    """
    return [
        (column.name, column.type, column.unit)
        for column in concept.columns
        if column.name not in _KEYS
        and not column.name.endswith("_id")
        and (column.type in _NUMBERS or column.type == "VARCHAR")
    ]


def table_of(name: str) -> str:
    """Return the source_table of the events of a concept."""
    return f"concepts/{name}"


def codes_of(concept: Described) -> list[str]:
    """Return the codes of the events of a concept. An interval also has an event at its end."""
    codes = [f"{CONCEPT}//{concept.name}//{name}" for name, _, _ in value_columns(concept)]
    return [*codes, f"{CONCEPT}//{concept.name}//END"] if concept.start == "start" else codes


def concept_events(
    concept: Described, rows: pl.LazyFrame, schema: Mapping[str, pl.DataType], clock: str
) -> Iterator[pl.LazyFrame]:
    """Yield the events of each column.

    Args:
        concept: the concept.
        rows: all its rows of some patients.
        schema: columns and types of the events of the dataset.
        clock: the dataset's clock: `available` if the column time is when something became known.
    """
    rows = rows.with_columns(pl.int_range(1, pl.len() + 1).over("subject_id").alias(_ROW))
    for name, kind, unit in value_columns(concept):
        number, text = pl.lit(None, pl.Float32), pl.lit(None, pl.String)
        if kind == "VARCHAR":
            text, has_value = pl.col(name), pl.col(name).is_not_null()
        else:
            number = pl.col(name).cast(pl.Float32)
            has_value = number.is_finite()
        given = {"numeric_value": number, "text_value": text, "unit": pl.lit(unit or None, pl.String)}
        yield _events(concept, name, rows.filter(has_value), concept.start, given, schema, clock)
    if concept.start == "start":
        yield _events(concept, "END", rows, "end", {}, schema, clock)


def _events(
    concept: Described,
    item: str,
    rows: pl.LazyFrame,
    time: str,
    given: Mapping[str, pl.Expr],
    schema: Mapping[str, pl.DataType],
    clock: str,
) -> pl.LazyFrame:
    names = {column.name for column in concept.columns}
    values = {
        "subject_id": pl.col("subject_id"),
        "time": pl.col(AVAILABLE) if clock == "available" else pl.col(time),
        "event_time": pl.col(time),
        "available_time": pl.col(AVAILABLE),
        "code": pl.lit(f"{CONCEPT}//{concept.name}//{item}"),
        "time_precision": pl.lit("second"),
        "flags": pl.lit(0),
        "source_table": pl.lit(table_of(concept.name)),
        "source_key": pl.col(_ROW),
        **{name: pl.col(name) for name in _ENCOUNTERS if name in names},
        **given,
    }
    return rows.select(
        values.get(name, pl.lit(None)).cast(kind, strict=False).alias(name) for name, kind in schema.items()
    )
