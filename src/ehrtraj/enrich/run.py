"""Write a dataset that includes the concepts of another one as events, from its data files to its manifest."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehrtraj.concepts.events import table_of
from ehrtraj.concepts.index import ComputedConcept, read_index
from ehrtraj.concepts.library import ConceptLibrary, concept_library
from ehrtraj.concepts.run import compute_concepts
from ehrtraj.concepts.session import ConceptMode
from ehrtraj.dataset.layout import DatasetLayout
from ehrtraj.engines.base import Engine, Need
from ehrtraj.engines.local import LocalEngine
from ehrtraj.enrich.metadata import AddedMetadata
from ehrtraj.enrich.work import MergeItem, MergeResult, MergeWork
from ehrtraj.errors import OutputError, SettingsError
from ehrtraj.format.manifest import dataset_digest, write_manifest
from ehrtraj.format.names import DATA, MANIFEST
from ehrtraj.format.workspace import DATASET, Kind, Workspace, locked
from ehrtraj.runtime.limits import ResourceLimits, find_limits
from ehrtraj.runtime.progress import TaskTally
from ehrtraj.sources.source import source_of
from ehrtraj.storage.base import Storage
from ehrtraj.storage.documents import read_document, write_document
from ehrtraj.storage.failures import explained_failures
from ehrtraj.storage.files import private_files, read_json
from ehrtraj.storage.local import LocalStorage
from ehrtraj.version import __version__

_KIND = Kind("events", "--output")
_MARKERS = "merged"
# Memory of one process: the events of a few patients with those of all concepts, measured.
_NEED = Need(900_000_000)
# Starting a process takes as long as merging this many events.
_WORTH_PROCESSES = 1_000_000

Progress = Callable[[int, int], None]
"""Receives the work done, and all work."""


@dataclass(frozen=True)
class EnrichResult:
    """A dataset with concepts.

    Attributes:
        path: its folder.
        already_there: whether the same dataset already existed, so that nothing was changed.
        patients: number of patients.
        events: number of events.
        concepts: number of events of each concept.
        seconds: wall time, without that of computing concepts.
        peak_memory: peak memory of all processes together, in bytes.
        resumed: whether an interrupted run was resumed.
        notes: what the user should know.
    """

    path: Path
    already_there: bool
    patients: int
    events: int
    concepts: Mapping[str, int]
    seconds: float = 0.0
    peak_memory: int = 0
    resumed: bool = False
    notes: tuple[str, ...] = ()


def add_concepts(
    layout: DatasetLayout,
    output: Path,
    names: Collection[str] = (),
    *,
    library: ConceptLibrary | None = None,
    max_cpus: int | None = None,
    memory_limit: str | int | None = None,
    overwrite: bool = False,
    progress: Progress = lambda done, of: None,
    engine: Engine | None = None,
) -> EnrichResult:
    """Write a dataset with the events of another one and those of concepts. Missing concepts are computed first.

    If a run was interrupted, call this function again with the same arguments to resume it.

    Args:
        layout: files of the dataset.
        output: folder of the new dataset.
        names: names of concepts; all by default.
        library: all concepts; by default those of the dataset's source.
        max_cpus: maximum number of CPU cores; all usable cores by default.
        memory_limit: maximum memory of all processes, such as `4GB`, the default.
        overwrite: replace an existing dataset in `output`.
        progress: receives the work done, and all work: each event counts when its concepts are computed, and when it is
            written.
        engine: engine that merges; by default processes of this machine.

    Raises:
        SettingsError: if there is no such concept, or the dataset already includes concepts.
        OutputError: if the output cannot be written, or exists.
    """
    if layout.includes_concepts:
        raise SettingsError(
            f"{layout.root} already includes concepts as events: give the dataset that it was made from"
        )
    limits = find_limits(max_cpus, memory_limit)
    library = library or concept_library(source_of(layout.manifest))
    chosen = [concept.name for concept in library.find(names)]
    target = output.expanduser().absolute()
    space = Workspace(LocalStorage(target.parent), target.name, _KIND)
    space.check_target([layout.root], [layout.root], overwrite=overwrite)
    total = int(layout.subjects["n_events"].sum())
    compute_concepts(
        layout,
        chosen,
        library=library,
        max_cpus=max_cpus,
        memory_limit=memory_limit,
        progress=lambda done, _: progress(done, 2 * total),
    )
    stored = read_index(layout.root, ConceptMode())
    run = _Run(
        layout,
        space,
        [stored[name] for name in chosen],
        limits,
        engine,
        lambda done, _: progress(total + done, 2 * total),
    )
    return run.run(overwrite=overwrite)


class _Run:
    """One run, from the stored concepts to the new dataset."""

    def __init__(
        self,
        layout: DatasetLayout,
        space: Workspace,
        concepts: Sequence[ComputedConcept],
        limits: ResourceLimits,
        engine: Engine | None,
        progress: Progress,
    ) -> None:
        self._layout = layout
        self._space = space
        self._concepts = tuple(concepts)
        self._limits = limits
        patients = layout.subjects.sort("position").partition_by("split", "shard", as_dict=True)
        self._items = {
            item.name: item
            for file in layout.files
            for item in (MergeItem(file.split, file.shard, patients[file.split, file.shard]),)
        }
        self._total = sum(item.events for item in self._items.values())
        few = self._total < _WORTH_PROCESSES
        self._engine = engine or LocalEngine(1 if few else limits.cpus, limits.memory)
        self._progress = progress
        self._tally = TaskTally({item.name: item.events for item in self._items.values()})
        self._fingerprint = {
            "ehrtraj": __version__,
            "dataset": dataset_digest(layout.root),
            "concepts": {concept.name: concept.digest for concept in concepts},
        }

    def run(self, *, overwrite: bool) -> EnrichResult:
        """Merge all data files, write the metadata, and move the dataset to its path."""
        begun, space = time.monotonic(), self._space
        output = LocalStorage(space.final.parent)
        with (
            private_files(),
            self._engine.memory() as memory,
            explained_failures(space.final.parent),
            locked(output, space.final.name, _KIND),
        ):
            space.restore()
            if not overwrite and (existing := self._existing()) is not None:
                return existing
            space.prepare(self._fingerprint)
            records = self._merge(space.files)
            files = space.files.below(DATASET)
            metadata = AddedMetadata(self._layout, self._concepts, files, records)
            summary = metadata.write(space.final.name)
            added = {one.name: metadata.tables[table_of(one.name)].events for one in self._concepts}
            write_manifest(files, self._manifest(summary, added))
            space.show(overwrite=overwrite)
        return EnrichResult(
            path=space.final,
            already_there=False,
            patients=summary["patients"],
            events=summary["events"],
            concepts=added,
            seconds=time.monotonic() - begun,
            peak_memory=memory.peak,
            resumed=space.resumed,
            notes=(*self._limits.notes, *space.warnings),
        )

    def _existing(self) -> EnrichResult | None:
        """Return the result of an earlier run with the same input.

        Raises:
            OutputError: if the path exists and is something else.
        """
        path = self._space.final
        if not path.exists():
            return None
        manifest = read_json(path / MANIFEST) or {}
        origin = manifest.get("concepts")
        if not isinstance(origin, dict) or origin.get("fingerprint") != self._fingerprint:
            raise OutputError(
                f"{path} exists, and is not this dataset with these concepts: choose another --output, or replace a "
                "dataset with --overwrite"
            )
        if self._space.published:
            # If a run is killed just before its last step, the working folder remains.
            self._space.remove()
        summary = manifest["summary"]
        return EnrichResult(path, True, summary["patients"], summary["events"], origin["events"])

    def _merge(self, files: Storage) -> dict[str, dict[str, Any]]:
        """Merge all data files that an earlier run did not finish, and return their counts in order."""
        records = {}
        self._progress(0, self._total)
        for name in self._items:
            record = read_document(files, _marker(name))
            if record is not None and files.size(_data(name)) == record["bytes"]:
                records[name] = record
                self._advance(name)
        todo = sorted((item for item in self._items.values() if item.name not in records), key=lambda i: -i.events)
        work = MergeWork(self._layout.root, self._layout.clock, self._concepts, files)
        for result in self._engine.map(work, todo, _NEED, self._report):
            records[result.name] = self._commit(files, result)
        return {name: records[name] for name in self._items}

    def _report(self, reached: tuple[str, int]) -> None:
        name, events = reached
        self._tally.reach(name, events / max(self._items[name].events, 1))
        self._progress(self._tally.done_of(self._total), self._total)

    def _commit(self, files: Storage, result: MergeResult) -> dict[str, Any]:
        files.move(result.attempt, _data(result.name))
        # A marker that survives a power failure belongs to a complete file.
        files.sync(_data(result.name))
        write_document(files, _marker(result.name), result.record)
        self._advance(result.name)
        return result.record

    def _advance(self, name: str) -> None:
        self._tally.finish(name)
        self._progress(self._tally.done_of(self._total), self._total)

    def _manifest(self, summary: Mapping[str, int], added: Mapping[str, int]) -> dict[str, Any]:
        """Return the manifest of the original dataset with the origin of the new one."""
        kept = {name: value for name, value in self._layout.manifest.items() if name not in ("format", "contents")}
        origin = {
            "dataset": str(self._layout.root.absolute()),
            "fingerprint": self._fingerprint,
            "events": dict(added),
        }
        return {**kept, "trajectory_version": self._space.final.name, "summary": dict(summary), "concepts": origin}


def _data(name: str) -> str:
    return f"{DATASET}/{DATA}/{name}"


def _marker(name: str) -> str:
    return f"{_MARKERS}/{name}.json"
