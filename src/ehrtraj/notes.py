"""Read the texts of notes, wherever a build has put them: `--notes inline` or `--notes separate`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from ehrtraj.errors import OutputError
from ehrtraj.format.notes import NOTE_SCHEMA

_KEY = ("subject_id", "source_table", "source_key")


def read_notes(dataset: str | Path, subjects: Iterable[int] | None = None) -> pa.Table:
    """The texts that lie beside the events of a dataset built with `--notes separate`.

    Args:
        dataset: folder of the dataset.
        subjects: subject_ids; None for all patients, which may be more than memory holds.

    Returns:
        Columns subject_id and source_key (int64), source_table (string), text (large_string); no rows where the dataset
        has its notes in the events, or none.

    Raises:
        OutputError: if there is no dataset.
    """
    root = Path(dataset)
    if not (root / "data").is_dir():
        raise OutputError(f"{root} is no dataset: it has no folder data")
    files = sorted((root / "notes").rglob("*.parquet"))
    if not files:
        return NOTE_SCHEMA.empty_table()
    chosen = None if subjects is None else pc.field("subject_id").isin(pa.array(list(subjects), pa.int64()))
    return pads.dataset(files, schema=NOTE_SCHEMA, format="parquet").to_table(filter=chosen)


def join_notes(dataset: str | Path, events: pa.Table) -> pa.Table:
    """Events with the texts that lie beside them put back into text_value.

    Args:
        dataset: folder of the dataset that the events are from.
        events: with at least subject_id, source_table, source_key and text_value, in any order, which stays.

    Returns:
        The same columns and rows.

    Raises:
        OutputError: if there is no dataset.
    """
    return put_texts(events, read_notes(dataset, pc.unique(events["subject_id"]).to_pylist()))


def put_texts(events: pa.Table, texts: pa.Table) -> pa.Table:
    """Put the texts of notes into the text_value of their events.

    Args:
        events: with at least subject_id, source_table, source_key and text_value, in any order, which stays.
        texts: as `read_notes` gives them.

    Returns:
        The same columns and rows.
    """
    # A note has several events where a recipe says so; only those whose text was taken out have none.
    if not texts.num_rows:
        return events
    place = pa.array(range(events.num_rows), pa.int64())
    keys = events.select(list(_KEY)).cast(pa.schema([NOTE_SCHEMA.field(name) for name in _KEY]))
    wanted = keys.append_column("place", place).filter(pc.is_null(events["text_value"]))
    found = wanted.join(texts, list(_KEY), join_type="inner").select(["place", "text"])
    whole = pa.table({"place": place}).join(found, "place", join_type="left outer").sort_by("place")
    value = pc.coalesce(events["text_value"].cast(pa.large_string()), whole["text"])
    return events.set_column(events.schema.get_field_index("text_value"), "text_value", value)
