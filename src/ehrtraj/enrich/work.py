"""Merge the concepts into one data file: a task of an engine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ehrtraj.concepts.events import table_of
from ehrtraj.concepts.index import ComputedConcept
from ehrtraj.engines.base import Report
from ehrtraj.enrich.merge import ConceptRows, MergedFile, merged
from ehrtraj.enrich.tally import MergeTally
from ehrtraj.format.event_file import EventFile
from ehrtraj.format.names import CONCEPT_FOLDERS, DATA
from ehrtraj.format.workspace import ATTEMPTS
from ehrtraj.storage.base import Storage
from ehrtraj.storage.files import private_files


@dataclass(frozen=True)
class MergeItem:
    """The patients of one data file.

    Attributes:
        split: split of the file.
        shard: name of the shard.
        subjects: rows of subjects.parquet of its patients, by position.
    """

    split: str
    shard: str
    subjects: pl.DataFrame

    @property
    def name(self) -> str:
        """Name of the file in `data/` and in the folder of a concept."""
        return f"{self.split}/{self.shard}.parquet"

    @property
    def events(self) -> int:
        """Number of events of the original file."""
        return int(self.subjects["n_events"].sum())


@dataclass(frozen=True)
class MergeResult:
    """A data file that one attempt wrote.

    Attributes:
        name: name of the file, as in `MergeItem.name`.
        attempt: file in the working folder.
        record: its size and counts, for its marker.
    """

    name: str
    attempt: str
    record: dict[str, Any]


@dataclass(frozen=True)
class MergeWork:
    """The kind of task: which concepts of which dataset. See `ehrtraj.engines.base.Work`.

    Attributes:
        root: folder of the dataset.
        clock: the dataset's clock.
        concepts: the concepts.
        storage: the working folder.
    """

    root: Path
    clock: str
    concepts: tuple[ComputedConcept, ...]
    storage: Storage

    @contextmanager
    def open(self, report: Report) -> Iterator[Callable[[MergeItem], MergeResult]]:
        """Files that a task writes are private."""
        with private_files():
            yield lambda item: self._merge(item, report)

    def _merge(self, item: MergeItem, report: Report) -> MergeResult:
        attempt = f"{ATTEMPTS}/{uuid.uuid4().hex}.parquet"
        used = [concept for concept in self.concepts if item.name in concept.files]
        rows = [ConceptRows(one, self.root / CONCEPT_FOLDERS[0] / one.name / item.name) for one in used]
        ends = (item.subjects["position"] + item.subjects["n_events"]).to_numpy()
        tally = MergeTally(item.subjects)
        file = EventFile(self.storage, attempt, self.clock)
        try:
            output = MergedFile(file, self.clock)
            for part in merged(self.root / DATA / item.name, ends, rows, self.clock):
                output.write(part.rows)
                tally.add(part)
                report((item.name, tally.events))
            output.close()
        finally:
            file.abandon()
        counts = {table_of(one.name): one.files[item.name].rows for one in used}
        record = {"bytes": self.storage.size(attempt), **tally.record(counts)}
        return MergeResult(item.name, attempt, record)
