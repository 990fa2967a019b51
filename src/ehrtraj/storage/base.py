"""What the build needs of a place that holds its files: a folder of this machine, later an object store.

Files have names relative to the storage's root, with `/`. A file appears under its name complete or not at all.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, Self

import pyarrow as pa


class LockedError(Exception):
    """Another process holds the lock."""


class Output(Protocol):
    """A file that is being written. It has no name before `commit`."""

    @property
    def sink(self) -> pa.NativeFile:
        """Where to write."""

    def commit(self) -> int:
        """Give the file its name, and return its size in bytes."""

    def abandon(self) -> None:
        """Discard what was written. Nothing happens after `commit`."""


class Storage(Protocol):
    """Files below one root. A storage can be sent to other processes.

    Every method raises OSError, or OutputError with a way out, where the place cannot be read or written.
    """

    def below(self, folder: str) -> Self:
        """The same storage with a folder of it as its root."""

    def where(self, name: str = "") -> str:
        """How to name a file or folder to the user."""

    def size(self, name: str) -> int | None:
        """Size of a file in bytes; None where there is no file."""

    def files(self, folder: str = "") -> list[str]:
        """Names of all files in a folder and below, sorted."""

    def read(self, name: str) -> bytes | None:
        """Content of a small file; None where there is none."""

    def open_input(self, name: str) -> pa.NativeFile:
        """Open a file for reading any range of it."""

    def sha256(self, name: str) -> str:
        """SHA-256 of a file's content, as hex digits."""

    def create(self, name: str) -> Output:
        """Begin to write a file, with the folders above it."""

    def write(self, name: str, data: bytes) -> None:
        """Write a small file, or replace it."""

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Write a small file unless it exists; returns whether it was written."""

    def move(self, source: str, target: str) -> None:
        """Rename a file or a folder. A file under the new name is replaced; a folder must not exist."""

    def delete(self, name: str) -> None:
        """Delete a file, or a folder with all it contains. A name that does not exist is not an error."""

    def strangers(self, folder: str, listed: Collection[str]) -> list[str]:
        """What a folder contains beside the listed files and the folders they need."""

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock of a name. It goes with the process, however that ends.

        Raises:
            LockedError: if another process holds it.
        """

    def sync(self, name: str = "") -> None:
        """Return once a file, or a folder with all it contains, survives a power cut."""

    def sync_names(self) -> None:
        """Return once the names of the files and folders directly below the root survive a power cut."""

    def scratch(self) -> Path | None:
        """Folder of a local disk for what does not fit in memory; None for the system's folder for temporary files."""
