"""A file that is not whole yet: `<name>.part`, and beside it a journal of what of it is there.

The file is cut into blocks, each fetched from its start to its end. The journal holds for each block how many of its
bytes were written, and their CRC-32. It is brought up to date with every piece that comes, after the piece itself is
written, so that a process killed at any moment loses only what had not been written. After a power cut the disk may
hold less than the journal says: then the file's hash is wrong, the CRCs say which blocks, and those are fetched again.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Self

from ehrtraj.download.sums import JOURNAL_ENDING, PART_ENDING, pieces
from ehrtraj.storage.safe import open_private, refuse_link, write_atomically

SMALLEST_BLOCK = 256 << 10
LARGEST_BLOCK = 4 << 20
"""At 50 kB/s a block of this size takes 84 s: long against the start of a request, short against the whole."""
_BLOCKS_OF_A_FILE = 64
_MOST_BLOCKS = 4096
"""Of a file of any size: what is kept of it in memory and in the journal does not grow further."""
_FORMAT = 1
_HEADER_BYTES = 1024
_MARK = struct.Struct("<QII")
_UTIME_FOLLOWS_LINKS = os.utime not in os.supports_follow_symlinks


def block_size(size: int) -> int:
    """Bytes of a block, for a file of that many bytes: about 64 blocks, in whole multiples of the smallest.

    Above 256 MiB there are more blocks, and above 16 GiB, where there would be too many, larger ones.
    """
    return max(min(LARGEST_BLOCK, _multiple(size, _BLOCKS_OF_A_FILE)), _multiple(size, _MOST_BLOCKS))


def _multiple(size: int, blocks: int) -> int:
    """The least multiple of the smallest block of which so many hold the file."""
    return max(1, -(-size // (blocks * SMALLEST_BLOCK))) * SMALLEST_BLOCK


@dataclass(frozen=True)
class Identity:
    """What is fetched, so that pieces of two different files are never put together.

    Attributes:
        size: bytes of the whole file.
        sha256: its published hash.
        url: where it comes from.
        etag: the server's mark of this version of the file, empty where it gives none.
        last_modified: the server's date of it, as it writes it, empty where it gives none.
    """

    size: int
    sha256: str
    url: str
    etag: str
    last_modified: str

    def same_as(self, other: Identity) -> bool:
        """Whether pieces of both may be put together. A mirror has the same file under other marks."""
        if (self.size, self.sha256) != (other.size, other.sha256):
            return False
        if self.url != other.url:
            return True
        return (self.etag, self.last_modified) == (other.etag, other.last_modified)


@dataclass(slots=True)
class PartialBlock:
    """A range of the file.

    Attributes:
        start: its first byte.
        size: its bytes.
        done: how many of them are there.
        crc: CRC-32 of those.
        furthest: how many were there before the server began it anew, since bytes sent twice are no progress.
    """

    start: int
    size: int
    done: int = 0
    crc: int = 0
    furthest: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether all of it is there."""
        return self.done == self.size


def part_path(path: Path) -> Path:
    """Where a file lies until it is whole."""
    return path.with_name(path.name + PART_ENDING)


def journal_path(path: Path) -> Path:
    """Where it is written down what of the file is there."""
    return path.with_name(path.name + JOURNAL_ENDING)


