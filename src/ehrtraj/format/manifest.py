"""The manifest: the list of a dataset's files. A folder with a manifest is a dataset."""

from __future__ import annotations

from pathlib import Path

from ehrtraj.errors import OutputError
from ehrtraj.format.names import MANIFEST
from ehrtraj.paths import real
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


def files_of_dataset(folder: Path) -> frozenset[str] | None:
    """Return the files listed in a dataset's manifest, with the manifest itself; None if the folder has no manifest."""
    content = read_json(folder / MANIFEST)
    if content is None or "format" not in content or not isinstance(listed := content.get("contents"), dict):
        return None
    return frozenset((*listed, MANIFEST))
