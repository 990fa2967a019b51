"""Compare a download with SHA256SUMS.txt."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ehrtraj.download.choose import choose, listed
from ehrtraj.download.report import DownloadReporter
from ehrtraj.download.sums import JOURNAL_ENDING, PART_ENDING, SUMS_FILE, read_sums, sha256_of
from ehrtraj.download.threads import CancelToken
from ehrtraj.errors import ReleaseError
from ehrtraj.runtime.limits import capped_cpus

_SEARCH_DEPTH = 5
_WGET_FILES = ("index.html", "robots.txt")
"""Additional files that `wget -r` leaves in a release."""


@dataclass(frozen=True)
class VerifyResult:
    """The result of a verification; files are in the order of SHA256SUMS.txt.

    Attributes:
        folder: folder of the release.
        verified: files that have their published hash.
        missing: files that do not exist.
        unfinished: those missing files that are partly downloaded.
        broken: files that have another hash, or cannot be read.
        extra: files that are not in the list.
        bytes: number of bytes read.
        seconds: wall time.
    """

    folder: Path
    verified: tuple[str, ...]
    missing: tuple[str, ...]
    unfinished: tuple[str, ...]
    broken: tuple[str, ...]
    extra: tuple[str, ...]
    bytes: int
    seconds: float

    @property
    def is_complete(self) -> bool:
        """Whether every file exists and has its published hash. Extra files are allowed."""
        return not self.missing and not self.broken


def find_releases(folder: Path) -> list[Path]:
    """Return the folders that contain a SHA256SUMS.txt: the given folder, or those below it.

    Raises:
        ReleaseError: if there is no such folder, or a folder cannot be read.
    """
    folder = folder.expanduser()
    try:
        if not folder.is_dir():
            raise ReleaseError(f"no such folder: {folder}")
        found = list(_releases_in(folder, _SEARCH_DEPTH))
    except OSError as error:
        raise ReleaseError(f"cannot read {folder}: {error.strerror} ({error.filename})") from None
    if not found:
        raise ReleaseError(
            f"there is no {SUMS_FILE} in {folder} or below it, so the expected files are unknown. Run `ehrtraj "
            "download` to fetch it; intact files are not downloaded again"
        )
    return found


def _releases_in(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / SUMS_FILE).is_file():
        yield folder
    elif depth:
        for child in sorted(c for c in folder.iterdir() if c.is_dir() and not c.name.startswith(".")):
            yield from _releases_in(child, depth - 1)


def verify(
    folder: str | Path,
    *,
    tables: str | Iterable[str] | None = None,
    modules: str | Iterable[str] | None = None,
    max_cpus: int | None = None,
    reporter: DownloadReporter | None = None,
) -> VerifyResult:
    """Compare a download with its SHA256SUMS.txt, several files in parallel.

    Args:
        folder: folder of the release, which contains SHA256SUMS.txt.
        tables: only these tables, as `labevents` or `hosp/labevents`.
        modules: only these modules, as `hosp`.
        max_cpus: number of threads that compute hashes; all usable CPU cores by default.
        reporter: receives progress; silent by default.

    Raises:
        ReleaseError: if SHA256SUMS.txt does not exist or cannot be read.
        SettingsError: if the release has no such table or module.
    """
    started = time.monotonic()
    cpus, note = capped_cpus(max_cpus)
    root = Path(folder).expanduser()
    reporter = reporter or DownloadReporter()
    if note:
        reporter.note(note)
    sums = read_sums(root)
    paths = choose(sums, listed(tables), listed(modules))
    present = [p for p in paths if (root / p).is_file()]
    sizes = {p: (root / p).stat().st_size for p in present}
    reporter.checking(len(present), sum(sizes.values()))

    cancel_token = CancelToken()

    def check(path: str) -> bool:
        try:
            has_hash = sha256_of(root / path, cancel_token) == sums[path]
        except OSError:
            has_hash = False
        reporter.checked(path, sizes[path])
        return has_hash

    try:
        with ThreadPoolExecutor(cpus) as pool:
            # The largest first, so that the last file to end is a small one.
            order = sorted(present, key=lambda p: -sizes[p])
            try:
                is_verified = dict(zip(order, pool.map(check, order), strict=True))
            except BaseException:
                cancel_token.cancel()
                raise
    finally:
        reporter.close()
    missing = tuple(p for p in paths if p not in sizes)
    return VerifyResult(
        folder=root,
        verified=tuple(p for p in present if is_verified[p]),
        missing=missing,
        unfinished=tuple(p for p in missing if (root / (p + PART_ENDING)).is_file()),
        broken=tuple(p for p in present if not is_verified[p]),
        extra=tuple(_extra(root, sums)),
        bytes=sum(sizes.values()),
        seconds=time.monotonic() - started,
    )


def _extra(root: Path, sums: dict[str, str]) -> Iterator[str]:
    """Yield the files that belong neither to the release nor to the programs that download it."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(d for d in folders if not d.startswith("."))
        for name in sorted(names):
            path = (Path(folder) / name).relative_to(root).as_posix()
            of_program = name.startswith((".", *_WGET_FILES)) or name.endswith((PART_ENDING, JOURNAL_ENDING))
            if path not in sums and path != SUMS_FILE and not of_program:
                yield path
