"""Fetch the files of a release over several connections, several ranges of a file in parallel.

There is one event loop with one worker per connection. The workers take blocks from one queue, which begins with those
of the largest file. When all blocks of a file are complete, the file is hashed in a thread and renamed to its final
name.
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
from ehrtraj.download.remote import RemoteFile, inspect_file, read_piece
from ehrtraj.download.report import DownloadReporter
from ehrtraj.download.space import check_room
from ehrtraj.download.sums import sha256_of
from ehrtraj.download.threads import CancelToken
from ehrtraj.download.web import Web
from ehrtraj.errors import EhrtrajError
from ehrtraj.storage.safe import refuse_link

# Number of times that a file is fetched again before its hash is considered wrong for good.
_MOST_REFETCHES = 1
_FILE_ERRORS = (ChangedOnServerError, MissingOnServerError, WrongHashError)

T = TypeVar("T")


@dataclass
class Fetched:
    """The result of fetching files.

    Attributes:
        existing: files that were already complete.
        fetched: files that were completed now.
        failed: the error of each other file.
        received: bytes received.
    """

    existing: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    failed: dict[str, EhrtrajError] = field(default_factory=dict)
    received: int = 0


class _File:
    """A file that is being fetched."""

    def __init__(self, remote: RemoteFile, part: PartialFile, fetch: Fetch) -> None:
        self.remote = remote
        self.part = part
        self.refetches = 0
        self.is_finishing = False
        self.is_settled = False
        self._fetch = fetch

    def write(self, block: PartialBlock, data: bytes) -> None:
        if self.is_settled or len(data) > block.size - block.done:
            raise ChangedOnServerError(f"{self.remote.path}: the server sends more bytes than it announced")
        self.part.write(block, data)
        self._fetch.count(self.remote.path, len(data))

    def restart(self, block: PartialBlock) -> None:
        if self.is_settled:
            return
        self._fetch.reporter.received(self.remote.path, -block.done)
        self.part.reset(block)


class Fetch:
    """Fetches the files of one release.

    Attributes:
        reporter: receives progress.
        result: the result so far.
    """

    def __init__(
        self,
        web: Web,
        target: DownloadTarget,
        sums: dict[str, str],
        reporter: DownloadReporter,
        connections: int,
        cpus: int,
    ) -> None:
        self._web = web
        self._target = target
        self._sums = sums
        self._connections = connections
        self._cpus = asyncio.Semaphore(cpus)
        self._queue: asyncio.Queue[tuple[_File, PartialBlock]] = asyncio.Queue()
        self._all_settled = asyncio.Event()
        self._open = 0
        self._cancel_token = CancelToken()
        self.reporter = reporter
        self.result = Fetched()

    async def run(self, paths: Sequence[str], *, complete_files: bool) -> Fetched:
        """Fetch the files that are missing or incomplete.

        Args:
            paths: paths in the release.
            complete_files: fetch each file in one piece, for a server that ignores byte ranges.

        Raises:
            DiskSpaceError: if there is not enough space, before anything is fetched or written.
            OutputError: if a file would be written through a link.
            EhrtrajError: if the download cannot continue. Errors of single files are in the result.
        """
        files: list[_File] = []
        try:
            missing = await self._check_existing(paths)
            remotes = await self._all([lambda p=p: self._inspect(p) for p in missing])  # type: ignore[misc]
            found = sorted(filter(None, remotes), key=lambda r: -r.size)
            check_room((self._local(r.path), r.size) for r in found)
            for remote in found:
                files.append(await self._resume(remote, complete_files=complete_files))  # noqa: PERF401  # to be closed
            await self._fetch_all(files)
        finally:
            self._cancel_token.cancel()
            for file in files:
                file.part.close()
        return self.result

    def count(self, path: str, count: int) -> None:
        """Count received bytes of a file."""
        self.result.received += count
        self.reporter.received(path, count)

    def _local(self, path: str) -> Path:
        return self._target.folder / path

    async def _all(self, actions: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
        """Run actions concurrently, as many as there are connections, and return their results in order."""
        slots = asyncio.Semaphore(self._connections)

        async def run_one(action: Callable[[], Awaitable[T]]) -> T:
            async with slots:
                return await action()

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run_one(action)) for action in actions]
        return [task.result() for task in tasks]

    async def _in_thread(self, action: Callable[..., T], *arguments: object) -> T:
        async with self._cpus:
            return await asyncio.to_thread(action, *arguments)

    async def _check_existing(self, paths: Sequence[str]) -> list[str]:
        """Return the files that are missing or do not have their published hash."""
        present = [p for p in paths if self._local(p).is_file()]
        self.reporter.checking(len(present), sum(self._local(p).stat().st_size for p in present))
        intact = set(await self._all([lambda p=p: self._path_if_intact(p) for p in present]))  # type: ignore[misc]
        self.result.existing = [p for p in paths if p in intact]
        for path in self.result.existing:
            # A run that was killed right after it renamed a file to its final name leaves the journal behind.
            remove_part(self._local(path))
        missing = [p for p in paths if p not in intact]
        for path in missing:
            refuse_link(self._local(path))
        return missing

    async def _path_if_intact(self, path: str) -> str | None:
        local = self._local(path)
        size = local.stat().st_size
        digest = await self._in_thread(sha256_of, local, self._cancel_token)
        self.reporter.checked(path, size)
        return path if digest == self._sums[path] else None

    async def _inspect(self, path: str) -> RemoteFile | None:
        try:
            return await inspect_file(self._web, self._target, path)
        except (BadSizeError, MissingOnServerError) as error:
            self.result.failed[path] = error
            return None

    async def _resume(self, remote: RemoteFile, *, complete_files: bool) -> _File:
        local = self._local(remote.path)
        existing_size = local.stat().st_size if local.is_file() else None
        identity = remote.identity(self._target, self._sums[remote.path])
        part = await self._in_thread(
            lambda: PartialFile(local, identity, one_block=complete_files, check_cancelled=self._cancel_token)
        )
        if part.note:
            self.reporter.note(f"{remote.path}: {part.note}")
        elif existing_size is not None and existing_size >= remote.size:
            self.reporter.note(f"{remote.path} does not have its published hash: it is fetched again")
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
                    await self._web.with_retries(
                        lambda f=file, b=block: read_piece(self._web, self._target, f.remote, b, f),  # type: ignore[misc]
                        file.remote.path,
                    )
            except _FILE_ERRORS as error:
                self._fail(file, error)
            if file.part.is_complete and not file.is_finishing:
                file.is_finishing = True
                group.create_task(self._finish(file))

    async def _finish(self, file: _File) -> None:
        path, part = file.remote.path, file.part
        await self._in_thread(part.sync)
        digest = await self._in_thread(lambda: sha256_of(part_path(part.path), self._cancel_token, refuse_links=True))
        if digest == self._sums[path]:
            part.finish(_timestamp(file.remote.last_modified))
            self.result.fetched.append(path)
            self.reporter.completed(path)
            self._mark_settled(file)
            return
        damaged = await self._in_thread(part.damaged_blocks, self._cancel_token)
        reason = "some of its bytes were lost on the disk" if damaged else "it does not have its published hash"
        blocks = damaged or part.blocks
        # An empty file has no blocks, so that fetching it again cannot change it.
        if file.refetches >= _MOST_REFETCHES or not blocks:
            attempts = f"{file.refetches + 1} attempt{'s' if file.refetches else ''}"
            self._fail(file, WrongHashError(f"{path}: {reason}, after {attempts}. The file was deleted"))
            return
        file.refetches += 1
        file.is_finishing = False
        self.reporter.note(f"{path}: {reason}. Fetching {'those bytes' if damaged else 'the file'} again")
        for block in blocks:
            file.restart(block)
            self._queue.put_nowait((file, block))

    def _fail(self, file: _File, error: EhrtrajError) -> None:
        if file.is_settled:
            return
        self.result.failed[file.remote.path] = error
        self.reporter.note(str(error))
        file.is_finishing = True
        file.part.discard()
        self._mark_settled(file)

    def _mark_settled(self, file: _File) -> None:
        file.is_settled = True
        self._open -= 1
        if not self._open:
            self._all_settled.set()


def _timestamp(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
