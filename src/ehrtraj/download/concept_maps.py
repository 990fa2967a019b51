"""Download the community's maps from MIMIC's items to LOINC, SNOMED and RxNorm, from MIT-LCP/mimic-code.

`concept_maps.csv` lists the files with their paths and hashes. A file with a different hash is not kept.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from ehrtraj.download.errors import MissingOnServerError, NetworkError, WrongHashError
from ehrtraj.download.failures import OptionNames
from ehrtraj.download.projects import checked_base_url
from ehrtraj.download.remote import small_file
from ehrtraj.download.report import DownloadReporter
from ehrtraj.download.run import explain_write_errors, run_async
from ehrtraj.download.web import Patience, Web
from ehrtraj.storage.files import private_files
from ehrtraj.storage.safe import refuse_link, write_atomically

MAPS_URL = "https://raw.githubusercontent.com/MIT-LCP/mimic-code/v2.4.0"
FOLDER = "concept_maps"
LICENCE = "LICENSE"
_MOST_BYTES = 4 << 20
_CONNECTIONS = 4
_OPTIONS = OptionNames(url="--maps-url", connections=None)


@dataclass(frozen=True)
class ConceptMap:
    """A file of mimic-code.

    Attributes:
        name: file name.
        path: path in the repository.
        size: size in bytes.
        sha256: SHA-256 of the content.
    """

    name: str
    path: str
    size: int
    sha256: str


@cache
def concept_maps() -> tuple[ConceptMap, ...]:
    """Return all maps, and their licence."""
    with (files("ehrtraj.download") / "concept_maps.csv").open(encoding="utf-8") as handle:
        return tuple(
            ConceptMap(row["file"], row["path"], int(row["bytes"]), row["sha256"]) for row in csv.DictReader(handle)
        )


@dataclass(frozen=True)
class ConceptMapsResult:
    """The result of fetching the maps.

    Attributes:
        folder: folder that contains them, for `ehrtraj build --concept-maps`.
        licence: text of their licence.
        fetched: files that were downloaded.
        existing: files that were already there.
    """

    folder: Path
    licence: str
    fetched: tuple[str, ...]
    existing: tuple[str, ...]


def fetch_concept_maps(
    to: str | Path = ".",
    *,
    url: str | None = None,
    timeout: float = Patience.timeout,
    retries: int = Patience.retries,
    reporter: DownloadReporter | None = None,
) -> ConceptMapsResult:
    """Fetch the maps into `concept_maps/` in a folder, and verify the hash of each.

    Args:
        to: folder in which to create `concept_maps/`.
        url: URL of a mirror of mimic-code v2.4.0; GitHub by default.
        timeout: seconds without data after which a connection is considered dead.
        retries: retries without progress before the download fails.
        reporter: receives progress; silent by default.

    Raises:
        EhrtrajError: as in `download`.
    """
    base = checked_base_url(url or MAPS_URL, _OPTIONS.url)
    folder = Path(to).expanduser() / FOLDER
    existing = tuple(m.name for m in concept_maps() if _exists_intact(folder, m))
    missing = [m for m in concept_maps() if m.name not in existing]
    if missing:
        with private_files(), explain_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for each in missing:
                refuse_link(folder / each.name)
            run_async(_fetch(missing, folder, base, Patience(timeout, retries), reporter or DownloadReporter()))
    licence = (folder / LICENCE).read_text(encoding="utf-8")
    return ConceptMapsResult(folder, licence, tuple(m.name for m in missing), existing)


async def _fetch(
    missing: list[ConceptMap], folder: Path, base: str, patience: Patience, reporter: DownloadReporter
) -> None:
    async with Web(base, _CONNECTIONS, patience, reporter, options=_OPTIONS) as web:
        for each in missing:
            response = await small_file(web, f"{base}/{each.path}", _MOST_BYTES)
            if response.status_code == 404:
                raise MissingOnServerError(f"{web.host} does not have {each.path} ({base})")
            if response.status_code != 200:
                raise NetworkError(f"cannot fetch {each.path} from {web.host}: it answered {response.status_code}")
            if not _is_intact(each, response.content):
                raise WrongHashError(
                    f"{base}/{each.path} is not the file of mimic-code v2.4.0: its SHA-256 differs. It was not saved"
                )
            write_atomically(folder / each.name, response.content)


def _exists_intact(folder: Path, each: ConceptMap) -> bool:
    path = folder / each.name
    return path.is_file() and path.stat().st_size <= _MOST_BYTES and _is_intact(each, path.read_bytes())


def _is_intact(each: ConceptMap, content: bytes) -> bool:
    if each.name == LICENCE:
        # A missing or additional line end does not change the licence.
        content = content.rstrip() + b"\n"
    return hashlib.sha256(content).hexdigest() == each.sha256
