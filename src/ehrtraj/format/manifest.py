"""The manifest: the list of files that makes a folder a dataset."""

from __future__ import annotations

from pathlib import Path

from ehrtraj.errors import OutputError
from ehrtraj.format.names import MANIFEST
from ehrtraj.paths import real
from ehrtraj.storage.files import read_json


def refuse_in_dataset(path: Path) -> None:
    """Check that a path is not inside a dataset, which stays as it was built.

    Raises:
        OutputError: if it is.
    """
    for folder in real(path).parents:
        if files_of_dataset(folder) is not None:
            raise OutputError(
                f"{path} is in the dataset {folder}, which stays as it was built: choose another --output"
            )


def files_of_dataset(folder: Path) -> frozenset[str] | None:
    """Files that a dataset's manifest lists, and the manifest itself; None where there is no manifest of ours."""
    content = read_json(folder / MANIFEST)
    if content is None or "format" not in content or not isinstance(listed := content.get("contents"), dict):
        return None
    return frozenset((*listed, MANIFEST))
