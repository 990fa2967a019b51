"""Compute concepts of a dataset and store them in it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from ehrtraj.concepts.header import AVAILABLE, Column, Header
from ehrtraj.concepts.index import (
    ComputedConcept,
    ConceptFile,
    concept_digest,
    folder_of,
    read_index,
)
from ehrtraj.concepts.library import Concept, ConceptLibrary, concept_library
from ehrtraj.concepts.session import ConceptMode
from ehrtraj.concepts.space import FILES, SHARDS, ConceptSpace, open_concept_space
from ehrtraj.concepts.work import ConceptWork, Files, GroupConcepts, ShardItem
from ehrtraj.engines.base import Engine, Need
from ehrtraj.engines.local import LocalEngine
from ehrtraj.format.manifest import dataset_digest
from ehrtraj.format.splits import SPLITS
from ehrtraj.runtime.limits import find_limits
from ehrtraj.runtime.progress import Share, TaskTally
from ehrtraj.sources.source import source_of
from ehrtraj.storage.documents import as_json

# Memory of one process: shards of 4 million events with their views, measured with all concepts.
_WORKER_BYTES = 900_000_000
# Shards are computed together, up to this many events: planning the queries takes 0.8 s of CPU, whatever the number of
# patients. Six shards of 1.4 million events take 17.9 s and 346 MB one by one, 13.8 s and 459 MB by two, and 12.7 s and
# 568 MB by three.
_GROUP_EVENTS = 4_200_000
_DUCKDB_SHARE = 0.6
# Starting a process takes as long as the concepts of this many events.
_WORTH_PROCESSES = 2_000_000

Progress = Callable[[int, int], None]
"""Receives the number of events whose concepts are computed, and the number of all events."""


class Layout(Protocol):
    """The files of a dataset."""

    @property
    def root(self) -> Path:
        """Folder of the dataset."""

    @property
    def manifest(self) -> dict[str, Any]:
        """Content of its manifest."""

    @property
    def files(self) -> Sequence[Any]:
        """Data files."""

    @property
    def subjects(self) -> pl.DataFrame:
        """Content of subjects.parquet."""

    @property
    def flags(self) -> dict[str, int]:
        """Bit of each flag."""

    @property
    def codes(self) -> pl.DataFrame:
        """Content of codes.parquet."""

    @property
    def clock(self) -> str:
        """The dataset's clock."""


@dataclass(frozen=True)
class ConceptsResult:
    """What was computed.

    Attributes:
        path: folder of the concepts.
        computed: the concepts that were computed, with their files.
        existing: names of requested concepts that were already complete.
        concept_seconds: time of each concept and view over all shards, without the time of those that it needs.
        seconds: wall time.
        peak_memory: maximum memory of all processes in bytes.
        resumed: whether an interrupted run was resumed.
        notes: limits that differ from the requested ones, and why.
    """

    path: Path
    computed: tuple[ComputedConcept, ...]
    existing: tuple[str, ...]
    concept_seconds: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    peak_memory: int = 0
    resumed: bool = False
    notes: tuple[str, ...] = ()


def compute_concepts(
    layout: Layout,
    names: Collection[str] = (),
    *,
    mode: ConceptMode | None = None,
    library: ConceptLibrary | None = None,
    max_cpus: int | None = None,
    memory_limit: str | int | None = None,
    overwrite: bool = False,
    progress: Progress = lambda done, of: None,
    engine: Engine | None = None,
) -> ConceptsResult:
    """Compute concepts for all patients and store them in the dataset. The same as `ehrtraj concepts`.

    If a run was interrupted, call this function again with the same arguments to resume it.

    Args:
        layout: files of the dataset.
        names: names of concepts; all by default.
        mode: how to compute them; by default with the clock `event`.
        library: all concepts; by default those of the dataset's source.
        max_cpus: maximum number of CPU cores; all usable cores by default.
        memory_limit: maximum memory of all processes, such as `4GB`, the default.
        overwrite: compute concepts again that are already complete.
        progress: receives the number of events whose concepts are computed, and the number of all events.
        engine: engine that runs the tasks; by default processes of this machine.

    Raises:
        SettingsError: if there is no such concept, or a limit cannot be used.
        RecipeError: if the SQL of a concept is not valid.
        OutputError: if the dataset cannot be written to.
    """
    begun = time.monotonic()
    mode = mode or ConceptMode()
    limits = find_limits(max_cpus, memory_limit)
    library = library or concept_library(source_of(layout.manifest))
    concepts = library.find(names)
    done = {} if overwrite else read_index(layout.root, mode)
    digests = {concept.name: concept_digest(library, concept.name, mode) for concept in concepts}
    todo = [c for c in concepts if c.name not in done or done[c.name].digest != digests[c.name]]
    existing = tuple(concept.name for concept in concepts if concept not in todo)
    folder = layout.root / folder_of(mode)
    if not todo:
        return ConceptsResult(folder, (), existing, notes=limits.notes)
    few = int(layout.subjects["n_events"].sum()) < _WORTH_PROCESSES
    engine = engine or LocalEngine(1 if few else limits.cpus, limits.memory)
    with engine.memory() as memory, open_concept_space(layout.root, mode) as space:
        resumed = space.prepare(
            {
                "dataset": dataset_digest(layout.root),
                "concepts": {concept.name: digests[concept.name] for concept in todo},
            }
        )
        work = _work(layout, library, todo, mode, space, engine, limits.memory)
        shards = _Shards(space, _items(layout), progress)
        seconds = shards.run(engine, work)
        computed = {c.name: _computed(c, digests[c.name], mode, shards.files_of(c.name)) for c in todo}
        space.publish(computed)
    return ConceptsResult(
        folder,
        tuple(computed.values()),
        existing,
        seconds,
        time.monotonic() - begun,
        memory.peak,
        resumed,
        limits.notes,
    )


