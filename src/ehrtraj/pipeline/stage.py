"""Stage: read each table's file once, type it, and split it by shard into Arrow files.

The reading thread inflates and cuts blocks; worker threads parse them and sort their rows by shard. Rows are gathered
in the order of the file and written in rounds, a round's rows of one shard to one file, so that what is held in memory
does not depend on the size of the table, and what is written does not depend on the number of threads.
"""

from __future__ import annotations

import shutil
from collections import Counter, deque
from collections.abc import Callable, Container, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from ehrtraj.errors import OutputError
from ehrtraj.pipeline.parse import BadRow, BlockParser, Parsed
from ehrtraj.pipeline.rejects import RejectWriter
from ehrtraj.pipeline.shards import Plan
from ehrtraj.pipeline.workspace import read_json, size_of, write_json
from ehrtraj.release.detect import TableFile
from ehrtraj.release.reader import read_blocks
from ehrtraj.release.records import RecordShape, UnsoundQuotesError

Progress = Callable[[int, int], None]
"""Called with bytes of the file consumed and rows read since the last call."""

_LZ4 = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
# Rows in runs shorter than this are gathered with one take instead of many slices.
_SHORT_RUN = 64


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


Piece = tuple[int, pa.Table]


def _split(rows: pa.Table, plan: Plan | None) -> tuple[list[Piece], int]:
    """Rows by shard, in the order of the file, and how many were left out because their patient was not chosen."""
    if plan is None:
        return [(0, rows)], 0
    subjects = rows["subject_id"].to_numpy()
    left_out = 0
    if (keep := plan.is_selected(subjects)) is not None and not keep.all():
        left_out = int(len(keep) - keep.sum())
        rows, subjects = rows.filter(pa.array(keep)), subjects[keep]
    if not len(subjects):
        return [], left_out
    shard = plan.shard_of(subjects)
    cuts = np.flatnonzero(shard[1:] != shard[:-1]) + 1
    if len(cuts) * _SHORT_RUN > len(shard):
        order = np.argsort(shard, kind="stable")
        rows, shard = rows.take(pa.array(order)), shard[order]
        cuts = np.flatnonzero(shard[1:] != shard[:-1]) + 1
    starts = [0, *cuts.tolist()]
    stops = [*cuts.tolist(), len(shard)]
    return [(int(shard[a]), rows.slice(a, b - a)) for a, b in zip(starts, stops, strict=True)], left_out


def _write(path: Path, pieces: list[pa.Table]) -> tuple[str, int]:
    rows = pa.concat_tables(pieces).combine_chunks()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, rows.schema, options=_LZ4) as writer:
        writer.write_table(rows)
    return path.name, path.stat().st_size


