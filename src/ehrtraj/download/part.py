"""A partly downloaded file, `<name>.part`, and a journal of its progress in the same folder.

The file is divided into blocks, each fetched from its start to its end. The journal records for each block how many of
its bytes were written, and their CRC-32. It is updated for every received piece, after the piece itself is written, so
that a process killed at any moment loses only what had not been written. After a power cut, the disk may contain less
than the journal records. In that case the file's hash is wrong, the CRCs identify the damaged blocks, and these are
fetched again.
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
"""At 50 kB/s a block of this size takes 84 s: long compared with the start of a request, short compared with a file."""
_BLOCKS_OF_A_FILE = 64
_MOST_BLOCKS = 4096
"""Maximum for a file of any size, which bounds the memory and the size of the journal."""
_FORMAT = 1
_HEADER_BYTES = 1024
_MARK = struct.Struct("<QII")
_UTIME_FOLLOWS_LINKS = os.utime not in os.supports_follow_symlinks


def block_size(size: int) -> int:
    """Return the block size for a file of `size` bytes: about 64 blocks, each a multiple of the smallest block.

    Files above 256 MiB have more blocks. Files above 16 GiB would have too many, so their blocks are larger.
    """
    return max(min(LARGEST_BLOCK, _multiple(size, _BLOCKS_OF_A_FILE)), _multiple(size, _MOST_BLOCKS))


def _multiple(size: int, blocks: int) -> int:
    """Return the smallest multiple of `SMALLEST_BLOCK` with which this number of blocks covers the file."""
    return max(1, -(-size // (blocks * SMALLEST_BLOCK))) * SMALLEST_BLOCK


@dataclass(frozen=True)
class Identity:
    """Identity of the file that is fetched, so that pieces of two different files are never combined.

    Attributes:
        size: size of the complete file in bytes.
        sha256: its published hash.
        url: URL from which it is fetched.
        etag: the server's ETag for this version of the file; empty if it sends none.
        last_modified: the server's date of the file, as sent; empty if it sends none.
    """

    size: int
    sha256: str
    url: str
    etag: str
    last_modified: str

    def same_as(self, other: Identity) -> bool:
        """Whether pieces of both may be combined. On a mirror, the same file has other ETags and dates."""
        if (self.size, self.sha256) != (other.size, other.sha256):
            return False
        if self.url != other.url:
            return True
        return (self.etag, self.last_modified) == (other.etag, other.last_modified)


@dataclass(slots=True)
class PartialBlock:
    """A range of the file.

    Attributes:
        start: offset of its first byte.
        size: size in bytes.
        done: number of bytes written.
        crc: CRC-32 of these bytes.
        furthest: number of bytes written before the server restarted it, because bytes sent twice are not progress.
    """

    start: int
    size: int
    done: int = 0
    crc: int = 0
    furthest: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether all bytes were written."""
        return self.done == self.size


def part_path(path: Path) -> Path:
    """Return the path of a file until it is complete."""
    return path.with_name(path.name + PART_ENDING)


def journal_path(path: Path) -> Path:
    """Return the path of the journal of a file."""
    return path.with_name(path.name + JOURNAL_ENDING)