def _work(
    layout: Layout,
    library: ConceptLibrary,
    todo: Sequence[Concept],
    mode: ConceptMode,
    space: ConceptSpace,
    engine: Engine,
    memory: int,
) -> ConceptWork:
    each = memory // engine.at_once(_NEED)
    return ConceptWork(
        library=library,
        names=tuple(concept.name for concept in todo),
        mode=mode,
        flags=dict(layout.flags),
        dataset_clock=layout.clock,
        data=tuple(file.path for file in layout.files),
        codes=tuple(layout.codes["code"]),
        storage=space.work,
        memory=int(min(each, _WORKER_BYTES) * _DUCKDB_SHARE),
    )


_NEED = Need(_WORKER_BYTES)


def _items(layout: Layout) -> list[ShardItem]:
    patients = layout.subjects.partition_by("shard", as_dict=True)
    paths: dict[str, dict[str, Path]] = {}
    for file in layout.files:
        paths.setdefault(file.shard, {})[file.split] = file.path
    return [ShardItem(shard, by_split, patients[(shard,)]) for shard, by_split in paths.items()]


def make_groups(items: Sequence[ShardItem], workers: int) -> list[list[ShardItem]]:
    """Group shards for tasks of similar size, so many that all workers end at about the same time.

    Args:
        items: shards, the largest first.
        workers: number of tasks at the same time.
    """
    sizes = [int(item.subjects["n_events"].sum()) for item in items]
    rounds = math.ceil(sum(sizes) / (_GROUP_EVENTS * workers))
    groups: list[list[ShardItem]] = [[] for _ in range(min(len(items), rounds * workers))]
    events = [0] * len(groups)
    for item, size in zip(items, sizes, strict=True):
        smallest = events.index(min(events))
        groups[smallest].append(item)
        events[smallest] += size
    return groups


class _Shards:
    """Compute all shards that an earlier run did not finish, and collect their files."""

    def __init__(self, space: ConceptSpace, items: Sequence[ShardItem], progress: Progress) -> None:
        self._work = space.work
        self._items = {item.shard: item for item in items}
        self._progress = progress
        self._events = {item.shard: int(item.subjects["n_events"].sum()) for item in items}
        self._total = sum(self._events.values())
        self._tally = TaskTally(self._events)
        self._seconds: dict[str, float] = {}
        self._found: dict[str, dict[str, ConceptFile]] = {}

    def files_of(self, name: str) -> dict[str, ConceptFile]:
        """Return the files of a concept by name below its folder, in the order of the data files."""
        found = self._found[name]
        order = (f"{split}/{shard}.parquet" for split in SPLITS for shard in sorted(self._items))
        return {file: found[file] for file in order if file in found}

    def run(self, engine: Engine, work: ConceptWork) -> dict[str, float]:
        """Compute the shards, the largest first, and return the time of each concept."""
        self._found = {name: {} for name in work.names}
        self._progress(0, self._total)
        todo = [name for name in self._items if not self._finished(name)]
        todo.sort(key=lambda name: -self._events[name])
        groups = make_groups([self._items[name] for name in todo], engine.at_once(_NEED))
        for result in engine.map(work, groups, _NEED, self._report):
            self._commit(result)
        return self._seconds

    def _finished(self, name: str) -> bool:
        """Use the result of an earlier run, if there is one."""
        content = self._work.read(f"{SHARDS}/{name}.json")
        if content is None:
            return False
        listed = json.loads(content).items()
        self._take(name, {key: {path: ConceptFile(**one) for path, one in files.items()} for key, files in listed})
        return True

    def _commit(self, result: GroupConcepts) -> None:
        for shard, concepts in result.shards.items():
            for name, files in concepts.items():
                for file in files:
                    self._work.move(f"{result.attempt}/{name}/{file}", f"{FILES}/{name}/{file}")
            content = {name: {file: asdict(one) for file, one in files.items()} for name, files in concepts.items()}
            self._work.write(f"{SHARDS}/{shard}.json", as_json(content))
            self._take(shard, concepts)
        self._work.delete(result.attempt)
        for name, seconds in result.seconds.items():
            self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def _take(self, shard: str, files: Files) -> None:
        for name, found in files.items():
            self._found[name].update(found)
        self._tally.finish(shard)
        self._progress(self._tally.done_of(self._total), self._total)

    def _report(self, reached: tuple[Sequence[str], Share]) -> None:
        shards, share = reached
        for shard in shards:
            self._tally.reach(shard, share)
        self._progress(self._tally.done_of(self._total), self._total)


def _computed(concept: Concept, digest: str, mode: ConceptMode, files: Mapping[str, ConceptFile]) -> ComputedConcept:
    header = concept.header
    columns = tuple(_columns(header, mode))
    rows = sum(file.rows for file in files.values())
    start = header.renamed.get(header.start, header.start) if mode.as_mimic_code else header.start
    return ComputedConcept(concept.name, concept.group, header.description, start, columns, digest, rows, dict(files))


def _columns(header: Header, mode: ConceptMode) -> Iterator[Column]:
    """Yield the columns of the files: all of them, or those of mimic-code under their names."""
    for column in header.columns:
        if not mode.as_mimic_code:
            yield column
        elif column.name not in header.without | {AVAILABLE}:
            yield Column(header.renamed.get(column.name, column.name), column.type, column.unit, column.meaning)
