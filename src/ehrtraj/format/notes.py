"""Schema of the files in `notes/`, which contain the texts of notes separately from the events."""

from __future__ import annotations

import pyarrow as pa

NOTE_SCHEMA = pa.schema(
    [
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("source_table", pa.string(), nullable=False),
        pa.field("source_key", pa.int64()),
        pa.field("text", pa.large_string(), nullable=False),
    ]
)
"""One row for each note. The event of a note has the same subject_id, source_table and source_key."""
