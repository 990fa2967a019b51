"""Rejected rows: whole, with the reason, and where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj.format.rejected import _LEADING, reject_schema
from ehrtraj.pipeline.stage.parse import BadRow


class RejectWriter:
    """Writes rejected rows to one file, which is only made if there are any."""

    def __init__(self, path: Path, table: pa.Schema) -> None:
        self._path = path
        self._schema = reject_schema(table)
        self._sink: pa.OSFile | None = None
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None
        path.unlink(missing_ok=True)

    def _write(self, columns: dict[str, pa.Array], rows: int) -> None:
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._sink = pa.OSFile(str(self._path), "wb")
            self._writer = pa.ipc.new_stream(
                self._sink, self._schema, options=pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
            )
        arrays = [columns.get(f.name) for f in self._schema]
        self._writer.write_table(
            pa.table(
                [pa.nulls(rows, f.type) if a is None else a for f, a in zip(self._schema, arrays, strict=True)],
                schema=self._schema,
            )
        )

    def write_text_rows(self, bad: Sequence[BadRow], first_line: int) -> None:
        """Rejected rows that could not be parsed.

        Args:
            bad: the rows of one block.
            first_line: line number of the block's first line in the file.
        """
        values = (
            [b.reason for b in bad],
            [b.detail for b in bad],
            [b.line + first_line for b in bad],
            [b.text for b in bad],
        )
        ours = zip(self._schema.names, _LEADING, values, strict=False)
        self._write({name: pa.array(column, field.type) for name, field, column in ours}, len(bad))

    def write_rows(self, rows: pa.Table, reason: str) -> None:
        """Rejected rows that were parsed."""
        if rows.num_rows:
            columns = {name: rows[name] for name in rows.column_names}
            ours = {self._schema.names[0]: pa.array([reason] * rows.num_rows, pa.string())}
            self._write(columns | ours, rows.num_rows)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None and self._sink is not None:
            self._writer.close()
            self._sink.close()
            self._writer = self._sink = None


def merge_rejects(pieces: Sequence[Path], table: pa.Schema, target: Path) -> int:
    """Put the pieces of one table's rejects into one Parquet file, in their order.

    Returns:
        Number of rows; 0 means that no file was made.
    """
    present = [p for p in pieces if p.is_file()]
    if not present:
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    rows = 0
    with pq.ParquetWriter(target, reject_schema(table), compression="zstd", compression_level=1) as writer:
        for piece in present:
            with pa.memory_map(str(piece)) as source, pa.ipc.open_stream(source) as reader:
                for batch in reader:
                    writer.write_batch(batch)
                    rows += batch.num_rows
    return rows
