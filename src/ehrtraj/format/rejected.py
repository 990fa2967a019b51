"""Schema of the files with rejected rows."""

from __future__ import annotations

import pyarrow as pa

_LEADING = [
    pa.field("reason", pa.string(), nullable=False),
    pa.field("detail", pa.string()),
    pa.field("line", pa.int64()),
    pa.field("text", pa.large_string()),
]


def reject_schema(table: pa.Schema) -> pa.Schema:
    """Columns of `rejected/<table>.parquet`.

    `reason` and `detail` say why; `line` and `text` are the row as it stands in the file, for rows that could not be
    parsed; the table's own columns hold the row where it could. Where the table has a column of one of these names, as
    notes have `text`, ours is called `row_text`.
    """
    leading = [f.with_name(f"row_{f.name}") if f.name in table.names else f for f in _LEADING]
    return pa.schema(leading + [table.field(name) for name in table.names])
