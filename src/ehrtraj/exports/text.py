"""Text formats: many files are cut from one buffer of lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from ehrtraj.exports.format import Format
from ehrtraj.exports.job import ExportJob
from ehrtraj.exports.lines import offsets_of
from ehrtraj.exports.units import Unit

# Windows has no O_NOFOLLOW. Without O_BINARY, it writes every line feed as two bytes.
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def no_opening(_names: list[str], _unit: Unit | None) -> bytes:
    """Return nothing to write before the events of a file."""
    return b""


@dataclass(frozen=True, kw_only=True)
class TextFormat(Format):
    """A format in which each event is a piece of text.

    Attributes:
        lines: function that returns the text of each event, without nulls, including the separator to the next event.
        opening: function that returns the text before the events of a file, given the names of the columns, and the
            unit of the file or None.
        separator: ending of each of `lines` that is removed after the last event of a file.
        closing: text after the events of a file.
    """

    lines: Callable[[pa.Table, ExportJob], pa.Array]
    opening: Callable[[list[str], Unit | None], bytes] = no_opening
    separator: bytes = b""
    closing: bytes = b""
    dictionaries: bool = True

    def write_units(self, job: ExportJob, rows: pa.Table, units: Sequence[Unit]) -> list[int]:
        sizes = [0] * len(units)
        handle, current = -1, -1
        try:
            for number, piece in self._pieces(job, rows, units):
                if number != current:
                    if handle >= 0:
                        os.close(handle)
                    path = f"{job.output}/{units[number].path}.{self.ending}"
                    handle, current = os.open(path, _FLAGS, 0o600), number
                write_all(handle, piece)
                sizes[number] += len(piece)
        finally:
            if handle >= 0:
                os.close(handle)
        return sizes

    def _pieces(self, job: ExportJob, rows: pa.Table, units: Sequence[Unit]) -> Iterator[tuple[int, memoryview]]:
        """Yield the bytes of all units, one unit after another, as pairs of unit number and piece."""
        order = np.concatenate([unit.rows for unit in units])
        ends = np.cumsum([len(unit.rows) for unit in units])
        is_consecutive = len(order) == rows.num_rows and bool((np.diff(order) == 1).all())
        closing = memoryview(self.closing)
        unit = 0
        opened = False
        size = job.sizes.formatted_events
        for begin in range(0, len(order), size):
            start, stop = begin, min(begin + size, len(order))
            events = rows.slice(start, stop - start) if is_consecutive else rows.take(pa.array(order[start:stop]))
            data, at = offsets_of(self.lines(events, job))
            while start < stop:
                if not opened:
                    yield unit, memoryview(self.opening(rows.column_names, units[unit]))
                    opened = True
                end = min(stop, int(ends[unit]))
                low, high = int(at[start - begin]), int(at[end - begin])
                done = end == int(ends[unit])
                yield unit, data[low : high - len(self.separator) if done else high]
                if done:
                    yield unit, closing
                    unit, opened = unit + 1, False
                start = end

    def write_tables(self, job: ExportJob, tables: Iterable[pa.Table], path: Path) -> None:
        with path.open("wb", buffering=0) as file:
            for number, rows in enumerate(tables):
                before = self.separator if number else self.opening(rows.column_names, None)
                write_all(file.fileno(), memoryview(before))
                data, at = offsets_of(self.lines(rows, job))
                write_all(file.fileno(), data[int(at[0]) : int(at[-1]) - len(self.separator)])
            write_all(file.fileno(), memoryview(self.closing))


def write_all(handle: int, piece: memoryview) -> None:
    """Write all bytes to an open file, in a loop, because one system call may write only some of them."""
    while len(piece):
        piece = piece[os.write(handle, piece) :]
