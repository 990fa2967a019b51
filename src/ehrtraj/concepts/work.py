"""Compute the concepts of one shard: a task of an engine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj.concepts.index import ConceptFile
from ehrtraj.concepts.library import ConceptLibrary
from ehrtraj.concepts.session import SPLIT, ConceptMode, ConceptSession, open_concept_session
from ehrtraj.concepts.space import ATTEMPTS
from ehrtraj.engines.base import Report
from ehrtraj.storage.files import private_files
from ehrtraj.storage.local import LocalStorage
from ehrtraj.storage.parquet import write_parquet


@dataclass(frozen=True)
class ShardItem:
    """The patients of one shard, whose data files differ in the split.

    Attributes:
        shard: name of the shard.
        paths: the data file of each split.
        subjects: rows of subjects.parquet of its patients.
    """

    shard: str
    paths: dict[str, Path]
    subjects: pl.DataFrame


@dataclass(frozen=True)
class ShardConcepts:
    """The concepts of one shard, written by one attempt.

    Attributes:
        shard: name of the shard.
        attempt: folder of the files in the working folder.
        files: the files of each concept, by name below its folder (`train/00000.parquet`).
        seconds: time that each view and each concept took, without those that it needs.
    """

    shard: str
    attempt: str
    files: dict[str, dict[str, ConceptFile]]
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
        codes: all codes of the dataset.
        storage: the working folder.
        memory: bytes that DuckDB may use in one process before it spills.
    """

    library: ConceptLibrary
    names: tuple[str, ...]
    mode: ConceptMode
    flags: dict[str, int]
    dataset_clock: str
    data: tuple[Path, ...]
    codes: tuple[str, ...]
    storage: LocalStorage
    memory: int

    @contextmanager
    def open(self, report: Report) -> Iterator[Callable[[ShardItem], ShardConcepts]]:
        """Open a session that is used for all shards of a process."""
        with (
            private_files(),
            open_concept_session(
                self.library, self.flags, self.mode, files=self.data, codes=self.codes, threads=1, memory=self.memory
            ) as session,
        ):
            yield lambda item: self._compute(session, item, report)

    def _compute(self, session: ConceptSession, item: ShardItem, report: Report) -> ShardConcepts:
        attempt = f"{ATTEMPTS}/{uuid.uuid4().hex}"
        files: dict[str, dict[str, ConceptFile]] = {}
        session.load(list(item.paths.values()), item.subjects, self.dataset_clock, complete=True)
        session.seconds.clear()
        for number, (concept, rows) in enumerate(session.compute(self.names, by_split=True), 1):
            files[concept.name] = self._write(f"{attempt}/{concept.name}", item, rows)
            report((item.shard, number))
        session.clear()
        return ShardConcepts(item.shard, attempt, files, dict(session.seconds))

    def _write(self, folder: str, item: ShardItem, rows: pa.Table) -> dict[str, ConceptFile]:
        """Write the rows of a concept, one file for each split that has any."""
        written: dict[str, ConceptFile] = {}
        splits = rows[SPLIT]
        for split in item.paths:
            # The rows of a split follow each other.
            count = pc.sum(pc.equal(splits, split)).as_py() or 0
            if count:
                name = f"{split}/{item.shard}.parquet"
                part = rows.slice(pc.index(splits, split).as_py(), count).drop_columns([SPLIT])
                write_parquet(self.storage, f"{folder}/{name}", part)
                path = f"{folder}/{name}"
                written[name] = ConceptFile(count, self.storage.size(path) or 0, self.storage.sha256(path))
        return written
