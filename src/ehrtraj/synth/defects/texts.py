"""Text forms of cells in the files, and of correct events in the answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import cache, lru_cache

import numpy as np
import polars as pl

from ehrtraj.synth.draw import DAY, HOUR, MINUTE, NONE, Floats, Ints, blank, dates, integers, times

Cells = Ints | Floats | list[str | None] | list[str] | str | float | None
"""New cells: one for each row (NONE, NaN and None are empty), or one value for all rows."""


@dataclass(frozen=True)
class Moments:
    """Times in seconds since 1970, which answers write in the same form as the files."""

    seconds: Ints


def moment_texts(seconds: Ints, only_date: bool = False) -> list[str | None]:
    """Return times, or dates, as they are written in the files."""
    if only_date:
        return [None if time == NONE else _day(time // DAY) for time in seconds.tolist()]
    # The same days and times of day occur often. Each is formatted once.
    return [None if time == NONE else _day(time // DAY) + _clock(time % DAY) for time in seconds.tolist()]


@cache
def _day(number: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=number)).isoformat()


@cache
def _clock(seconds: int) -> str:
    return f" {seconds // HOUR:02}:{seconds % HOUR // MINUTE:02}:{seconds % MINUTE:02}"


def number_text(number: float) -> str | None:
    """Return a number as it is written in the files (7, not 7.0); None for NaN."""
    if number != number:
        return None
    text = repr(number)
    if "e" in text:
        text = format(Decimal(text), "f")
    return text.removesuffix(".0")


def number_texts(numbers: Floats) -> list[str | None]:
    """Return numbers as they are written in the files."""
    return [number_text(number) for number in numbers.tolist()]


def to_series(cells: Cells, count: int, kind: pl.DataType) -> pl.Series:
    """Return new cells as a column of type `kind`. Text cells stay text."""
    if isinstance(cells, np.ndarray):
        return _array_series(cells, kind)
    if isinstance(cells, list):
        return pl.Series(cells, dtype=pl.String)
    return pl.Series([cells] * count, dtype=pl.String if isinstance(cells, str) else kind)


def _array_series(cells: Ints | Floats, kind: pl.DataType) -> pl.Series:
    if kind == pl.Date:
        return dates(cells.astype(np.int64))
    if kind.is_temporal():
        return times(cells.astype(np.int64))
    if kind == pl.Int64:
        return integers(cells.astype(np.int64))
    return blank(pl.Series(cells.astype(np.float64)), np.isnan(cells))


def to_texts(cells: Cells, count: int, kind: pl.DataType) -> list[str | None]:
    """Return new cells of a column of type `kind` as they are written in the files."""
    if isinstance(cells, list):
        return list(cells)
    if not isinstance(cells, np.ndarray):
        return [cells if isinstance(cells, str) or cells is None else number_text(cells)] * count
    if kind.is_temporal():
        return moment_texts(cells.astype(np.int64), only_date=kind == pl.Date)
    if cells.dtype.kind == "f":
        return number_texts(cells.astype(np.float64))
    return [None if number == NONE else str(number) for number in cells.tolist()]


def as_written(column: pl.Series) -> pl.Series:
    """Return a column as it is written in the file."""
    if column.dtype == pl.String:
        return column
    if column.dtype.is_temporal():
        return column.dt.strftime("%Y-%m-%d" if column.dtype == pl.Date else "%Y-%m-%d %H:%M:%S")
    return column.cast(pl.String).str.strip_suffix(".0")


def as_json(fields: Mapping[str, object], count: int) -> list[str]:
    """Return a JSON object for each row.

    Args:
        fields: values by name. An array, a list or Moments has a value for each row; anything else is the same for all
            rows. A tuple becomes a JSON array.
        count: number of rows.
    """
    template, columns = [], []
    for name, value in fields.items():
        if isinstance(value, np.ndarray | list | Moments):
            template.append(f'"{name}":%s')
            columns.append(_json_cells(value))
        else:
            template.append(f'"{name}":{_dumps(value)}'.replace("%", "%%"))
    text = "{" + ",".join(template) + "}"
    return [text % row for row in zip(*columns, strict=True)] if columns else [text % ()] * count


def _json_cells(cells: Ints | Floats | Moments | list[object]) -> list[str]:
    if isinstance(cells, Moments):
        return ["null" if text is None else f'"{text}"' for text in moment_texts(cells.seconds)]
    if isinstance(cells, np.ndarray):
        if cells.dtype.kind == "i":
            return ["null" if number == NONE else str(number) for number in cells.tolist()]
        return ["null" if number != number else repr(number) for number in cells.tolist()]
    return [_dumps(text) for text in cells]


@lru_cache(1 << 16)
def _dumps(value: object) -> str:
    return json.dumps(value)
