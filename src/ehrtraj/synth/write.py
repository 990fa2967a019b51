"""Writes tables as MIMIC-IV does: `.csv.gz` whose parts are compressed apart and put together as one gzip stream."""

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
# No name and no time, so that the same rows are the same bytes.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST_EMPTY_BLOCK = b"\x03\x00"
_TIMESTAMP, _DATE = "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"


@dataclass(frozen=True)
class TablePart:
    """Some rows of a table, compressed so that parts can be joined.

    Attributes:
        data: raw deflate, ending at a byte's edge, not final.
        checksum: CRC-32 of the text.
        size: bytes of the text.
        rows: how many.
    """

    data: bytes
    checksum: int
    size: int
    rows: int


def _as_written(name: str, kind: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    # 29 and not 29.0, as in the real files.
    return column.cast(pl.String).str.strip_suffix(".0") if kind == pl.Float64 else column


def pack(frame: pl.DataFrame, *, header: bool = False) -> TablePart:
    """Return the rows of a frame, or with `header` its column names alone, as a part of a .csv.gz file."""
    rows = frame.clear() if header else frame
    text = io.BytesIO()
    rows.select(_as_written(name, kind) for name, kind in rows.schema.items()).write_csv(
        text, include_header=header, datetime_format=_TIMESTAMP, date_format=_DATE, null_value=""
    )
    raw = text.getbuffer()
    packer = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, _RAW_DEFLATE)
    data = packer.compress(raw) + packer.flush(isal_zlib.Z_SYNC_FLUSH)
    return TablePart(data, isal_zlib.crc32(raw), len(raw), rows.height)


class GzipFile:
    """A .csv.gz file that grows by parts, and its SHA-256."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self.bytes = 0
        self._checksum = 0
        self._size = 0
        self._hash = hashlib.sha256()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("wb")
        self._put(_GZIP_HEADER)

    def _put(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.bytes += len(data)

    def append(self, part: TablePart) -> None:
        """Add the next part."""
        self._put(part.data)
        self._checksum = isal_zlib.crc32_combine(self._checksum, part.checksum, part.size)
        self._size += part.size
        self.rows += part.rows

    def finish(self) -> str:
        """End the file, bring it to disk, and return its SHA-256."""
        self._put(_LAST_EMPTY_BLOCK + struct.pack("<II", self._checksum, self._size & 0xFFFFFFFF))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._hash.hexdigest()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._file.close()
