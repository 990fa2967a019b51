"""A storage in a folder of this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa
from filelock import Timeout

from ehrtraj.errors import OutputError
from ehrtraj.storage.base import LockedError
from ehrtraj.storage.owned import remove_entry, unlisted_entries
from ehrtraj.storage.safe import locked_file, sync_path, write_atomically

_SCRATCH = "spill"


class LocalOutput:
    """A file that is being written, under its name followed by `.new`."""

    def __init__(self, path: Path) -> None:
        """Create the file and the folders above it.

        Raises:
            OSError: if that fails.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._new = path.with_name(f"{path.name}.new")
        self.sink = pa.OSFile(str(self._new), "wb")

    def commit(self) -> int:
        """Give the file its name, and return its size in bytes."""
        self.sink.close()
        self._new.replace(self._path)
        return self._path.stat().st_size

    def abandon(self) -> None:
        """Discard what was written. Does nothing after `commit`."""
        if not self.sink.closed:
            self.sink.close()
            self._new.unlink(missing_ok=True)


@dataclass(frozen=True)
class LocalStorage:
    """Files below a folder. See `Storage`.

    Attributes:
        root: the folder. A process that writes below it holds a lock on it or uses names that no other process uses.
    """

    root: Path

    def below(self, folder: str) -> Self:
        """Return a storage whose root is a folder of this one."""
        return type(self)(self.root / folder)

    def where(self, name: str = "") -> str:
        """Return the path of a file or folder as shown to the user."""
        return str(self.root / name)

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes; None if it does not exist."""
        path = self.root / name
        return path.stat().st_size if path.is_file() else None

    def files(self, folder: str = "") -> list[str]:
        """Return the sorted names of all files in a folder and its subfolders. Links to folders are not followed."""
        return sorted(
            Path(top, name).relative_to(self.root).as_posix()
            for top, _, names in os.walk(self.root / folder)
            for name in names
        )

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file; None if it does not exist."""
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open_input(self, name: str) -> pa.NativeFile:
        """Open a file for reading, mapped into memory: only the parts that are read use memory."""
        return pa.memory_map(str(self.root / name))

    def open_stream(self, name: str) -> pa.NativeFile:
        """Open a file for reading from start to end."""
        return pa.OSFile(str(self.root / name), "rb")

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a file's content as hex digits."""
        with (self.root / name).open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()

    def create(self, name: str) -> LocalOutput:
        """Start to write a file, and create the folders above it."""
        return LocalOutput(self.root / name)

    def write(self, name: str, data: bytes) -> None:
        """Write a small file, or replace it."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data, is_locked=True)

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Write a small file unless it exists, and return whether it was written."""
        if os.path.lexists(self.root / name):
            return False
        self.write(name, data)
        return True

    def move(self, source: str, target: str) -> None:
        """Rename a file or folder. An existing file under the new name is replaced; an existing folder is an error."""
        path = self.root / target
        path.parent.mkdir(parents=True, exist_ok=True)
        (self.root / source).replace(path)

    def delete(self, name: str) -> None:
        """Delete a file, or a folder with its content. A name that does not exist is not an error."""
        remove_entry(self.root / name)

    def unlisted_entries(self, folder: str, listed: Collection[str]) -> list[str]:
        """Return the entries of a folder other than the listed files and the folders above them."""
        return unlisted_entries(self.root / folder, listed)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock with this name. It is an empty file, which is removed when the lock is released.

        Raises:
            LockedError: if another process holds it.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot create the output folder {self.root}: {error.strerror}") from None
        try:
            with locked_file(self.root / name):
                yield
        except Timeout:
            raise LockedError from None

    def sync(self, name: str = "") -> None:
        """Wait until a file, or a folder with its content, would survive a power failure."""
        path = self.root / name
        if path.is_dir():
            for below in sorted(path.rglob("*")):
                sync_path(below)
        sync_path(path)

    def sync_names(self) -> None:
        """Wait until the names of the files and folders directly below the root would survive a power failure."""
        sync_path(self.root)

    def scratch(self) -> Path | None:
        """Return a folder for data that does not fit in memory."""
        return self.root / _SCRATCH
