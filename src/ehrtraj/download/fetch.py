"""Fetch the files of a release over several connections, a few ranges of a file at once.

One event loop: so many workers as connections take blocks from one queue, the largest file's first. A file whose
blocks are all there is hashed in a thread and gets its own name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TypeVar

from ehrtraj.download.errors import (
    BadSizeError,
    ChangedOnServerError,
    MissingOnServerError,
    WrongHashError,
)
from ehrtraj.download.part import PartialBlock, PartialFile, part_path, remove_part
from ehrtraj.download.projects import DownloadTarget
from ehrtraj.download.remote import RemoteFile, look, read_piece
from ehrtraj.download.report import DownloadReporter
from ehrtraj.download.space import check_room
from ehrtraj.download.sums import sha256_of
from ehrtraj.download.threads import Abandon
from ehrtraj.download.web import Web
from ehrtraj.errors import EhrtrajError
from ehrtraj.storage.safe import refuse_link

# A file is fetched anew so often before its hash counts as wrong for good.
_TRIES_ANEW = 1
_OF_ONE_FILE = (ChangedOnServerError, MissingOnServerError, WrongHashError)

T = TypeVar("T")


@dataclass
class Fetched:
    """What came of it.

    Attributes:
        there: files that were whole before.
        fetched: files that are whole now.
        failed: why others are not.
        received: bytes that came.
    """

    there: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    failed: dict[str, EhrtrajError] = field(default_factory=dict)
    received: int = 0


class _File:
    """A file on its way."""

    def __init__(self, remote: RemoteFile, part: PartialFile, fetch: Fetch) -> None:
        self.remote = remote
        self.part = part
        self.anew = 0
        self.is_finishing = False
        self.is_settled = False
        self._fetch = fetch

    def write(self, block: PartialBlock, data: bytes) -> None:
        if self.is_settled or len(data) > block.size - block.done:
            raise ChangedOnServerError(f"{self.remote.path}: the server sends more than it said")
        self.part.write(block, data)
        self._fetch.count(self.remote.path, len(data))

    def start_again(self, block: PartialBlock) -> None:
        if self.is_settled:
            return
        self._fetch.reporter.received(self.remote.path, -block.done)
        self.part.reset(block)


class Fetch:
    """The work on one release.

    Attributes:
        reporter: is told of progress.
        result: what came of it.
    """

    def __init__(
        self,
        web: Web,
        place: DownloadTarget,
        sums: dict[str, str],
        reporter: DownloadReporter,
        connections: int,
        cpus: int,
    ) -> None:
        self._web = web
        self._place = place
        self._sums = sums
        self._connections = connections
        self._cpus = asyncio.Semaphore(cpus)
        self._queue: asyncio.Queue[tuple[_File, PartialBlock]] = asyncio.Queue()
        self._all_settled = asyncio.Event()
        self._open = 0
        self._abandon = Abandon()
        self.reporter = reporter
        self.result = Fetched()

    async def run(self, wanted: Sequence[str], *, complete_files: bool) -> Fetched:
        """Fetch the files that are not there whole.

        Args:
            wanted: paths in the release.
            complete_files: each file in one piece, for a server that cannot do otherwise.

        Raises:
            DiskSpaceError: if there is no room; before anything is fetched or written.
            OutputError: if a file would be written through a link.
            EhrtrajError: if the server fails as a whole. What concerns one file is in the result.
        """
        files: list[_File] = []
        try:
            lacking = await self._check_what_is_there(wanted)
            remotes = await self._all([lambda p=p: self._look(p) for p in lacking])  # type: ignore[misc]
            found = sorted(filter(None, remotes), key=lambda r: -r.size)
            check_room((self._local(r.path), r.size) for r in found)
            for remote in found:
                files.append(await self._take_up(remote, complete_files=complete_files))  # noqa: PERF401  # to be closed
            await self._fetch_all(files)
        finally:
            self._abandon.now()
            for file in files:
                file.part.close()
        return self.result

    def count(self, path: str, count: int) -> None:
        """Bytes of a file came."""
        self.result.received += count
        self.reporter.received(path, count)

    def _local(self, path: str) -> Path:
        return self._place.folder / path

    async def _all(self, actions: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
        """Do things at once, as many as there are connections."""
        room = asyncio.Semaphore(self._connections)

        async def one(action: Callable[[], Awaitable[T]]) -> T:
            async with room:
                return await action()

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(action)) for action in actions]
        return [task.result() for task in tasks]

    async def _in_thread(self, action: Callable[..., T], *arguments: object) -> T:
        async with self._cpus:
            return await asyncio.to_thread(action, *arguments)

    async def _check_what_is_there(self, wanted: Sequence[str]) -> list[str]:
        """The files that are not there, or not whole."""
        present = [p for p in wanted if self._local(p).is_file()]
        self.reporter.checking(len(present), sum(self._local(p).stat().st_size for p in present))
        right = set(await self._all([lambda p=p: self._is_right(p) for p in present]))  # type: ignore[misc]
        self.result.there = [p for p in wanted if p in right]
        for path in self.result.there:
            # A run that was killed right after it gave a file its name leaves the journal.
            remove_part(self._local(path))
        lacking = [p for p in wanted if p not in right]
        for path in lacking:
            refuse_link(self._local(path))
        return lacking

    async def _is_right(self, path: str) -> str | None:
        local = self._local(path)
        size = local.stat().st_size
        digest = await self._in_thread(sha256_of, local, self._abandon)
        self.reporter.checked(path, size)
        return path if digest == self._sums[path] else None

    async def _look(self, path: str) -> RemoteFile | None:
        try:
            return await look(self._web, self._place, path)
        except (BadSizeError, MissingOnServerError) as error:
            self.result.failed[path] = error
            return None

    async def _take_up(self, remote: RemoteFile, *, complete_files: bool) -> _File:
        local = self._local(remote.path)
        own = local.stat().st_size if local.is_file() else None
        identity = remote.identity(self._place, self._sums[remote.path])
        part = await self._in_thread(
            lambda: PartialFile(local, identity, one_block=complete_files, proceed=self._abandon)
        )
        if part.note:
            self.reporter.note(f"{remote.path}: {part.note}")
        elif own is not None and own >= remote.size:
            self.reporter.note(f"{remote.path} does not have its published hash: it is fetched anew")
        return _File(remote, part, self)

    async def _fetch_all(self, files: Sequence[_File]) -> None:
        self.reporter.begin({f.remote.path: (f.remote.size, f.part.done) for f in files})
        if not files:
            return
        self._open = len(files)
        async with asyncio.TaskGroup() as group:
            for file in files:
                for block in file.part.blocks:
                    if not block.is_complete:
                        self._queue.put_nowait((file, block))
                if file.part.is_complete:
                    file.is_finishing = True
                    group.create_task(self._finish(file))
            workers = [group.create_task(self._work(group)) for _ in range(self._connections)]
            await self._all_settled.wait()
            for worker in workers:
                worker.cancel()

    async def _work(self, group: asyncio.TaskGroup) -> None:
        while True:
            file, block = await self._queue.get()
            try:
                while not block.is_complete and not file.is_settled:
                    await self._web.patiently(
                        lambda f=file, b=block: read_piece(self._web, self._place, f.remote, b, f),  # type: ignore[misc]
                        file.remote.path,
                    )
            except _OF_ONE_FILE as error:
                self._fail(file, error)
            if file.part.is_complete and not file.is_finishing:
                file.is_finishing = True
                group.create_task(self._finish(file))

    async def _finish(self, file: _File) -> None:
        path, part = file.remote.path, file.part
        await self._in_thread(part.sync)
        digest = await self._in_thread(lambda: sha256_of(part_path(part.path), self._abandon, is_ours=True))
        if digest == self._sums[path]:
            part.finish(_seconds(file.remote.last_modified))
            self.result.fetched.append(path)
            self.reporter.whole(path)
            self._settle(file)
            return
        again = await self._in_thread(part.damaged, self._abandon)
        why = "the disk lost some of it" if again else "its bytes are not those of its published hash"
        again = again or part.blocks
        # A file without bytes has no blocks, and nothing of it could be other at the next try.
        if file.anew >= _TRIES_ANEW or not again:
            self._fail(file, WrongHashError(f"{path}: {why}, after {file.anew + 1} tries. It is not kept"))
            return
        file.anew += 1
        file.is_finishing = False
        self.reporter.note(f"{path}: {why}. Fetching {'it' if again is part.blocks else 'that'} anew")
        for block in again:
            file.start_again(block)
            self._queue.put_nowait((file, block))

    def _fail(self, file: _File, error: EhrtrajError) -> None:
        if file.is_settled:
            return
        self.result.failed[file.remote.path] = error
        self.reporter.note(str(error))
        file.is_finishing = True
        file.part.discard()
        self._settle(file)

    def _settle(self, file: _File) -> None:
        file.is_settled = True
        self._open -= 1
        if not self._open:
            self._all_settled.set()


def _seconds(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
