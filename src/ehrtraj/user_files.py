"""Snapshots in memory of files that a user wrote.

A build reads a user's recipes and rules several times and in several processes. With a snapshot they all see the same
content, even if the folder changes meanwhile or the process runs on a machine without it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

MOST_BYTES = 4 << 20
"""Maximum size of such a file in bytes. The largest file of the package has 170 kB."""
_ENDINGS = (".csv", ".sql", ".toml")
"""Files of a folder whose content is read; other files are listed without content."""

Kind = Literal["file", "folder", "other", "missing"]


@dataclass(frozen=True)
class UserFile:
    """A snapshot of a file or folder, with some of the methods of `Path`.

    Attributes:
        path: its path, for messages.
        kind: `other` is a pipe or a device; `missing` is a dangling link or a path that does not exist.
        content: content of a file, at most one byte more than the maximum size.
        inside: the entries of a folder, sorted by name, without hidden files.
        problem: why it could not be read; empty if it could.
    """

    path: Path
    kind: Kind
    content: bytes = b""
    inside: tuple[UserFile, ...] = ()
    problem: str = ""

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> UserFile:
        first, _, rest = name.partition("/")
        entry = next((entry for entry in self.inside if entry.name == first), None)
        if entry is None:
            entry = UserFile(self.path / first, "missing", problem=os.strerror(errno.ENOENT))
        return entry / rest if rest else entry

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.name

    @property
    def stem(self) -> str:
        """Its name without the extension."""
        return self.path.stem

    @property
    def suffix(self) -> str:
        """The extension of its name, with the dot."""
        return self.path.suffix

    def exists(self) -> bool:
        """Return whether the path existed."""
        return self.kind != "missing"

    def is_file(self) -> bool:
        """Return whether it was a regular file."""
        return self.kind == "file"

    def is_dir(self) -> bool:
        """Return whether it was a folder."""
        return self.kind == "folder"

    def iterdir(self) -> Iterator[UserFile]:
        """Iterate over the entries of the folder."""
        return iter(self.inside)


File = Path | UserFile
"""A file or folder: one of the package on disk, or the snapshot of a user's in memory."""


def keep_file(path: Path, most: int = MOST_BYTES) -> UserFile:
    """Read a file. A problem is recorded and raised as an error later, where the content is needed.

    Args:
        path: path of the file.
        most: maximum size in bytes.
    """
    try:
        mode, content = _read(path, most + 1)
    except (OSError, ValueError) as problem:
        return UserFile(path, _kind(path), problem=_reason(path, problem))
    return UserFile(path, _kind_of(mode), content)


def keep_parts(path: Path, names: Collection[str]) -> UserFile:
    """Read only the files and folders with these names in a folder.

    Args:
        path: path of the folder.
        names: names of the entries to read; folders are read two levels deep.
    """
    entries = (_look(path / name) for name in names)
    return UserFile(path, _kind(path), inside=tuple(_keep(entry, 2) for entry in entries if entry.exists()))


def keep_folder(path: Path, depth: int = 1) -> UserFile:
    """Read a folder, with the content of its CSV, SQL and TOML files.

    Args:
        path: path of the folder.
        depth: number of levels of folders to read.
    """
    folder = list_folder(path)
    return replace(folder, inside=tuple(_keep(entry, depth - 1) for entry in folder.inside))


def _keep(file: UserFile, depth: int) -> UserFile:
    if file.is_dir():
        return keep_folder(file.path, depth) if depth else file
    return keep_file(file.path) if file.suffix.lower() in _ENDINGS else file


def _look(path: Path) -> UserFile:
    return UserFile(path, _kind(path))


def list_folder(path: Path) -> UserFile:
    """List the entries of a folder, without their content."""
    try:
        names = sorted(os.listdir(path))  # noqa: PTH208  # only names are needed
    except OSError as problem:
        return UserFile(path, _kind(path), problem=_reason(path, problem))
    visible = (path / name for name in names if not name.startswith("."))
    return UserFile(path, "folder", inside=tuple(map(_look, visible)))


def _kind(path: Path) -> Kind:
    try:
        return _kind_of(os.stat(path).st_mode)  # noqa: PTH116  # Path would change the errors
    except (OSError, ValueError):
        return "missing"


def _kind_of(mode: int) -> Kind:
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def _read(path: Path, most: int) -> tuple[int, bytes]:
    """Return the mode of a file and, if it is a regular file, at most `most` bytes of its content."""
    # Without O_NONBLOCK, opening a pipe that nobody writes to would block forever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            return mode, b""
        with open(descriptor, "rb", closefd=False) as handle:
            return mode, handle.read(most)
    finally:
        os.close(descriptor)


def _reason(path: Path, problem: Exception) -> str:
    if isinstance(problem, FileNotFoundError) and path.is_symlink():
        return f"it is a link to {path.readlink()}, which does not exist"
    return (problem.strerror if isinstance(problem, OSError) else None) or str(problem)
