"""A table of a release on disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ehrtraj.release.reader import Stamp, TableStream
from ehrtraj.release.records import ColumnKind, RecordShape
from ehrtraj.release.schema import Table


@dataclass(frozen=True)
class TableFile:
    """A table that the release contains.

    Attributes:
        table: description of the table.
        path: path of its file.
        header: column names as written in the file.
        stamp: state of the file when its column names were read; used to detect later changes.
        folder: module that contains the file, as named in this release.
    """

    table: Table
    path: Path
    header: tuple[str, ...]
    stamp: Stamp
    folder: str = ""

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return self.stamp.size

    @property
    def identity(self) -> tuple[int, int]:
        """Version of the file's content."""
        return self.stamp.identity

    def open(self) -> TableStream:
        """Open the file at its first byte.

        Raises:
            ReleaseError: if the file cannot be read, or has changed since it was detected.
        """
        return TableStream(self.path, self.stamp, self.header)

    @property
    def shape(self) -> RecordShape:
        """Shape of the file's records."""
        column_by_name = {written: column for column, written in self.present.items()}
        kinds = [_kind(self.table.columns.get(column_by_name.get(name, ""))) for name in self.header]
        return RecordShape.of(kinds, [self.header.index(self.present[c]) for c in self.table.key_columns])

    @property
    def present(self) -> dict[str, str]:
        """Known columns that the file contains: maps the current name to the name written in the file."""
        written = {name.lower(): name for name in self.header}
        found = {}
        for column in self.table.columns:
            if name := next((n for n in self.table.names_of(column) if n.lower() in written), None):
                found[column] = written[name.lower()]
        return found


def _kind(type_: pa.DataType | None) -> ColumnKind:
    if type_ is None or pa.types.is_string(type_):
        return "text"
    if pa.types.is_timestamp(type_):
        return "time"
    return "integer" if pa.types.is_integer(type_) else "number"
