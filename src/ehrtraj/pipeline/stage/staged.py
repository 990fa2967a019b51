"""Staged rows: their files, the record of each table, and how they are read."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import pyarrow as pa

from ehrtraj.errors import OutputError
from ehrtraj.pipeline.layout import rejected_piece, staged_folder, staged_marker
from ehrtraj.storage.base import Storage
from ehrtraj.storage.documents import read_document

STAGED = "staged"
"""Name of the piece of a table's rejected rows that staging writes."""


@dataclass
class StagedTable:
    """The account of one staged table.

    Attributes:
        table: full name.
        sha256: of the file as it lies there.
        rows_read: records in the file.
        rejected: rows that could not be parsed, by reason.
        not_selected: rows of patients that were not chosen.
        shards: rows by shard number.
        rejected_bytes: size of the file of rows that could not be parsed.
        files: written files and their bytes, relative to the table's folder.
    """

    table: str
    sha256: str = ""
    rows_read: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    not_selected: int = 0
    shards: dict[int, int] = field(default_factory=dict)
    rejected_bytes: int = 0
    files: dict[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As kept in the table's marker file."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**{**content, "shards": {int(k): v for k, v in content["shards"].items()}})


@dataclass(frozen=True)
class StagedFile:
    """A file of staged rows that a task reads.

    Attributes:
        name: in the working folder.
        bytes: its size. A file of another size is not the one that is meant.
    """

    name: str
    bytes: int


def finished(storage: Storage, table: str, done: Container[int] = ()) -> StagedTable | None:
    """The account of a table that is staged to its end and whose files are all there, else None.

    Args:
        storage: the working folder.
        table: full name.
        done: shards that are built, whose files may be gone.
    """
    content = read_document(storage, staged_marker(table))
    if content is None:
        return None
    account = StagedTable.from_json(content)
    if (storage.size(rejected_piece(table, STAGED)) or 0) != account.rejected_bytes:
        return None
    for name, size in account.files.items():
        if int(name.split("-")[0]) not in done and storage.size(f"{staged_folder(table)}/{name}") != size:
            return None
    return account


def inputs_of(staged: StagedTable, shard: int | None = None) -> tuple[StagedFile, ...]:
    """The staged files of one shard, or of all, in the order of the rows.

    Args:
        staged: account of the table.
        shard: number of the shard; None for all.
    """
    wanted = None if shard is None else f"{shard:05d}-"
    names = sorted(n for n in staged.files if wanted is None or n.startswith(wanted))
    return tuple(StagedFile(f"{staged_folder(staged.table)}/{n}", staged.files[n]) for n in names)


def read_staged(
    storage: Storage, files: Sequence[StagedFile], schema: pa.Schema, columns: Iterable[str] | None = None
) -> pa.Table:
    """Read staged rows, in the order of the file that they came from.

    Args:
        storage: the working folder.
        files: each must be there in its size; none gives a table without rows.
        schema: of the table.
        columns: only these.

    Raises:
        OutputError: if a file is missing or of another size. Without it, rows would be lost.
    """
    wanted = schema.names if columns is None else list(columns)
    options = pa.ipc.IpcReadOptions(included_fields=[schema.get_field_index(c) for c in wanted], use_threads=False)
    tables = [pa.schema([schema.field(c) for c in wanted]).empty_table()]
    for file in files:
        if storage.size(file.name) != file.bytes:
            raise OutputError(
                f"{storage.where(file.name)} is missing or incomplete: something changed the working folder while the "
                "build was running. Run the same command again"
            )
        with storage.open_input(file.name) as source, pa.ipc.open_file(source, options=options) as reader:
            tables.append(reader.read_all().select(wanted))
    return pa.concat_tables(tables)
