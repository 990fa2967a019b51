"""Compute the concepts of some shards: a task of an engine."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from ehrtraj.concepts.index import ConceptFile
from ehrtraj.concepts.library import ConceptLibrary
from ehrtraj.concepts.session import FILE, ConceptMode, ConceptSession, open_concept_session
from ehrtraj.concepts.space import ATTEMPTS
from ehrtraj.engines.base import Report
from ehrtraj.format.splits import SPLITS
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


Files = dict[str, dict[str, ConceptFile]]
"""The files of each concept, by name below its folder (`train/00000.parquet`)."""


@dataclass(frozen=True)
class GroupConcepts:
    """The concepts of some shards, written by one attempt.

    Attributes:
        attempt: folder of the files in the working folder.
        shards: the files of each shard.
        seconds: time that each view and each concept took, without those that it needs.
    """

    attempt: str
    shards: dict[str, Files]
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
    def open(self, report: Report) -> Iterator[Callable[[Sequence[ShardItem]], GroupConcepts]]:
        """Open a session that is used for all shards of a process."""
        with (
            private_files(),
            open_concept_session(
                self.library, self.flags, self.mode, files=self.data, codes=self.codes, threads=1, memory=self.memory
            ) as session,
        ):
            yield lambda items: self._compute(session, items, report)

    def _compute(self, session: ConceptSession, items: Sequence[ShardItem], report: Report) -> GroupConcepts:
        attempt = f"{ATTEMPTS}/{uuid.uuid4().hex}"
        places = [(split, item.shard) for split in SPLITS for item in items if split in item.paths]
        shards: dict[str, Files] = {item.shard: {} for item in items}
        paths = [path for item in items for path in item.paths.values()]
        session.load(paths, _with_file([item.subjects for item in items], places), self.dataset_clock, complete=True)
        session.seconds.clear()
        computed = session.compute(self.names, by_file=True, report=lambda share: report((list(shards), share)))
        for concept, rows in computed:
            for files in shards.values():
                files[concept.name] = {}
            for (split, shard), part in _by_file(rows, places):
                name = f"{split}/{shard}.parquet"
                shards[shard][concept.name][name] = self._write(f"{attempt}/{concept.name}/{name}", part)
        session.clear()
        return GroupConcepts(attempt, shards, dict(session.seconds))

    def _write(self, path: str, rows: pa.Table) -> ConceptFile:
        write_parquet(self.storage, path, rows)
        return ConceptFile(rows.num_rows, self.storage.size(path) or 0, self.storage.sha256(path))


Place = tuple[str, str]
"""Split and shard of a data file."""


def _with_file(subjects: Sequence[pl.DataFrame], places: Sequence[Place]) -> pl.DataFrame:
    """Return patients with the column `FILE`, the place of their data file in `places`."""
    numbered = [(split, shard, number) for number, (split, shard) in enumerate(places)]
    files = pl.DataFrame(numbered, {"split": pl.String, "shard": pl.String, FILE: pl.Int32}, orient="row")
    return pl.concat(subjects).join(files, on=["split", "shard"], how="left", maintain_order="left")


def _by_file(rows: pa.Table, places: Sequence[Place]) -> Iterator[tuple[Place, pa.Table]]:
    """Yield each data file whose patients have rows with these rows, which follow each other."""
    file = rows[FILE].to_numpy()
    rows = rows.drop_columns([FILE])
    ends = np.searchsorted(file, np.arange(len(places)), side="right").tolist()
    for place, start, end in zip(places, [0, *ends], ends, strict=False):
        if end > start:
            yield place, rows.slice(start, end - start)
