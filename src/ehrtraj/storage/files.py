"""Write JSON files atomically, and create files that only the user can read."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ehrtraj import interrupt
from ehrtraj.storage.documents import as_json
from ehrtraj.storage.safe import write_atomically


def write_json(path: Path, content: object) -> None:
    """Write a JSON file so that it is either complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Every caller holds the lock of the folder.
    write_atomically(path, as_json(content), is_locked=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the content of a file from `write_json`; None if it is missing or, after a power failure, damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@contextmanager
def private_files() -> Iterator[None]:
    """Make all files and folders created inside this context readable only by the user (0600, 0700)."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Create a private folder in the system's temporary folder, and remove it with its content.

    Ctrl-C while the folder is created would leave it behind.
    """
    folder = None
    try:
        with interrupt.held():
            folder = tempfile.TemporaryDirectory(prefix=prefix)
        yield Path(folder.name)
    finally:
        if folder is not None:
            folder.cleanup()