class _Stager:
    """Gathers the parsed blocks of one table and writes them in rounds."""

    def __init__(
        self,
        file: TableFile,
        plan: Plan | None,
        folder: Path,
        rejects: Path,
        pool: ThreadPoolExecutor,
        budget: int,
    ) -> None:
        self.account = StagedTable(file.table.full_name)
        self._parser = BlockParser(file)
        self._plan = plan
        self._folder = folder
        self._pool = pool
        self._budget = budget
        self._held: dict[int, list[pa.Table]] = {}
        self._held_bytes = 0
        self._round = 0
        self._writing: list[Future[tuple[str, int]]] = []
        self._next_line = 2
        self._rejects = RejectWriter(rejects, file.table.schema)

    def work(self, block: Any) -> tuple[Parsed, list[Piece], int]:  # noqa: ANN401  # runs in a worker thread
        parsed = self._parser.parse(block)
        return parsed, *_split(parsed.rows, self._plan)

    def take(self, result: tuple[Parsed, list[Piece], int]) -> int:
        """Account for one parsed block; returns its number of rows."""
        parsed, pieces, left_out = result
        rows: int = parsed.rows.num_rows + len(parsed.bad)
        self.account.rows_read += rows
        self.account.not_selected += left_out
        self._set_aside(parsed.bad)
        self._next_line += parsed.lines
        for shard, piece in pieces:
            self._held.setdefault(shard, []).append(piece)
            self.account.shards[shard] = self.account.shards.get(shard, 0) + piece.num_rows
        self._held_bytes += parsed.rows.nbytes
        if self._held_bytes > self._budget:
            self.flush()
        return rows

    def _set_aside(self, bad: list[BadRow]) -> None:
        if not bad:
            return
        counts = Counter(self.account.rejected)
        counts.update(row.reason for row in bad)
        self.account.rejected = dict(sorted(counts.items()))
        self._rejects.write_text_rows(bad, first_line=self._next_line)

    def flush(self) -> None:
        """Start writing what is held, after the round before it is done."""
        self._finish_writing()
        for shard, pieces in sorted(self._held.items()):
            path = self._folder / f"{shard:05d}-{self._round:05d}.arrow"
            self._writing.append(self._pool.submit(_write, path, pieces))
        self._held, self._held_bytes, self._round = {}, 0, self._round + 1

    def _finish_writing(self) -> None:
        for future in self._writing:
            name, size = future.result()
            self.account.files[name] = size
        self._writing = []

    def close(self) -> None:
        """Write what is left."""
        self.flush()
        self._finish_writing()
        self._rejects.close()

    def abandon(self) -> None:
        """Wait for running writes after a failure, so that none outlives the build."""
        for future in self._writing:
            future.cancel()
        self._rejects.close()


def stage_table(
    file: TableFile,
    plan: Plan | None,
    folder: Path,
    rejects: Path,
    pool: ThreadPoolExecutor,
    threads: int,
    budget: int,
    progress: Progress,
) -> StagedTable:
    """Stage one table.

    Args:
        file: the table.
        plan: the shards; None keeps the table whole, as dictionaries are.
        folder: where the shards' files go; what is there from an earlier, unfinished run is removed.
        rejects: file for the rows that cannot be parsed.
        pool: threads that parse and write.
        threads: how many there are.
        budget: bytes of rows to hold before a round is written.
        progress: told after each block.

    Returns:
        The account, also left as `<folder>.json` once all is written.

    Raises:
        ReleaseError: if the file is cut off or damaged, or changed since the release was detected.
        OSError: if a file cannot be written.
    """
    reported = [0, 0]

    def count(consumed: int, rows: int) -> None:
        reported[0] += consumed
        reported[1] += rows
        progress(consumed, rows)

    try:
        account = _stage_blocks(file, plan, folder, rejects, pool, threads, budget, count, scan=None)
    except UnsoundQuotesError:
        progress(-reported[0], -reported[1])
        account = _stage_blocks(file, plan, folder, rejects, pool, threads, budget, progress, scan=file.shape)
    account.rejects_bytes = size_of(rejects)
    write_json(marker_of(folder), account.to_json())
    return account


def _stage_blocks(
    file: TableFile,
    plan: Plan | None,
    folder: Path,
    rejects: Path,
    pool: ThreadPoolExecutor,
    threads: int,
    budget: int,
    progress: Progress,
    *,
    scan: RecordShape | None,
) -> StagedTable:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    stager = _Stager(file, plan, folder, rejects, pool, budget)
    pending: deque[Future[tuple[Parsed, list[Piece], int]]] = deque()
    try:
        with file.open() as stream:
            seen = 0
            for block in read_blocks(stream, scan=scan):
                rows = stager.take(pending.popleft().result()) if len(pending) > threads else 0
                pending.append(pool.submit(stager.work, block))
                progress(stream.consumed - seen, rows)
                seen = stream.consumed
            while pending:
                progress(0, stager.take(pending.popleft().result()))
            stager.close()
            stream.check_unchanged()
            progress(stream.consumed - seen, 0)
            stager.account.sha256 = stream.sha256
    except BaseException:
        for future in pending:
            future.cancel()
        stager.abandon()
        raise
    return stager.account


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
