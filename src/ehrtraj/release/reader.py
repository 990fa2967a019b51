"""Read a table's file as bytes: decompress it, hash it, and cut it into blocks of complete records.

Blocks are cut at line ends outside quotes, found by counting quotes, so that blocks can be parsed independently and in
parallel. Counting fails if a quote is never closed: the table is then read again and its records are found one by one
(`records.py`).

A file must not change between detection of the release and the end of reading: a change raises an error.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

import numpy as np
from isal import igzip, igzip_lib

from ehrtraj.errors import ReleaseError
from ehrtraj.release.records import (
    START_BYTES,
    RecordShape,
    UnsoundQuotesError,
    next_record,
    scan_records,
    split_records,
)
from ehrtraj.runtime.sizes import DEFAULT

__all__ = [
    "CsvBlock",
    "Skipped",
    "Stamp",
    "TableStream",
    "UnsoundQuotesError",
    "count",
    "count_lines",
    "read_blocks",
    "read_header",
    "scan_records",
]

# A longer record is rejected and never kept in memory. The longest notes of MIMIC-IV-Note are far below 1 MiB, so this
# only limits the memory that a record can take.
LONGEST_RECORD = 16 << 20
# Bytes kept of a record that is too long.
KEPT_BYTES = 1 << 16
# Bytes of a compressed file to read at a time. The buffer of igzip is larger, but memory that is never filled is free.
_READ_BYTES = 128 << 10
# A longer first line is not a header. The longest header of MIMIC-IV has about 500 bytes.
_LONGEST_HEADER = 1 << 16


@dataclass(frozen=True)
class Stamp:
    """File attributes that show whether a local file has changed. Other kinds of storage need another class.

    Attributes:
        size: size in bytes.
        mtime_ns: time of the last change in nanoseconds.
        inode: inode number, which differs if another file has replaced it under the same name.
    """

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Stamp:
        """Return the stamp for a result of `os.stat`."""
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ino)

    @property
    def identity(self) -> tuple[int, int]:
        """Version of the content: changes with it, and is the same wherever and however often it is read.

        It excludes the inode: some network file systems give a file a new number each time it is opened.
        """
        return self.size, self.mtime_ns


class _HashedFile(io.FileIO):
    """A file that hashes its bytes as they are read once, from start to end."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self.sha256 = hashlib.sha256()
        self.consumed = 0

    def _count_and_hash(self, data: memoryview | bytes) -> None:
        self.sha256.update(data)
        self.consumed += len(data)

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  # the buffer protocol has no type before Python 3.12
        data = memoryview(buffer)[:_READ_BYTES]
        n = super().readinto(data)
        self._count_and_hash(data[:n])
        return n

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size)
        self._count_and_hash(data)
        return data


