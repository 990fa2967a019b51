"""Read from the server: its list of files, the size and version of each file, and pieces of a file."""

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
from ehrtraj.download.failures import TransientError
from ehrtraj.download.part import Identity, PartialBlock
from ehrtraj.download.projects import HOST, DownloadTarget
from ehrtraj.download.sums import MOST_LIST_BYTES, SUMS_FILE
from ehrtraj.download.web import Web

MOST_FILE_BYTES = 256 << 30
"""The largest table of MIMIC-IV has about 3 GB."""
# At most 20 digits: Python refuses to convert very long numbers, and no file is so large.
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,20})-([0-9]{1,20})/([0-9]{1,20})")
_SIZE = re.compile(r"[0-9]{1,20}")
# The identity of a file must fit into the header of its journal.
_LONGEST_VALIDATOR = 100
_LONGEST_URL = 300


class BlockWriter(Protocol):
    """Receives the bytes of a block."""

    def write(self, block: PartialBlock, data: bytes) -> None:
        """Append bytes to the block."""

    def restart(self, block: PartialBlock) -> None:
        """Discard the bytes of the block."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on the server.

    Attributes:
        path: path in the folder of the release.
        size: size in bytes.
        etag: the server's ETag for this version; empty if it sends none.
        last_modified: its date as the server sends it; empty if it sends none.
    """

    path: str
    size: int
    etag: str
    last_modified: str

    def identity(self, target: DownloadTarget, sha256: str) -> Identity:
        """Return the identity with which a part of the file must agree."""
        url = target.file_url(self.path)
        if len(url) > _LONGEST_URL or not url.isascii():
            url = hashlib.sha256(url.encode()).hexdigest()
        return Identity(self.size, sha256, url, self.etag, self.last_modified)


async def small_file(web: Web, url: str, most: int = MOST_LIST_BYTES) -> httpx.Response:
    """Fetch a small file in one request.

    Raises:
        NetworkError: if it is larger than `most` bytes.
    """

    async def read() -> httpx.Response:
        async with web.get(url) as response:
            body = bytearray()
            async for data in response.aiter_raw():
                body += data
                if len(body) > most:
                    raise NetworkError(f"{url} is larger than {most:,} bytes: it cannot be the expected file")
            return httpx.Response(response.status_code, content=bytes(body), request=response.request)

    return await web.with_retries(read, url.rpartition("/")[2])


async def list_of_files(web: Web, target: DownloadTarget) -> bytes:
    """Fetch the SHA256SUMS.txt of a release.

    Raises:
        NoAccessError: if the account has no access to the release.
        NoSuchReleaseError: if the server does not have the release.
    """
    response = await small_file(web, target.file_url(SUMS_FILE))
    if response.status_code == 404:
        raise NoSuchReleaseError(
            f"{response.request.url.host} has no {target.project.name} {target.release} ({target.url}): for a list of "
            f"its releases, see https://{HOST}/content/{target.project.name}/"
        )
    _check(response, target, SUMS_FILE)
    if response.status_code != 200:
        raise NetworkError(f"cannot fetch {target.file_url(SUMS_FILE)}: the server answered {response.status_code}")
    return response.content


def _check(response: httpx.Response, target: DownloadTarget, path: str) -> None:
    if response.status_code == 403:
        raise NoAccessError(
            f"{response.url.host} does not give this account access to {target.project.name} {target.release} (403). "
            f"Sign the data use agreement at the end of {target.page}#files, complete the training and credentialing "
            "that the page asks for, then run the same command again"
        )
    if response.status_code in (404, 410):
        raise MissingOnServerError(f"the server does not have {path}, although {SUMS_FILE} lists it")


async def inspect_file(web: Web, target: DownloadTarget, path: str) -> RemoteFile:
    """Request the size and version of a file, without its content.

    Raises:
        NoAccessError: if the account has no access to it.
        MissingOnServerError: if the server does not have it.
        BadSizeError: if the server reports a size that no file can have.
        NetworkError: if the server does not report a size.
    """
    url = target.file_url(path)

    async def ask(method: str = "HEAD") -> RemoteFile | None:
        async with web.get(url, method=method) as response:
            _check(response, target, path)
            length = response.headers.get("Content-Length", "")
            if response.status_code != 200 or not length:
                if method == "HEAD":
                    return None
                raise NetworkError(f"{web.host} does not report the size of {path} ({response.status_code})")
            if not _SIZE.fullmatch(length) or int(length) > MOST_FILE_BYTES:
                raise BadSizeError(
                    f"{web.host} reports a size of {quoted(length)} bytes for {path}, but no file of a release has "
                    f"more than {MOST_FILE_BYTES:,}: it is not fetched. Use another --base-url, or try again later"
                )
            return RemoteFile(path, int(length), _validator(response, "ETag"), _validator(response, "Last-Modified"))

    found = await web.with_retries(ask, path)
    found = found or await web.with_retries(lambda: ask("GET"), path)
    assert found is not None  # noqa: S101  # only HEAD can return None
    return found


