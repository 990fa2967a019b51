"""Merge the events of one data file with those of stored concepts, some complete patients at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj.concepts.events import concept_events
from ehrtraj.concepts.index import ComputedConcept
from ehrtraj.dataset.layout import READ_ERRORS, broken
from ehrtraj.format.arrays import Int64s, to_int64
from ehrtraj.format.event_file import EventFile, in_order, row_groups
from ehrtraj.format.events import TEXT_COLUMNS, event_schema

# Number of events at a time, unless one patient has more.
_CHUNK = 1 << 17
_TEXTS = ("code", "time_precision", "source_table", *TEXT_COLUMNS)


@dataclass(frozen=True)
class Merged:
    """The events of some complete patients.

    Attributes:
        rows: all events, in the total order.
        added: those of concepts.
    """

    rows: pa.Table
    added: pl.DataFrame


@dataclass(frozen=True)
class ConceptRows:
    """The stored rows of one concept for the patients of one data file.

    Attributes:
        concept: the concept.
        path: file with the rows.
    """

    concept: ComputedConcept
    path: Path


def merged(data: Path, ends: Int64s, concepts: Sequence[ConceptRows], clock: str) -> Iterator[Merged]:
    """Yield the events of one data file with those of concepts.

    Args:
        data: the data file.
        ends: position after the last event of each patient in the file.
        concepts: the concepts that have rows for these patients.
        clock: the dataset's clock.

    Raises:
        DatasetError: if a file cannot be read.
    """
    for rows in _complete_patients(data, ends):
        added = _concept_events(rows, concepts, clock)
        yield Merged(_sorted(rows, _like(added, rows.schema)), added)


def _complete_patients(path: Path, ends: Int64s) -> Iterator[pa.Table]:
    """Yield the events of complete patients, with texts as dictionaries."""
    at = 0
    groups: list[pa.Table] = []
    try:
        with pq.ParquetFile(path, read_dictionary=list(_TEXTS)) as file:
            for number in range(file.num_row_groups):
                groups.append(file.read_row_group(number, use_threads=False))
                at += groups[-1].num_rows
                # A row group ends with a patient, or within a patient with very many events.
                if at in ends and (sum(group.num_rows for group in groups) >= _CHUNK or at == ends[-1]):
                    yield _one(groups)
                    groups = []
    except (pa.ArrowInvalid, OSError) as error:
        raise broken(path, error) from None
    if groups or at != ends[-1]:
        raise broken(path, ValueError("it does not end with the last event that subjects.parquet refers to"))


def _one(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def _concept_events(rows: pa.Table, concepts: Sequence[ConceptRows], clock: str) -> pl.DataFrame:
    """Return the events of concepts of the patients of some events, in the total order."""
    subject = rows["subject_id"]
    first, last = subject[0].as_py(), subject[-1].as_py()
    empty: pl.DataFrame = pl.DataFrame(event_schema(clock).empty_table())
    parts = [empty.lazy()]
    for one in concepts:
        scanned = pl.scan_parquet(one.path, glob=False).filter(pl.col("subject_id").is_between(first, last))
        parts += concept_events(one.concept, scanned, empty.schema, clock)
    try:
        # The numbers of rows are unique for a patient and code, so that no other column decides.
        return pl.concat(parts).sort("subject_id", "time", "code", "source_key").collect()
    except READ_ERRORS as error:
        raise broken(concepts[0].path.parents[2], error) from None


def _like(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """Return events with the types of a schema, in which texts are dictionaries."""
    found = frame.to_arrow()
    columns = []
    for field in schema:
        column = found[field.name]
        if pa.types.is_dictionary(field.type):
            column = column.cast(field.type.value_type).dictionary_encode()
        columns.append(column.cast(field.type))
    return pa.table(columns, schema=schema)


def _sorted(rows: pa.Table, added: pa.Table) -> pa.Table:
    """Return all events by patient and time; the added ones follow the others of the same time."""
    together = _one([rows, added])
    order = np.lexsort((to_int64(together["time"]), to_int64(together["subject_id"])))
    return together.take(pa.array(order)).combine_chunks()


def starts_of_patients(rows: pa.Table) -> Int64s:
    """Return the position of each patient's first event, followed by the number of events."""
    subject = to_int64(rows["subject_id"])
    return np.concatenate(([0], np.flatnonzero(np.diff(subject)) + 1, [len(subject)])).astype(np.int64)


class MergedFile:
    """A data file with merged events. Its row groups end at patients, as in a build."""

    def __init__(self, file: EventFile, clock: str) -> None:
        """Prepare to write.

        Args:
            file: the file.
            clock: the dataset's clock.
        """
        self._file = file
        self._schema = event_schema(clock)
        self._waiting: pa.Table | None = None

    def write(self, rows: pa.Table) -> None:
        """Append the events of complete patients. The last row group waits for more patients."""
        if self._waiting is not None:
            rows = _one([self._waiting, rows])
        *groups, last = row_groups(starts_of_patients(rows))
        for start, end in groups:
            self._file.write(self._compact(rows.slice(start, end - start)))
        self._waiting = rows.slice(last[0])

    def close(self) -> None:
        """Write the last row group and finish the file."""
        if self._waiting is not None:
            self._file.write(self._compact(self._waiting))
        self._file.close()

    def _compact(self, rows: pa.Table) -> pa.Table:
        """Return a row group with dictionaries that contain only its own texts."""
        arrays = []
        for field in self._schema:
            column = rows[field.name].combine_chunks()
            if pa.types.is_dictionary(column.type):
                positions = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
                column = in_order(positions, column.dictionary, field.type)
            arrays.append(column)
        fields = [pa.field(f.name, a.type, f.nullable) for f, a in zip(self._schema, arrays, strict=True)]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields))
