"""Kinds of defects: which rows a kind can affect, what it writes, and the correct event for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.defects.rows import TableRows
from ehrtraj.synth.defects.texts import Cells
from ehrtraj.synth.draw import DAY, NONE, Bools, Floats, Ints

Event = dict[str, object]
"""Values of the correct event by column name; see `texts.as_json`."""


@dataclass(frozen=True)
class Change:
    """New cells for the affected rows, and the correct event.

    Args:
        write: new cells by column. The answers record the first column. Times are seconds since 1970.
        right: the correct event.
    """

    write: Mapping[str, Cells]
    right: Mapping[str, object]


@dataclass(frozen=True)
class DefectKind:
    """A kind of defect in one table.

    Args:
        defect: name in defects.csv.
        table: name of the table, such as "hosp/labevents".
        where: returns which rows are eligible.
        change: returns the changes for the affected rows.
        one_per: affects at most one row in each run of equal values in this column.
        together: affects all rows that share a value in this column.
        added: leaves the affected row unchanged, and inserts a changed copy after it.
    """

    defect: str
    table: str
    where: Callable[[TableRows], Bools]
    change: Callable[[TableRows], Change]
    one_per: str | None = None
    together: str | None = None
    added: bool = False


def has(*names: str) -> Callable[[TableRows], Bools]:
    """Return a condition that is true where none of the columns is empty."""
    return lambda rows: rows.has(*names)


def is_known(values: Ints) -> Bools:
    """Return which values are not NONE."""
    result: Bools = values != NONE
    return result


def as_bools(values: list[bool]) -> Bools:
    """Return a list of row-by-row results as an array."""
    result: Bools = np.array(values, dtype=bool)
    return result


def shifted(times: Ints, by: Ints) -> Ints:
    """Return times shifted by `by` seconds; NONE stays NONE."""
    return np.where(times == NONE, NONE, times + np.where(times == NONE, 0, by))


def midnight(times: Ints) -> Ints:
    """Return midnight at the start of each time's day."""
    return times - times % DAY


def day_end(times: Ints) -> Ints:
    """Return the last second of each time's day, which is the time of a date without a time."""
    return np.where(times == NONE, NONE, midnight(times) + DAY - 1)


@dataclass(frozen=True)
class DrawnValues:
    """Values from defect_values.csv, one for each row."""

    written: list[str]
    right: list[str | None]
    factor: Floats


@dataclass(frozen=True)
class DefectValues:
    """Values from defect_values.csv for one kind of defect, grouped by item.

    Args:
        items: sorted items; a single empty text if the values suit any row.
        first: position of the first value of each item.
        count: number of values of each item.
    """

    items: Ints | list[str]
    first: Ints
    count: Ints
    written: Sequence[str] = field(repr=False)
    right: Sequence[str | None] = field(repr=False)
    factor: Floats = field(repr=False)

    @classmethod
    @cache
    def read(cls, defect: str, table: str) -> DefectValues:
        """Read the values for one kind of defect in a table."""
        rows = catalog.read("defect_values.csv").filter(pl.col("defect") == defect, pl.col("table") == table)
        if rows.is_empty():
            raise KeyError(f"defect_values.csv has no values for {defect} in {table}")
        lines_by_item: dict[int | str, list[dict[str, str | None]]] = {}
        for line in rows.cast(pl.String).iter_rows(named=True):
            item = line["item"] or ""
            lines_by_item.setdefault(int(item) if item.isdigit() else item, []).append(line)
        items = sorted(lines_by_item)
        lines = [line for item in items for line in lines_by_item[item]]
        count = np.array([len(lines_by_item[item]) for item in items])
        return cls(
            items=np.array(items) if isinstance(items[0], int) else [str(item) for item in items],
            first=np.cumsum(count) - count,
            count=count,
            written=[line["written"] or "" for line in lines],
            right=[line["right"] for line in lines],
            factor=np.array([float(line["factor"] or 1) for line in lines]),
        )

    def cover(self, items: Ints | list[str | None]) -> Bools:
        """Return which items have values."""
        return self._places(items) >= 0

    def draw_for(self, rows: TableRows, items: Ints | list[str | None] | None = None) -> DrawnValues:
        """Draw a value for each row, from the values of its item if `items` is given."""
        place = np.zeros(len(rows), dtype=np.int64) if items is None else self._places(items)
        line = self.first[place] + (rows.uniform() * self.count[place]).astype(np.int64)
        chosen = line.tolist()
        return DrawnValues([self.written[i] for i in chosen], [self.right[i] for i in chosen], self.factor[line])

    def _places(self, items: Ints | list[str | None]) -> Ints:
        if isinstance(self.items, list):
            place = {item: number for number, item in enumerate(self.items)}
            return np.array([place.get(item or "", -1) for item in items], dtype=np.int64)
        requested = np.asarray(items, dtype=np.int64)
        place_or_next = np.minimum(np.searchsorted(self.items, requested), len(self.items) - 1)
        return np.where(self.items[place_or_next] == requested, place_or_next, -1)
