"""The index of computed concepts: which exist, from which files they come, and their columns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ehrtraj.concepts.header import Column
from ehrtraj.concepts.library import ConceptLibrary
from ehrtraj.concepts.session import ConceptMode
from ehrtraj.errors import DatasetError
from ehrtraj.format.manifest import dataset_digest
from ehrtraj.format.names import CONCEPT_FOLDERS, CONCEPT_INDEX
from ehrtraj.storage.files import read_json

FORMAT = 1


def folder_of(mode: ConceptMode) -> str:
    """Return the folder of a dataset that contains the concepts of a mode."""
    return CONCEPT_FOLDERS[MODES.index(mode)]


MODES = (ConceptMode(), ConceptMode("available"), ConceptMode(as_mimic_code=True))
"""The ways to compute concepts, in the order of `CONCEPT_FOLDERS`."""


@dataclass(frozen=True)
class ConceptFile:
    """A file with the rows of one shard.

    Attributes:
        rows: number of rows.
        bytes: size.
        sha256: hash of the content.
    """

    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ComputedConcept:
    """A concept of the index.

    Attributes:
        name: its name.
        group: its group.
        description: what a row is.
        start: name of the column with the time at which a row begins: `time` or `start`.
        columns: its columns in the files.
        digest: SHA-256 of everything that decides its rows, besides the events.
        rows: number of rows.
        files: the files by name below its folder (`train/00000.parquet`). A shard without rows has none.
    """

    name: str
    group: str
    description: str
    start: str
    columns: tuple[Column, ...]
    digest: str
    rows: int
    files: Mapping[str, ConceptFile]

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the index."""
        return {key: value for key, value in asdict(self).items() if key != "name"}

    @classmethod
    def from_json(cls, name: str, entry: Mapping[str, Any]) -> ComputedConcept:
        """Return a concept from its entry.

        Raises:
            KeyError, TypeError: if the entry is malformed.
        """
        columns = tuple(Column(**column) for column in entry["columns"])
        files = {path: ConceptFile(**file) for path, file in entry["files"].items()}
        return cls(name, **{**entry, "columns": columns, "files": files})


def read_index(root: Path, mode: ConceptMode) -> dict[str, ComputedConcept]:
    """Return the computed concepts of a dataset by name; empty if there are none, or they belong to another build.

    Args:
        root: folder of the dataset.
        mode: how they were computed.

    Raises:
        DatasetError: if the index is damaged.
    """
    path = root / folder_of(mode) / CONCEPT_INDEX
    content = read_json(path)
    if content is None:
        if path.is_file():
            raise DatasetError(f"{path} is damaged: delete {path.parent} and run `ehrtraj concepts` again")
        return {}
    if content.get("format") != FORMAT or content.get("dataset") != dataset_digest(root):
        return {}
    try:
        return {name: ComputedConcept.from_json(name, entry) for name, entry in content["concepts"].items()}
    except (KeyError, TypeError, AttributeError):
        raise DatasetError(f"{path} is damaged: delete {path.parent} and run `ehrtraj concepts` again") from None


def index_content(root: Path, mode: ConceptMode, concepts: Mapping[str, ComputedConcept]) -> dict[str, Any]:
    """Return the content of the index file."""
    return {
        "format": FORMAT,
        "dataset": dataset_digest(root),
        "clock": mode.clock,
        "as_mimic_code": mode.as_mimic_code,
        "concepts": {name: concepts[name].to_json() for name in sorted(concepts)},
    }


def concept_digest(library: ConceptLibrary, name: str, mode: ConceptMode) -> str:
    """Return the SHA-256 of everything that decides the rows of a concept, besides the events."""
    needed = library.with_needs([name])
    parts = [repr(mode), repr(library.lists)]
    parts += [concept.text for concept in needed]
    parts += [library.views[view] for view in library.views_of(needed)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
