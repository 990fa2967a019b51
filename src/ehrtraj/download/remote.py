"""What the server has: its list of files, each file's size and version, and pieces of it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Protocol

import httpx

from ehrtraj.download.errors import (
    BadSizeError,
    ChangedOnServerError,
    MissingOnServerError,
    NetworkError,
    NoAccessError,
    NoSuchReleaseError,
    RangeIgnoredError,
)
from ehrtraj.download.failures import PassingError
from ehrtraj.download.part import Identity, PartialBlock
from ehrtraj.download.projects import HOST, DownloadTarget
from ehrtraj.download.sums import MOST_LIST_BYTES, SUMS_FILE
from ehrtraj.download.web import Web

MOST_FILE_BYTES = 256 << 30
"""The largest table of MIMIC-IV has about 3 GB."""
# Numbers of more digits than Python reads are no sizes either.
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,20})-([0-9]{1,20})/([0-9]{1,20})")
_SIZE = re.compile(r"[0-9]{1,20}")
# What is kept of a file's identity has to fit into the head of its journal.
_LONGEST_MARK = 100
_LONGEST_URL = 300


class Taker(Protocol):
    """Where the bytes of a block go."""

    def write(self, block: PartialBlock, data: bytes) -> None:
        """Add some to it."""

    def start_again(self, block: PartialBlock) -> None:
        """Throw away what it has."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on the server.

    Attributes:
        path: in the release's folder.
        size: in bytes.
        etag: the server's mark of this version; empty where it gives none.
        last_modified: its date as the server writes it; empty where it gives none.
    """

    path: str
    size: int
    etag: str
    last_modified: str

    def identity(self, place: DownloadTarget, sha256: str) -> Identity:
        """What a part of it has to agree with."""
        url = place.file_url(self.path)
        if len(url) > _LONGEST_URL or not url.isascii():
            url = hashlib.sha256(url.encode()).hexdigest()
        return Identity(self.size, sha256, url, self.etag, self.last_modified)


async def small_file(web: Web, url: str, most: int = MOST_LIST_BYTES) -> httpx.Response:
    """A small file at once.

    Raises:
        NetworkError: if it is not small.
    """

    async def read() -> httpx.Response:
        async with web.get(url) as response:
            body = bytearray()
            async for data in response.aiter_raw():
                body += data
                if len(body) > most:
                    raise NetworkError(f"{url} is larger than {most:,} bytes: it is not what it should be")
            return httpx.Response(response.status_code, content=bytes(body), request=response.request)

    return await web.patiently(read, url.rpartition("/")[2])


async def list_of_files(web: Web, place: DownloadTarget) -> bytes:
    """SHA256SUMS.txt of a release.

    Raises:
        NoAccessError: if the account may not have the release.
        NoSuchReleaseError: if there is none.
    """
    response = await small_file(web, place.file_url(SUMS_FILE))
    if response.status_code == 404:
        raise NoSuchReleaseError(
            f"{response.request.url.host} has no {place.project.name} {place.release} ({place.url}): its releases are "
            f"listed at https://{HOST}/content/{place.project.name}/"
        )
    _check(response, place, SUMS_FILE)
    if response.status_code != 200:
        raise NetworkError(f"cannot fetch {place.file_url(SUMS_FILE)}: the server answers {response.status_code}")
    return response.content


def _check(response: httpx.Response, place: DownloadTarget, path: str) -> None:
    if response.status_code == 403:
        raise NoAccessError(
            f"{response.url.host} refuses {place.project.name} {place.release} to this account (403). Sign the data "
            f"use agreement at the end of {place.page}#files, with the training and credentials that the page asks "
            "for, then run the same command again"
        )
    if response.status_code in (404, 410):
        raise MissingOnServerError(f"{path}: {SUMS_FILE} names it, but the server does not have it")


async def look(web: Web, place: DownloadTarget, path: str) -> RemoteFile:
    """Size and version of a file, without its content.

    Raises:
        NoAccessError: if the account may not have it.
        MissingOnServerError: if it is not there.
        BadSizeError: if the server gives a size that no file has.
        NetworkError: if the server does not tell.
    """
    url = place.file_url(path)

    async def ask(method: str = "HEAD") -> RemoteFile | None:
        async with web.get(url, method=method) as response:
            _check(response, place, path)
            length = response.headers.get("Content-Length", "")
            if response.status_code != 200 or not length:
                if method == "HEAD":
                    return None
                raise NetworkError(f"{web.host} does not tell how large {path} is ({response.status_code})")
            if not _SIZE.fullmatch(length) or int(length) > MOST_FILE_BYTES:
                raise BadSizeError(
                    f"{web.host} gives {shown(length)} bytes as the size of {path}, which no file of a release has (at "
                    f"most {MOST_FILE_BYTES:,}): it is not fetched. Use another --base-url, or try again later"
                )
            return RemoteFile(path, int(length), _mark(response, "ETag"), _mark(response, "Last-Modified"))

    found = await web.patiently(ask, path)
    found = found or await web.patiently(lambda: ask("GET"), path)
    assert found is not None  # noqa: S101  # only HEAD is answered with None
    return found


async def read_piece(web: Web, place: DownloadTarget, remote: RemoteFile, block: PartialBlock, take: Taker) -> None:
    """Fetch what a block lacks, or some of it: a line that drops after some bytes is no error.

    Args:
        web: the client.
        place: of the release.
        remote: what the file was when it was looked at.
        block: of the file.
        take: receives the bytes.

    Raises:
        PassingError: if nothing came.
        ChangedOnServerError: if the file is another one by now.
        RangeIgnoredError: if the server cannot send a part of a file.
    """
    at = block.start + block.done
    everything = block.size == remote.size and not block.done
    headers = {} if everything else {"Range": f"bytes={at}-{block.start + block.size - 1}"}
    # Only a strong mark can tell whether two pieces are of one file (RFC 9110, 13.1.5).
    if headers and (mark := remote.etag if remote.etag[:2] not in ("W/", "") else remote.last_modified):
        headers["If-Range"] = mark
    furthest = max(block.furthest, block.done)
    async with web.get(place.file_url(remote.path), headers) as response:
        _check(response, place, remote.path)
        _check_version(response, remote)
        if response.status_code == 200 and not everything:
            if block.size != remote.size:
                raise _range_ignored(web)
            take.start_again(block)
        elif response.status_code == 206:
            _check_range(response, remote, block, at)
        elif response.status_code != 200:
            raise NetworkError(f"cannot fetch {remote.path}: the server answers {response.status_code}")
        dropped: httpx.TransportError | None = None
        try:
            async for data in response.aiter_raw():
                take.write(block, data)
                web.progress += block.done > furthest
        except httpx.TransportError as error:
            dropped = error
    block.furthest = max(furthest, block.done)
    if block.furthest == furthest:
        raise dropped or PassingError("the answer is empty")


def _mark(response: httpx.Response, name: str) -> str:
    """A header that marks a version of a file; empty where it is no such mark."""
    value: str = response.headers.get(name, "")
    return value if len(value) <= _LONGEST_MARK and value.isascii() and value.isprintable() else ""


def shown(text: str) -> str:
    """Text of a server, for a message: in ASCII, and not too much of it."""
    return ascii(text if len(text) <= _LONGEST_MARK else f"{text[:_LONGEST_MARK]}...")


def _check_version(response: httpx.Response, remote: RemoteFile) -> None:
    """See whether the file is still the one that was looked at."""
    etag, modified = _mark(response, "ETag"), _mark(response, "Last-Modified")
    if etag and remote.etag:
        changed = etag.removeprefix("W/") != remote.etag.removeprefix("W/")
    else:
        changed = bool(modified and remote.last_modified) and modified != remote.last_modified
    if response.status_code == 200:
        changed = changed or _contradicts(response, remote.size)
    if changed or response.status_code == 416:
        raise _changed(remote)


def _contradicts(response: httpx.Response, size: int) -> bool:
    """Whether the answer announces another number of bytes."""
    length = response.headers.get("Content-Length", "")
    return bool(length) and (not _SIZE.fullmatch(length) or int(length) != size)


def _check_range(response: httpx.Response, remote: RemoteFile, block: PartialBlock, at: int) -> None:
    given = response.headers.get("Content-Range", "it does not say which")
    match = _CONTENT_RANGE.fullmatch(given)
    if match is None or int(match[1]) != at or not at <= int(match[2]) < block.start + block.size:
        raise NetworkError(
            f"{response.url.host} sends another part of {remote.path} than was asked for: {shown(given)}"
        )
    if int(match[3]) != remote.size:
        raise _changed(remote)
    if _contradicts(response, int(match[2]) - at + 1):
        raise NetworkError(
            f"{response.url.host} contradicts itself about a part of {remote.path}: the range {shown(given)} has not "
            f"{shown(response.headers['Content-Length'])} bytes"
        )


def _changed(remote: RemoteFile) -> ChangedOnServerError:
    return ChangedOnServerError(
        f"{remote.path} changed on the server while it was fetched. What was had of it is thrown away: run the same "
        "command again for the new one"
    )


def _range_ignored(web: Web) -> RangeIgnoredError:
    return RangeIgnoredError(
        f"{web.host} ignores ranges: it sends the whole file where a part was asked for, so that nothing could be "
        "resumed. Use another --base-url, or fetch each file in one piece with --whole-files"
    )