async def read_piece(
    web: Web, target: DownloadTarget, remote: RemoteFile, block: PartialBlock, writer: BlockWriter
) -> None:
    """Fetch the missing bytes of a block, or some of them: a connection dropped after some bytes is not an error.

    Args:
        web: the client.
        target: the release.
        remote: the file as it was when it was inspected.
        block: block of the file.
        writer: receives the bytes.

    Raises:
        TransientError: if no bytes were received.
        ChangedOnServerError: if the file has changed.
        RangeIgnoredError: if the server ignores byte ranges.
    """
    at = block.start + block.done
    everything = block.size == remote.size and not block.done
    headers = {} if everything else {"Range": f"bytes={at}-{block.start + block.size - 1}"}
    # Only a strong validator can show that two pieces belong to the same file (RFC 9110, 13.1.5).
    if headers and (validator := remote.etag if remote.etag[:2] not in ("W/", "") else remote.last_modified):
        headers["If-Range"] = validator
    furthest = max(block.furthest, block.done)
    async with web.get(target.file_url(remote.path), headers) as response:
        _check(response, target, remote.path)
        _check_version(response, remote)
        if response.status_code == 200 and not everything:
            if block.size != remote.size:
                raise _range_ignored(web)
            writer.restart(block)
        elif response.status_code == 206:
            _check_range(response, remote, block, at)
        elif response.status_code != 200:
            raise NetworkError(f"cannot fetch {remote.path}: the server answered {response.status_code}")
        dropped: httpx.TransportError | None = None
        try:
            async for data in response.aiter_raw():
                writer.write(block, data)
                web.progress += block.done > furthest
        except httpx.TransportError as error:
            dropped = error
    block.furthest = max(furthest, block.done)
    if block.furthest == furthest:
        raise dropped or TransientError("the answer is empty")


def _validator(response: httpx.Response, name: str) -> str:
    """Return a header that identifies a version of a file, or an empty string if the header is missing or unusable."""
    value: str = response.headers.get(name, "")
    return value if len(value) <= _LONGEST_VALIDATOR and value.isascii() and value.isprintable() else ""


def quoted(text: str) -> str:
    """Quote text from a server for a message: in ASCII, and truncated."""
    return ascii(text if len(text) <= _LONGEST_VALIDATOR else f"{text[:_LONGEST_VALIDATOR]}...")


def _check_version(response: httpx.Response, remote: RemoteFile) -> None:
    """Check that the file is still the one that was inspected."""
    etag, modified = _validator(response, "ETag"), _validator(response, "Last-Modified")
    if etag and remote.etag:
        changed = etag.removeprefix("W/") != remote.etag.removeprefix("W/")
    else:
        changed = bool(modified and remote.last_modified) and modified != remote.last_modified
    if response.status_code == 200:
        changed = changed or _contradicts(response, remote.size)
    if changed or response.status_code == 416:
        raise _changed(remote)


def _contradicts(response: httpx.Response, size: int) -> bool:
    """Whether the answer announces a different number of bytes."""
    length = response.headers.get("Content-Length", "")
    return bool(length) and (not _SIZE.fullmatch(length) or int(length) != size)


def _check_range(response: httpx.Response, remote: RemoteFile, block: PartialBlock, at: int) -> None:
    content_range = response.headers.get("Content-Range", "no Content-Range")
    match = _CONTENT_RANGE.fullmatch(content_range)
    if match is None or int(match[1]) != at or not at <= int(match[2]) < block.start + block.size:
        raise NetworkError(
            f"{response.url.host} sent a different range of {remote.path} than requested: {quoted(content_range)}"
        )
    if int(match[3]) != remote.size:
        raise _changed(remote)
    if _contradicts(response, int(match[2]) - at + 1):
        raise NetworkError(
            f"{response.url.host} contradicts itself about a range of {remote.path}: {quoted(content_range)} does not "
            f"have {quoted(response.headers['Content-Length'])} bytes"
        )


def _changed(remote: RemoteFile) -> ChangedOnServerError:
    return ChangedOnServerError(
        f"{remote.path} changed on the server while it was being fetched. The received part was deleted: run the same "
        "command again to fetch the new version"
    )


def _range_ignored(web: Web) -> RangeIgnoredError:
    return RangeIgnoredError(
        f"{web.host} ignores byte ranges: it sends the complete file when a range is requested, so that downloads "
        "cannot be resumed. Use another --base-url, or fetch each file in one piece with --whole-files"
    )
