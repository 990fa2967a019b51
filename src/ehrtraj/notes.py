"""Read the texts of notes that a build has stored in separate files (`--notes separate`)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from ehrtraj.arguments import checked
from ehrtraj.errors import OutputError
from ehrtraj.format.notes import NOTE_SCHEMA

_KEY = ("subject_id", "source_table", "source_key")


@checked
def read_notes(dataset: str | Path, subjects: Iterable[int] | None = None) -> pa.Table:
    """Return the texts of notes of a dataset that was built with `--notes separate`.

    Args:
        dataset: folder of the dataset.
        subjects: subject_ids; None for all patients, whose notes may not fit in memory.

    Returns:
        Columns subject_id and source_key (int64), source_table (string), text (large_string); no rows if the dataset
        has its notes in the events, or no notes.

    Raises:
        OutputError: if the folder is not a dataset.
    """
    root = Path(dataset)
    if not (root / "data").is_dir():
        raise OutputError(f"{root} is not a dataset: it does not contain a folder named data")
    files = sorted((root / "notes").rglob("*.parquet"))
    if not files:
        return NOTE_SCHEMA.empty_table()
    chosen = None if subjects is None else pc.field("subject_id").isin(pa.array(list(subjects), pa.int64()))
    return pads.dataset(files, schema=NOTE_SCHEMA, format="parquet").to_table(filter=chosen)


@checked
def join_notes(dataset: str | Path, events: pa.Table) -> pa.Table:
    """Fill in the text_value of events with the texts of notes from separate files.

    Args:
        dataset: folder of the dataset that contains the events.
        events: has at least the columns subject_id, source_table, source_key and text_value.

    Returns:
        The same columns and rows, in the same order.

    Raises:
        OutputError: if the folder is not a dataset.
    """
    return put_texts(events, read_notes(dataset, pc.unique(events["subject_id"]).to_pylist()))


@checked
def put_texts(events: pa.Table, texts: pa.Table) -> pa.Table:
    """Fill in the text_value of events with the given texts of notes.

    Args:
        events: has at least the columns subject_id, source_table, source_key and text_value.
        texts: as `read_notes` returns them.

    Returns:
        The same columns and rows, in the same order.
    """
    # A recipe can make several events of a note. Only those whose text was moved to a separate file have a null text.
    if not texts.num_rows:
        return events
    row = pa.array(range(events.num_rows), pa.int64())
    keys = events.select(list(_KEY)).cast(pa.schema([NOTE_SCHEMA.field(name) for name in _KEY]))
    without_text = keys.append_column("row", row).filter(pc.is_null(events["text_value"]))
    joined = without_text.join(texts, list(_KEY), join_type="inner").select(["row", "text"])
    by_row = pa.table({"row": row}).join(joined, "row", join_type="left outer").sort_by("row")
    value = pc.coalesce(events["text_value"].cast(pa.large_string()), by_row["text"])
    return events.set_column(events.schema.get_field_index("text_value"), "text_value", value)
