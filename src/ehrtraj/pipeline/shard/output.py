"""The files of one attempt at a shard: events, notes, rejected rows, and tables for the publishing step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather

from ehrtraj.format.workspace import DATASET
from ehrtraj.pipeline.layout import SHARDS, UNPARSED, new_attempt, rejected_piece
from ehrtraj.pipeline.rejected import RejectWriter
from ehrtraj.pipeline.shard.notes import NoteWriter
from ehrtraj.pipeline.shard.task import ShardJob
from ehrtraj.pipeline.shard.write import ShardWriter


class ShardOutput:
    """Writes the files of one attempt, under names that no other attempt uses.

    Attributes:
        folder: folder of this attempt in the working folder.
        events: writes the events.
        notes: writes the texts of notes; None if they are not stored separately.
        rejected: writes the rejected rows of each table.
        unparsed: writes the rows of each slice that cannot be parsed.
    """

    def __init__(self, job: ShardJob, shard: int, schemas: Mapping[str, pa.Schema]) -> None:
        """Prepare to write.

        Args:
            job: data that all shards share.
            shard: number of the shard.
            schemas: schemas of the tables, by full name.
        """
        self.folder = new_attempt(f"{shard:05d}")
        self._shard = shard
        self._files = job.storage.below(self.folder)
        self.events = ShardWriter(self._files, f"{DATASET}/data", shard, job.event_tables, job.clock)
        self.notes = NoteWriter(self._files, f"{DATASET}/notes", shard, job.splits) if job.notes == "separate" else None
        self.rejected = {
            name: RejectWriter(self._files, rejected_piece(name, f"shard-{shard:05d}"), schemas[name])
            for name in job.event_tables
        }
        self.unparsed = {
            name: RejectWriter(self._files, rejected_piece(name, f"{UNPARSED}-{shard:05d}"), schemas[name])
            for name in job.sliced
        }

    def close(self, pieces: Iterable[tuple[str, pa.Table]]) -> dict[str, int]:
        """Finish all files.

        Args:
            pieces: kind and rows of each table for the publishing step.

        Returns:
            The size of each file in bytes, by its name in the folder of the attempt.
        """
        self.events.close()
        if self.notes is not None:
            self.notes.close()
        for writer in (*self.rejected.values(), *self.unparsed.values()):
            writer.close()
        for kind, rows in pieces:
            self._write_piece(f"{SHARDS}/{self._shard:05d}.{kind}.arrow", rows)
        return {name: self._files.size(name) or 0 for name in self._files.files()}

    def _write_piece(self, name: str, rows: pa.Table) -> None:
        output = self._files.create(name)
        try:
            feather.write_feather(rows, output.sink, compression="lz4")
            output.commit()
        finally:
            output.abandon()

    def abandon(self) -> None:
        """Abandon files that will not be finished. They remain in the folder of the attempt, which is not read."""
        writers: list[Any] = [self.events, *self.rejected.values(), *self.unparsed.values()]
        for writer in [*writers, *([] if self.notes is None else [self.notes])]:
            writer.abandon()
