"""The community's maps of MIMIC's items to LOINC, SNOMED and RxNorm, from MIT-LCP/mimic-code.

Which files, where they lie and the hash of each is data: `concept_maps.csv`. A file with another hash is not kept.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from ehrtraj.download.errors import MissingOnServerError, NetworkError, WrongHashError
from ehrtraj.download.projects import checked_base_url
from ehrtraj.download.remote import small_file
from ehrtraj.download.report import DownloadReporter
from ehrtraj.download.run import errors_in_words, run_async
from ehrtraj.download.web import Patience, Web
from ehrtraj.storage.files import private_files
from ehrtraj.storage.safe import refuse_link, write_atomically

MAPS_URL = "https://raw.githubusercontent.com/MIT-LCP/mimic-code/v2.4.0"
FOLDER = "concept_maps"
LICENCE = "LICENSE"
_MOST_BYTES = 4 << 20
_CONNECTIONS = 4


@dataclass(frozen=True)
class ConceptMap:
    """A file of mimic-code.

    Attributes:
        name: of the file.
        path: in the repository.
        size: in bytes.
        sha256: its hash.
    """

    name: str
    path: str
    size: int
    sha256: str


@cache
def concept_maps() -> tuple[ConceptMap, ...]:
    """All maps, and their licence."""
    with (files("ehrtraj.download") / "concept_maps.csv").open(encoding="utf-8") as handle:
        return tuple(
            ConceptMap(row["file"], row["path"], int(row["bytes"]), row["sha256"]) for row in csv.DictReader(handle)
        )


@dataclass(frozen=True)
class ConceptMapsResult:
    """Where the maps are.

    Attributes:
        folder: that holds them, for `ehrtraj build --concept-maps`.
        licence: its text.
        fetched: files that are new.
        there: files that were there before.
    """

    folder: Path
    licence: str
    fetched: tuple[str, ...]
    there: tuple[str, ...]


def fetch_concept_maps(
    to: str | Path = ".",
    *,
    url: str | None = None,
    timeout: float = Patience.timeout,
    retries: int = Patience.retries,
    reporter: DownloadReporter | None = None,
) -> ConceptMapsResult:
    """Fetch the maps into `concept_maps/` in a folder, each verified by its hash.

    Args:
        to: folder that receives `concept_maps/`.
        url: of a mirror of mimic-code v2.4.0, in place of the one on GitHub.
        timeout: seconds without a byte after which a connection counts as dead.
        retries: tries after the first that may bring nothing.
        reporter: is told of progress; silent by default.

    Raises:
        EhrtrajError: as `download`.
    """
    base = checked_base_url(url or MAPS_URL, "--maps-url")
    folder = Path(to).expanduser() / FOLDER
    there = tuple(m.name for m in concept_maps() if _is_there(folder, m))
    lacking = [m for m in concept_maps() if m.name not in there]
    if lacking:
        with private_files(), errors_in_words(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for each in lacking:
                refuse_link(folder / each.name)
            run_async(_fetch(lacking, folder, base, Patience(timeout, retries), reporter or DownloadReporter()))
    licence = (folder / LICENCE).read_text(encoding="utf-8")
    return ConceptMapsResult(folder, licence, tuple(m.name for m in lacking), there)


async def _fetch(
    lacking: list[ConceptMap], folder: Path, base: str, patience: Patience, reporter: DownloadReporter
) -> None:
    async with Web(base, _CONNECTIONS, patience, reporter) as web:
        for each in lacking:
            response = await small_file(web, f"{base}/{each.path}", _MOST_BYTES)
            if response.status_code == 404:
                raise MissingOnServerError(f"{web.host} does not have {each.path} ({base})")
            if response.status_code != 200:
                raise NetworkError(f"cannot fetch {each.path} from {web.host}: it answers {response.status_code}")
            if not _is_right(each, response.content):
                raise WrongHashError(
                    f"{base}/{each.path} is not the file of mimic-code v2.4.0: its SHA-256 is another. It is not kept"
                )
            write_atomically(folder / each.name, response.content)


def _is_there(folder: Path, each: ConceptMap) -> bool:
    path = folder / each.name
    return path.is_file() and path.stat().st_size <= _MOST_BYTES and _is_right(each, path.read_bytes())


def _is_right(each: ConceptMap, content: bytes) -> bool:
    if each.name == LICENCE:
        # A line end more or less is no other licence.
        content = content.rstrip() + b"\n"
    return hashlib.sha256(content).hexdigest() == each.sha256
