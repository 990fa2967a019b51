"""Write Parquet files to a storage."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj.storage.base import Storage


class ParquetOutput:
    """A Parquet file that is being written. It appears under its name with `close`."""

    def __init__(self, storage: Storage, name: str, schema: pa.Schema, **options: Any) -> None:  # noqa: ANN401  # pyarrow's
        """Start to write the file.

        Args:
            storage: storage that receives the file.
            name: name of the file.
            schema: schema of its rows.
            options: options of `pyarrow.parquet.ParquetWriter`.
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
            The size of the file in bytes.
        """
        if metadata is not None:
            self._writer.add_key_value_metadata(metadata)
        self._writer.close()
        return self._output.commit()

    def abandon(self) -> None:
        """Discard what was written. Does nothing after `close`."""
        # A writer that is not closed tries to close itself when it is garbage-collected, and prints an error.
        with suppress(OSError, pa.ArrowException):
            self._writer.close()
        self._output.abandon()


def write_parquet(storage: Storage, name: str, rows: pa.Table, **options: Any) -> None:  # noqa: ANN401  # pyarrow's
    """Write a table to a Parquet file, compressed with zstd.

    Args:
        storage: storage that receives the file.
        name: name of the file.
        rows: all rows of the file.
        options: options of `pyarrow.parquet.ParquetWriter`.
    """
    output = ParquetOutput(storage, name, rows.schema, compression="zstd", **options)
    try:
        output.write(rows)
        output.close()
    finally:
        output.abandon()
