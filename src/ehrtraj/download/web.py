"""Requests to one server: authentication, redirects, retries, and the meaning of refusals.

httpx sends the requests, with HTTP/1.1, because HTTP/2 would send all ranges over one throttled connection. tenacity
schedules the retries.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Self, TypeVar

import httpx
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_random_exponential

from ehrtraj.download.credentials import Credentials
from ehrtraj.download.errors import NetworkError, PasswordError, ServerBusyError
from ehrtraj.download.failures import OptionNames, TransientError, to_transient_error
from ehrtraj.download.projects import is_safe
from ehrtraj.download.report import DownloadReporter
from ehrtraj.version import __version__

# PhysioNet accepts a user name and password only from programs whose User-Agent begins with `Wget/`, and answers others
# with 403 (http_auth_allowed in MIT-LCP/physionet-build, project/utility.py; its issue 1434). The rest identifies us.
USER_AGENT = f"Wget/1.21 (compatible; ehrtraj/{__version__})"

MOST_REDIRECTS = 5
LONGEST_PAUSE = 3600
"""Maximum number of seconds to wait if the server asks to wait."""
_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 60
_LONGEST_WHILE_OTHERS_RECEIVE = 5
"""Maximum seconds between attempts of one connection while others receive bytes, since the server can be reached."""
_FIRST_CONTACT = 5.0
"""Seconds of attempts to reach a host that never answered: its name is wrong, or there is no network."""
_LONGEST_FIRST_BACKOFF = 1.0
_LONGEST_CONNECT = 20.0
_RETRIES_OF_GARBLED = 2
_MOST_COOKIES = 20
_MOST_HOSTS = 50
_BUSY = {429, 503}
_TRANSIENT = {408, 425, 500, 502, 504, *_BUSY}

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server.

    Attributes:
        timeout: seconds without data after which a connection is considered dead.
        retries: retries without progress before a request fails.
    """

    timeout: float = 60.0
    retries: int = 12


class PasswordRequiredError(Exception):
    """The server requires a password, and none was given yet."""


