"""Divide a shard into parts of patients, which become events one after another.

Running a recipe takes time whatever the number of rows, so most tables are converted for all patients of a shard
together. The few large tables, such as chartevents, are read and converted part by part, and the events are sorted and
written part by part: only these rows and events are in memory at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ehrtraj.format.arrays import Int64s, to_int64
from ehrtraj.release.schema import SUBJECT_ID


@dataclass(frozen=True)
class Part:
    """The rows of some patients in the large tables.

    Attributes:
        rows: rows of each table, by full name.
        last_subject: largest subject_id of these patients; None for the last part, which contains all that remain.
    """

    rows: dict[str, pa.Table]
    last_subject: int | None


class _Stream:
    """The rows of a table, of which some have been read and wait for their part.

    Attributes:
        is_complete: whether all rows have been read.
    """

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self.is_complete = False
        self._tables = tables
        self._waiting: list[tuple[pa.Table, Int64s]] = []
        self._count = 0
        self.read()

    def read(self) -> None:
        """Read more rows."""
        rows = next(self._tables, None)
        if rows is None:
            self.is_complete = True
        else:
            self._waiting.append((rows, to_int64(rows[SUBJECT_ID])))
            self._count += len(rows)

    @property
    def last_subject(self) -> int | None:
        """The last subject_id that has been read; None if no row waits."""
        return next((int(subjects[-1]) for _, subjects in reversed(self._waiting) if len(subjects)), None)

    def rows_before(self, bound: int | None) -> int:
        """Return the number of waiting rows of patients below a subject_id; None for all."""
        count = self._count
        if bound is None:
            return count
        for _, subjects in reversed(self._waiting):
            if len(subjects):
                if subjects[-1] < bound:
                    break
                count -= len(subjects) - int(np.searchsorted(subjects, bound))
        return count

    def subjects(self) -> Int64s:
        """Return the subject_id of each waiting row, ascending."""
        return np.concatenate([subjects for _, subjects in self._waiting])

    def take(self, last_subject: int | None) -> pa.Table:
        """Return and remove the rows of all patients up to one; None for all."""
        end = self._count if last_subject is None else self.rows_before(last_subject + 1)
        rows, subjects = pa.concat_tables([rows for rows, _ in self._waiting]), self.subjects()
        self._waiting, self._count = [(rows.slice(end), subjects[end:].copy())], self._count - end
        return rows.slice(0, end)


def divide(tables: Sequence[str], read: Callable[[str], Iterator[pa.Table]], rows_of_part: int) -> Iterator[Part]:
    """Yield the parts of a shard, in the order of the patients.

    A part ends with the first patient with whom it has enough rows, unless less than half as many remain. The parts
    depend only on the rows, not on the tables in which they are read.

    Args:
        tables: full names of the large tables.
        read: yields the rows of a table, ordered by patient, in one or several tables.
        rows_of_part: minimum number of rows of a part.
    """
    streams = {name: _Stream(read(name)) for name in tables}
    while True:
        last_subject = _end_of_part(list(streams.values()), rows_of_part)
        yield Part({name: stream.take(last_subject) for name, stream in streams.items()}, last_subject)
        if last_subject is None:
            return


def _end_of_part(streams: Sequence[_Stream], rows_of_part: int) -> int | None:
    """Read rows until the next part is known, and return its last patient; None if it is the last part."""
    wanted, end = rows_of_part, None
    while True:
        open_streams = [stream for stream in streams if not stream.is_complete]
        # The last patient that was read may have more rows.
        read_to = [(stream.last_subject, stream) for stream in open_streams]
        bound = min((-1 if last is None else last for last, _ in read_to), default=None)
        if sum(stream.rows_before(bound) for stream in streams) >= wanted:
            if end is not None:
                return end
            end, rows = _first_patient_with(streams, rows_of_part)
            wanted = rows + max(rows_of_part // 2, 1)
        elif not open_streams:
            return None
        else:
            next(stream for last, stream in read_to if (-1 if last is None else last) == bound).read()


def _first_patient_with(streams: Sequence[_Stream], wanted: int) -> tuple[int, int]:
    """Return the first patient up to whom there is a number of rows, and the number of rows up to this patient."""
    columns = [stream.subjects() for stream in streams]
    starts = [column[np.append(True, column[1:] != column[:-1])[: len(column)]] for column in columns]
    patients = np.unique(np.concatenate(starts))
    rows = np.sum([np.searchsorted(column, patients, side="right") for column in columns], axis=0)
    at = int(np.searchsorted(rows, wanted))
    return int(patients[at]), int(rows[at])
