"""Staged tables: the record of each table and its files, and how to read the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import pyarrow as pa

from ehrtraj.pipeline.layout import (
    UNPARSED,
    damaged_error,
    incomplete_error,
    rejected_piece,
    staged_folder,
    staged_marker,
    table_of,
)
from ehrtraj.runtime.profile import READ_STAGED, measured
from ehrtraj.storage.base import Storage
from ehrtraj.storage.documents import read_document


@dataclass
class StagedTable:
    """The record of one table that was staged, or cut into slices and parsed by the tasks of the shards.

    Attributes:
        table: full name of the table.
        sha256: SHA-256 of the table's file.
        rows_read: number of records in the file.
        rejected: number of rows that could not be parsed, by reason.
        not_selected: number of rows of patients that were not selected.
        shards: number of rows by shard number.
        rejected_bytes: size of the file with rows that could not be parsed, in bytes.
        files: sizes of the written files in bytes, by name relative to the table's folder.
        sliced: whether the table was cut into slices. It then has no files.
    """

    table: str
    sha256: str = ""
    rows_read: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    not_selected: int = 0
    shards: dict[int, int] = field(default_factory=dict)
    rejected_bytes: int = 0
    files: dict[str, int] = field(default_factory=dict)
    sliced: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the content of the table's marker file."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Return the record in the content of a marker file. The inverse of `to_json`."""
        return cls(**{**content, "shards": {int(k): v for k, v in content["shards"].items()}})


@dataclass(frozen=True)
class StagedFile:
    """A file of staged rows that a task reads.

    Attributes:
        name: name in the working folder.
        bytes: size of the file. A file with another size is not this file.
    """

    name: str
    bytes: int


def finished(storage: Storage, table: str, done: Container[int] = ()) -> StagedTable | None:
    """Return the record of a table that is completely staged, or parsed by all shards; None if a file is missing.

    Args:
        storage: the working folder.
        table: full name of the table.
        done: finished shards, whose files may be deleted.
    """
    content = read_document(storage, staged_marker(table))
    if content is None:
        return None
    staged = StagedTable.from_json(content)
    if staged.sliced:
        return staged if all(shard in done for shard in staged.shards) else None
    if (storage.size(rejected_piece(table, UNPARSED)) or 0) != staged.rejected_bytes:
        return None
    for name, size in staged.files.items():
        if int(name.split("-")[0]) not in done and storage.size(f"{staged_folder(table)}/{name}") != size:
            return None
    return staged


def sliced_table(table: str, sha256: str, shards: Iterable[Mapping[str, Any]]) -> StagedTable:
    """Return the record of a table whose slices are parsed.

    Args:
        table: full name of the table.
        sha256: SHA-256 of the table's file.
        shards: records of all shards.
    """
    record = StagedTable(table, sha256, sliced=True)
    rejected: Counter[str] = Counter()
    for shard in shards:
        unparsed = Counter(shard["unparsed"].get(table, {}))
        rows = shard["tables"].get(table, {"rows": 0})["rows"] + unparsed.total()
        if rows:
            record.shards[shard["shard"]] = rows
        rejected += unparsed
    record.rows_read = sum(record.shards.values())
    record.rejected = dict(sorted(rejected.items()))
    return record


def inputs_of(staged: StagedTable, shard: int | None = None) -> tuple[StagedFile, ...]:
    """Return the staged files of one shard, or of all shards, in the order of the rows.

    Args:
        staged: record of the table.
        shard: number of the shard; None for all.
    """
    prefix = "" if shard is None else f"{shard:05d}-"
    names = sorted(n for n in staged.files if n.startswith(prefix))
    return tuple(StagedFile(f"{staged_folder(staged.table)}/{n}", staged.files[n]) for n in names)


def read_staged(
    storage: Storage, files: Sequence[StagedFile], schema: pa.Schema, columns: Iterable[str] | None = None
) -> pa.Table:
    """Read staged rows, in the order of the original file.

    Args:
        storage: the working folder.
        files: files to read; each must exist with its size. Without files, the result has no rows.
        schema: schema of the table.
        columns: columns to read; None for all.

    Raises:
        OutputError: if a file is missing, has another size, or is damaged, since rows would be lost.
    """
    names = schema.names if columns is None else list(columns)
    options = pa.ipc.IpcReadOptions(included_fields=[schema.get_field_index(c) for c in names], use_threads=False)
    tables = [pa.schema([schema.field(c) for c in names]).empty_table()]
    for file in files:
        if storage.size(file.name) != file.bytes:
            raise incomplete_error(storage, file.name)
        try:
            with (
                measured(READ_STAGED, table_of(file.name)),
                storage.open_input(file.name) as source,
                pa.ipc.open_file(source, options=options) as reader,
            ):
                tables.append(reader.read_all().select(names))
        except (pa.ArrowInvalid, OSError) as error:
            # Errors of the system have a number, those of pyarrow's decoders have none.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise damaged_error(storage, file.name) from error
    return pa.concat_tables(tables)
