"""Read SHA256SUMS.txt, which lists the files of a release with their hashes. Every release on PhysioNet has one."""

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
"""The list of the largest project has far fewer than a hundred."""
_LONGEST_NAME = 200
_LONGEST_PATH = 1000
_LINE = re.compile(r"([0-9a-fA-F]{64})\s+\*?(\S.*)")
_READ_BYTES = 1 << 20


def parse_sums(text: str, where: str) -> dict[str, str]:
    """Return the hashes by path.

    Args:
        text: content of the file: a hash, blanks and a path on each line.
        where: path or URL of the file, for the message.

    Raises:
        NetworkError: if the text is not such a list, if a path leads out of the folder of the release or cannot be a
            file in it, or if there are more files than any release has.
    """
    sums: dict[str, str] = {}
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            page = (
                " It looks like a web page, perhaps from a login form or a proxy between you and the server."
                if "<" in text[:200]
                else ""
            )
            raise NetworkError(f"{where} is not a list of SHA-256 sums: line {number} is not a hash and a path.{page}")
        path, digest = match[2], match[1].lower()
        if not _stays_inside(path):
            raise NetworkError(f"{where}: the path in line {number} is outside of the release folder: {_quoted(path)}")
        if not _can_be_written(path):
            raise NetworkError(f"{where}: the path in line {number} cannot be used: {_quoted(path)}")
        if sums.get(path, digest) != digest:
            raise NetworkError(f"{where}: line {number} has a second, different hash for {path}")
        sums[path] = digest
        if len(sums) > _MOST_FILES:
            raise NetworkError(f"{where} lists more than {_MOST_FILES:,} files: no release has so many")
    if not sums:
        raise NetworkError(f"{where} is empty: it lists no files")
    _check_distinct(sums, where)
    return sums


def _stays_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    plain = not any(c in path for c in "\\\0:") and path.isprintable()
    return plain and bool(parts) and not path.startswith("/") and ".." not in parts and not path.endswith(PART_ENDING)


def _can_be_written(path: str) -> bool:
    """Whether a file can have this path, and a download does not use the path for its temporary files."""
    parts = PurePosixPath(path).parts
    is_short = len(path) <= _LONGEST_PATH and all(len(part.encode()) <= _LONGEST_NAME for part in parts)
    is_temporary = path.endswith(JOURNAL_ENDING) or (parts[-1].startswith(".") and path.endswith(".new"))
    return is_short and not path.endswith("/") and not is_temporary and parts not in {(SUMS_FILE,), (LOCK_FILE,)}


def _check_distinct(sums: dict[str, str], where: str) -> None:
    """Refuse paths that are the same file on a disk that ignores case, and a file that is another path's folder."""
    seen: dict[str, str] = {}
    for path in sums:
        name = PurePosixPath(path).as_posix().casefold()
        if name in seen:
            raise NetworkError(f"{where} lists the same file twice: {seen[name]} and {path}")
        seen[name] = path
    for name, path in seen.items():
        for folder in PurePosixPath(name).parents:
            if (other := seen.get(folder.as_posix())) is not None:
                raise NetworkError(f"{where} lists {other} as a file and as the folder of {path}")


def _quoted(path: str) -> str:
    return ascii(path if len(path) <= _LONGEST_NAME else f"{path[:_LONGEST_NAME]}...")


def read_sums(folder: Path) -> dict[str, str]:
    """Return the hashes by path from SHA256SUMS.txt in the folder of a release.

    Raises:
        ReleaseError: if the file does not exist or cannot be read.
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


def pieces(
    handle: BinaryIO, check_cancelled: Callable[[], object], start: int = 0, size: int | None = None
) -> Iterator[bytes]:
    """Yield the bytes of a file in pieces of bounded size.

    Args:
        handle: the open file.
        check_cancelled: called before each piece; raises if the work was cancelled.
        start: offset of the first byte.
        size: number of bytes; up to the end of the file by default.
    """
    handle.seek(start)
    remaining = size
    while remaining is None or remaining > 0:
        check_cancelled()
        piece = handle.read(_READ_BYTES if remaining is None else min(_READ_BYTES, remaining))
        if not piece:
            return
        yield piece
        remaining = None if remaining is None else remaining - len(piece)


def sha256_of(path: Path, check_cancelled: Callable[[], object] = lambda: None, *, refuse_links: bool = False) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Args:
        path: path of the file.
        check_cancelled: called before each piece; raises if the work was cancelled.
        refuse_links: raise if the file is a link, as a partly downloaded file must not be.
    """
    digest = hashlib.sha256()
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    descriptor = open_private(path, os.O_RDONLY) if refuse_links else os.open(path, flags)
    with os.fdopen(descriptor, "rb", buffering=0) as handle:
        for piece in pieces(handle, check_cancelled):
            digest.update(piece)
    return digest.hexdigest()
