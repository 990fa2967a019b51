"""Read some columns of a complete table."""

from __future__ import annotations

import pyarrow as pa

from ehrtraj.pipeline.stage.parse import read_table
from ehrtraj.release.table_file import TableFile


def read_columns(file: TableFile, *columns: str) -> pa.Table:
    """Return columns of a complete table, without rows that cannot be parsed."""
    parts = [parsed.rows for parsed in read_table(file, columns=columns)]
    return pa.concat_tables([file.table.schema.empty_table().select(list(columns)), *parts])
