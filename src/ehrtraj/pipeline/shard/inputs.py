"""Read the rows of one shard, from staged files and from slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj.format.arrays import to_int64
from ehrtraj.pipeline.rejected import RejectWriter
from ehrtraj.pipeline.shard.task import ShardTask
from ehrtraj.pipeline.slices.slice import CannotSliceError, Slice, parse_slice
from ehrtraj.pipeline.stage.parse import BadRow, BlockParser
from ehrtraj.pipeline.stage.staged import read_staged
from ehrtraj.release.schema import SUBJECT_ID
from ehrtraj.storage.base import Storage

Span = tuple[int | None, int | None]
"""First and last subject_id of the patients to read; None for no bound."""


@dataclass
class ShardInputs:
    """The tables of one shard.

    Attributes:
        storage: the working folder.
        task: the shard and its inputs.
        schemas: schema of each table, by full name.
        parsers: parser of each table that is cut into slices.
        rejects: writer of each table's rows that cannot be parsed.
        unparsed: number of rows that could not be parsed, by table and reason.
    """

    storage: Storage
    task: ShardTask
    schemas: Mapping[str, pa.Schema]
    parsers: Mapping[str, BlockParser]
    rejects: Mapping[str, RejectWriter]
    unparsed: dict[str, Counter[str]] = field(default_factory=dict)
    _parsed: set[str] = field(default_factory=set)

    def reader(self, span: Span) -> TableReader:
        """Return a reader of the rows of some patients."""
        return TableReader(self, span)

    def spans(self, span_rows: int) -> list[Span]:
        """Return the spans of the shard. One of usual size has a single span, of all patients.

        Args:
            span_rows: maximum number of rows of a span, unless one patient has more.
        """
        if self.task.rows <= span_rows:
            return [(None, None)]
        names = [*self.task.inputs, *(piece.table for piece in self.task.slices)]
        subjects = np.concatenate([to_int64(self.rows(name, [SUBJECT_ID])[SUBJECT_ID]) for name in names])
        if len(subjects) <= span_rows:
            return [(None, None)]
        ids, each = np.unique(subjects, return_counts=True)
        span = np.cumsum(each) // span_rows
        return [(int(ids[span == n][0]), int(ids[span == n][-1])) for n in np.unique(span)]

    def rows(self, name: str, columns: Iterable[str] | None = None) -> pa.Table:
        """Return all rows of a table. The errors are those of `TableReader`."""
        piece = self._slice(name)
        if piece is None:
            return read_staged(self.storage, self.task.inputs.get(name, ()), self.schemas[name], columns)
        names = self.schemas[name].names if columns is None else list(columns)
        return pa.concat_tables([self.schemas[name].empty_table().select(names), *self._parse(piece, names)])

    def by_patient(self, name: str) -> Iterator[pa.Table]:
        """Yield all rows of a table, ordered by patient, in one or several tables.

        Raises:
            CannotSliceError: if the rows of a slice are not ordered by patient.
        """
        piece = self._slice(name)
        if piece is None:
            yield _by_patient(self.rows(name))
            return
        yield self.schemas[name].empty_table()
        last = None
        for rows in self._parse(piece, self.schemas[name].names):
            subjects = to_int64(rows[SUBJECT_ID])
            if len(subjects):
                if (subjects[1:] < subjects[:-1]).any() or (last is not None and subjects[0] < last):
                    raise CannotSliceError(name)
                last = subjects[-1]
            yield rows

    def _slice(self, name: str) -> Slice | None:
        return next((piece for piece in self.task.slices if piece.table == name), None)

    def _parse(self, piece: Slice, names: list[str]) -> Iterable[pa.Table]:
        """Yield the rows of a slice. Rows that cannot be parsed are counted and written the first time."""
        first_time = piece.table not in self._parsed
        for line, block in parse_slice(self.storage, piece, self.parsers[piece.table]):
            if first_time and block.bad:
                self._reject(piece.table, block.bad, line)
            self._check_patients(piece.table, block.rows)
            yield block.rows.select(names)
        self._parsed.add(piece.table)

    def _reject(self, table: str, bad: list[BadRow], first_line: int) -> None:
        self.unparsed.setdefault(table, Counter()).update(row.reason for row in bad)
        self.rejects[table].write_text_rows(bad, first_line)

    def _check_patients(self, table: str, rows: pa.Table) -> None:
        """Check that all rows belong to patients of this shard."""
        bounds = pc.min_max(rows[SUBJECT_ID]).as_py()
        first, following = self.task.first_subject, self.task.next_subject
        if rows.num_rows and (
            (first is not None and bounds["min"] < first) or (following is not None and bounds["max"] >= following)
        ):
            raise CannotSliceError(table)


def _by_patient(table: pa.Table) -> pa.Table:
    """Return a table's rows ordered by patient, those of a patient in the same order as before."""
    subjects = to_int64(table[SUBJECT_ID])
    if (subjects[1:] < subjects[:-1]).any():
        return table.take(pa.array(np.argsort(subjects, kind="stable")))
    return table


@dataclass(frozen=True)
class TableReader:
    """Reads the rows of some patients of a shard.

    The methods raise OutputError if a file is missing, and CannotSliceError if rows are not ordered by patient.

    Attributes:
        inputs: the tables of the shard.
        span: the patients.
    """

    inputs: ShardInputs
    span: Span

    def all(self, name: str) -> pa.Table:
        """Return the rows of a table, given its full name; no rows if the release lacks the table."""
        return self._chosen(self.inputs.rows(name))

    def by_patient(self, name: str) -> Iterator[pa.Table]:
        """Yield the rows of a table, given its full name, ordered by patient, in one or several tables."""
        yield from map(self._chosen, self.inputs.by_patient(name))

    def _chosen(self, rows: pa.Table) -> pa.Table:
        low, high = self.span
        if low is None or high is None:
            return rows
        subject = rows[SUBJECT_ID]
        return rows.filter(pc.and_(pc.greater_equal(subject, low), pc.less_equal(subject, high)))
