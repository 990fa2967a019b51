"""Rows of a table that a kind of defect examines."""

from __future__ import annotations

from itertools import compress

import numpy as np
import polars as pl

from ehrtraj.synth.defects.texts import Cells
from ehrtraj.synth.defects.world import World
from ehrtraj.synth.draw import NONE, Bools, Floats, Ints


class Columns:
    """The columns of a table as arrays. Each array is made once."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self.kinds = dict(frame.schema)
        self._arrays: dict[str, Ints | Floats] = {}
        self._present: dict[str, Bools] = {}

    def array(self, name: str) -> Ints | Floats:
        """Return numbers unchanged, and times in microseconds. Empty cells are NaN in numbers and NONE in times."""
        if name not in self._arrays:
            values = self.frame[name].to_numpy()
            if self.kinds[name].is_temporal():
                values = values.astype("datetime64[us]", copy=False).view(np.int64)
            self._arrays[name] = values
        return self._arrays[name]

    def present(self, name: str) -> Bools:
        """Return which texts are not null."""
        if name not in self._present:
            self._present[name] = self.frame[name].is_not_null().to_numpy()
        return self._present[name]


class TableRows:
    """A selection of rows of a table.

    Args:
        columns: columns of the table.
        at: positions of the rows in the table.
        rng: source of random numbers.
        world: the other tables of the block.
    """

    def __init__(self, columns: Columns, at: Ints, rng: np.random.Generator, world: World) -> None:
        self.columns = columns
        self.at = at
        self.rng = rng
        self.world = world
        self._texts: dict[str, list[str | None]] = {}

    def __len__(self) -> int:
        return len(self.at)

    def keep(self, where: Bools) -> TableRows:
        """Return the rows for which `where` is true."""
        selected = TableRows(self.columns, self.at[where], self.rng, self.world)
        selected._texts = {name: list(compress(texts, where.tolist())) for name, texts in self._texts.items()}
        return selected

    def ints(self, name: str) -> Ints:
        """Return an integer column; empty cells are NONE."""
        values = self.columns.array(name)[self.at]
        if values.dtype.kind == "i":
            return values.astype(np.int64)
        empty = np.isnan(values)
        return np.where(empty, NONE, np.where(empty, 0, values).astype(np.int64))

    def floats(self, name: str) -> Floats:
        """Return a numeric column; empty cells are NaN."""
        return self.columns.array(name)[self.at].astype(np.float64)

    def times(self, name: str) -> Ints:
        """Return a column of times or dates in seconds since 1970; empty cells are NONE."""
        values = self.columns.array(name)[self.at].astype(np.int64)
        return np.where(values == NONE, NONE, values // 1_000_000)

    def texts(self, name: str) -> list[str | None]:
        """Return a text column."""
        if name not in self._texts:
            self._texts[name] = self.columns.frame[name][self.at].to_list()
        return self._texts[name]

    def cells(self, name: str) -> Cells:
        """Return a column of any type, as texts, times in seconds, or numbers."""
        kind = self.columns.kinds[name]
        if kind == pl.String:
            return self.texts(name)
        if kind.is_temporal():
            return self.times(name)
        return self.floats(name) if kind == pl.Float64 else self.ints(name)

    def has(self, *names: str) -> Bools:
        """Return which rows have a value in each of the columns."""
        complete = np.ones(len(self), dtype=bool)
        for name in names:
            kind = self.columns.kinds[name]
            if kind == pl.String:
                complete &= self.columns.present(name)[self.at]
            elif kind.is_temporal():
                complete &= self.columns.array(name)[self.at] != NONE
            else:
                values = self.columns.array(name)[self.at]
                complete &= values == values
        return complete

    def uniform(self) -> Floats:
        """Draw a uniform number between 0 and 1 for each row."""
        return self.rng.random(len(self))

    def integers(self, low: int, high: int) -> Ints:
        """Draw an integer from `low` to `high`, both included, for each row."""
        return self.rng.integers(low, high + 1, len(self))