class Web:
    """A client of one server, for use with `async with`.

    Attributes:
        progress: number of new pieces received over all connections; pieces received twice do not count.
    """

    def __init__(
        self,
        base: str,
        connections: int,
        patience: Patience,
        reporter: DownloadReporter,
        credentials: Credentials | None = None,
        cookies: httpx.Cookies | None = None,
        tls: ssl.SSLContext | None = None,
        reached: set[str] | None = None,
        options: OptionNames = OptionNames(),  # noqa: B008  # immutable
    ) -> None:
        self._origin = httpx.URL(base)
        self._credentials = credentials
        self._patience = patience
        self._reporter = reporter
        self._options = options
        self._not_before = 0.0
        # Hosts that answered at least once. Clients can share this set.
        self._reached = set() if reached is None else reached
        self.progress = 0
        self._client = httpx.AsyncClient(
            # A compressed answer would have different bytes, a different length and a weak ETag.
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", "Accept": "*/*"},
            cookies=cookies,
            verify=tls or True,
            timeout=httpx.Timeout(patience.timeout, connect=min(patience.timeout, _LONGEST_CONNECT), pool=None),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        )

    @property
    def host(self) -> str:
        """Host name of the server."""
        return self._origin.host

    @property
    def cookies(self) -> httpx.Cookies:
        """Session cookies of the server, to pass to the next client. They are kept only in memory."""
        return self._client.cookies

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def with_retries(self, action: Callable[[], Awaitable[T]], what: str) -> T:
        """Run an action, and retry it after a pause if it fails with a transient error.

        Args:
            action: raises TransientError, or an error of httpx, if a retry makes sense.
            what: name of the requested file, for messages.

        Raises:
            NetworkError: if all attempts failed.
            ServerBusyError: if the server was busy at the last attempt.
            CertificateError: if the server's certificate cannot be verified.
        """
        tries = _Tries(self)
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TransientError),
            stop=tries.is_exhausted,
            wait=tries.wait,
            before_sleep=lambda state: self._about_to_wait(state, what),
            reraise=True,
        )
        try:
            return await retrying(_translate_errors, action, self._options)
        except TransientError as error:
            count = retrying.statistics["attempt_number"]
            if error.status in _BUSY:
                fewer = f", or with fewer {self._options.connections}" if self._options.connections else ""
                raise ServerBusyError(
                    f"cannot fetch {what}: {self.host} is busy ({error}, {count} attempts). Downloaded data is kept: "
                    f"run the same command again later{fewer}"
                ) from None
            advice = f"{error.advice}. " if error.advice else ""
            raise NetworkError(
                f"cannot fetch {what} from {self.host}: {error} ({count} attempts). {advice}Downloaded data is kept: "
                "run the same command again to resume"
            ) from None

    @property
    def retries(self) -> int:
        """Retries without progress before a request fails."""
        return self._patience.retries

    def is_reached(self, host: str) -> bool:
        """Whether a host answered at least once."""
        return host in self._reached

    def _about_to_wait(self, state: RetryCallState, what: str) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._reporter.retrying(what, str(error), state.upcoming_sleep)

    @asynccontextmanager
    async def get(
        self, url: str, headers: dict[str, str] | None = None, method: str = "GET"
    ) -> AsyncIterator[httpx.Response]:
        """Send a request, follow redirects, and yield the response, whose body is not read yet.

        Raises:
            TransientError: if the server is busy or has a temporary error.
            PasswordRequiredError: if the server requires a password and none was given.
            PasswordError: if the server does not accept the user name and password.
            NetworkError: if the server redirects too often, or to an address that is not safe.
        """
        request = self._client.build_request(method, url, headers=headers)
        for _ in range(MOST_REDIRECTS + 1):
            await self._pause()
            response = await self._send(request)
            try:
                if response.next_request is None:
                    self._check_status(response)
                    yield response
                    return
                request = response.next_request
            finally:
                await response.aclose()
            if not is_safe(str(request.url)):
                raise NetworkError(
                    f"{self.host} redirects to {request.url.scheme}://{request.url.host}, which is not encrypted. "
                    "Nothing was sent there"
                )
        raise NetworkError(f"{self.host} redirects {url} more than {MOST_REDIRECTS} times")

    async def _send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and wait for the headers of the response, with bounded time and memory."""
        try:
            # The timeout of a read does not help: a server may send a header byte by byte, or endless `100 Continue`.
            async with asyncio.timeout(3 * self._patience.timeout):
                response = await self._client.send(request, auth=self._auth_for(request.url), stream=True)
        except TimeoutError:
            raise TransientError("no complete answer in time") from None
        except httpx.InvalidURL as error:
            raise NetworkError(f"{request.url.host} redirects to an invalid address: {error}") from None
        if len(self._reached) < _MOST_HOSTS:
            self._reached.add(request.url.host)
        if len(self._client.cookies.jar) > _MOST_COOKIES:
            self._client.cookies.clear()
        return response

    def is_origin(self, url: httpx.URL) -> bool:
        """Whether a URL is on this server, and not on another one to which it redirects."""
        origin = self._origin
        return (url.scheme, url.host, url.port) == (origin.scheme, origin.host, origin.port)

    def _auth_for(self, url: httpx.URL) -> httpx.BasicAuth | None:
        """Return the credentials for this server, and none for servers to which it redirects."""
        if self._credentials is None or not self.is_origin(url):
            return None
        return httpx.BasicAuth(self._credentials.user, self._credentials.password)

    async def _pause(self) -> None:
        """Wait as long as the server asked: one Retry-After delays all connections."""
        while (remaining := self._not_before - time.monotonic()) > 0:
            # Sleep in short steps, because the clock may jump while a laptop is suspended.
            await asyncio.sleep(min(remaining, 5.0))

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in _TRANSIENT:
            pause = _retry_after(response.headers.get("Retry-After"))
            if pause is not None and pause > LONGEST_PAUSE:
                raise ServerBusyError(
                    f"{response.url.host} asks to retry in {pause / 3600:.1f} hours ({status}). Downloaded data is "
                    "kept: run the same command again then"
                )
            if pause is not None:
                self._not_before = max(self._not_before, time.monotonic() + pause)
            raise TransientError(f"it answered {status} {response.reason_phrase}".rstrip(), status, pause)
        if status == 401:
            if not self.is_origin(response.url):
                raise NetworkError(
                    f"{self.host} redirects to {response.url.host}, which requires a password. It was not sent there"
                )
            if self._credentials is None:
                raise PasswordRequiredError
            raise PasswordError(
                f"{self.host} does not accept this password (from {self._credentials.origin}) for the account "
                f"{self._credentials.user}: check that you can log in at https://{self.host}/login/"
            )


class _Tries:
    """The attempts of one request: whether to retry, and how long to wait.

    The waits grow only while this request receives nothing: the caller starts a new request after each that received
    bytes.
    """

    def __init__(self, web: Web) -> None:
        self._web = web
        self._begun = time.monotonic()
        self._without_progress = 0
        self._progress = web.progress
        self._others_receive = False

    def is_exhausted(self, state: RetryCallState) -> bool:
        """Whether to stop retrying. Called once after each attempt."""
        error = _error_of(state)
        self._others_receive = self._web.progress > self._progress
        self._progress = self._web.progress
        # A connection that drops while others receive bytes does not show that the server is unreachable.
        self._without_progress += not (self._others_receive and not error.status)
        is_late = time.monotonic() - self._begun >= _FIRST_CONTACT
        is_hopeless = error.is_garbled and state.attempt_number > _RETRIES_OF_GARBLED
        return is_hopeless or (self._is_first_contact(error) and is_late) or self._without_progress > self._web.retries

    def wait(self, state: RetryCallState) -> float:
        """Return the seconds until the next attempt: longer each time, and random, to spread the connections."""
        error = _error_of(state)
        if error.pause is not None:
            return error.pause + random.uniform(0, 1)  # noqa: S311  # not a secret
        longest: float = _LONGEST_BACKOFF
        if self._is_first_contact(error):
            longest = _LONGEST_FIRST_BACKOFF
        elif self._others_receive and not error.status:
            longest = _LONGEST_WHILE_OTHERS_RECEIVE
        return wait_random_exponential(multiplier=_FIRST_BACKOFF, max=longest)(state)

    def _is_first_contact(self, error: TransientError) -> bool:
        return bool(error.unreached) and not self._web.is_reached(error.unreached)


def _error_of(state: RetryCallState) -> TransientError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, TransientError)  # noqa: S101  # no other error is retried
    return error


async def _translate_errors(action: Callable[[], Awaitable[T]], options: OptionNames) -> T:
    """Run an action, and convert errors of httpx to errors of this package."""
    try:
        return await action()
    except httpx.TransportError as error:
        raise to_transient_error(error, options) from error


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which is a number or a date."""
    if value is None:
        return None
    if value.isascii() and value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
