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
    """Return the columns of `rejected/<table>.parquet`.

    `reason` and `detail` explain why the row was rejected. If the row could not be parsed, `line` and `text` contain
    its line number and its text in the file; otherwise the columns of the table contain its values. If the table
    already has a column with one of these names, such as `text` in notes, the column is called `row_text` instead.
    """
    leading = [f.with_name(f"row_{f.name}") if f.name in table.names else f for f in _LEADING]
    return pa.schema(leading + [table.field(name) for name in table.names])
