"""Cut the file of a table that is ordered by patient at the bounds of the shards.

Only the records at the cuts are looked at, so cutting takes hardly longer than decompressing. A row in the wrong slice
is noticed when the slice is parsed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ehrtraj.pipeline.slices.slice import CannotSliceError
from ehrtraj.release.reader import TableStream, count, read_blocks
from ehrtraj.release.records import UnsoundQuotesError
from ehrtraj.release.schema import SUBJECT_ID
from ehrtraj.release.table_file import TableFile

# A file whose first bytes are ordered is assumed to be ordered.
_SAMPLE = 1 << 16
# Records at the end of a block to search for one with a subject_id.
_MOST_BAD = 100


@dataclass(frozen=True)
class _Records:
    """Complete records of a file.

    Attributes:
        data: the bytes.
        column: position of subject_id among the columns.
    """

    data: bytes
    column: int

    @cached_property
    def _quoted(self) -> bool:
        return b'"' in self.data

    def start(self, at: int) -> int:
        """Return the position of the first record that starts at or after a position; the length if there is none."""
        if at == 0:
            return 0
        line = self.data.find(b"\n", at - 1) + 1
        if self._quoted:
            quotes = count(self.data, b'"', 0, line)
            while line and quotes % 2:
                end = self.data.find(b"\n", line) + 1
                quotes += self.data.count(b'"', line, end or len(self.data))
                line = end
        return line or len(self.data)

    def subject(self, start: int) -> int | None:
        """Return the subject_id of the first record at or after the start of a record that has one."""
        while start < len(self.data):
            end = self.data.find(b"\n", start)
            line = self.data[start : end if end >= 0 else len(self.data)]
            fields = line.rstrip(b"\r").split(b",", self.column + 1)
            if len(fields) > self.column and fields[self.column].isdigit():
                return int(fields[self.column])
            start = self.start(start + 1)
        return None

    def last_subject(self) -> int | None:
        """Return the subject_id of the last record that has one; None if it is not among the last records."""
        stop, quotes, records = len(self.data), 0, 0
        while records < _MOST_BAD:
            at = self.data.rfind(b"\n", 0, stop - 1) + 1
            quotes += self.data.count(b'"', at, stop)
            # The records are complete, so a line with an even number of quotes after its start begins a record.
            if quotes % 2 == 0:
                records += 1
                if (subject := self.subject(at)) is not None:
                    return subject
            if not at:
                break
            stop = at
        return None

    def find(self, subject: int, low: int) -> int:
        """Return the position, not before `low`, of the first record with this subject_id or a larger one."""

        def reached(at: int) -> bool:
            found = self.subject(self.start(at))
            return found is None or found >= subject

        return self.start(bisect_left(range(low, len(self.data)), True, key=reached) + low)


def looks_ordered(file: TableFile) -> bool:
    """Return whether subject_id is a number that does not decrease at the start of a file.

    Raises:
        ReleaseError: if the file cannot be read.
    """
    column = _column(file)
    with file.open() as stream:
        try:
            block = next(iter(read_blocks(stream, _SAMPLE)), None)
        except UnsoundQuotesError:
            return False
    if block is None:
        return False
    records = _Records(block.data, column)
    subjects, at = [], 0
    while at < len(block.data):
        subjects.append(records.subject(at))
        at = records.start(at + 1)
    known = [subject for subject in subjects if subject is not None]
    return bool(known) and known == sorted(known)


def _column(file: TableFile) -> int:
    return file.header.index(file.present[SUBJECT_ID])


def cut(stream: TableStream, file: TableFile, starts: Sequence[int], size: int) -> Iterator[tuple[int, memoryview]]:
    """Yield the records of a table, in order, with the number of their shard.

    Args:
        stream: the table, at its start.
        file: its file.
        starts: first subject_id of each shard.
        size: bytes to read at a time.

    Raises:
        CannotSliceError: if the table is not ordered, as far as the records at the cuts show.
        ReleaseError: if the file is damaged, or changed while it was being read.
    """
    shard, column, table = 0, _column(file), file.table.full_name
    try:
        for block in read_blocks(stream, size):
            records, data, at = _Records(block.data, column), memoryview(block.data), 0
            first, last = records.subject(0), records.last_subject()
            if shard and first is not None and first < starts[shard]:
                raise CannotSliceError(table)
            while shard + 1 < len(starts) and last is not None and last >= starts[shard + 1]:
                end = records.find(starts[shard + 1], at)
                if end > at:
                    yield shard, data[at:end]
                at = end
                if at == len(data):
                    break
                shard += 1
            if at < len(data):
                yield shard, data[at:]
    except UnsoundQuotesError:
        raise CannotSliceError(table) from None
