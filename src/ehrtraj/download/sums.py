"""SHA256SUMS.txt: which files a release has, and the hash of each. Every release of PhysioNet brings one."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath

from ehrtraj.download.errors import NetworkError
from ehrtraj.errors import ReleaseError

SUMS_FILE = "SHA256SUMS.txt"
PART_ENDING = ".part"
JOURNAL_ENDING = ".part.journal"
_LINE = re.compile(r"([0-9a-fA-F]{64})\s+\*?(\S.*)")


def parse_sums(text: str, where: str) -> dict[str, str]:
    """Hashes by path.

    Args:
        text: of the file: a hash, blanks and a path on each line.
        where: for the message.

    Raises:
        NetworkError: if it is something else, or a path leads out of the release's folder.
    """
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            page = " It looks like a web page: a login or a proxy may stand between." if "<" in text[:200] else ""
            raise NetworkError(f"{where} is not a list of SHA-256 sums: line {number} has no hash and path.{page}")
        path = match[2]
        if not _stays_inside(path):
            raise NetworkError(f"{where}: line {number} names a path outside of the release's folder: {path!r}")
        sums[path] = match[1].lower()
    if not sums:
        raise NetworkError(f"{where} is empty: it names no file")
    return sums


def _stays_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    plain = not any(c in path for c in "\\\0:") and path.isprintable()
    return plain and bool(parts) and not path.startswith("/") and ".." not in parts and not path.endswith(PART_ENDING)


def read_sums(folder: Path) -> dict[str, str]:
    """The sums that lie in a release's folder.

    Raises:
        ReleaseError: if they are not there or cannot be read.
    """
    path = folder / SUMS_FILE
    try:
        return parse_sums(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ReleaseError(f"cannot read {path}: {error}") from None
    except NetworkError as error:
        raise ReleaseError(str(error)) from None


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
