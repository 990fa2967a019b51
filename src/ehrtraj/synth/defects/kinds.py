"""What a kind of defect is: which rows it can hit, what it writes, and what the right event then is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.defects.rows import Rows
from ehrtraj.synth.defects.texts import Cells
from ehrtraj.synth.draw import DAY, NONE, Bools, Floats, Ints

Event = dict[str, object]
"""The right event, by the names of its columns: see `texts.as_json`."""


@dataclass(frozen=True)
class Change:
    """What a kind makes of the rows it hits.

    Args:
        write: the new cells by column; the first column is the one that the answers name. Times are seconds since 1970.
        right: the right event.
    """

    write: Mapping[str, Cells]
    right: Mapping[str, object]


@dataclass(frozen=True)
class Kind:
    """A kind of defect in one table.

    Args:
        defect: its name in defects.csv.
        table: "hosp/labevents".
        where: says which rows it can hit.
        change: says what becomes of those that are hit.
        one_per: can hit only one row of each run of equal values in this column.
        together: hits all rows that share this column's value.
        added: the row hit stays, and a copy of it, so changed, is put behind it.
    """

    defect: str
    table: str
    where: Callable[[Rows], Bools]
    change: Callable[[Rows], Change]
    one_per: str | None = None
    together: str | None = None
    added: bool = False


def has(*names: str) -> Callable[[Rows], Bools]:
    """Return a condition: none of the columns is empty."""
    return lambda rows: rows.has(*names)


def known(values: Ints) -> Bools:
    """Say which values are not NONE."""
    there: Bools = values != NONE
    return there


def truths(values: list[bool]) -> Bools:
    """Return a condition worked out row by row, for columns of texts."""
    answer: Bools = np.array(values, dtype=bool)
    return answer


def shifted(times: Ints, by: Ints) -> Ints:
    """Return times moved by some seconds; NONE stays."""
    return np.where(times == NONE, NONE, times + np.where(times == NONE, 0, by))


def midnight(times: Ints) -> Ints:
    """Return the beginning of each time's day."""
    return times - times % DAY


def day_end(times: Ints) -> Ints:
    """Return the last second of each time's day: where a date without a time lies."""
    return np.where(times == NONE, NONE, midnight(times) + DAY - 1)


@dataclass(frozen=True)
class Drawn:
    """A line of defect_values.csv for each row."""

    written: list[str]
    right: list[str | None]
    factor: Floats


@dataclass(frozen=True)
class Lines:
    """The lines of defect_values.csv for one kind, grouped by the item they are for.

    Args:
        items: the items, sorted; one empty text where the lines are for any row.
        first: where each item's lines begin.
        count: how many it has.
    """

    items: Ints | list[str]
    first: Ints
    count: Ints
    written: Sequence[str] = field(repr=False)
    right: Sequence[str | None] = field(repr=False)
    factor: Floats = field(repr=False)

    @classmethod
    @cache
    def of(cls, defect: str, table: str) -> Lines:
        """Read the lines of one kind."""
        every = catalog.read("defect_values.csv").filter(pl.col("defect") == defect, pl.col("table") == table)
        if every.is_empty():
            raise KeyError(f"defect_values.csv has no {defect} of {table}")
        of_items: dict[int | str, list[dict[str, str | None]]] = {}
        for line in every.cast(pl.String).iter_rows(named=True):
            item = line["item"] or ""
            of_items.setdefault(int(item) if item.isdigit() else item, []).append(line)
        items = sorted(of_items)
        lines = [line for item in items for line in of_items[item]]
        count = np.array([len(of_items[item]) for item in items])
        return cls(
            items=np.array(items) if isinstance(items[0], int) else [str(item) for item in items],
            first=np.cumsum(count) - count,
            count=count,
            written=[line["written"] or "" for line in lines],
            right=[line["right"] for line in lines],
            factor=np.array([float(line["factor"] or 1) for line in lines]),
        )

    def fit(self, items: Ints | list[str | None]) -> Bools:
        """Say which items have lines."""
        return self._places(items) >= 0

    def draw(self, rows: Rows, items: Ints | list[str | None] | None = None) -> Drawn:
        """Draw a line for each row: one of its item's, or any."""
        place = np.zeros(len(rows), dtype=np.int64) if items is None else self._places(items)
        line = self.first[place] + (rows.dice() * self.count[place]).astype(np.int64)
        chosen = line.tolist()
        return Drawn([self.written[i] for i in chosen], [self.right[i] for i in chosen], self.factor[line])

    def _places(self, items: Ints | list[str | None]) -> Ints:
        if isinstance(self.items, list):
            place = {item: number for number, item in enumerate(self.items)}
            return np.array([place.get(item or "", -1) for item in items], dtype=np.int64)
        sought = np.asarray(items, dtype=np.int64)
        found = np.minimum(np.searchsorted(self.items, sought), len(self.items) - 1)
        return np.where(self.items[found] == sought, found, -1)
