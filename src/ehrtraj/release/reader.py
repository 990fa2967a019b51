"""Read a table's file as bytes: decompress, hash, and cut into blocks of whole records.

Blocks are cut at line ends outside of quotes, found by counting quotes, so that blocks can be parsed independently
and in parallel. A quote that is never closed would swallow the rest of the file: such a line is cut out alone.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from isal import igzip, igzip_lib

from ehrtraj.errors import ReleaseError

BLOCK_BYTES = 8 << 20
# A record longer than this is taken for a quote that was never closed. The longest notes of MIMIC-IV-Note are
# far below 1 MiB.
LONGEST_RECORD = 32 << 20

_FIELD = rb'(?:"[^"]*+(?:""[^"]*+)*+"|[^",\n][^,\n]*+|)'
_RECORD = re.compile(rb"(?:%b(?:,%b)*+)\r?(?:\n|\Z)" % (_FIELD, _FIELD))


class _HashedFile(io.FileIO):
    """A file that hashes what is read of it, once, from its start to its end."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self.sha256 = hashlib.sha256()
        self.consumed = 0

    def _took(self, data: memoryview | bytes) -> None:
        self.sha256.update(data)
        self.consumed += len(data)

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401  # the buffer protocol has no type before Python 3.12
        n = super().readinto(buffer)
        self._took(memoryview(buffer)[:n])
        return n

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size)
        self._took(data)
        return data


class UnsoundQuotesError(Exception):
    """A quote is opened and not closed, so that counting quotes does not find the ends of records."""


class TableStream:
    """The decompressed bytes of a `.csv` or `.csv.gz` file.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = _HashedFile(path)
        except OSError as error:
            raise ReleaseError(f"cannot read {path}: {error.strerror}") from None
        self._stream: IO[bytes] = self._file
        if path.suffix == ".gz":
            self._stream = cast("IO[bytes]", igzip.GzipFile(fileobj=self._file))  # type: ignore[no-untyped-call]

    @property
    def consumed(self) -> int:
        """Bytes of the file read so far."""
        return self._file.consumed

    @property
    def sha256(self) -> str:
        """Hex digest of what was read so far."""
        return self._file.sha256.hexdigest()

    def read(self, size: int) -> bytes:
        """Up to `size` decompressed bytes, empty at the end.

        Raises:
            ReleaseError: if the file is cut off, damaged or unreadable.
        """
        try:
            return self._stream.read(size)
        except EOFError:
            raise ReleaseError(
                f"{self.path} is cut off: it ends in the middle, after {self.consumed:,} bytes. "
                "Download it again (`ehrtraj download` and wget -c go on where it ends), then run the same command: "
                "it begins anew"
            ) from None
        except (OSError, zlib.error, igzip_lib.error) as error:  # type: ignore[misc]
            raise ReleaseError(
                f"{self.path} is damaged ({error}). Compare it with SHA256SUMS.txt and download it again, "
                "then run the same command: it begins anew"
            ) from None

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


def _split_header(start: bytes, path: Path) -> tuple[list[str], bytes]:
    line, _, rest = start.partition(b"\n")
    try:
        text = line.decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError:
        raise ReleaseError(f"{path}: its first line is not text, so it is not a CSV file") from None
    names = [name.strip() for name in next(csv.reader([text]), [])]
    if not any(names):
        raise ReleaseError(f"{path} is empty: not even a line of column names. Download it again")
    return names, rest


def read_header(path: Path) -> list[str]:
    """Column names of a table's file.

    Raises:
        ReleaseError: if the file is empty, damaged, or does not begin with text.
    """
    with TableStream(path) as stream:
        return _split_header(stream.read(1 << 16), path)[0]


def scan_records(data: bytes) -> Iterator[tuple[int, int, bool]]:
    """Start, end and soundness of each record.

    A record is sound if every quote that opens a field is closed at a field's end. Where one is not, the single line
    it stands in is returned as unsound and the scan goes on with the next line.
    """
    at, end = 0, len(data)
    while at < end:
        if match := _RECORD.match(data, at):
            yield at, match.end(), True
            at = match.end()
        else:
            stop = data.find(b"\n", at) + 1 or end
            yield at, stop, False
            at = stop


@dataclass(frozen=True)
class Block:
    """Whole records of a table.

    Attributes:
        index: position among the file's blocks.
        data: the bytes, ending with a line end but for the last.
    """

    index: int
    data: bytes


def _last_cut(before: bytes, data: bytes) -> int:
    """Length of the longest prefix of `data` that ends with a line end outside of quotes, 0 if there is none.

    Args:
        before: begins with a record and has no such line end itself.
        data: what follows it.
    """
    end = data.rfind(b"\n") + 1
    if b'"' not in data and b'"' not in before:
        return end
    quotes = before.count(b'"') + data.count(b'"', 0, end)
    while end and quotes % 2:
        line = data.rfind(b"\n", 0, end - 1) + 1
        quotes -= data.count(b'"', line, end)
        end = line
    return end


def _scanned_cut(data: bytes, *, more: bool) -> int:
    """Length of the longest prefix of whole records, found by reading them one by one, 0 if there is none.

    Args:
        data: begins with a record.
        more: whether data may follow that closes a quote which is open at the end.
    """
    cut = 0
    for _, end, sound in scan_records(data):
        if not sound and more and len(data) - cut <= LONGEST_RECORD:
            break
        if data[end - 1 : end] == b"\n":
            cut = end
    return cut


def read_blocks(stream: TableStream, size: int = BLOCK_BYTES, *, scan: bool = False) -> Iterator[Block]:
    """Cut a table into blocks of whole records, its line of column names left out.

    Args:
        stream: the table, at its start.
        size: bytes to read at a time; a block can be longer where a record is.
        scan: find the records' ends one by one instead of counting quotes. Fifty times slower, and right where a quote
            is opened and never closed: counting then takes ends of lines for the insides of quotes, and the other way.

    Raises:
        ReleaseError: if the file is empty, cut off or damaged.
        UnsoundQuotesError: if quotes cannot be counted; read it again with `scan`.
    """
    carry = stream.read(size)
    while b"\n" not in carry and (more := stream.read(size)):
        carry += more
    _, carry = _split_header(carry, stream.path)
    index = 0
    while chunk := stream.read(size):
        if scan:
            carry, chunk = b"", carry + chunk
            cut = _scanned_cut(chunk, more=True)
        else:
            cut = _last_cut(carry, chunk)
            if not cut and len(carry) > LONGEST_RECORD:
                raise UnsoundQuotesError
        if cut:
            yield Block(index, carry + chunk[:cut])
            index, carry = index + 1, chunk[cut:]
        else:
            carry += chunk
    if carry:
        yield Block(index, carry)
