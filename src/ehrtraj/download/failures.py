"""Interpret failed requests: whether a retry makes sense, and what the user can do."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from ehrtraj.download.errors import CertificateError, NetworkError

_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}
# Texts of h11 and httpcore for a connection that ends too early. Their other errors are about invalid answers.
_DROPPED = re.compile(r"disconnected|closed connection")


@dataclass(frozen=True)
class OptionNames:
    """Options of the command line that affect the requests, for the advice in messages.

    Attributes:
        url: option with the URL of a mirror.
        connections: option with the number of connections; None if the number is fixed.
    """

    url: str = "--base-url"
    connections: str | None = "--connections"


class TransientError(Exception):
    """A failure that a retry may resolve.

    Attributes:
        status: HTTP status, or 0 if the connection failed.
        pause: seconds that the server asks to wait.
        unreached: host to which no connection could be made; empty if there was a connection.
        advice: what the user can do, for the last message; empty if a retry is all.
        is_garbled: whether the answer is not valid HTTP, which a retry rarely changes.
    """

    def __init__(
        self,
        message: str,
        status: int = 0,
        pause: float | None = None,
        unreached: str = "",
        advice: str = "",
        *,
        is_garbled: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.pause = pause
        self.unreached = unreached
        self.advice = advice
        self.is_garbled = is_garbled


def to_transient_error(error: httpx.TransportError, options: OptionNames) -> TransientError:
    """Convert an error of a connection to a transient error.

    Args:
        error: the error.
        options: options to recommend.

    Raises:
        CertificateError: if the certificate is the cause, so that a retry cannot help.
        NetworkError: if the address is the cause, so that a retry cannot help.
    """
    url = error.request.url
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise CertificateError(
                f"the certificate of {url.host} cannot be verified: {cause.verify_message}. No password "
                "was sent. If a proxy decrypts https, set SSL_CERT_FILE to the file of its certificate"
            ) from None
    if isinstance(error, httpx.UnsupportedProtocol):
        raise NetworkError(f"cannot fetch {url}: {error}") from None
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return _no_connection(url, error, causes, options)
    if isinstance(error, httpx.RemoteProtocolError) and not _DROPPED.search(str(error)):
        return TransientError(f"{url.host} sent an answer that is not valid HTTP ({error})", is_garbled=True)
    kind = {
        httpx.ReadTimeout: "no answer in time",
        httpx.ReadError: "the connection was dropped",
        httpx.RemoteProtocolError: "the connection was dropped",
    }.get(type(error), type(error).__name__)
    return TransientError(f"{kind} ({error})" if str(error) else kind)


def _no_connection(
    url: httpx.URL, error: httpx.TransportError, causes: list[BaseException], options: OptionNames
) -> TransientError:
    check = f"Check your network connection, the address in {options.url} and the proxy in HTTPS_PROXY, if you set them"
    advice = check
    reason = str(error) or "no answer in time"
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            reason = f"the host name {url.host} cannot be resolved: {cause.strerror}"
            advice = f"{check}, and the DNS settings of this machine"
        elif isinstance(cause, ConnectionRefusedError):
            reason = f"{url.host} refuses connections on port {url.port or (443 if url.scheme == 'https' else 80)}"
        elif isinstance(cause, OSError) and cause.errno in _UNREACHABLE:
            reason = f"{url.host} cannot be reached: {cause.strerror}"
    return TransientError(f"no connection: {reason}", unreached=url.host, advice=advice)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its chain of causes. Each address of a host fails with a separate error in a group."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield from _causes(each)
        error = error.__cause__ or error.__context__
