"""Stage: read each table's file once, type it, and split it by shard into Arrow files.

The reading thread inflates and cuts blocks; worker threads parse them and sort their rows by shard. Rows are gathered
in the order of the file and written in rounds, a round's rows of one shard to one file, so that what is held in memory
does not depend on the size of the table, and what is written does not depend on the number of threads.
"""

from __future__ import annotations

import shutil
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ehrtraj.pipeline.plan.shards import Plan
from ehrtraj.pipeline.rejected import RejectWriter
from ehrtraj.pipeline.stage.parse import BadRow, BlockParser, Parsed
from ehrtraj.pipeline.stage.staged import StagedTable, marker_of
from ehrtraj.release.detect import TableFile
from ehrtraj.release.reader import read_blocks
from ehrtraj.release.records import RecordShape, UnsoundQuotesError
from ehrtraj.storage.files import size_of, write_json

Progress = Callable[[int, int], None]
"""Called with bytes of the file consumed and rows read since the last call."""

_LZ4 = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
# Rows in runs shorter than this are gathered with one take instead of many slices.
_SHORT_RUN = 64


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
        self._rejected(parsed.bad)
        self._next_line += parsed.lines
        for shard, piece in pieces:
            self._held.setdefault(shard, []).append(piece)
            self.account.shards[shard] = self.account.shards.get(shard, 0) + piece.num_rows
        self._held_bytes += parsed.rows.nbytes
        if self._held_bytes > self._budget:
            self.flush()
        return rows

    def _rejected(self, bad: list[BadRow]) -> None:
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
