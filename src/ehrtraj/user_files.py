"""Files that a user wrote, kept in memory as they were when they were read.

A build reads a user's recipes and rules several times and in several processes. They all see the same content this way,
whatever happens to the folder meanwhile, and on machines that do not have it.
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
"""Maximum size of such a file. The largest of ours has 170 kB."""
_ENDINGS = (".csv", ".sql", ".toml")
"""Files of a folder whose content is kept: nothing else is read."""

Kind = Literal["file", "folder", "other", "missing"]


@dataclass(frozen=True)
class UserFile:
    """A file or folder as it was, with what `Path` offers to look at it.

    Attributes:
        path: where it was, for messages.
        kind: `other` is a pipe or a device, `missing` a dangling link or nothing at all.
        content: of a file, up to one byte more than the maximum.
        inside: what a folder held, in the order of the names, hidden files left out.
        problem: why it could not be read; empty where it could.
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
        found = next((one for one in self.inside if one.name == first), None)
        if found is None:
            found = UserFile(self.path / first, "missing", problem=os.strerror(errno.ENOENT))
        return found / rest if rest else found

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.name

    @property
    def stem(self) -> str:
        """Its name without the ending."""
        return self.path.stem

    @property
    def suffix(self) -> str:
        """The ending of its name, with the dot."""
        return self.path.suffix

    def exists(self) -> bool:
        """Whether there was something."""
        return self.kind != "missing"

    def is_file(self) -> bool:
        """Whether it was a regular file."""
        return self.kind == "file"

    def is_dir(self) -> bool:
        """Whether it was a folder."""
        return self.kind == "folder"

    def iterdir(self) -> Iterator[UserFile]:
        """What the folder held."""
        return iter(self.inside)


File = Path | UserFile
"""A file or folder: of the package on disk, or of a user in memory."""


def keep_file(path: Path, most: int = MOST_BYTES) -> UserFile:
    """Read a file. A problem is recorded, and becomes an error where the content is needed.

    Args:
        path: of the file.
        most: maximum size, bytes.
    """
    try:
        mode, content = _read(path, most + 1)
    except (OSError, ValueError) as problem:
        return UserFile(path, _kind(path), problem=_reason(path, problem))
    return UserFile(path, _kind_of(mode), content)


def keep_parts(path: Path, names: Collection[str]) -> UserFile:
    """Read the files and folders of these names in a folder, and nothing else that may be there.

    Args:
        path: of the folder.
        names: of what to read; of a folder two levels are read.
    """
    named = (_look(path / name) for name in names)
    return UserFile(path, _kind(path), inside=tuple(_keep(one, 2) for one in named if one.exists()))


def keep_folder(path: Path, depth: int = 1) -> UserFile:
    """Read a folder, with the content of its CSV, SQL and TOML files.

    Args:
        path: of the folder.
        depth: how many levels of folders to read.
    """
    folder = list_folder(path)
    return replace(folder, inside=tuple(_keep(one, depth - 1) for one in folder.inside))


def _keep(file: UserFile, depth: int) -> UserFile:
    if file.is_dir():
        return keep_folder(file.path, depth) if depth else file
    return keep_file(file.path) if file.suffix.lower() in _ENDINGS else file


def _look(path: Path) -> UserFile:
    return UserFile(path, _kind(path))


def list_folder(path: Path) -> UserFile:
    """Read what a folder holds, without any content."""
    try:
        names = sorted(os.listdir(path))  # noqa: PTH208  # names alone
    except OSError as problem:
        return UserFile(path, _kind(path), problem=_reason(path, problem))
    shown = (path / name for name in names if not name.startswith("."))
    return UserFile(path, "folder", inside=tuple(map(_look, shown)))


def _kind(path: Path) -> Kind:
    try:
        return _kind_of(os.stat(path).st_mode)  # noqa: PTH116  # errors as they are
    except (OSError, ValueError):
        return "missing"


def _kind_of(mode: int) -> Kind:
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def _read(path: Path, most: int) -> tuple[int, bytes]:
    """Return the mode of a file, and its content where it is a regular one, up to so many bytes."""
    # A pipe that nobody writes to would never open otherwise.
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(number).st_mode
        if not stat.S_ISREG(mode):
            return mode, b""
        with open(number, "rb", closefd=False) as handle:  # a descriptor, not a path
            return mode, handle.read(most)
    finally:
        os.close(number)


def _reason(path: Path, problem: Exception) -> str:
    if isinstance(problem, FileNotFoundError) and path.is_symlink():
        return f"it is a link to {path.readlink()}, which does not exist"
    return (problem.strerror if isinstance(problem, OSError) else None) or str(problem)