class PartialFile:
    """A file on its way.

    Attributes:
        path: of the whole file.
        identity: what it is.
        blocks: its ranges in order.
        note: what became of an earlier part, for the user; empty where there is nothing to say.
    """

    def __init__(
        self,
        path: Path,
        identity: Identity,
        *,
        one_block: bool = False,
        proceed: Callable[[], object] = lambda: None,
    ) -> None:
        """Take up what is there of a file.

        Args:
            path: of the whole file.
            identity: what it is.
            one_block: fetch it in one piece.
            proceed: called while a long file is read; raises if the work is no longer wanted.

        Raises:
            OutputError: if a file that would be written is a symbolic link or has a second name.
        """
        self.path = path
        self.identity = identity
        self.note = ""
        size = identity.size
        step = max(size, 1) if one_block else block_size(size)
        self._step = step
        self.blocks = [PartialBlock(start, min(step, size - start)) for start in range(0, size, step)]
        self._files: tuple[FileIO, FileIO] | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        refuse_link(path)
        if path.is_file():
            # It may be taken up as a part, which is written in place.
            os.close(open_private(path, os.O_RDWR))
        os.close(open_private(part_path(path)))
        self._take_up(proceed)

    @property
    def done(self) -> int:
        """Bytes that are there."""
        return sum(block.done for block in self.blocks)

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are there."""
        return all(block.is_complete for block in self.blocks)

    def _opened(self) -> tuple[FileIO, FileIO]:
        """The part and its journal, opened when bytes come: a list may name more files than can be open at once."""
        if self._files is None:
            self._files = (_open(part_path(self.path)), _open(journal_path(self.path)))
        return self._files

    def _take_up(self, proceed: Callable[[], object]) -> None:
        """Resume from what is there: the file's own name with too few bytes, or a part of an earlier run."""
        part, own = part_path(self.path), self.path
        known = self._known(part)
        if own.is_file():
            length = own.stat().st_size
            if sum(done for done, _ in known or ()) < length < self.identity.size:
                # As `wget -c` leaves it: bytes from the start on.
                journal_path(self.path).unlink(missing_ok=True)
                own.replace(part)
                known = None
            else:
                own.unlink()
        if known is not None:
            for block, (done, crc) in zip(self.blocks, known, strict=True):
                block.done, block.crc = done, crc
        elif not journal_path(self.path).is_file():
            self._adopt(part, proceed)
        elif part.stat().st_size:
            self.note = "what lay there of it cannot be used: it is fetched anew"
            part.unlink()
        self._write_journal()

    def _known(self, part: Path) -> list[tuple[int, int]] | None:
        """What the journal says of each block; None where it is of another file, or says nothing."""
        try:
            with os.fdopen(open_private(journal_path(self.path), os.O_RDONLY), "rb") as handle:
                content = handle.read(_HEADER_BYTES + len(self.blocks) * _MARK.size)
            header = json.loads(content[:_HEADER_BYTES])
            earlier = Identity(**header["identity"])
            fits = header["format"] == _FORMAT and header["step"] == self._step
            marks = [_MARK.unpack_from(content, _HEADER_BYTES + i * _MARK.size)[:2] for i in range(len(self.blocks))]
        except (OSError, ValueError, KeyError, TypeError, RecursionError, struct.error):
            return None
        if not fits or not self.identity.same_as(earlier):
            return None
        length = part.stat().st_size if part.is_file() else 0
        return [
            (done, crc) if done <= block.size and block.start + done <= length else (0, 0)
            for block, (done, crc) in zip(self.blocks, marks, strict=True)
        ]

    def _adopt(self, part: Path, proceed: Callable[[], object]) -> None:
        """Take bytes from the start on for good; the whole file's hash decides."""
        with _open(part) as handle:
            for block in self.blocks:
                for piece in pieces(handle, proceed, block.start, block.size):
                    block.crc = zlib.crc32(piece, block.crc)
                    block.done += len(piece)
                if not block.is_complete:
                    return

    def _write_journal(self) -> None:
        header = json.dumps({"format": _FORMAT, "step": self._step, "identity": asdict(self.identity)}).encode()
        marks = b"".join(_MARK.pack(block.done, block.crc, 0) for block in self.blocks)
        write_atomically(journal_path(self.path), header.ljust(_HEADER_BYTES) + marks, is_locked=True)

    def write(self, block: PartialBlock, data: bytes) -> None:
        """Add bytes to a block, where it ends so far.

        Raises:
            ValueError: if it has no room for so many.
        """
        if len(data) > block.size - block.done:
            raise ValueError("more bytes than the block has")
        _write_all(self._opened()[0], data, block.start + block.done)
        block.crc = zlib.crc32(data, block.crc)
        block.done += len(data)
        self._mark(block)

    def _mark(self, block: PartialBlock) -> None:
        at = _HEADER_BYTES + (block.start // self._step) * _MARK.size
        _write_all(self._opened()[1], _MARK.pack(block.done, block.crc, 0), at)

    def reset(self, block: PartialBlock) -> None:
        """Throw a block away."""
        block.done, block.crc, block.furthest = 0, 0, 0
        self._mark(block)

    def damaged(self, proceed: Callable[[], object] = lambda: None) -> list[PartialBlock]:
        """The blocks that are not on the disk as they came."""
        with _open(part_path(self.path)) as handle:
            return [block for block in self.blocks if _crc_of(handle, block, proceed) != block.crc]

    def sync(self) -> None:
        """See to it that the bytes are on the disk."""
        os.fsync(self._opened()[0].fileno())

    def finish(self, modified: float | None) -> None:
        """Give the whole file its own name.

        Args:
            modified: its time on the server, in seconds since 1970, as wget sets it.
        """
        self.close()
        part = part_path(self.path)
        if modified is not None:
            os.utime(part, (modified, modified), follow_symlinks=_UTIME_FOLLOWS_LINKS)
        refuse_link(self.path)
        part.replace(self.path)
        remove_part(self.path)

    def discard(self) -> None:
        """Remove all that is there of it."""
        self.close()
        remove_part(self.path)

    def close(self) -> None:
        """Close its files, which stay."""
        for file in self._files or ():
            file.close()
        self._files = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def remove_part(path: Path) -> None:
    """Remove what is there of a file that is not whole, or no longer needed."""
    part_path(path).unlink(missing_ok=True)
    journal_path(path).unlink(missing_ok=True)


def _write_all(handle: FileIO, data: bytes, at: int) -> None:
    handle.seek(at)
    view = memoryview(data)
    while view:
        view = view[handle.write(view) :]


def _open(path: Path) -> FileIO:
    # Not buffered: what is written must be with the system when the process is killed.
    return FileIO(open_private(path, os.O_RDWR | os.O_CREAT), "r+")


def _crc_of(handle: BinaryIO, block: PartialBlock, proceed: Callable[[], object]) -> int:
    crc = 0
    for piece in pieces(handle, proceed, block.start, block.done):
        crc = zlib.crc32(piece, crc)
    return crc
