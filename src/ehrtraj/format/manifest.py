"""The manifest: the list of a dataset's files. A folder with a manifest is a dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ehrtraj.errors import OutputError
from ehrtraj.format.names import CONCEPT_FOLDERS, CONCEPT_INDEX, FORMAT, MANIFEST
from ehrtraj.paths import real
from ehrtraj.storage.base import Storage
from ehrtraj.storage.documents import as_json
from ehrtraj.storage.files import read_json


def refuse_in_dataset(path: Path) -> None:
    """Check that a path is not inside a dataset, since nothing may be added to a finished dataset.

    Raises:
        OutputError: if it is inside one.
    """
    for folder in real(path).parents:
        if files_of_dataset(folder) is not None:
            raise OutputError(
                f"{path} is inside the dataset {folder}, which must stay as it was built: choose another --output"
            )


def dataset_digest(root: Path) -> str:
    """Return the SHA-256 of a dataset's manifest, which identifies the build."""
    return hashlib.sha256((root / MANIFEST).read_bytes()).hexdigest()


def files_of_dataset(folder: Path) -> frozenset[str] | None:
    """Return the files listed in a dataset's manifest, with the manifest itself and the computed concepts.

    Args:
        folder: folder of the dataset.

    Returns:
        Paths relative to the folder; None if it has no manifest.
    """
    content = read_json(folder / MANIFEST)
    if content is None or "format" not in content or not isinstance(listed := content.get("contents"), dict):
        return None
    return frozenset((*listed, MANIFEST, *concept_files(folder)))


def concept_files(folder: Path) -> Iterator[str]:
    """Yield the files of computed concepts that are listed in their indexes, with the indexes themselves.

    Args:
        folder: folder of the dataset.
    """
    for name in CONCEPT_FOLDERS:
        content = read_json(folder / name / CONCEPT_INDEX)
        if content is None or not isinstance(concepts := content.get("concepts"), dict):
            continue
        yield f"{name}/{CONCEPT_INDEX}"
        for concept, entry in concepts.items():
            files = entry.get("files") if isinstance(entry, dict) else None
            yield from (f"{name}/{concept}/{file}" for file in files or ())


def write_manifest(files: Storage, content: Mapping[str, Any]) -> None:
    """Write `manifest.json`: the format, every file of the dataset with its size and hash, then `content`.

    Args:
        files: storage of the dataset.
        content: further entries of the manifest.
    """
    listed = files.files()
    # Two threads are as fast as one disk; hashing releases the interpreter lock.
    with ThreadPoolExecutor(2) as pool:
        hashes = list(pool.map(files.sha256, listed))
    contents = {
        name: {"bytes": files.size(name), "sha256": sha256} for name, sha256 in zip(listed, hashes, strict=True)
    }
    files.write(MANIFEST, as_json({"format": FORMAT, **content, "contents": contents}, indent=2))
