"""Write the files of units: text cut out of one buffer, or small Parquet files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj.dataset.export.job import ExportJob
from ehrtraj.dataset.export.lines import csv_header, csv_lines, json_lines, offsets_of
from ehrtraj.dataset.export.units import Unit

# Events spelled at once: their text stays far from the 2 GB that an Arrow array of strings can hold.
BLOCK = 1 << 16

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)

Piece = tuple[int, memoryview]
"""Number of a unit, and some bytes of its file."""


def write_units(job: ExportJob, rows: pa.Table, units: Sequence[Unit], folders: set[str]) -> list[int]:
    """Write a file for each unit.

    Args:
        job: about the export.
        rows: that the units' positions are in.
        units: of one chunk.
        folders: that are known to be there; those that are made are added.

    Returns:
        Size of each file in bytes.
    """
    for unit in units:
        folder = unit.path.rpartition("/")[0]
        if folder not in folders:
            (job.output / folder).mkdir(parents=True, exist_ok=True)
            folders.add(folder)
    if job.format == "parquet":
        return [write_parquet(rows.take(pa.array(u.rows)), job.output / f"{u.path}.parquet") for u in units]
    return _write_texts(job, rows, units)


def write_parquet(rows: pa.Table, path: Path) -> int:
    """Write events as one Parquet file, whose columns are those of the dataset.

    Returns:
        Its size in bytes.
    """
    pq.write_table(rows, path, compression="zstd", compression_level=1, write_statistics=["subject_id", "time"])
    return path.stat().st_size


def _write_texts(job: ExportJob, rows: pa.Table, units: Sequence[Unit]) -> list[int]:
    sizes = [0] * len(units)
    handle, current = -1, -1
    try:
        for number, piece in _text_pieces(job, rows, units):
            if number != current:
                if handle >= 0:
                    os.close(handle)
                path = f"{job.output}/{units[number].path}.{job.format}"
                handle, current = os.open(path, _FLAGS, 0o600), number
            write_all(handle, piece)
            sizes[number] += len(piece)
    finally:
        if handle >= 0:
            os.close(handle)
    return sizes


def write_all(handle: int, piece: memoryview) -> None:
    """Write bytes to an open file: the system may take fewer at a time than it is given."""
    while len(piece):
        piece = piece[os.write(handle, piece) :]


def _text_pieces(job: ExportJob, rows: pa.Table, units: Sequence[Unit]) -> Iterator[Piece]:
    """The bytes of all units, one unit after another."""
    order = np.concatenate([unit.rows for unit in units])
    ends = np.cumsum([len(unit.rows) for unit in units])
    in_place = len(order) == rows.num_rows and bool((np.diff(order) == 1).all())
    unit = 0
    opened = False
    for first in range(0, len(order), BLOCK):
        start, stop = first, min(first + BLOCK, len(order))
        block = rows.slice(start, stop - start) if in_place else rows.take(pa.array(order[start:stop]))
        data, at = offsets_of(text_lines(job, block))
        while start < stop:
            if not opened:
                yield unit, memoryview(_opening(job, units[unit], rows.column_names))
                opened = True
            end = min(stop, int(ends[unit]))
            low, high = int(at[start - first]), int(at[end - first])
            done = end == int(ends[unit])
            # The last object of a JSON document has no comma behind it.
            yield unit, data[low : high - 2 if done and job.format == "json" else high]
            if done:
                yield unit, memoryview(b"\n]}\n" if job.format == "json" else b"")
                unit, opened = unit + 1, False
            start = end


def text_lines(job: ExportJob, rows: pa.Table) -> pa.Array:
    """Events as lines in the export's format."""
    if job.format == "csv":
        return csv_lines(rows, excel=job.excel)
    return json_lines(rows, job.flags, ",\n" if job.format == "json" else "\n")


def _opening(job: ExportJob, unit: Unit, names: list[str]) -> bytes:
    """What stands before the events of a file."""
    if job.format == "csv":
        return csv_header(names)
    if job.format == "jsonl":
        return b""
    ids = {"subject_id": unit.subject_id, "hadm_id": unit.hadm_id, "stay_id": unit.stay_id}
    about = json.dumps({name: value for name, value in ids.items() if value is not None})
    return f'{about[:-1]}, "events": [\n'.encode()
