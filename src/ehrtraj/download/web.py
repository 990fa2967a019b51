"""Requests to one server: who may see the password, what is tried again and when, and what each refusal means.

httpx does the requests (HTTP/1.1, since HTTP/2 would put all ranges on the one connection that is throttled), tenacity
the waiting.
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
from ehrtraj.download.failures import PassingError, passing
from ehrtraj.download.projects import is_safe
from ehrtraj.download.report import DownloadReporter
from ehrtraj.version import __version__

# PhysioNet takes a name and password with a request only from programs whose name begins so, and answers others 403
# (http_auth_allowed in MIT-LCP/physionet-build, project/utility.py; its issue 1434). What follows says who it is.
USER_AGENT = f"Wget/1.21 (compatible; ehrtraj/{__version__})"

MOST_REDIRECTS = 5
LONGEST_PAUSE = 3600
"""Seconds that are waited at most when the server says how long to wait."""
_FIRST_BACKOFF = 0.5
_LONGEST_BACKOFF = 60
_LONGEST_WHILE_OTHERS_RECEIVE = 5
"""Seconds between tries of one connection while bytes arrive over others: the server is there."""
_FIRST_CONTACT = 5.0
"""Seconds that a host which never answered is tried: its name is wrong, or there is no network."""
_LONGEST_FIRST_BACKOFF = 1.0
_LONGEST_CONNECT = 20.0
_RETRIES_OF_GARBLED = 2
_MOST_COOKIES = 20
_MOST_HOSTS = 50
_BUSY = {429, 503}
_PASSING = {408, 425, 500, 502, 504, *_BUSY}

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Attributes:
        timeout: seconds without a byte after which a connection counts as dead.
        retries: tries after the first that may bring nothing before it is given up.
    """

    timeout: float = 60.0
    retries: int = 12


class PasswordWantedError(Exception):
    """The server asks who it is, and nobody was named yet."""


class Web:
    """A client of one server, for use with `async with`.

    Attributes:
        progress: grows with each piece of a file that was not there before, whatever connection it came over.
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
    ) -> None:
        self._origin = httpx.URL(base)
        self._credentials = credentials
        self._patience = patience
        self._reporter = reporter
        self._not_before = 0.0
        # Hosts that answered once, also to an earlier client that has this set.
        self._reached = set() if reached is None else reached
        self.progress = 0
        self._client = httpx.AsyncClient(
            # A compressed answer would have other bytes, another length and a weaker ETag.
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", "Accept": "*/*"},
            cookies=cookies,
            verify=tls or True,
            timeout=httpx.Timeout(patience.timeout, connect=min(patience.timeout, _LONGEST_CONNECT), pool=None),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        )

    @property
    def host(self) -> str:
        """The server's name."""
        return self._origin.host

    @property
    def cookies(self) -> httpx.Cookies:
        """What the server gave to be recognised by, for the next client of it; in memory alone."""
        return self._client.cookies

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def patiently(self, action: Callable[[], Awaitable[T]], what: str) -> T:
        """Do something, again after a while where it fails in a passing way.

        Args:
            action: raises PassingError, or an error of httpx, where another try makes sense.
            what: is fetched, for messages.

        Raises:
            NetworkError: if it failed each time.
            ServerBusyError: if the server said each time that it is busy.
            CertificateError: if the server's certificate is not in order.
        """
        tries = _Tries(self)
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(PassingError),
            stop=tries.are_over,
            wait=tries.wait,
            before_sleep=lambda state: self._about_to_wait(state, what),
            reraise=True,
        )
        try:
            return await retrying(_in_own_words, action)
        except PassingError as error:
            count = retrying.statistics["attempt_number"]
            if error.status in _BUSY:
                raise ServerBusyError(
                    f"{self.host} is busy ({error}, {count} times) and {what} was not had. What was fetched is "
                    "kept: run the same command again later, or with fewer --connections"
                ) from None
            advice = f"{error.advice}. " if error.advice else ""
            raise NetworkError(
                f"cannot fetch {what} from {self.host}: {error} ({count} tries). {advice}What was fetched is kept: run "
                "the same command again"
            ) from None

    @property
    def retries(self) -> int:
        """Tries after the first that may bring nothing."""
        return self._patience.retries

    def is_reached(self, host: str) -> bool:
        """Whether a host answered once."""
        return host in self._reached

    def _about_to_wait(self, state: RetryCallState, what: str) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._reporter.retrying(what, str(error), state.upcoming_sleep)

    @asynccontextmanager
    async def get(
        self, url: str, headers: dict[str, str] | None = None, method: str = "GET"
    ) -> AsyncIterator[httpx.Response]:
        """One request and its answer, whose body is not read yet, redirects followed.

        Raises:
            PassingError: if the server is busy or in trouble.
            PasswordWantedError: if it asks who it is and nobody was named.
            PasswordError: if it does not accept the name and password.
            NetworkError: if it redirects in circles or to an address that is not safe.
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
                    f"{self.host} redirects to {request.url.scheme}://{request.url.host}, which is not "
                    "encrypted: nothing was sent there"
                )
        raise NetworkError(f"{self.host} redirects {url} in circles")

    async def _send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and wait for the head of its answer, for a bounded time and keeping a bounded part of it."""
        try:
            # A server that sends a header byte by byte, or `100 Continue` without end, is never silent.
            async with asyncio.timeout(3 * self._patience.timeout):
                response = await self._client.send(request, auth=self._auth_for(request.url), stream=True)
        except TimeoutError:
            raise PassingError("no complete answer in time") from None
        except httpx.InvalidURL as error:
            raise NetworkError(f"{request.url.host} redirects to an address that is not valid: {error}") from None
        if len(self._reached) < _MOST_HOSTS:
            self._reached.add(request.url.host)
        if len(self._client.cookies.jar) > _MOST_COOKIES:
            self._client.cookies.clear()
        return response

    def at_home(self, url: httpx.URL) -> bool:
        """Whether an address is the server's own, and not one that it redirects to."""
        ours = self._origin
        return (url.scheme, url.host, url.port) == (ours.scheme, ours.host, ours.port)

    def _auth_for(self, url: httpx.URL) -> httpx.BasicAuth | None:
        """The password goes to the server it is meant for, whatever that redirects to."""
        if self._credentials is None or not self.at_home(url):
            return None
        return httpx.BasicAuth(self._credentials.user, self._credentials.password)

    async def _pause(self) -> None:
        """Wait until the server wants to be asked again: one Retry-After holds back all connections."""
        while (left := self._not_before - time.monotonic()) > 0:
            # In pieces, since the clock may jump while a laptop sleeps.
            await asyncio.sleep(min(left, 5.0))

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in _PASSING:
            pause = _retry_after(response.headers.get("Retry-After"))
            if pause is not None and pause > LONGEST_PAUSE:
                raise ServerBusyError(
                    f"{response.url.host} asks to come back in {pause / 3600:.1f} hours ({status}). What was fetched "
                    "is kept: run the same command again then"
                )
            if pause is not None:
                self._not_before = max(self._not_before, time.monotonic() + pause)
            raise PassingError(f"it answers {status} {response.reason_phrase}".rstrip(), status, pause)
        if status == 401:
            if not self.at_home(response.url):
                raise NetworkError(
                    f"{self.host} redirects to {response.url.host}, which wants a password: it is not sent there"
                )
            if self._credentials is None:
                raise PasswordWantedError
            raise PasswordError(
                f"{self.host} does not accept this password (from {self._credentials.origin}) for the account "
                f"{self._credentials.user}: try both at https://{self.host}/login/"
            )


