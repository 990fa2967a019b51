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
from ehrtraj.download.threads import Abandon
from ehrtraj.errors import ReleaseError
from ehrtraj.runtime.limits import capped_cpus

_SEARCH_DEPTH = 5
_WGETS_OWN = ("index.html", "robots.txt")
"""Files that `wget -r` leaves beside those of a release."""


@dataclass(frozen=True)
class VerifyResult:
    """What a check found, in the order of SHA256SUMS.txt.

    Attributes:
        folder: of the release.
        right: files with their published hash.
        missing: files that are not there.
        unfinished: those of them of which a part is there.
        broken: files with another hash, or that cannot be read.
        extra: files that the list does not name.
        bytes: that were read.
        seconds: wall time.
    """

    folder: Path
    right: tuple[str, ...]
    missing: tuple[str, ...]
    unfinished: tuple[str, ...]
    broken: tuple[str, ...]
    extra: tuple[str, ...]
    bytes: int
    seconds: float

    @property
    def is_complete(self) -> bool:
        """Whether every file is there with its published hash. Extra files do no harm."""
        return not self.missing and not self.broken


def find_releases(folder: Path) -> list[Path]:
    """Folders with a SHA256SUMS.txt: the one given, or those below it.

    Raises:
        ReleaseError: if there is none, or a folder cannot be read.
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
            f"there is no {SUMS_FILE} in {folder} or below it, so nothing says what belongs to it. `ehrtraj download` "
            "fetches it, and takes up what is there"
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
    """Compare a download with its SHA256SUMS.txt, several files at once.

    Args:
        folder: of the release, which holds SHA256SUMS.txt.
        tables: these only, as `labevents` or `hosp/labevents`.
        modules: these only, as `hosp`.
        max_cpus: threads that hash at once; all usable processors by default.
        reporter: is told of progress; silent by default.

    Raises:
        ReleaseError: if SHA256SUMS.txt is not there or cannot be read.
        SettingsError: if the release has no such table or module.
    """
    begun = time.monotonic()
    cpus, note = capped_cpus(max_cpus)
    root = Path(folder).expanduser()
    reporter = reporter or DownloadReporter()
    if note:
        reporter.note(note)
    sums = read_sums(root)
    wanted = choose(sums, listed(tables), listed(modules))
    present = [p for p in wanted if (root / p).is_file()]
    sizes = {p: (root / p).stat().st_size for p in present}
    reporter.checking(len(present), sum(sizes.values()))

    abandon = Abandon()

    def check(path: str) -> bool:
        try:
            right = sha256_of(root / path, abandon) == sums[path]
        except OSError:
            right = False
        reporter.checked(path, sizes[path])
        return right

    try:
        with ThreadPoolExecutor(cpus) as pool:
            # The largest first, so that none is left alone at the end.
            order = sorted(present, key=lambda p: -sizes[p])
            try:
                is_right = dict(zip(order, pool.map(check, order), strict=True))
            except BaseException:
                abandon.now()
                raise
    finally:
        reporter.close()
    missing = tuple(p for p in wanted if p not in sizes)
    return VerifyResult(
        folder=root,
        right=tuple(p for p in present if is_right[p]),
        missing=missing,
        unfinished=tuple(p for p in missing if (root / (p + PART_ENDING)).is_file()),
        broken=tuple(p for p in present if not is_right[p]),
        extra=tuple(_extra(root, sums)),
        bytes=sum(sizes.values()),
        seconds=time.monotonic() - begun,
    )


def _extra(root: Path, sums: dict[str, str]) -> Iterator[str]:
    """Files that belong neither to the release nor to what fetches it."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(d for d in folders if not d.startswith("."))
        for name in sorted(names):
            path = (Path(folder) / name).relative_to(root).as_posix()
            tools = name.startswith((".", *_WGETS_OWN)) or name.endswith((PART_ENDING, JOURNAL_ENDING))
            if path not in sums and path != SUMS_FILE and not tools:
                yield path
