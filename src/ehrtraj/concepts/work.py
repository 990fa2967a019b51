"""Compute the concepts of one shard: a task of an engine."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ehrtraj.concepts.index import ConceptFile
from ehrtraj.concepts.library import ConceptLibrary
from ehrtraj.concepts.session import ConceptMode, ConceptSession, open_concept_session
from ehrtraj.concepts.space import ATTEMPTS
from ehrtraj.engines.base import Report
from ehrtraj.storage.files import private_files
from ehrtraj.storage.local import LocalStorage
from ehrtraj.storage.parquet import write_parquet


@dataclass(frozen=True)
class ShardItem:
    """The patients of one data file.

    Attributes:
        split: split of the file.
        shard: name of the shard.
        path: the data file.
        subjects: rows of subjects.parquet of its patients.
    """

    split: str
    shard: str
    path: Path
    subjects: pl.DataFrame

    @property
    def name(self) -> str:
        """Name of the files of this shard, without their ending."""
        return f"{self.split}/{self.shard}"


@dataclass(frozen=True)
class ShardConcepts:
    """The concepts of one shard, written by one attempt.

    Attributes:
        name: name of the shard, as in `ShardItem.name`.
        attempt: folder of the files in the working folder.
        files: the file of each concept that has rows, by name of the concept.
        seconds: time that each view and each concept took, without those that it needs.
    """

    name: str
    attempt: str
    files: dict[str, ConceptFile]
    seconds: dict[str, float]


@dataclass(frozen=True)
class ConceptWork:
    """The kind of task: which concepts of which dataset. See `ehrtraj.engines.base.Work`.

    Attributes:
        library: all concepts.
        names: names of the concepts to write.
        mode: how they are computed.
        flags: bit of each flag of the dataset.
        dataset_clock: the dataset's clock.
        data: the data files.
        storage: the working folder.
        memory: bytes that DuckDB may use in one process before it spills.
    """

    library: ConceptLibrary
    names: tuple[str, ...]
    mode: ConceptMode
    flags: dict[str, int]
    dataset_clock: str
    data: tuple[Path, ...]
    storage: LocalStorage
    memory: int

    @contextmanager
    def open(self, report: Report) -> Iterator[Callable[[ShardItem], ShardConcepts]]:
        """Open a session that is used for all shards of a process."""
        with (
            private_files(),
            open_concept_session(
                self.library, self.flags, self.mode, files=self.data, threads=1, memory=self.memory
            ) as session,
        ):
            yield lambda item: self._compute(session, item, report)

    def _compute(self, session: ConceptSession, item: ShardItem, report: Report) -> ShardConcepts:
        attempt = f"{ATTEMPTS}/{uuid.uuid4().hex}"
        files: dict[str, ConceptFile] = {}
        seconds: dict[str, float] = {}
        session.load(item.path, item.subjects, self.dataset_clock)
        begun = time.monotonic()
        for number, (concept, rows) in enumerate(session.compute(self.names), 1):
            seconds[concept.name] = time.monotonic() - begun
            if rows.num_rows:
                name = f"{attempt}/{concept.name}.parquet"
                write_parquet(self.storage, name, rows)
                size = self.storage.size(name) or 0
                files[concept.name] = ConceptFile(rows.num_rows, size, self.storage.sha256(name))
            report((item.name, number))
            begun = time.monotonic()
        session.clear()
        return ShardConcepts(item.name, attempt, files, seconds)
