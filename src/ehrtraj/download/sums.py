"""SHA256SUMS.txt: which files a release has, and the hash of each. Every release of PhysioNet brings one."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ehrtraj.download.errors import NetworkError
from ehrtraj.errors import ReleaseError
from ehrtraj.storage.safe import open_private

SUMS_FILE = "SHA256SUMS.txt"
PART_ENDING = ".part"
JOURNAL_ENDING = ".part.journal"
LOCK_FILE = ".ehrtraj-download.lock"
MOST_LIST_BYTES = 4 << 20
_MOST_FILES = 2000
"""The list of the largest project has far less than a hundred."""
_LONGEST_NAME = 200
_LONGEST_PATH = 1000
_LINE = re.compile(r"([0-9a-fA-F]{64})\s+\*?(\S.*)")
_READ_BYTES = 1 << 20


def parse_sums(text: str, where: str) -> dict[str, str]:
    """Hashes by path.

    Args:
        text: of the file: a hash, blanks and a path on each line.
        where: for the message.

    Raises:
        NetworkError: if it is something else, if a path leads out of the release's folder or cannot be a file there, or
            if there are more files than any release has.
    """
    sums: dict[str, str] = {}
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            page = " It looks like a web page: a login or a proxy may stand between." if "<" in text[:200] else ""
            raise NetworkError(f"{where} is not a list of SHA-256 sums: line {number} has no hash and path.{page}")
        path, digest = match[2], match[1].lower()
        if not _stays_inside(path):
            raise NetworkError(f"{where}: line {number} names a path outside of the release's folder: {_shown(path)}")
        if not _can_be_written(path):
            raise NetworkError(f"{where}: line {number} names a path that cannot be used: {_shown(path)}")
        if sums.get(path, digest) != digest:
            raise NetworkError(f"{where}: line {number} gives a second hash for {path}")
        sums[path] = digest
        if len(sums) > _MOST_FILES:
            raise NetworkError(f"{where} names more than {_MOST_FILES:,} files: no release has so many")
    if not sums:
        raise NetworkError(f"{where} is empty: it names no file")
    _check_distinct(sums, where)
    return sums


def _stays_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    plain = not any(c in path for c in "\\\0:") and path.isprintable()
    return plain and bool(parts) and not path.startswith("/") and ".." not in parts and not path.endswith(PART_ENDING)


def _can_be_written(path: str) -> bool:
    """Whether a file can have that path, and it is none of those that a download needs for itself."""
    parts = PurePosixPath(path).parts
    fits = len(path) <= _LONGEST_PATH and all(len(part.encode()) <= _LONGEST_NAME for part in parts)
    temporary = path.endswith(JOURNAL_ENDING) or (parts[-1].startswith(".") and path.endswith(".new"))
    return fits and not path.endswith("/") and not temporary and parts not in {(SUMS_FILE,), (LOCK_FILE,)}


def _check_distinct(sums: dict[str, str], where: str) -> None:
    """Refuse paths that are one file on a disk that ignores case, and a file that another path needs as its folder."""
    seen: dict[str, str] = {}
    for path in sums:
        name = PurePosixPath(path).as_posix().casefold()
        if name in seen:
            raise NetworkError(f"{where} names the same file twice: {seen[name]} and {path}")
        seen[name] = path
    for name, path in seen.items():
        for folder in PurePosixPath(name).parents:
            if (other := seen.get(folder.as_posix())) is not None:
                raise NetworkError(f"{where} names {other} as a file and as the folder of {path}")


def _shown(path: str) -> str:
    return ascii(path if len(path) <= _LONGEST_NAME else f"{path[:_LONGEST_NAME]}...")


def read_sums(folder: Path) -> dict[str, str]:
    """The sums in a release's folder.

    Raises:
        ReleaseError: if they are not there or cannot be read.
    """
    path = folder / SUMS_FILE
    try:
        with path.open("rb") as handle:
            content = handle.read(MOST_LIST_BYTES + 1)
        if len(content) > MOST_LIST_BYTES:
            raise ReleaseError(f"{path} is larger than {MOST_LIST_BYTES:,} bytes: it is not a list of hashes")
        return parse_sums(content.decode("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ReleaseError(f"cannot read {path}: {error}") from None
    except NetworkError as error:
        raise ReleaseError(str(error)) from None


def pieces(handle: BinaryIO, proceed: Callable[[], object], start: int = 0, size: int | None = None) -> Iterator[bytes]:
    """The bytes of a file, in pieces that do not grow with it.

    Args:
        handle: of the file.
        proceed: called before each piece; raises if the work is no longer wanted.
        start: first byte.
        size: bytes from there; to the end by default.
    """
    handle.seek(start)
    left = size
    while left is None or left > 0:
        proceed()
        piece = handle.read(_READ_BYTES if left is None else min(_READ_BYTES, left))
        if not piece:
            return
        yield piece
        left = None if left is None else left - len(piece)


def sha256_of(path: Path, proceed: Callable[[], object] = lambda: None, *, is_ours: bool = False) -> str:
    """Hex digest of a file.

    Args:
        path: of the file.
        proceed: called before each piece; raises if the work is no longer wanted.
        is_ours: it is a file on its way, which is no link.
    """
    digest = hashlib.sha256()
    descriptor = open_private(path, os.O_RDONLY) if is_ours else os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb", buffering=0) as handle:
        for piece in pieces(handle, proceed):
            digest.update(piece)
    return digest.hexdigest()