class _Tries:
    """The tries of one request: whether there is another one, and how long to wait for it.

    The waits grow only while this request brings nothing: whoever calls starts anew after each that brought bytes.
    """

    def __init__(self, web: Web) -> None:
        self._web = web
        self._begun = time.monotonic()
        self._fruitless = 0
        self._progress = web.progress
        self._others_receive = False

    def are_over(self, state: RetryCallState) -> bool:
        """Whether the last try was the last one. Asked once after each."""
        error = _error_of(state)
        self._others_receive = self._web.progress > self._progress
        self._progress = self._web.progress
        # A line that drops while others receive is no sign that the server is gone.
        self._fruitless += not (self._others_receive and not error.status)
        is_late = time.monotonic() - self._begun >= _FIRST_CONTACT
        is_hopeless = error.is_garbled and state.attempt_number > _RETRIES_OF_GARBLED
        return is_hopeless or (self._is_first_contact(error) and is_late) or self._fruitless > self._web.retries

    def wait(self, state: RetryCallState) -> float:
        """Seconds until the next try: longer each time, and random, so that connections do not come back together."""
        error = _error_of(state)
        if error.pause is not None:
            return error.pause + random.uniform(0, 1)  # noqa: S311  # not a secret
        longest: float = _LONGEST_BACKOFF
        if self._is_first_contact(error):
            longest = _LONGEST_FIRST_BACKOFF
        elif self._others_receive and not error.status:
            longest = _LONGEST_WHILE_OTHERS_RECEIVE
        return wait_random_exponential(multiplier=_FIRST_BACKOFF, max=longest)(state)

    def _is_first_contact(self, error: PassingError) -> bool:
        return bool(error.unreached) and not self._web.is_reached(error.unreached)


def _error_of(state: RetryCallState) -> PassingError:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, PassingError)  # noqa: S101  # nothing else is tried again
    return error


async def _in_own_words(action: Callable[[], Awaitable[T]]) -> T:
    """Tell apart what of httpx's errors may pass."""
    try:
        return await action()
    except httpx.TransportError as error:
        raise passing(error) from error


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header: a number, or a date."""
    if value is None:
        return None
    if value.isascii() and value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None
