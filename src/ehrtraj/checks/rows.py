"""A batch of consecutive events of a file by column, with the event before them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ehrtraj.checks.findings import Finding
from ehrtraj.format.arrays import NULL, Int64s, Texts, one_array, to_int64

# Maximum bytes of a batch, as encoded in the file; long rows reduce the number of rows.
BATCH_BYTES = 24 << 20
_TEXT_TYPES = (pa.string(), pa.large_string())

Bools = npt.NDArray[np.bool_]


@dataclass
class EventBatch:
    """Consecutive events, with the event before them if there is one.

    Attributes:
        file: name of the file, for messages.
        start: position in the file of the first row of `table`.
        before: 1 if the first row of `table` was already checked with the previous batch, otherwise 0.
        table: rows, with texts as dictionaries.
    """

    file: str
    start: int
    before: int
    table: pa.Table
    _ints: dict[str, Int64s] = field(default_factory=dict)
    _texts: dict[str, Texts] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def has(self, *columns: str) -> bool:
        """Return whether the file has all of these columns."""
        return all(c in self.table.column_names for c in columns)

    def ints(self, name: str) -> Int64s:
        """Return the integers or times of all rows, `NULL` for null."""
        if name not in self._ints:
            self._ints[name] = to_int64(self.table[name])
        return self._ints[name]

    def texts(self, name: str) -> Texts:
        """Return the texts of all rows as positions among distinct texts, -1 for null."""
        if name not in self._texts:
            column = one_array(self.table[name])
            positions = column.indices
            if positions.null_count:
                positions = pc.fill_null(positions, -1)
            self._texts[name] = Texts(positions.to_numpy(), column.dictionary)
        return self._texts[name]

    def numbers(self) -> npt.NDArray[np.float64]:
        """Return numeric_value of all rows, NaN for null and for NaN."""
        numbers: npt.NDArray[np.float64] = pc.fill_null(self.table["numeric_value"], np.nan).to_numpy()
        return numbers

    def null(self, name: str) -> Bools:
        """Return for each row whether a value is null."""
        nulls: Bools = self.table[name].is_null().to_numpy()
        return nulls

    def new(self, where: Bools) -> npt.NDArray[np.intp]:
        """Return the positions of the rows where a condition is true, without the row before."""
        return np.flatnonzero(where[self.before :]) + self.before

    def places(self, at: Iterable[int], words: str, *columns: str) -> Iterator[Finding]:
        """Yield a finding for each row; `{column}` in `words` is replaced by the row's value."""
        for row in at:
            values = {c: self.table[c][row].as_py() for c in columns}
            subject = self.table["subject_id"][row].as_py()
            yield Finding(words.format(**values), self.file, self.start + int(row), subject)


def text_columns(schema: pa.Schema) -> list[str]:
    """Return the columns that contain texts."""
    return [f.name for f in schema if f.type in _TEXT_TYPES]


def read_rows(file: pq.ParquetFile, name: str, columns: list[str], batch_rows: int) -> Iterator[EventBatch]:
    """Read a data file in batches.

    Args:
        file: the file, opened so that texts are read as dictionaries.
        name: name of the file, for messages.
        columns: columns to read.
        batch_rows: maximum number of rows at a time.
    """
    batch_rows = max(1, min(batch_rows, BATCH_BYTES // _longest_row(file, columns)))
    at = 0
    last: pa.Table | None = None
    for batch in file.iter_batches(batch_size=batch_rows, columns=columns, use_threads=False):
        piece = pa.Table.from_batches([batch])
        if not piece.num_rows:
            continue
        before = 0 if last is None else 1
        table = piece if last is None else pa.concat_tables([last, piece]).unify_dictionaries().combine_chunks()
        yield EventBatch(name, at - before, before, table)
        at += piece.num_rows
        last = piece.slice(piece.num_rows - 1)


def _longest_row(file: pq.ParquetFile, columns: list[str]) -> int:
    """Return the largest average number of bytes per row of any row group."""
    longest = 1
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        chunks = (group.column(i) for i in range(group.num_columns))
        encoded = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema in columns)
        longest = max(longest, encoded // max(group.num_rows, 1))
    return longest


def shown_time(value: int) -> str:
    """Format a time in microseconds for a message."""
    return "no time" if value == NULL else str(np.datetime64(value, "us")).replace("T", " ").removesuffix(".000000")
