"""Write rejected rows, complete, with the reason and their position in the file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj.format.arrays import Int64s
from ehrtraj.format.rejected import _LEADING, reject_schema
from ehrtraj.pipeline.stage.parse import BadRow
from ehrtraj.storage.base import Output, Storage
from ehrtraj.storage.parquet import ParquetOutput

_GROUP_BYTES = 8 << 20
"""Approximate size of a row group of rejected rows."""


class RejectWriter:
    """Writes rejected rows to one file, which is created only if there are any."""

    def __init__(self, storage: Storage, name: str, table: pa.Schema) -> None:
        """Prepare to write.

        Args:
            storage: the working folder.
            name: name of the file.
            table: schema of the table.
        """
        self._storage = storage
        self._name = name
        self._schema = reject_schema(table)
        self._output: Output | None = None
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None

    def _write(self, columns: dict[str, pa.Array], rows: int) -> None:
        if self._writer is None:
            self._output = self._storage.create(self._name)
            self._writer = pa.ipc.new_stream(
                self._output.sink, self._schema, options=pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
            )
        arrays = [columns.get(f.name) for f in self._schema]
        self._writer.write_table(
            pa.table(
                [pa.nulls(rows, f.type) if a is None else a for f, a in zip(self._schema, arrays, strict=True)],
                schema=self._schema,
            )
        )

    def write_text_rows(self, bad: Sequence[BadRow], first_line: int) -> None:
        """Write rejected rows that could not be parsed.

        Args:
            bad: the rejected rows of one block.
            first_line: line number of the block's first line in the file.
        """
        values = (
            [b.reason for b in bad],
            [b.detail for b in bad],
            [b.line + first_line for b in bad],
            [b.text for b in bad],
        )
        leading = zip(self._schema.names, _LEADING, values, strict=False)
        self._write({name: pa.array(column, field.type) for name, field, column in leading}, len(bad))

    def write_rows(self, rows: pa.Table, reason: str) -> None:
        """Write rejected rows that were parsed."""
        if rows.num_rows:
            columns = {name: rows[name] for name in rows.column_names}
            reasons = {self._schema.names[0]: pa.array([reason] * rows.num_rows, pa.string())}
            self._write(columns | reasons, rows.num_rows)

    def close(self) -> int:
        """Finish the file.

        Returns:
            The size of the file in bytes; 0 if there were no rows.
        """
        if self._writer is None or self._output is None:
            return 0
        self._writer.close()
        size = self._output.commit()
        self._writer = self._output = None
        return size

    def abandon(self) -> None:
        """Discard what was written."""
        if self._output is not None:
            self._output.abandon()
        self._writer = self._output = None


def merge_rejected(storage: Storage, pieces: Sequence[str], table: pa.Schema, target: str) -> int:
    """Combine the pieces of one table's rejected rows into one Parquet file, in the given order.

    The file depends only on the rows, not on how they are divided into pieces.

    Args:
        storage: the working folder.
        pieces: names of the pieces.
        table: schema of the table.
        target: name of the Parquet file.

    Returns:
        The number of rows. If it is 0, no file was written.
    """
    if not pieces:
        return 0
    rows = 0
    output = ParquetOutput(storage, target, reject_schema(table), compression="zstd", compression_level=1)
    try:
        for group in _row_groups(_batches(storage, pieces)):
            output.write(group)
            rows += group.num_rows
        output.close()
    finally:
        output.abandon()
    return rows


def _batches(storage: Storage, pieces: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for piece in pieces:
        with storage.open_input(piece) as source, pa.ipc.open_stream(source) as reader:
            yield from reader


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Divide rows into groups of limited size."""
    group: list[pa.RecordBatch] = []
    size = np.int64(0)
    for batch in batches:
        total, start = size + np.cumsum(_row_sizes(batch)), 0
        while total[-1] > _GROUP_BYTES:
            # A group has at least one row, however large.
            stop = max(int(np.searchsorted(total, _GROUP_BYTES, side="right")), start + (not group))
            if stop == batch.num_rows:
                break
            yield pa.Table.from_batches([*group, batch.slice(start, stop - start)])
            group, total, start = [], total - (total[stop - 1] if stop else size), stop
        group.append(batch.slice(start))
        size = total[-1]
    if group:
        yield pa.Table.from_batches(group)


def _row_sizes(batch: pa.RecordBatch) -> Int64s:
    """Return the approximate size of each row in bytes: the lengths of its texts, and 8 bytes for other values."""
    sizes = np.full(batch.num_rows, 8 * batch.num_columns, np.int64)
    for column in batch.columns:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            sizes += pc.fill_null(pc.binary_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return sizes
