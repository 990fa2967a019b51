"""Run a download, from its settings to a complete release on disk."""

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
from ehrtraj.download.projects import DownloadTarget, find_target
from ehrtraj.download.remote import list_of_files
from ehrtraj.download.report import DownloadReporter
from ehrtraj.download.sums import LOCK_FILE, SUMS_FILE, parse_sums
from ehrtraj.download.threads import DaemonExecutor, settle
from ehrtraj.download.web import PasswordRequiredError, Patience, Web
from ehrtraj.errors import EhrtrajError, OutputError, SettingsError
from ehrtraj.runtime.limits import capped_cpus
from ehrtraj.storage.files import private_files
from ehrtraj.storage.safe import locked_file, write_atomically

DEFAULT_CONNECTIONS = 8
MOST_CONNECTIONS = 16
"""PhysioNet refused connections when 24 were open (MIMIC_IV_MEDS, pull request 72)."""

T = TypeVar("T")


@dataclass(frozen=True)
class DownloadResult:
    """The result of a download.

    Attributes:
        folder: folder of the release.
        name: name of the project and release, as `mimiciv 3.1`.
        fetched: files that were downloaded.
        existing: files that were already complete.
        not_requested: files of the release that were not requested.
        received: bytes received.
        bytes: size of all requested files on disk.
        seconds: wall time.
    """

    folder: Path
    name: str
    fetched: tuple[str, ...]
    existing: tuple[str, ...]
    not_requested: tuple[str, ...]
    received: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class DownloadSettings:
    """Settings of a download.

    Attributes:
        connections: number of parallel connections, 1 to 16.
        patience: how long to wait for the server.
        complete_files: fetch each file in one piece.
        cpus: number of threads that compute hashes.
    """

    connections: int = DEFAULT_CONNECTIONS
    patience: Patience = field(default_factory=Patience)
    complete_files: bool = False
    cpus: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.connections <= MOST_CONNECTIONS:
            raise SettingsError(
                f"--connections is {self.connections}: it must be from 1 to {MOST_CONNECTIONS}, because PhysioNet "
                "refuses more"
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
    """Download a release from PhysioNet, and verify every file. The same as `ehrtraj download` on the command line.

    Args:
        project: `mimiciv`, `mimic-iv-ed`, `mimic-iv-note`, `mimic-iv-demo` or `mimic-iv-ed-demo`.
        release: version number; the newest known by default.
        user: name of the PhysioNet account, if the project requires one.
        to: folder in which to create `physionet.org/files/...`, as wget does.
        tables: only these tables, as `labevents` or `hosp/labevents`.
        modules: only these modules, as `hosp`.
        connections: number of parallel connections, 1 to 16.
        base_url: URL of a mirror; `https://physionet.org/files` by default.
        timeout: seconds without data after which a connection is considered dead.
        retries: retries without progress before the download fails.
        complete_files: fetch each file in one piece, for a server that ignores byte ranges.
        max_cpus: number of threads that compute hashes; all usable CPU cores by default.
        credentials: returns user name and password for a host; by default PHYSIONET_PASSWORD, ~/.netrc, or a prompt.
        reporter: receives progress; silent by default.

    Raises:
        EhrtrajError: if the download fails. The subclass and its exit code identify the problem, and the message
            explains what to do.
    """
    started = time.monotonic()
    with explain_write_errors(Path(to)):
        target = find_target(project, release, Path(to), base_url)
    cpus, note = capped_cpus(max_cpus)
    settings = DownloadSettings(connections, Patience(timeout, retries), complete_files, cpus)
    reporter = reporter or DownloadReporter()
    if note:
        reporter.note(note)
    try:
        work = _Download(target, settings, user, credentials, reporter)
        # The list is requested before anything is written: a wrong name or password leaves no files behind.
        listing, paths = work.choose(listed(tables), listed(modules))
        with private_files(), explain_write_errors(target.folder), _locked(target.folder):
            return work.run(listing, paths, started)
    finally:
        reporter.close()


class _Download:
    """The steps of one download."""

    def __init__(
        self,
        target: DownloadTarget,
        settings: DownloadSettings,
        user: str | None,
        credentials: Callable[[str, str | None], Credentials],
        reporter: DownloadReporter,
    ) -> None:
        self._target = target
        self._settings = settings
        self._user = user
        self._find_credentials = credentials
        self._reporter = reporter
        self._credentials: Credentials | None = None
        self._cookies: httpx.Cookies | None = None
        self._reached: set[str] = set()
        # Created once, because reading all certificates takes longer than a request.
        self._tls = httpx.create_ssl_context()

    @property
    def _name(self) -> str:
        return f"{self._target.project.name} {self._target.release}"

    def _sums(self, listing: bytes) -> dict[str, str]:
        return parse_sums(listing.decode("utf-8", errors="replace"), self._target.file_url(SUMS_FILE))

    def choose(self, tables: tuple[str, ...], modules: tuple[str, ...]) -> tuple[bytes, list[str]]:
        """Return the server's list of files, and the paths of the requested files."""
        listing = self._signed_in(self._list)
        return listing, choose(self._sums(listing), tables, modules, self._name)

    def run(self, listing: bytes, paths: list[str], started: float) -> DownloadResult:
        sums = self._sums(listing)
        self._save_list(listing)
        done = self._signed_in(lambda web: self._fetch(web, sums, paths))
        if done.failed:
            raise self._failure(done, paths)
        return DownloadResult(
            folder=self._target.folder,
            name=self._name,
            fetched=tuple(done.fetched),
            existing=tuple(done.existing),
            not_requested=tuple(sorted(set(sums) - set(paths))),
            received=done.received,
            bytes=sum((self._target.folder / p).stat().st_size for p in paths),
            seconds=time.monotonic() - started,
        )

    def _signed_in(self, action: Callable[[Web], Coroutine[Any, Any, T]]) -> T:
        """Run an action with the server, with user name and password if the server requires them.

        The user is asked for them here, outside of the event loop, so that Ctrl-C ends the prompt.
        """
        try:
            return run_async(self._with_web(action))
        except PasswordRequiredError:
            host = httpx.URL(self._target.url).host
            self._credentials = self._find_credentials(host, self._user)
            return run_async(self._with_web(action))

    async def _with_web(self, action: Callable[[Web], Coroutine[Any, Any, T]]) -> T:
        web = Web(
            self._target.url,
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
        return await list_of_files(web, self._target)

    async def _fetch(self, web: Web, sums: dict[str, str], paths: list[str]) -> Fetched:
        fetch = Fetch(web, self._target, sums, self._reporter, self._settings.connections, self._settings.cpus)
        return await fetch.run(paths, complete_files=self._settings.complete_files)

    def _save_list(self, listing: bytes) -> None:
        path = self._target.folder / SUMS_FILE
        if path.is_file() and path.stat().st_size == len(listing) and path.read_bytes() == listing:
            return
        if path.is_file():
            name, number = self._target.project.name, self._target.release
            if self._target.folder.absolute().parts[-2:] != (name, number):
                raise SettingsError(
                    f"{self._target.folder} contains another release than {name} {number}: its {SUMS_FILE} differs. "
                    "Choose another folder with --to"
                )
            self._reporter.note(
                f"{SUMS_FILE} on the server differs from the one in {self._target.folder}, which is replaced"
            )
        write_atomically(path, listing, is_locked=True)

    def _failure(self, done: Fetched, paths: list[str]) -> EhrtrajError:
        errors = list(done.failed.values())
        complete = len(paths) - len(errors)
        text = str(errors[0]) if len(errors) == 1 else "\n  ".join(["several files failed:", *map(str, errors)])
        rest = f"The other {complete} of {len(paths)} files are complete in {self._target.folder}"
        return type(errors[0])(f"{text}. {rest}")


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also in a notebook, which already runs an event loop.

    Raises:
        EhrtrajError: the first one, if several connections failed at once.
    """
    try:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(_stopped_by_signals(_without_waiting_for_threads(work)))
        return _in_separate_thread(work)
    except _StoppedError:
        raise KeyboardInterrupt from None
    except BaseExceptionGroup as group:
        raise _first_error(group) from group


class _StoppedError(Exception):
    """The process received a signal to stop."""


def _in_separate_thread(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the event loop of a separate thread, which Ctrl-C in this thread stops."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[T]]] = Future()
    result: Future[T] = Future()

    async def run() -> T:
        task = asyncio.ensure_future(_without_waiting_for_threads(work))
        started.set_result((asyncio.get_running_loop(), task))
        return await task

    thread = threading.Thread(target=lambda: settle(result, lambda: asyncio.run(run())), daemon=True)
    try:
        thread.start()
        return result.result()
    except KeyboardInterrupt:
        # Ctrl-C may arrive while the thread starts, or when the loop has just ended.
        with suppress(TimeoutError, RuntimeError):
            loop, task = started.result(timeout=1)
            loop.call_soon_threadsafe(task.cancel)
            wait([result])
        raise


async def _without_waiting_for_threads(work: Coroutine[Any, Any, T]) -> T:
    asyncio.get_running_loop().set_default_executor(DaemonExecutor())
    return await work


async def _stopped_by_signals(work: Coroutine[Any, Any, T]) -> T:
    """Let Ctrl-C and SIGTERM cancel the work, if this process handles these signals.

    Otherwise Python would raise KeyboardInterrupt in any running callback of the loop, and asyncio would log it.
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


def _first_error(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        known = [
            e for e in error.exceptions if isinstance(e, BaseExceptionGroup | EhrtrajError | PasswordRequiredError)
        ]
        error = (known or error.exceptions)[0]
    return error


@contextmanager
def explain_write_errors(folder: Path) -> Iterator[None]:
    """Replace an OSError of a failed write with an error that explains it."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskSpaceError(
                f"the disk of {folder} is full. Downloaded data is kept: free some space, then run the same command "
                "again to resume"
            ) from error
        raise OutputError(f"cannot write to {folder}: {error.strerror or error} ({error.filename})") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder, so that only one download writes to it. The lock ends with the process in any case."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked_file(folder / LOCK_FILE):
            yield
    except Timeout:
        raise OutputError(f"another download into {folder} is running: wait until it ends") from None
