"""One download from its settings to a whole release on disk."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
from filelock import Timeout

from ehrtraj import interrupt
from ehrtraj.download.choose import choose, listed
from ehrtraj.download.credentials import Credentials, find_credentials
from ehrtraj.download.errors import DiskSpaceError
from ehrtraj.download.fetch import Fetch, Fetched
from ehrtraj.download.projects import DownloadTarget, place
from ehrtraj.download.remote import list_of_files
from ehrtraj.download.report import DownloadReporter
from ehrtraj.download.sums import LOCK_FILE, SUMS_FILE, parse_sums
from ehrtraj.download.threads import DaemonExecutor, settle
from ehrtraj.download.web import PasswordWantedError, Patience, Web
from ehrtraj.errors import EhrtrajError, OutputError, SettingsError
from ehrtraj.runtime.limits import capped_cpus
from ehrtraj.storage.files import private_files
from ehrtraj.storage.safe import locked_file, write_atomically

DEFAULT_CONNECTIONS = 8
MOST_CONNECTIONS = 16
"""PhysioNet refused connections where 24 were open (MIMIC_IV_MEDS, pull request 72)."""

T = TypeVar("T")


@dataclass(frozen=True)
class DownloadResult:
    """What a download did.

    Attributes:
        folder: of the release.
        name: of the project and release, as `mimiciv 3.1`.
        fetched: files that are new.
        there: files that were whole before.
        left_out: files of the release that were not asked for.
        received: bytes that came.
        bytes: of all wanted files on disk.
        seconds: wall time.
    """

    folder: Path
    name: str
    fetched: tuple[str, ...]
    there: tuple[str, ...]
    left_out: tuple[str, ...]
    received: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class DownloadSettings:
    """How to fetch.

    Attributes:
        connections: open at once, 1 to 16.
        patience: how long the server is waited for.
        complete_files: each file in one piece.
        cpus: threads that hash at once.
    """

    connections: int = DEFAULT_CONNECTIONS
    patience: Patience = field(default_factory=Patience)
    complete_files: bool = False
    cpus: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.connections <= MOST_CONNECTIONS:
            raise SettingsError(
                f"--connections is {self.connections}: it takes 1 to {MOST_CONNECTIONS}, since PhysioNet refuses more"
            )
        if self.patience.timeout <= 0 or self.patience.retries < 0:
            raise SettingsError("--timeout must be more than 0 seconds, and --retries 0 or more")


def download(
    project: str,
    *,
    release: str | None = None,
    user: str | None = None,
    to: str | Path = ".",
    tables: str | Iterable[str] | None = None,
    modules: str | Iterable[str] | None = None,
    connections: int = DEFAULT_CONNECTIONS,
    base_url: str | None = None,
    timeout: float = Patience.timeout,
    retries: int = Patience.retries,
    complete_files: bool = False,
    max_cpus: int | None = None,
    credentials: Callable[[str, str | None], Credentials] = find_credentials,
    reporter: DownloadReporter | None = None,
) -> DownloadResult:
    """Fetch a release from PhysioNet, whole and verified. The same as `ehrtraj download` on the command line.

    Args:
        project: `mimiciv`, `mimic-iv-ed`, `mimic-iv-note`, `mimic-iv-demo` or `mimic-iv-ed-demo`.
        release: its number; the newest that is known by default.
        user: name of the PhysioNet account; it is needed where the server asks for one.
        to: folder that receives `physionet.org/files/...`, as wget would.
        tables: these only, as `labevents` or `hosp/labevents`.
        modules: these only, as `hosp`.
        connections: open at once, 1 to 16.
        base_url: of a mirror, in place of `https://physionet.org/files`.
        timeout: seconds without a byte after which a connection counts as dead.
        retries: tries after the first that may bring nothing.
        complete_files: each file in one piece, for a server that ignores ranges.
        max_cpus: threads that hash at once; all usable processors by default.
        credentials: gives name and password for a host; by default PHYSIONET_PASSWORD, ~/.netrc, or a prompt.
        reporter: is told of progress; silent by default.

    Raises:
        EhrtrajError: with a message that names the way out; its subclasses, and their exit codes, tell what failed.
    """
    begun = time.monotonic()
    with errors_in_words(Path(to)):
        where = place(project, release, Path(to), base_url)
    cpus, note = capped_cpus(max_cpus)
    settings = DownloadSettings(connections, Patience(timeout, retries), complete_files, cpus)
    reporter = reporter or DownloadReporter()
    if note:
        reporter.note(note)
    try:
        work = _Download(where, settings, user, credentials, reporter)
        # Before anything is made on disk: a wrong name or password leaves nothing behind.
        listing, wanted = work.choose(listed(tables), listed(modules))
        with private_files(), errors_in_words(where.folder), _locked(where.folder):
            return work.run(listing, wanted, begun)
    finally:
        reporter.close()


class _Download:
    """The steps of one download."""

    def __init__(
        self,
        where: DownloadTarget,
        settings: DownloadSettings,
        user: str | None,
        credentials: Callable[[str, str | None], Credentials],
        reporter: DownloadReporter,
    ) -> None:
        self._place = where
        self._settings = settings
        self._user = user
        self._find_credentials = credentials
        self._reporter = reporter
        self._credentials: Credentials | None = None
        self._cookies: httpx.Cookies | None = None
        self._reached: set[str] = set()
        # Made once: reading all certificates takes longer than a request.
        self._tls = httpx.create_ssl_context()

    @property
    def _name(self) -> str:
        return f"{self._place.project.name} {self._place.release}"

    def _sums(self, listing: bytes) -> dict[str, str]:
        return parse_sums(listing.decode("utf-8", errors="replace"), self._place.file_url(SUMS_FILE))

    def choose(self, tables: tuple[str, ...], modules: tuple[str, ...]) -> tuple[bytes, list[str]]:
        """The server's list, and the paths that are wanted of it."""
        listing = self._signed_in(self._list)
        return listing, choose(self._sums(listing), tables, modules, self._name)

    def run(self, listing: bytes, wanted: list[str], begun: float) -> DownloadResult:
        sums = self._sums(listing)
        self._keep_list(listing)
        done = self._signed_in(lambda web: self._fetch(web, sums, wanted))
        if done.failed:
            raise self._failure(done, wanted)
        return DownloadResult(
            folder=self._place.folder,
            name=self._name,
            fetched=tuple(done.fetched),
            there=tuple(done.there),
            left_out=tuple(sorted(set(sums) - set(wanted))),
            received=done.received,
            bytes=sum((self._place.folder / p).stat().st_size for p in wanted),
            seconds=time.monotonic() - begun,
        )

    def _signed_in(self, action: Callable[[Web], Coroutine[Any, Any, T]]) -> T:
        """Do something with the server, with name and password once it asks who it is.

        They are asked for here, outside of the event loop, where Ctrl-C ends the prompt.
        """
        try:
            return run_async(self._with_web(action))
        except PasswordWantedError:
            host = httpx.URL(self._place.url).host
            self._credentials = self._find_credentials(host, self._user)
            return run_async(self._with_web(action))

    async def _with_web(self, action: Callable[[Web], Coroutine[Any, Any, T]]) -> T:
        web = Web(
            self._place.url,
            self._settings.connections,
            self._settings.patience,
            self._reporter,
            self._credentials,
            self._cookies,
            self._tls,
            self._reached,
        )
        async with web:
            try:
                return await action(web)
            finally:
                self._cookies = web.cookies

    async def _list(self, web: Web) -> bytes:
        return await list_of_files(web, self._place)

    async def _fetch(self, web: Web, sums: dict[str, str], wanted: list[str]) -> Fetched:
        fetch = Fetch(web, self._place, sums, self._reporter, self._settings.connections, self._settings.cpus)
        return await fetch.run(wanted, complete_files=self._settings.complete_files)

    def _keep_list(self, listing: bytes) -> None:
        path = self._place.folder / SUMS_FILE
        if path.is_file() and path.stat().st_size == len(listing) and path.read_bytes() == listing:
            return
        if path.is_file():
            name, number = self._place.project.name, self._place.release
            if self._place.folder.absolute().parts[-2:] != (name, number):
                raise SettingsError(
                    f"{self._place.folder} holds another release than {name} {number}: its {SUMS_FILE} is another. "
                    "Choose another folder with --to"
                )
            self._reporter.note(
                f"{SUMS_FILE} on the server differs from the one in {self._place.folder}: it is replaced"
            )
        write_atomically(path, listing, is_locked=True)

    def _failure(self, done: Fetched, wanted: list[str]) -> EhrtrajError:
        errors = list(done.failed.values())
        whole = len(wanted) - len(errors)
        text = str(errors[0]) if len(errors) == 1 else "\n  ".join(["several files failed:", *map(str, errors)])
        return type(errors[0])(f"{text}. The other {whole} of {len(wanted)} files are whole in {self._place.folder}")


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end, also from within a notebook, which has an event loop of its own at work.

    Raises:
        EhrtrajError: the first one, where several connections failed at once.
    """
    try:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(_stopped_by_signals(_leaving_threads_behind(work)))
        return _in_thread_of_its_own(work)
    except _StoppedError:
        raise KeyboardInterrupt from None
    except BaseExceptionGroup as group:
        raise _first(group) from group


class _StoppedError(Exception):
    """The process was told to end."""


def _in_thread_of_its_own(work: Coroutine[Any, Any, T]) -> T:
    """Run it in a loop of its own, which Ctrl-C in this thread stops."""
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = Future()
    result: Future[T] = Future()

    async def run() -> T:
        task = asyncio.ensure_future(_leaving_threads_behind(work))
        begun.set_result((asyncio.get_running_loop(), task))
        return await task

    thread = threading.Thread(target=lambda: settle(result, lambda: asyncio.run(run())), daemon=True)
    try:
        thread.start()
        return result.result()
    except KeyboardInterrupt:
        # It may come while the thread starts, or when the loop has just ended.
        with suppress(TimeoutError, RuntimeError):
            loop, task = begun.result(timeout=1)
            loop.call_soon_threadsafe(task.cancel)
            wait([result])
        raise


async def _leaving_threads_behind(work: Coroutine[Any, Any, T]) -> T:
    asyncio.get_running_loop().set_default_executor(DaemonExecutor())
    return await work


async def _stopped_by_signals(work: Coroutine[Any, Any, T]) -> T:
    """Let Ctrl-C and SIGTERM cancel the work, where they are to end the process in a tidy way.

    Python would raise KeyboardInterrupt in whatever callback of the loop is at work, and asyncio would tell of it.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    signals = interrupt.handled()
    if not (in_main_thread and signals) or os.name == "nt":
        return await work
    loop, task, is_stopped = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()

    def stop() -> None:
        is_stopped.set()
        interrupt.request()
        if task is not None:
            task.cancel()

    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        return await work
    except BaseException:
        if is_stopped.is_set():
            raise _StoppedError from None
        raise
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        interrupt.install()


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        known = [e for e in error.exceptions if isinstance(e, BaseExceptionGroup | EhrtrajError | PasswordWantedError)]
        error = (known or error.exceptions)[0]
    return error


@contextmanager
def errors_in_words(folder: Path) -> Iterator[None]:
    """Say in plain words what a failed write means."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskSpaceError(
                f"the disk that holds {folder} is full. What was fetched is kept: free some space and run the same "
                "command again"
            ) from error
        raise OutputError(f"cannot write to {folder}: {error.strerror or error} ({error.filename})") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One download into a folder at a time. The lock goes with the process, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked_file(folder / LOCK_FILE):
            yield
    except Timeout:
        raise OutputError(f"another download into {folder} is at work: wait for it") from None
