"""What a failed request means: whether another try makes sense, and what the user can do."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Iterator

import httpx

from ehrtraj.download.errors import CertificateError, NetworkError

_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN}
# What h11 and httpcore write where a connection ends too soon; their other errors are about what was sent.
_DROPPED = re.compile(r"disconnected|closed connection")
_CHECK = "Check your network connection, the address in --base-url and the proxy in HTTPS_PROXY, if you set them"


class PassingError(Exception):
    """Something that may be gone at the next try.

    Attributes:
        status: the server's, 0 where it was the line.
        pause: seconds that the server asks to wait.
        unreached: host that no connection could be made to; empty where there was one.
        advice: what the user can do, for the last message; empty where trying again is all.
        is_garbled: the answer is not valid HTTP, which another try seldom changes.
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


def passing(error: httpx.TransportError) -> PassingError:
    """What a failed connection means, if it may pass.

    Raises:
        CertificateError: if it will not, since it is the certificate.
        NetworkError: if it is the address.
    """
    url = error.request.url
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise CertificateError(
                f"the certificate of {url.host} cannot be verified: {cause.verify_message}. No password "
                "was sent. Behind a proxy that opens https, name its certificate in SSL_CERT_FILE"
            ) from None
    if isinstance(error, httpx.UnsupportedProtocol):
        raise NetworkError(f"cannot fetch {url}: {error}") from None
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return _no_connection(url, error, causes)
    if isinstance(error, httpx.RemoteProtocolError) and not _DROPPED.search(str(error)):
        return PassingError(f"{url.host} sends an answer that is not valid ({error})", is_garbled=True)
    kind = {
        httpx.ReadTimeout: "no answer in time",
        httpx.ReadError: "the connection was dropped",
        httpx.RemoteProtocolError: "the connection was dropped",
    }.get(type(error), type(error).__name__)
    return PassingError(f"{kind} ({error})" if str(error) else kind)


def _no_connection(url: httpx.URL, error: httpx.TransportError, causes: list[BaseException]) -> PassingError:
    advice = _CHECK
    why = str(error) or "no answer in time"
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            why = f"the host name {url.host} cannot be resolved: {cause.strerror}"
            advice = f"{_CHECK}, and the DNS settings of this machine"
        elif isinstance(cause, ConnectionRefusedError):
            why = f"{url.host} refuses connections on port {url.port or (443 if url.scheme == 'https' else 80)}"
        elif isinstance(cause, OSError) and cause.errno in _UNREACHABLE:
            why = f"{url.host} cannot be reached: {cause.strerror}"
    return PassingError(f"no connection: {why}", unreached=url.host, advice=advice)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what caused it, and what caused that; each address of a host fails by itself."""
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield from _causes(each)
        error = error.__cause__ or error.__context__
