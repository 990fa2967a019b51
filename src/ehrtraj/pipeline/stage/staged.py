"""Staged rows: their files, the record of each table, and how they are read."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from ehrtraj.errors import OutputError
from ehrtraj.storage.files import read_json, size_of


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
        rejects_bytes: size of the file of rows that could not be parsed.
        files: written files and their bytes, relative to the table's folder.
    """

    table: str
    sha256: str = ""
    rows_read: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    not_selected: int = 0
    shards: dict[int, int] = field(default_factory=dict)
    rejects_bytes: int = 0
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
        path: where it is.
        bytes: its size. A file of another size is not the one that is meant.
    """

    path: Path
    bytes: int


def marker_of(folder: Path) -> Path:
    """The file that says a table is staged to its end."""
    return folder.with_name(folder.name + ".json")


def finished(folder: Path, rejects: Path, done: Container[int] = ()) -> StagedTable | None:
    """The account of a table that an earlier run staged to its end and whose files are all there, else None.

    Args:
        folder: of the table.
        rejects: file of its rows that could not be parsed.
        done: shards that are built, whose files may be gone.
    """
    content = read_json(marker_of(folder))
    if content is None:
        return None
    account = StagedTable.from_json(content)
    if size_of(rejects) != account.rejects_bytes:
        return None
    for name, size in account.files.items():
        if int(name.split("-")[0]) not in done and size_of(folder / name) != size:
            return None
    return account


def inputs_of(staged: StagedTable, folder: Path, shard: int | None = None) -> tuple[StagedFile, ...]:
    """The staged files of one shard, or of all, in the order of the rows.

    Args:
        staged: account of the table.
        folder: of the table.
        shard: number of the shard; None for all.
    """
    wanted = None if shard is None else f"{shard:05d}-"
    names = sorted(n for n in staged.files if wanted is None or n.startswith(wanted))
    return tuple(StagedFile(folder / n, staged.files[n]) for n in names)


def read_staged(files: Sequence[StagedFile], schema: pa.Schema, columns: Iterable[str] | None = None) -> pa.Table:
    """Read staged rows, in the order of the file that they came from.

    Args:
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
        if size_of(file.path) != file.bytes:
            raise OutputError(
                f"{file.path} is missing or incomplete: something changed the working folder while the build was "
                "running. Run the same command again"
            )
        with pa.memory_map(str(file.path)) as source, pa.ipc.open_file(source, options=options) as reader:
            tables.append(reader.read_all().select(wanted))
    return pa.concat_tables(tables)
