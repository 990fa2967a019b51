"""Read the events of complete patients from a data file. All trajectories are read here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import polars as pl

from ehrtraj.dataset.layout import READ_ERRORS, DataFile, broken
from ehrtraj.errors import DatasetError
from ehrtraj.format.names import ROW_GROUP

# Events in memory at once while a file is read in order with all columns. They take about 50 MB.
CHUNK_EVENTS = 1 << 18
# Memory of an event with all columns, and with attributes alone, as a multiple of that of another column.
_ALL_COLUMNS, _ATTRIBUTES = 20, 4
# Files whose footers stay parsed: parsing takes 0.3 ms, a sixth of reading one patient. Each takes about 0.2 MB.
_OPEN_FILES = 256


@dataclass(frozen=True)
class Chunk:
    """Complete patients that are next to each other in one file.

    Attributes:
        file: file that contains them.
        position: position of the first event in the file.
        count: number of events.
        patients: subject_id, position of the first event in the chunk and number of events of each patient.
    """

    file: DataFile
    position: int
    count: int
    patients: tuple[tuple[int, int, int], ...]


def read_events(file: DataFile, position: int, count: int, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read consecutive events.

    polars decodes only the pages that contain the events, so the cost is about proportional to their number, whatever
    the file's size.

    Args:
        file: file that contains the events.
        position: position of the first event in the file.
        count: number of events.
        columns: columns to read; all by default.

    Raises:
        DatasetError: if the file cannot be read, or is too short.
    """
    try:
        rows = _scan(file.path).slice(position, count)
        events = (rows if columns is None else rows.select(columns)).collect()
    except READ_ERRORS as error:
        raise broken(file.path, error) from None
    if events.height != count:
        raise DatasetError(
            f"{file.path} is damaged: it ends before event {position + count:,}, which metadata/subjects.parquet "
            "lists. Copy the dataset again, or build it again with --overwrite"
        )
    return events


def event_columns(file: DataFile) -> list[str]:
    """Return the names of the columns of a file.

    Raises:
        DatasetError: if the file cannot be read.
    """
    try:
        return _scan(file.path).collect_schema().names()
    except READ_ERRORS as error:
        raise broken(file.path, error) from None


def _scan(path: Path) -> pl.LazyFrame:
    """Return the lazy frame of a file, in which polars keeps the parsed footer from the first query on."""
    stat = path.stat()
    return _scan_version(path, (stat.st_size, stat.st_mtime_ns, stat.st_ino))


@lru_cache(_OPEN_FILES)
def _scan_version(path: Path, stamp: tuple[int, int, int]) -> pl.LazyFrame:
    """Return the lazy frame of a file.

    Args:
        path: path of the file.
        stamp: size, time of the last change and inode, so that a changed file is read again.
    """
    return pl.scan_parquet(path, glob=False)


def chunk_events(columns: Sequence[str]) -> int:
    """Return how many events of some columns take about as much memory as `CHUNK_EVENTS` events of all columns.

    Every chunk takes 0.5 ms in addition to its events, which is the time of reading 250,000 values of subject_id.
    """
    widths = sum(_ATTRIBUTES if name == "attributes" else 1 for name in columns)
    return CHUNK_EVENTS * _ALL_COLUMNS // max(widths, 1)


def chunks(file: DataFile, patients: pl.DataFrame, size: int = CHUNK_EVENTS) -> Iterator[Chunk]:
    """Divide patients of one file into chunks of about `size` events, in the order of the file.

    Args:
        file: file that contains them.
        patients: rows of subjects.parquet for this file.
        size: number of events after which a chunk ends; patients are never divided.
    """
    by_position = patients.sort("position")
    columns = (by_position[name].to_list() for name in ("subject_id", "position", "n_events"))
    ordered = list(zip(*columns, strict=True))
    first = group = 0
    for at, (_, position, count) in enumerate(ordered):
        start, end = ordered[first][1], position + count
        last = at + 1 == len(ordered)
        # The build ends a row group here. A chunk that ends elsewhere makes two chunks decode the row group.
        group_ends = end - group >= min(ROW_GROUP, size)
        if group_ends:
            group = end
        # A chunk also ends before patients who were not requested.
        if last or ordered[at + 1][1] != end or (group_ends and end - start >= size):
            inside = tuple((subject_id, offset - start, n) for subject_id, offset, n in ordered[first : at + 1])
            yield Chunk(file, start, end - start, inside)
            first = at + 1


def read_chunk(chunk: Chunk, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pl.DataFrame]]:
    """Read a chunk.

    Yields:
        subject_id and events of each patient. The frames are views of the chunk's memory.

    Raises:
        DatasetError: if the file cannot be read, or is too short.
    """
    events = read_events(chunk.file, chunk.position, chunk.count, columns)
    for subject_id, position, count in chunk.patients:
        yield subject_id, events.slice(position, count)
