"""Parquet files in a storage."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj.storage.base import Storage


class ParquetOutput:
    """A Parquet file that is being written. It has its name once it is closed."""

    def __init__(self, storage: Storage, name: str, schema: pa.Schema, **options: Any) -> None:  # noqa: ANN401  # pyarrow's
        """Begin the file.

        Args:
            storage: that receives it.
            name: of the file.
            schema: of its rows.
            options: of `pyarrow.parquet.ParquetWriter`.
        """
        self._output = storage.create(name)
        try:
            self._writer = pq.ParquetWriter(self._output.sink, schema, **options)
        except BaseException:
            self._output.abandon()
            raise

    def write(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Append rows."""
        self._writer.write(rows)

    def close(self, metadata: dict[str, str] | None = None) -> int:
        """Finish the file.

        Args:
            metadata: keys and values for its footer.

        Returns:
            Its size in bytes.
        """
        if metadata is not None:
            self._writer.add_key_value_metadata(metadata)
        self._writer.close()
        return self._output.commit()

    def abandon(self) -> None:
        """Discard what was written. Nothing happens after `close`."""
        # A writer that is not closed would try when it is collected, and print that it cannot.
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        self._output.abandon()


def write_parquet(storage: Storage, name: str, rows: pa.Table, **options: Any) -> None:  # noqa: ANN401  # pyarrow's
    """Write a table to a Parquet file, compressed with zstd.

    Args:
        storage: that receives it.
        name: of the file.
        rows: all of them.
        options: of `pyarrow.parquet.ParquetWriter`.
    """
    output = ParquetOutput(storage, name, rows.schema, compression="zstd", **options)
    try:
        output.write(rows)
        output.close()
    finally:
        output.abandon()