class PartialFile:
    """A partly downloaded file.

    Attributes:
        path: path of the complete file.
        identity: identity of the file.
        blocks: its blocks in order.
        note: a note for the user on an earlier part that cannot be used; otherwise empty.
    """

    def __init__(
        self,
        path: Path,
        identity: Identity,
        *,
        one_block: bool = False,
        check_cancelled: Callable[[], object] = lambda: None,
    ) -> None:
        """Resume from the parts of the file that exist on disk.

        Args:
            path: path of the complete file.
            identity: identity of the file.
            one_block: fetch the file in one piece.
            check_cancelled: called while a long file is read; raises if the work was cancelled.

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
            # It may become the part, which is written in place.
            os.close(open_private(path, os.O_RDWR))
        os.close(open_private(part_path(path)))
        self._resume(check_cancelled)

    @property
    def done(self) -> int:
        """Number of bytes written."""
        return sum(block.done for block in self.blocks)

    @property
    def is_complete(self) -> bool:
        """Whether all bytes were written."""
        return all(block.is_complete for block in self.blocks)

    def _opened(self) -> tuple[FileIO, FileIO]:
        """Return the open part and journal. They are opened late, since a release may have too many files to open."""
        if self._files is None:
            self._files = (_open(part_path(self.path)), _open(journal_path(self.path)))
        return self._files

    def _resume(self, check_cancelled: Callable[[], object]) -> None:
        """Resume from a file with the final name and too few bytes, or from the part of an earlier run."""
        part, final = part_path(self.path), self.path
        recorded = self._read_journal(part)
        if final.is_file():
            length = final.stat().st_size
            if sum(done for done, _ in recorded or ()) < length < self.identity.size:
                # An interrupted `wget -c` leaves such a file: bytes from the start.
                journal_path(self.path).unlink(missing_ok=True)
                final.replace(part)
                recorded = None
            else:
                final.unlink()
        if recorded is not None:
            for block, (done, crc) in zip(self.blocks, recorded, strict=True):
                block.done, block.crc = done, crc
        elif not journal_path(self.path).is_file():
            self._adopt(part, check_cancelled)
        elif part.stat().st_size:
            self.note = "the existing part cannot be used: the file is fetched again"
            part.unlink()
        self._write_journal()

    def _read_journal(self, part: Path) -> list[tuple[int, int]] | None:
        """Return number of bytes and CRC of each block, or None if the journal is invalid or of another file."""
        try:
            with os.fdopen(open_private(journal_path(self.path), os.O_RDONLY), "rb") as handle:
                content = handle.read(_HEADER_BYTES + len(self.blocks) * _MARK.size)
            header = json.loads(content[:_HEADER_BYTES])
            earlier = Identity(**header["identity"])
            is_compatible = header["format"] == _FORMAT and header["step"] == self._step
            marks = [_MARK.unpack_from(content, _HEADER_BYTES + i * _MARK.size)[:2] for i in range(len(self.blocks))]
        except (OSError, ValueError, KeyError, TypeError, RecursionError, struct.error):
            return None
        if not is_compatible or not self.identity.same_as(earlier):
            return None
        length = part.stat().st_size if part.is_file() else 0
        return [
            (done, crc) if done <= block.size and block.start + done <= length else (0, 0)
            for block, (done, crc) in zip(self.blocks, marks, strict=True)
        ]

    def _adopt(self, part: Path, check_cancelled: Callable[[], object]) -> None:
        """Assume that the bytes from the start are correct; the hash of the complete file decides."""
        with _open(part) as handle:
            for block in self.blocks:
                for piece in pieces(handle, check_cancelled, block.start, block.size):
                    block.crc = zlib.crc32(piece, block.crc)
                    block.done += len(piece)
                if not block.is_complete:
                    return

    def _write_journal(self) -> None:
        header = json.dumps({"format": _FORMAT, "step": self._step, "identity": asdict(self.identity)}).encode()
        marks = b"".join(_MARK.pack(block.done, block.crc, 0) for block in self.blocks)
        write_atomically(journal_path(self.path), header.ljust(_HEADER_BYTES) + marks, is_locked=True)

    def write(self, block: PartialBlock, data: bytes) -> None:
        """Append bytes to a block.

        Raises:
            ValueError: if the block would become larger than its size.
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
        """Discard the bytes of a block."""
        block.done, block.crc, block.furthest = 0, 0, 0
        self._mark(block)

    def damaged_blocks(self, check_cancelled: Callable[[], object] = lambda: None) -> list[PartialBlock]:
        """Return the blocks whose bytes on the disk differ from the bytes received."""
        with _open(part_path(self.path)) as handle:
            return [block for block in self.blocks if _crc_of(handle, block, check_cancelled) != block.crc]

    def sync(self) -> None:
        """Flush the bytes to the disk."""
        os.fsync(self._opened()[0].fileno())

    def finish(self, modified: float | None) -> None:
        """Rename the complete file to its final name.

        Args:
            modified: modification time on the server, in seconds since 1970, set as wget does.
        """
        self.close()
        part = part_path(self.path)
        if modified is not None:
            os.utime(part, (modified, modified), follow_symlinks=_UTIME_FOLLOWS_LINKS)
        refuse_link(self.path)
        part.replace(self.path)
        remove_part(self.path)

    def discard(self) -> None:
        """Delete the part and its journal."""
        self.close()
        remove_part(self.path)

    def close(self) -> None:
        """Close the part and its journal, without deleting them."""
        for file in self._files or ():
            file.close()
        self._files = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def remove_part(path: Path) -> None:
    """Delete the part and the journal of a file."""
    part_path(path).unlink(missing_ok=True)
    journal_path(path).unlink(missing_ok=True)


def _write_all(handle: FileIO, data: bytes, at: int) -> None:
    handle.seek(at)
    view = memoryview(data)
    while view:
        view = view[handle.write(view) :]


def _open(path: Path) -> FileIO:
    # Not buffered: written bytes must reach the operating system even if the process is killed.
    return FileIO(open_private(path, os.O_RDWR | os.O_CREAT), "r+")


def _crc_of(handle: BinaryIO, block: PartialBlock, check_cancelled: Callable[[], object]) -> int:
    crc = 0
    for piece in pieces(handle, check_cancelled, block.start, block.done):
        crc = zlib.crc32(piece, crc)
    return crc
