"""Write the texts of notes to separate files: `notes/<split>/<shard>.parquet`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj import rules
from ehrtraj.format.notes import NOTE_SCHEMA
from ehrtraj.format.splits import SPLITS, Splits
from ehrtraj.storage.base import Storage
from ehrtraj.storage.parquet import ParquetOutput

# Readers decode a complete row group to get the notes of one patient. A note has about 10 kB.
_ROW_GROUP = 1 << 10


class NoteWriter:
    """Removes the texts from a shard's notes and writes them to files, one for each split with notes."""

    def __init__(self, storage: Storage, folder: str, shard: int, splits: Splits) -> None:
        """Prepare to write.

        Args:
            storage: storage of the attempt.
            folder: the dataset's `notes` folder.
            shard: number of the shard, which is the name of its files.
            splits: splits of the patients.
        """
        self._storage = storage
        self._names = {split: f"{folder}/{split}/{shard:05d}.parquet" for split in SPLITS}
        self._splits = splits
        self._collected: list[pa.Table] = []
        self._writers: dict[str, ParquetOutput] = {}

    def take_texts(self, table: str, result: pa.Table) -> pa.Table:
        """Collect the texts of a statement's events, and return the events without texts, flagged.

        Args:
            table: full name of the source table.
            result: result of a statement, with `text_value` and `source_key`.
        """
        if "text_value" not in result.column_names:
            return result
        has_text = pc.is_valid(result["text_value"])
        with_text = result.filter(has_text)
        self._collected.append(
            pa.table(
                [
                    with_text["subject_id"],
                    pa.array([table] * with_text.num_rows, pa.string()),
                    with_text["source_key"],
                    with_text["text_value"].cast(pa.large_string()),
                ],
                schema=NOTE_SCHEMA,
            )
        )
        flags = pa.array(np.where(has_text.to_numpy(), rules.flags()["text_separate"], 0), pa.int64())
        if "flags" in result.column_names:
            flags = pc.bit_wise_or(result["flags"], flags)
            result = result.drop_columns("flags")
        return result.drop_columns("text_value").append_column("flags", flags)

    def flush(self) -> None:
        """Write the collected texts, sorted by patient, table and key."""
        if not self._collected:
            return
        rows = pa.concat_tables(self._collected)
        self._collected = []
        split = self._splits.of(rows["subject_id"].to_numpy())
        for index, name in enumerate(SPLITS):
            chosen = np.flatnonzero(split == index)
            if len(chosen):
                keys = rows.select(["subject_id", "source_table", "source_key"]).take(pa.array(chosen))
                order = pc.sort_indices(keys, [(key, "ascending") for key in keys.column_names]).to_numpy()
                self._append(name, rows, chosen[order])

    def _append(self, split: str, rows: pa.Table, order: np.ndarray[tuple[int], np.dtype[np.intp]]) -> None:
        if split not in self._writers:
            self._writers[split] = ParquetOutput(
                self._storage,
                self._names[split],
                NOTE_SCHEMA,
                compression="zstd",
                use_dictionary=["source_table"],
                write_statistics=["subject_id"],
            )
        for at in range(0, len(order), _ROW_GROUP):
            self._writers[split].write(rows.take(pa.array(order[at : at + _ROW_GROUP])))

    def close(self) -> None:
        """Finish the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def abandon(self) -> None:
        """Discard files that will not be finished."""
        for writer in self._writers.values():
            writer.abandon()
        self._writers = {}
