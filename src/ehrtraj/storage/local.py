"""A storage that is a folder of this machine."""

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
from ehrtraj.storage.owned import remove_entry, strangers
from ehrtraj.storage.safe import locked_file, sync_path, write_atomically

_SCRATCH = "spill"


class LocalOutput:
    """A file that is being written, under a name with `.new` behind it."""

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
        """Discard what was written. Nothing happens after `commit`."""
        if not self.sink.closed:
            self.sink.close()
            self._new.unlink(missing_ok=True)


@dataclass(frozen=True)
class LocalStorage:
    """Files below a folder. See `Storage`.

    Attributes:
        root: the folder. Whoever writes below it holds a lock on it, or writes under names that nobody else uses.
    """

    root: Path

    def below(self, folder: str) -> Self:
        """The same storage with a folder of it as its root."""
        return type(self)(self.root / folder)

    def where(self, name: str = "") -> str:
        """Path of a file or folder."""
        return str(self.root / name)

    def size(self, name: str) -> int | None:
        """Size of a file in bytes; None where there is no file."""
        path = self.root / name
        return path.stat().st_size if path.is_file() else None

    def files(self, folder: str = "") -> list[str]:
        """Names of all files in a folder and below, sorted. Links to folders are not followed."""
        return sorted(
            Path(top, name).relative_to(self.root).as_posix()
            for top, _, names in os.walk(self.root / folder)
            for name in names
        )

    def read(self, name: str) -> bytes | None:
        """Content of a small file; None where there is none."""
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open_input(self, name: str) -> pa.NativeFile:
        """Open a file for reading, mapped into memory: what is not read costs nothing."""
        return pa.memory_map(str(self.root / name))

    def sha256(self, name: str) -> str:
        """SHA-256 of a file's content, as hex digits."""
        with (self.root / name).open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()

    def create(self, name: str) -> LocalOutput:
        """Begin to write a file, with the folders above it."""
        return LocalOutput(self.root / name)

    def write(self, name: str, data: bytes) -> None:
        """Write a small file, or replace it."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data, is_locked=True)

    def put_if_absent(self, name: str, data: bytes) -> bool:
        """Write a small file unless it exists; returns whether it was written."""
        if os.path.lexists(self.root / name):
            return False
        self.write(name, data)
        return True

    def move(self, source: str, target: str) -> None:
        """Rename a file or a folder. A file under the new name is replaced; a folder must not exist."""
        path = self.root / target
        path.parent.mkdir(parents=True, exist_ok=True)
        (self.root / source).replace(path)

    def delete(self, name: str) -> None:
        """Delete a file, or a folder with all it contains. A name that does not exist is not an error."""
        remove_entry(self.root / name)

    def strangers(self, folder: str, listed: Collection[str]) -> list[str]:
        """What a folder contains beside the listed files and the folders they need."""
        return strangers(self.root / folder, listed)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock of a name. Its empty file stays: removing it would let two processes lock two such files.

        Raises:
            LockedError: if another process holds it.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the output folder {self.root}: {error.strerror}") from None
        try:
            with locked_file(self.root / name):
                yield
        except Timeout:
            raise LockedError from None

    def sync(self, name: str = "") -> None:
        """Return once a file, or a folder with all it contains, survives a power cut."""
        path = self.root / name
        if path.is_dir():
            for below in sorted(path.rglob("*")):
                sync_path(below)
        sync_path(path)

    def sync_names(self) -> None:
        """Return once the names of the files and folders directly below the root survive a power cut."""
        sync_path(self.root)

    def scratch(self) -> Path | None:
        """Folder for what does not fit in memory."""
        return self.root / _SCRATCH
