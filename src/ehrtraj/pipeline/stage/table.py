"""Stage tables: read their files once, parse them, and split their rows by shard into Arrow files.

Small tables are staged at the same time, large ones one after another. One thread decompresses a file and cuts it into
blocks. Worker threads parse the blocks and sort their rows by shard. Rows are collected in the order of the file and
written in rounds: each round writes one file per shard. The amount of memory therefore does not depend on the size of
the table, and the files do not depend on the number of threads.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ehrtraj.engines.base import Report, ignore
from ehrtraj.pipeline.layout import UNPARSED, new_attempt, rejected_piece, staged_folder
from ehrtraj.pipeline.plan.shards import ShardPlan
from ehrtraj.pipeline.rejected import RejectWriter
from ehrtraj.pipeline.stage.parse import BadRow, BlockParser, Parsed
from ehrtraj.pipeline.stage.staged import StagedTable
from ehrtraj.release.reader import CsvBlock, read_blocks
from ehrtraj.release.records import RecordShape, UnsoundQuotesError
from ehrtraj.release.table_file import TableFile
from ehrtraj.runtime.profile import CUT, PARSE, SPLIT, WRITE_STAGED, measured
from ehrtraj.runtime.sizes import DEFAULT
from ehrtraj.storage.base import Storage

Progress = Callable[[int, int], None]
"""Called with the bytes of the file consumed and the rows read since the last call."""

_LZ4 = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
# Small tables in memory at the same time: up to 20 MB of text each.
_TOGETHER = 4
# If runs of rows are shorter than this on average, one take is used instead of many slices.
_SHORT_RUN = 64


Piece = tuple[int, pa.Table]


def _split(rows: pa.Table, plan: ShardPlan | None) -> tuple[list[Piece], int]:
    """Return the rows by shard, in the order of the file, and the number of rows of patients that are not selected."""
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


def _write(storage: Storage, folder: str, name: str, pieces: list[pa.Table]) -> tuple[str, int]:
    rows = pa.concat_tables(pieces).combine_chunks()
    output = storage.create(f"{folder}/{name}")
    try:
        with pa.ipc.new_file(output.sink, rows.schema, options=_LZ4) as writer:
            writer.write_table(rows)
        return name, output.commit()
    finally:
        output.abandon()


class _Stager:
    """Collects the parsed blocks of one table and writes them in rounds."""

    def __init__(
        self,
        work: StageWork,
        file: TableFile,
        attempt: str,
        pool: ThreadPoolExecutor,
    ) -> None:
        self.table = StagedTable(file.table.full_name)
        self._parser = BlockParser(file)
        self._plan = work.plan if file.table.kind == "patient" else None
        self._storage = work.storage
        self._folder = f"{attempt}/{staged_folder(file.table.full_name)}"
        self._pool = pool
        self._budget = work.budget
        self._collected: dict[int, list[pa.Table]] = {}
        self._collected_bytes = 0
        self._round = 0
        self._writing: list[Future[tuple[str, int]]] = []
        self._next_line = 2
        name = f"{attempt}/{rejected_piece(file.table.full_name, UNPARSED)}"
        self._rejects = RejectWriter(work.storage, name, file.table.schema)

    def work(self, block: Any) -> tuple[Parsed, list[Piece], int]:  # noqa: ANN401  # runs in a worker thread
        with measured(PARSE, self.table.table):
            parsed = self._parser.parse(block)
        with measured(SPLIT, self.table.table):
            return parsed, *_split(parsed.rows, self._plan)

    def take(self, result: tuple[Parsed, list[Piece], int]) -> int:
        """Count and collect the rows of one parsed block, and return their number."""
        parsed, pieces, left_out = result
        rows: int = parsed.rows.num_rows + len(parsed.bad)
        self.table.rows_read += rows
        self.table.not_selected += left_out
        self._rejected(parsed.bad)
        self._next_line += parsed.lines
        for shard, piece in pieces:
            self._collected.setdefault(shard, []).append(piece)
            self.table.shards[shard] = self.table.shards.get(shard, 0) + piece.num_rows
        self._collected_bytes += parsed.rows.nbytes
        if self._collected_bytes > self._budget:
            self.flush()
        return rows

    def _rejected(self, bad: list[BadRow]) -> None:
        if not bad:
            return
        counts = Counter(self.table.rejected)
        counts.update(row.reason for row in bad)
        self.table.rejected = dict(sorted(counts.items()))
        self._rejects.write_text_rows(bad, first_line=self._next_line)

    def flush(self) -> None:
        """Start to write the collected rows when the previous round is finished."""
        self._finish_writing()
        for shard, pieces in sorted(self._collected.items()):
            name = f"{shard:05d}-{self._round:05d}.arrow"
            self._writing.append(self._pool.submit(self._write, name, pieces))
        self._collected, self._collected_bytes, self._round = {}, 0, self._round + 1

    def _write(self, name: str, pieces: list[pa.Table]) -> tuple[str, int]:
        with measured(WRITE_STAGED, self.table.table):
            return _write(self._storage, self._folder, name, pieces)

    def _finish_writing(self) -> None:
        for future in self._writing:
            name, size = future.result()
            self.table.files[name] = size
        self._writing = []

    def close(self) -> None:
        """Write the remaining rows."""
        self.flush()
        self._finish_writing()
        self.table.rejected_bytes = self._rejects.close()

    def abandon(self) -> None:
        """Cancel pending writes, wait for running ones, and discard rejected rows after a failure."""
        for future in self._writing:
            future.cancel()
        wait(self._writing)
        self._rejects.abandon()


@dataclass(frozen=True)
class StagedAttempt:
    """The result of one attempt at staging a table. It takes effect when the main process commits it.

    Attributes:
        folder: folder of this attempt in the working folder.
        table: record of the staged table.
    """

    folder: str
    table: StagedTable


@dataclass
class StagedGroup:
    """The result of staging some tables.

    Attributes:
        attempts: attempts at the tables that were staged.
        error: what went wrong with the first of the other tables; None if all were staged.
    """

    attempts: list[StagedAttempt]
    error: BaseException | None = None


@dataclass(frozen=True)
class StageProgress:
    """How much of a table an attempt has read.

    Attributes:
        table: full name of the table.
        consumed: bytes of its file. They start again at 0 if the file is read in another way.
        rows: rows that were split by shard.
    """

    table: str
    consumed: int
    rows: int


@dataclass(frozen=True)
class StageWork:
    """The task of staging some table files.

    Attributes:
        storage: the working folder.
        plan: the shards of the patients. Dictionaries, which have no patients, are not split.
        threads: number of threads that parse and write.
        budget: bytes of rows to collect before a round is written.
        block_bytes: bytes of a file to read at a time.
    """

    storage: Storage
    plan: ShardPlan
    threads: int
    budget: int
    block_bytes: int = DEFAULT.block_bytes

    @contextmanager
    def open(self, report: Report) -> Iterator[Callable[[Sequence[TableFile]], StagedGroup]]:
        """Start the threads, and yield a function that stages tables."""
        with ThreadPoolExecutor(self.threads) as pool:

            def stage(files: Sequence[TableFile]) -> StagedGroup:
                if len(files) == 1:
                    return StagedGroup([_stage_and_release(self, files[0], pool, report)])
                return _stage_together(self, files, pool, report)

            yield stage


def groups(files: Sequence[TableFile], block_bytes: int) -> list[tuple[TableFile, ...]]:
    """Return the tables to stage at the same time: all small ones, and each of the others alone.

    Blocks of one table are parsed in several threads, but a small table has only one.

    Args:
        files: files of the tables.
        block_bytes: bytes of a file to read at a time.
    """
    # Files of a release are compressed to a tenth, or a quarter if they contain texts.
    small = tuple(file for file in files if file.size <= block_bytes // 4)
    return [*([small] if small else []), *((file,) for file in files if file not in small)]


def _stage_together(
    work: StageWork, files: Sequence[TableFile], pool: ThreadPoolExecutor, report: Report
) -> StagedGroup:
    """Stage several small tables at the same time, and report each of them when it is finished.

    If one fails, the others are staged all the same, so that the next build need not read them again.
    """
    group = StagedGroup([])
    with ThreadPoolExecutor(min(work.threads, _TOGETHER)) as tables:
        futures = [tables.submit(_stage_and_release, work, file, pool, ignore) for file in files]
        try:
            for file, future in zip(files, futures, strict=True):
                error = future.exception()
                if error is not None:
                    group.error = group.error or error
                    continue
                group.attempts.append(future.result())
                report(StageProgress(file.table.full_name, file.size, group.attempts[-1].table.rows_read))
        except BaseException:
            tables.shutdown(wait=False, cancel_futures=True)
            raise
    return group


def _stage_and_release(work: StageWork, file: TableFile, pool: ThreadPoolExecutor, report: Report) -> StagedAttempt:
    """Stage one table, and release the memory of its blocks, which would add up with that of the next table."""
    try:
        return _stage_table(work, file, pool, report)
    finally:
        pa.default_memory_pool().release_unused()


def _stage_table(work: StageWork, file: TableFile, pool: ThreadPoolExecutor, report: Report) -> StagedAttempt:
    """Stage one table.

    Raises:
        ReleaseError: if the file is truncated or damaged, or changed since the release was detected.
        OSError: if a file cannot be written.
    """
    name = file.table.full_name
    reached = [0, 0]

    def progress(consumed: int, rows: int) -> None:
        reached[0] += consumed
        reached[1] += rows
        report(StageProgress(name, *reached))

    try:
        return _stage_blocks(work, file, pool, progress, scan=None)
    except UnsoundQuotesError:
        reached = [0, 0]
        return _stage_blocks(work, file, pool, progress, scan=file.shape)


def _next(blocks: Iterator[CsvBlock], table: str) -> CsvBlock | None:
    with measured(CUT, table):
        return next(blocks, None)


def _stage_blocks(
    work: StageWork, file: TableFile, pool: ThreadPoolExecutor, progress: Progress, *, scan: RecordShape | None
) -> StagedAttempt:
    attempt = new_attempt(file.table.full_name.replace("/", "."))
    stager = _Stager(work, file, attempt, pool)
    pending: deque[Future[tuple[Parsed, list[Piece], int]]] = deque()
    try:
        with file.open() as stream:
            consumed = 0
            blocks = read_blocks(stream, work.block_bytes, scan=scan)
            while (block := _next(blocks, file.table.full_name)) is not None:
                rows = stager.take(pending.popleft().result()) if len(pending) > work.threads else 0
                pending.append(pool.submit(stager.work, block))
                progress(stream.consumed - consumed, rows)
                consumed = stream.consumed
            while pending:
                progress(0, stager.take(pending.popleft().result()))
            stager.close()
            stream.check_unchanged()
            progress(stream.consumed - consumed, 0)
            stager.table.sha256 = stream.sha256
    except BaseException:
        for future in pending:
            future.cancel()
        stager.abandon()
        # If the disk is full, the tables that are finished need space for their records. The first error counts, and
        # the next build deletes what remains.
        with suppress(OSError):
            work.storage.delete(attempt)
        raise
    return StagedAttempt(attempt, stager.table)
