"""Cut several tables at the same time, a few shards ahead of those that are being built."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ehrtraj.pipeline.layout import slice_name
from ehrtraj.pipeline.plan.shards import ShardPlan
from ehrtraj.pipeline.slices.cut import cut
from ehrtraj.pipeline.slices.slice import Block, Slice
from ehrtraj.release.reader import count_lines
from ehrtraj.release.table_file import TableFile
from ehrtraj.runtime.profile import COPY, CUT, measured
from ehrtraj.storage.base import Output, Storage

# Many tables are read at the same time, so small ones are read in small blocks. With blocks of 64 KiB, cutting large
# tables takes 1.8 times as long as with 512 KiB.
_LEAST_BLOCK = 64 << 10
_BLOCKS_OF_A_FILE = 128
# Size from which a block is large enough to be parsed without noticeable overhead.
_PARSED_BYTES = 1 << 20


class _StoppedError(Exception):
    """The build ends before all slices are cut."""


class _Window:
    """Lets the threads cut only the slices of a limited number of unfinished shards.

    Attributes:
        changed: notified when a shard is finished, a slice is cut, or a thread fails.
        threads: limits the threads that work at the same time.
    """

    def __init__(self, shards: Sequence[int], ahead: int, threads: int) -> None:
        self._place = {shard: place for place, shard in enumerate(shards)}
        self._ahead = ahead
        self._finished: set[int] = set()
        self._stopped = False
        self.changed = threading.Condition()
        self.threads = threading.Semaphore(threads)

    def _is_open(self, shard: int) -> bool:
        return self._stopped or self._place.get(shard, 0) < len(self._finished) + self._ahead

    def wait(self, shard: int) -> None:
        """Wait until a slice of this shard may be cut.

        Raises:
            _StoppedError: if the build ends.
        """
        if not self._is_open(shard):
            with self.changed:
                self.changed.wait_for(lambda: self._is_open(shard))
        if self._stopped:
            raise _StoppedError

    def finish(self, shard: int) -> None:
        """Count a shard whose slices are deleted."""
        with self.changed:
            self._finished.add(shard)
            self.changed.notify_all()

    def stop(self) -> None:
        """Let all threads end."""
        with self.changed:
            self._stopped = True
            self.changed.notify_all()


@dataclass
class _Copy:
    """A slice that is being written."""

    output: Output
    first_line: int
    blocks: list[Block] = field(default_factory=list)

    def add(self, data: memoryview, lines: int) -> None:
        """Append complete records."""
        self.output.sink.write(data)
        if self.blocks and self.blocks[-1].bytes < _PARSED_BYTES:
            last = self.blocks.pop()
            self.blocks.append(Block(last.bytes + len(data), last.lines + lines))
        else:
            self.blocks.append(Block(len(data), lines))


class _TableThread:
    """Cuts one table in a thread."""

    def __init__(
        self,
        storage: Storage,
        file: TableFile,
        plan: ShardPlan,
        window: _Window,
        wanted: set[int],
        block_bytes: int,
    ) -> None:
        self.sha256 = ""
        self.error: BaseException | None = None
        self.slices: dict[int, Slice] = {}
        self.next_shard = 0
        """All slices before this shard are finished."""
        self._storage = storage
        self._file = file
        self._starts: list[int] = plan.starts.tolist()
        self._window = window
        self._wanted = wanted
        self._block_bytes = block_bytes
        self._line = 2
        self._copy: _Copy | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self._cut()
            self._advance(len(self._starts))
        except _StoppedError:
            pass
        except BaseException as error:  # the main thread raises it again
            with self._window.changed:
                self.error = error
                self._window.changed.notify_all()
        finally:
            if self._copy is not None:
                self._copy.output.abandon()

    def _cut(self) -> None:
        with self._file.open() as stream:
            pieces = cut(stream, self._file, self._starts, self._block_bytes)
            while (piece := self._next(pieces)) is not None:
                shard, data = piece
                if shard > self.next_shard:
                    self._advance(shard)
                self._window.wait(shard)
                with self._window.threads, measured(COPY, self._file.table.full_name):
                    self._write(shard, data)
            self.sha256 = stream.sha256

    def _next(self, pieces: Iterator[tuple[int, memoryview]]) -> tuple[int, memoryview] | None:
        self._window.wait(self.next_shard)
        with self._window.threads, measured(CUT, self._file.table.full_name):
            return next(pieces, None)

    def _write(self, shard: int, data: memoryview) -> None:
        lines = count_lines(data)
        if shard in self._wanted:
            if self._copy is None:
                self._copy = _Copy(self._storage.create(slice_name(self._file.table.full_name, shard)), self._line)
            self._copy.add(data, lines)
        self._line += lines

    def _advance(self, shard: int) -> None:
        """Finish the slices before this shard."""
        table = self._file.table.full_name
        finished = None
        if self._copy is not None:
            self._copy.output.commit()
            name = slice_name(table, self.next_shard)
            finished = Slice(table, name, self._copy.first_line, tuple(self._copy.blocks))
            self._copy = None
        with self._window.changed:
            if finished is not None:
                self.slices[self.next_shard] = finished
            self.next_shard = shard
            self._window.changed.notify_all()


def _block_size(file_bytes: int, most: int) -> int:
    return min(most, max(_LEAST_BLOCK, file_bytes // _BLOCKS_OF_A_FILE))


class Feeder:
    """Cuts tables in threads while the shards are built."""

    def __init__(
        self,
        storage: Storage,
        files: Mapping[str, TableFile],
        plan: ShardPlan,
        shards: Sequence[int],
        *,
        ahead: int,
        threads: int,
        block_bytes: int,
    ) -> None:
        """Prepare to cut.

        Args:
            storage: the working folder.
            files: file of each table, by full name.
            plan: all shards.
            shards: shards that are built, ascending. The slices of the others are not written.
            ahead: number of shards that may have slices in the working folder at the same time.
            threads: number of threads that work at the same time.
            block_bytes: bytes of a large file to read at a time.
        """
        self._storage = storage
        self._window = _Window(shards, ahead, threads)
        self._tables = {
            name: _TableThread(storage, file, plan, self._window, set(shards), _block_size(file.size, block_bytes))
            for name, file in files.items()
        }

    def __enter__(self) -> Feeder:
        for table in self._tables.values():
            table.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._window.stop()
        for table in self._tables.values():
            table.thread.join()

    def slices(self, shard: int) -> tuple[Slice, ...]:
        """Wait for the slices of a shard, and return them.

        Raises:
            CannotSliceError: if a table cannot be cut.
            ReleaseError: if a file is damaged, or changed while it was being read.
            OSError: if a slice cannot be written.
        """
        self._wait(lambda table: table.next_shard > shard)
        return tuple(table.slices.pop(shard) for table in self._tables.values() if shard in table.slices)

    def finish(self, shard: int) -> None:
        """Delete the slices of a shard that is built, so that those of another are cut."""
        for name in self._tables:
            self._storage.delete(slice_name(name, shard))
        self._window.finish(shard)

    def sha256(self) -> dict[str, str]:
        """Wait until all files are read to their end, and return their SHA-256 by full name of the table."""
        self._wait(lambda table: bool(table.sha256))
        return {name: table.sha256 for name, table in self._tables.items()}

    def _wait(self, done: Callable[[_TableThread], bool]) -> None:
        tables = self._tables.values()
        with self._window.changed:
            # A wait without a time limit cannot be interrupted on every system.
            while not self._window.changed.wait_for(lambda: any(t.error for t in tables) or all(map(done, tables)), 1):
                continue
        for table in tables:
            if table.error is not None:
                raise table.error
