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
    """A table that is there.

    Attributes:
        table: what is known of it.
        path: its file.
        header: column names as the file writes them.
        stamp: the file as it was when its column names were read, by which a change is noticed.
        folder: module it lies in, as this release calls it.
    """

    table: Table
    path: Path
    header: tuple[str, ...]
    stamp: Stamp
    folder: str = ""

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.stamp.size

    @property
    def identity(self) -> tuple[int, int]:
        """The version of the file's content."""
        return self.stamp.identity

    def open(self) -> TableStream:
        """The file's bytes, from its start.

        Raises:
            ReleaseError: if it cannot be read, or changed since it was detected.
        """
        return TableStream(self.path, self.stamp, self.header)

    @property
    def shape(self) -> RecordShape:
        """What a record of the file looks like."""
        ours = {written: column for column, written in self.present.items()}
        kinds = [_kind(self.table.columns.get(ours.get(name, ""))) for name in self.header]
        return RecordShape.of(kinds, [self.header.index(self.present[c]) for c in self.table.key_columns])

    @property
    def present(self) -> dict[str, str]:
        """Known columns that the file has: our name to the file's, whatever this release calls it."""
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
