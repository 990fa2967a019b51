"""Write tables as MIMIC-IV does: `.csv.gz` files. Parts are compressed separately and joined into one gzip stream."""

from __future__ import annotations

import hashlib
import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from isal import isal_zlib

# isal's levels 1 and 2 take the same time (0.29 and 0.28 s for 48 MB of chart rows); 2 never makes larger files.
_LEVEL = 2
_RAW_DEFLATE = -15
# The header has no file name and no time, so that the same rows give the same bytes.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST_EMPTY_BLOCK = b"\x03\x00"
TIMESTAMP, _DATE = "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"


@dataclass(frozen=True)
class TablePart:
    """Some rows of a table, compressed so that parts can be joined.

    Attributes:
        data: raw deflate data that ends on a byte boundary, without a final block.
        checksum: CRC-32 of the uncompressed text.
        size: size of the uncompressed text in bytes.
        rows: number of rows.
    """

    data: bytes
    checksum: int
    size: int
    rows: int


def _as_written(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    # The real files contain 29, not 29.0.
    return column.cast(pl.String).str.strip_suffix(".0") if kind == pl.Float64 else column


def pack(frame: pl.DataFrame, *, header: bool = False) -> TablePart:
    """Return the rows of a frame, or with `header` only its column names, as a part of a .csv.gz file."""
    rows = frame.clear() if header else frame
    text = io.BytesIO()
    rows.select(_as_written(name, kind) for name, kind in rows.schema.items()).write_csv(
        text, include_header=header, datetime_format=TIMESTAMP, date_format=_DATE, null_value=""
    )
    raw = text.getbuffer()
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _RAW_DEFLATE)
    data = packer.compress(raw) + packer.flush(isal_zlib.Z_SYNC_FLUSH)
    return TablePart(data, isal_zlib.crc32(raw), len(raw), rows.height)


class GzipFile:
    """A .csv.gz file that is written part by part, with its SHA-256."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.bytes = 0
        self._checksum = 0
        self._size = 0
        self._hash = hashlib.sha256()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._write(_GZIP_HEADER)

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.bytes += len(data)

    def append(self, part: TablePart) -> None:
        """Append the next part."""
        self._write(part.data)
        self._checksum = isal_zlib.crc32_combine(self._checksum, part.checksum, part.size)
        self._size += part.size
        self.rows += part.rows

    def finish(self) -> str:
        """Complete the file, sync it to disk, and return its SHA-256."""
        self._write(_LAST_EMPTY_BLOCK + struct.pack("<II", self._checksum, self._size & 0xFFFFFFFF))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._hash.hexdigest()

    def abandon(self) -> None:
        """Close the file without completing it."""
        self._file.close()
