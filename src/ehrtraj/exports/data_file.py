"""Read complete patients from a data file as Arrow tables, decoding each row group once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ehrtraj.dataset.layout import broken
from ehrtraj.format.names import NOTES
from ehrtraj.notes import put_texts

_TEXT_TYPES = (pa.string(), pa.large_string())

Span = tuple[int, int, int]
"""subject_id, position of the first event in the file, number of events."""


class RowReader:
    """Reads rows of a data file by position, in ascending order.

    All events of an export come from here: if a dataset stores the texts of notes in separate files, they are put into
    their events here.
    """

    def __init__(self, path: Path, *, dictionaries: bool) -> None:
        """Open a data file.

        Args:
            path: path of the file: `data/<split>/<shard>.parquet` in a dataset, or any other path.
            dictionaries: read texts as Arrow dictionaries.

        Raises:
            DatasetError: if the file cannot be read.
        """
        self._path = path
        notes = path.parents[2] / NOTES / path.parent.name / path.name
        self._notes = notes if notes.is_file() else None
        with _reading(path):
            schema = pq.read_schema(path)
            texts = [field.name for field in schema if field.type in _TEXT_TYPES] if dictionaries else []
            self._file = pq.ParquetFile(path, read_dictionary=texts)
        counts = [self._file.metadata.row_group(i).num_rows for i in range(self._file.metadata.num_row_groups)]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._group = -1
        self._rows: pa.Table | None = None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def rows(self, spans: Sequence[Span]) -> pa.Table:
        """Return all events of some patients, one patient after another.

        Each column of texts that was read as dictionaries has one dictionary.

        Raises:
            DatasetError: if the events cannot be read, or the file does not contain them.
        """
        pieces = [piece for position, count in _runs(spans) for piece in self._pieces(position, count)]
        rows = pieces[0] if len(pieces) == 1 else pa.concat_tables(pieces).unify_dictionaries().combine_chunks()
        return rows if self._notes is None else self._with_notes(self._notes, rows, spans)

    def _with_notes(self, path: Path, rows: pa.Table, spans: Sequence[Span]) -> pa.Table:
        with _reading(path):
            is_selected = pc.field("subject_id").isin(pa.array([subject_id for subject_id, _, _ in spans], pa.int64()))
            texts = pq.read_table(path, filters=is_selected, use_threads=False)
        return put_texts(rows, texts).combine_chunks()

    def _pieces(self, at: int, count: int) -> Iterator[pa.Table]:
        end = at + count
        if end > self._starts[-1]:
            raise broken(self._path, ValueError(f"it ends before event {end:,}, which subjects.parquet refers to"))
        while at < end:
            group = int(np.searchsorted(self._starts, at, side="right")) - 1
            decoded, start = self._decoded(group), int(self._starts[group])
            length = min(end, start + decoded.num_rows) - at
            yield decoded.slice(at - start, length)
            at += length

    def _decoded(self, group: int) -> pa.Table:
        if group != self._group or self._rows is None:
            self._rows = None
            with _reading(self._path):
                self._rows = self._file.read_row_group(group, use_threads=False).combine_chunks()
            self._group = group
        return self._rows


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise broken(path, error) from None


def _runs(spans: Sequence[Span]) -> list[tuple[int, int]]:
    """Merge adjacent patients; return the position and number of events of each run."""
    runs: list[tuple[int, int]] = []
    for _, position, count in spans:
        if runs and sum(runs[-1]) == position:
            runs[-1] = (runs[-1][0], runs[-1][1] + count)
        else:
            runs.append((position, count))
    return runs


def chunks(spans: Sequence[Span], size: int) -> Iterator[tuple[Span, ...]]:
    """Divide patients into chunks of at most `size` events, unless one patient has more."""
    run: list[Span] = []
    events = 0
    for span in spans:
        if run and events + span[2] > size:
            yield tuple(run)
            run, events = [], 0
        run.append(span)
        events += span[2]
    if run:
        yield tuple(run)
