"""What the server has: its list of files, each file's size and version, and pieces of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import httpx

from ehrtraj.download.errors import (
    ChangedOnServerError,
    MissingOnServerError,
    NetworkError,
    NoAccessError,
    NoSuchReleaseError,
    RangeIgnoredError,
)
from ehrtraj.download.part import Block, Identity
from ehrtraj.download.projects import HOST, Place
from ehrtraj.download.sums import SUMS_FILE
from ehrtraj.download.web import PassingError, Web

# The list of the largest project has far less than a thousand lines.
MOST_LIST_BYTES = 16 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class Taker(Protocol):
    """Where the bytes of a block go."""

    def write(self, block: Block, data: bytes) -> None:
        """Add some to it."""

    def start_again(self, block: Block) -> None:
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

    def identity(self, place: Place, sha256: str) -> Identity:
        """What a part of it has to agree with."""
        return Identity(self.size, sha256, place.file_url(self.path), self.etag, self.last_modified)


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


async def list_of_files(web: Web, place: Place) -> bytes:
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


def _check(response: httpx.Response, place: Place, path: str) -> None:
    if response.status_code == 403:
        raise NoAccessError(
            f"{response.url.host} refuses {place.project.name} {place.release} to this account (403). Sign the data "
            f"use agreement at the end of {place.page}#files, with the training and credentials that the page asks "
            "for, then run the same command again"
        )
    if response.status_code in (404, 410):
        raise MissingOnServerError(f"{path}: {SUMS_FILE} names it, but the server does not have it")


async def look(web: Web, place: Place, path: str) -> RemoteFile:
    """Size and version of a file, without its content.

    Raises:
        NoAccessError: if the account may not have it.
        MissingOnServerError: if it is not there.
        NetworkError: if the server does not tell.
    """
    url = place.file_url(path)

    async def ask(method: str = "HEAD") -> RemoteFile | None:
        async with web.get(url, method=method) as response:
            _check(response, place, path)
            length = response.headers.get("Content-Length", "")
            if response.status_code != 200 or not length.isdigit():
                if method == "HEAD":
                    return None
                raise NetworkError(f"{web.host} does not tell how large {path} is ({response.status_code})")
            etag = response.headers.get("ETag", "")
            return RemoteFile(path, int(length), etag, response.headers.get("Last-Modified", ""))

    found = await web.patiently(ask, path)
    found = found or await web.patiently(lambda: ask("GET"), path)
    assert found is not None  # noqa: S101  # only HEAD is answered with None
    return found


async def read_piece(web: Web, place: Place, remote: RemoteFile, block: Block, take: Taker) -> None:
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
    before = block.done
    async with web.get(place.file_url(remote.path), headers) as response:
        _check(response, place, remote.path)
        _check_version(response, remote)
        if response.status_code == 200 and not everything:
            if block.size != remote.size:
                raise _range_ignored(web)
            take.start_again(block)
            before = 0
        elif response.status_code == 206:
            _check_range(response, remote, at)
        elif response.status_code != 200:
            raise NetworkError(f"cannot fetch {remote.path}: the server answers {response.status_code}")
        try:
            async for data in response.aiter_raw():
                take.write(block, data)
        except httpx.TransportError:
            if block.done == before:
                raise
    if block.done == before:
        raise PassingError("the answer is empty")


def _check_version(response: httpx.Response, remote: RemoteFile) -> None:
    """See whether the file is still the one that was looked at."""
    etag, modified = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
    if etag and remote.etag:
        changed = etag.removeprefix("W/") != remote.etag.removeprefix("W/")
    else:
        changed = bool(modified and remote.last_modified) and modified != remote.last_modified
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        changed = changed or (length.isdigit() and int(length) != remote.size)
    if changed or response.status_code == 416:
        raise _changed(remote)


def _check_range(response: httpx.Response, remote: RemoteFile, at: int) -> None:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != at:
        raise NetworkError(
            f"{response.url.host} sends another part of {remote.path} than was asked for: "
            f"{response.headers.get('Content-Range', 'it does not say which')}"
        )
    if int(match[3]) != remote.size:
        raise _changed(remote)


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