class TableStream:
    """The decompressed bytes of a `.csv` or `.csv.gz` file.

    Attributes:
        path: the file.
        stamp: state of the file when it was opened.
    """

    def __init__(self, path: Path, detected: Stamp | None = None, header: tuple[str, ...] | None = None) -> None:
        """Open the file.

        Args:
            path: the file.
            detected: state of the file when the release was detected, to compare with.
            header: its column names at that time.

        Raises:
            ReleaseError: if the file cannot be opened, or is not the file that was detected.
        """
        self.path = path
        self._detected_header = header
        try:
            self._file = _HashedFile(path)
            self.stamp = Stamp.of(os.fstat(self._file.fileno()))
        except OSError as error:
            hint = ". It existed when the build began: restore it, then run the same command again"
            raise ReleaseError(f"cannot read {path}: {error.strerror}{hint if detected else ''}") from None
        if detected and detected.identity != self.stamp.identity:
            self._file.close()
            raise self._changed("after the build began")
        self._stream: IO[bytes] = self._file
        if path.suffix == ".gz":
            self._stream = cast("IO[bytes]", igzip.GzipFile(fileobj=self._file))  # type: ignore[no-untyped-call]

    def _changed(self, when: str) -> ReleaseError:
        return ReleaseError(
            f"{self.path} changed {when}, so nothing was published. Wait until no program writes to it, then run "
            "the same command again: it reads this table from the start"
        )

    def check_unchanged(self) -> None:
        """Compare the open file, and the file now at its path, with the state when it was opened.

        Raises:
            ReleaseError: if the file was changed, replaced or removed.
        """
        try:
            at_path = Stamp.of(self.path.stat())
        except OSError:
            raise ReleaseError(
                f"{self.path} was removed while it was being read, so nothing was published. Restore it, then run the "
                "same command again: it reads this table from the start"
            ) from None
        if not self.stamp == at_path == Stamp.of(os.fstat(self._file.fileno())):
            raise self._changed("while it was being read")

    @property
    def consumed(self) -> int:
        """Number of bytes of the file read so far."""
        return self._file.consumed

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes read so far."""
        return self._file.sha256.hexdigest()

    def read(self, size: int) -> bytes:
        """Return up to `size` decompressed bytes; empty at the end.

        Raises:
            ReleaseError: if the file is cut off, damaged or unreadable, or changed while it was being read.
        """
        try:
            return self._stream.read(size)
        except EOFError:
            self.check_unchanged()
            raise ReleaseError(
                f"{self.path} is truncated: its compressed data ends early, after {self.consumed:,} bytes. "
                "Download it again (`ehrtraj download` and wget -c resume it), then run the same command: "
                "the build starts over"
            ) from None
        except (OSError, zlib.error, igzip_lib.error) as error:  # type: ignore[misc]
            self.check_unchanged()
            raise ReleaseError(
                f"{self.path} is damaged ({error}). Compare it with SHA256SUMS.txt and download it again, "
                "then run the same command: the build starts over"
            ) from None

    def read_header(self, size: int = _LONGEST_HEADER) -> tuple[list[str], bytes]:
        """Return the column names, and the bytes of rows already read after them. Call it once, before `read`.

        Args:
            size: bytes to read at a time.

        Raises:
            ReleaseError: if the file is empty or damaged, does not begin with a line of column names, or begins with
                other column names than when the release was detected.
        """
        start = b""
        while b"\n" not in start and len(start) <= _LONGEST_HEADER and (more := self.read(size)):
            start += more
        line, _, rest = start.partition(b"\n")
        if len(line) > _LONGEST_HEADER:
            raise ReleaseError(
                f"{self.path}: the first line is longer than {_LONGEST_HEADER:,} bytes, so this is not a CSV file"
            )
        names = _column_names(line, self.path)
        if self._detected_header not in (None, tuple(names)):
            raise self._changed("after the build began")
        return names, rest

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _column_names(line: bytes, path: Path) -> list[str]:
    try:
        names = [name.strip() for name in next(csv.reader([line.decode("utf-8-sig").rstrip("\r")]), [])]
    except UnicodeDecodeError:
        raise ReleaseError(f"{path}: the first line is not text, so this is not a CSV file") from None
    except csv.Error as error:
        hint = ". Its lines end in CR only: convert them to LF" if b"\r" in line else ""
        raise ReleaseError(f"{path}: the first line cannot be read as column names ({error}){hint}") from None
    if not any(names):
        raise ReleaseError(f"{path} is empty or has no column names. Download it again")
    return names


def read_header(path: Path) -> list[str]:
    """Return the column names of a table's file.

    Raises:
        ReleaseError: if the file is empty, damaged, or does not begin with text.
    """
    with TableStream(path) as stream:
        return stream.read_header()[0]


@dataclass(frozen=True)
class Skipped:
    """A record that is too long to keep in memory.

    Attributes:
        length: size in bytes.
        sha256: hex digest of the bytes.
        lines: number of line ends.
    """

    length: int
    sha256: str
    lines: int


@dataclass(frozen=True)
class CsvBlock:
    """Complete records of a table.

    Attributes:
        index: position among the blocks of the file.
        data: the bytes; they end with a line end, except possibly in the last block.
        scanned: whether its records were found one by one instead of by counting quotes.
        broken: start and end of each broken record in a scanned block.
        skipped: set if `data` is the start of a single record that is too long.
        lines: number of line ends; None if they were not counted.
    """

    index: int
    data: bytes
    scanned: bool = False
    broken: tuple[tuple[int, int], ...] = ()
    skipped: Skipped | None = None
    lines: int | None = None


def count(data: bytes | memoryview, byte: bytes, start: int = 0, end: int | None = None) -> int:
    """Return how often a byte occurs in `data[start:end]`.

    Where a byte is frequent, this is five times as fast as `bytes.count`, which takes half as long as pyarrow takes to
    parse the data.
    """
    return int(np.count_nonzero(np.frombuffer(data, np.uint8)[start:end] == ord(byte)))


def count_lines(data: bytes | memoryview) -> int:
    """Return the number of line ends."""
    return count(data, b"\n")


def _last_cut(before: bytes, data: bytes) -> int:
    """Return the length of the longest prefix of `data` that ends with a line end outside quotes, or 0.

    Args:
        before: bytes before `data`, which begin with a record and contain no such line end.
        data: the bytes after them.
    """
    end = data.rfind(b"\n") + 1
    if b'"' not in data and b'"' not in before:
        return end
    quotes = count(before, b'"') + count(data, b'"', 0, end)
    while end and quotes % 2:
        line = data.rfind(b"\n", 0, end - 1) + 1
        quotes -= data.count(b'"', line, end)
        end = line
    return end


def read_blocks(
    stream: TableStream, size: int = DEFAULT.block_bytes, *, scan: RecordShape | None = None
) -> Iterator[CsvBlock]:
    """Cut a table into blocks of complete records, without the line of column names.

    Args:
        stream: the table, at its start.
        size: bytes to read at a time; a block is longer if a record is.
        scan: shape of the records, to find them one by one instead of counting quotes. This is slower, but also right
            after an unclosed quote, where counting confuses the inside and the outside of quotes.

    Raises:
        ReleaseError: if the file is empty, cut off or damaged, or changed while it was being read.
        UnsoundQuotesError: if quotes cannot be counted; read it again with `scan`.
    """
    _, carry = stream.read_header(size)
    yield from _count_quotes(stream, carry, size) if scan is None else _Scan(stream, carry, size, scan).blocks()
    stream.check_unchanged()


def _count_quotes(stream: TableStream, carry: bytes, size: int) -> Iterator[CsvBlock]:
    index = 0
    while chunk := stream.read(size):
        cut = _last_cut(carry, chunk)
        _check_length(len(carry) + (cut or len(chunk)))
        if cut:
            block, carry = carry + memoryview(chunk)[:cut], chunk[cut:]
            # Many tables are read at the same time: each keeps a single copy of its block while it waits.
            del chunk
            yield CsvBlock(index, block)
            index += 1
        else:
            carry += chunk
    if carry:
        _check_length(len(carry))
        yield CsvBlock(index, carry)


def _check_length(block: int) -> None:
    """Limit the length of a block found by counting quotes, so that no record in it is too long."""
    if block > LONGEST_RECORD:
        raise UnsoundQuotesError


class _Scan:
    """Finds the records of a table one by one, in memory that does not depend on their length."""

    def __init__(self, stream: TableStream, data: bytes, size: int, shape: RecordShape) -> None:
        self._stream = stream
        self._data = data
        self._size = size
        self._shape = shape
        self._more = True
        self._added = 0
        self._index = 0

    def blocks(self) -> Iterator[CsvBlock]:
        enough = LONGEST_RECORD + START_BYTES + self._size
        self._fill(enough)
        while self._data:
            cut, broken, too_long = self._split()
            if cut:
                yield self._block(self._data[:cut], broken)
                self._data = self._data[cut:]
            if too_long:
                yield self._skip()
            # If the data was not enough to decide anything, read more, however long it already is.
            self._fill(enough if cut or too_long else len(self._data) + self._size)

    def _block(self, data: bytes, broken: list[tuple[int, int]], skipped: Skipped | None = None) -> CsvBlock:
        self._index += 1
        return CsvBlock(self._index - 1, data, scanned=True, broken=tuple(broken), skipped=skipped)

    def _fill(self, length: int) -> None:
        chunks, available = [self._data], len(self._data)
        while self._more and available < length:
            chunks.append(self._stream.read(self._size))
            available += len(chunks[-1])
            self._more = bool(chunks[-1])
        if (
            not self._more
            and not self._added
            and available
            and not next(c for c in reversed(chunks) if c).endswith(b"\n")
        ):
            chunks.append(b"\n")
            self._added = 1
        self._data = b"".join(chunks)

    def _split(self) -> tuple[int, list[tuple[int, int]], bool]:
        """Return the length of the records at the start, the broken ones, and whether a too long one follows."""
        cut = 0
        broken: list[tuple[int, int]] = []
        spans = split_records(self._data, self._shape, LONGEST_RECORD, more=self._more, step=self._size)
        for start, end, outcome in spans:
            if outcome == "too_long":
                return cut, broken, True
            if outcome == "broken":
                broken.append((start, end))
            cut = end
            if cut >= self._size:
                break
        return cut, broken, False

    def _skip(self) -> CsvBlock:
        """Skip the record that begins here, up to the next line that starts like a record."""
        kept, length, lines, digest = b"", 0, 0, hashlib.sha256()
        more = True
        while more:
            end = next_record(self._data, self._shape)
            more = end is None and self._more
            if end is None:
                end = self._last_line_end() if more else len(self._data)
            part, self._data = self._data[:end], self._data[end:]
            if not self._data and not self._more:
                part = part.removesuffix(b"\n") if self._added else part
            digest.update(part)
            kept += part[: KEPT_BYTES - len(kept)]
            length, lines = length + len(part), lines + part.count(b"\n")
            if more:
                self._fill(len(self._data) + self._size)
        return self._block(kept, [], Skipped(length, digest.hexdigest(), lines))

    def _last_line_end(self) -> int:
        """Return a position before which no record can start, whatever follows the data."""
        at = self._data.rfind(b"\n", max(0, len(self._data) - START_BYTES))
        return len(self._data) if at < 0 else at
