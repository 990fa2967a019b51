"""Interface of a storage, which contains the files of a build: a folder of this machine, later an object store.

Names of files are relative to the root of the storage and use `/`. A file appears under its name only when it is
complete.
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
    """A file that is being written. It appears under its name with `commit`."""

    @property
    def sink(self) -> pa.NativeFile:
        """Stream to write to."""

    def commit(self) -> int:
        """Give the file its name, and return its size in bytes."""

    def abandon(self) -> None:
        """Discard what was written. Does nothing after `commit`."""


class Storage(Protocol):
    """Files below one root. A storage can be sent to other processes.

    If a file or folder cannot be read or written, methods raise OSError, or OutputError with advice for the user.
    """

    def below(self, folder: str) -> Self:
        """Return a storage whose root is a folder of this one."""

    def where(self, name: str = "") -> str:
        """Return the location of a file or folder as shown to the user."""

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes; None if it does not exist."""

    def files(self, folder: str = "") -> list[str]:
        """Return the sorted names of all files in a folder and its subfolders."""

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file; None if it does not exist."""

    def open_input(self, name: str) -> pa.NativeFile:
        """Open a file for random-access reading."""

    def open_stream(self, name: str) -> pa.NativeFile:
        """Open a file for reading from start to end. Its content does not count as memory, as with `open_input`."""

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a file's content as hex digits."""

    def create(self, name: str) -> Output:
        """Start to write a file, and create the folders above it."""

    def write(self, name: str, data: bytes) -> None:
        """Write a small file, or replace it."""

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Write a small file unless it exists, and return whether it was written."""

    def move(self, source: str, target: str) -> None:
        """Rename a file or folder. An existing file under the new name is replaced; an existing folder is an error."""

    def delete(self, name: str) -> None:
        """Delete a file, or a folder with its content. A name that does not exist is not an error."""

    def unlisted_entries(self, folder: str, listed: Collection[str]) -> list[str]:
        """Return the entries of a folder other than the listed files and the folders above them."""

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock with this name. The lock is released when the process ends, however it ends.

        Raises:
            LockedError: if another process holds it.
        """

    def sync(self, name: str = "") -> None:
        """Wait until a file, or a folder with its content, would survive a power failure."""

    def sync_names(self) -> None:
        """Wait until the names of the files and folders directly below the root would survive a power failure."""

    def scratch(self) -> Path | None:
        """Return a local folder for data that does not fit in memory; None for the system's temporary folder."""
