"""Who may read the pages: only the browser that opened the address with the token, and only on this machine.

Every response passes through `Guard`, which also adds the headers that restrict what a browser does with it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ehrtraj.errors import EhrtrajError, SettingsError, UnknownSubjectError
from ehrtraj.view.pages import error_page, page

CSP = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
PUBLIC = frozenset({"/static/style.css", "/static/icon.svg"})
"""What the page needs that explains where the token is. Everything else needs the cookie."""
API = "/api/"
"""Beginning of the addresses that return JSON."""
_METHODS = ("GET", "HEAD")


class Guard:
    """Middleware that refuses requests, adds headers, and turns errors into pages without a traceback."""

    def __init__(self, app: ASGIApp, *, token: str, port: int, report: Callable[[str], None]) -> None:
        """Prepare the checks.

        Args:
            app: application behind the guard.
            token: token that the address printed in the terminal contains.
            port: port of the server.
            report: prints a line about an error that nobody expected.
        """
        self._app = app
        self._token = token.encode()
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self._origins = tuple(f"http://{host}" for host in self._hosts)
        # Browsers do not separate cookies by port. Two viewers must not overwrite each other's.
        self._cookie = f"ehrtraj-{port}"
        self._report = report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        request = Request(scope)
        answer: ASGIApp = self._refuse(request) or self._let_in(request) or self._app
        try:
            await answer(scope, receive, send_with_headers)
        except Exception as error:
            if not started:
                await self._error(request, error)(scope, receive, send_with_headers)

    def _refuse(self, request: Request) -> Response | None:
        """Return an error if the request is for another host, from another site, or not for reading."""
        if request.headers.getlist("host") not in [[host] for host in self._hosts]:
            return error_page(421, "Wrong address", f"This viewer answers only at http://{self._hosts[0]}/.")
        if request.method not in _METHODS:
            refused = error_page(405, "Only for reading", "The viewer changes nothing: it answers only GET and HEAD.")
            refused.headers["Allow"] = ", ".join(_METHODS)
            return refused
        if any(origin not in self._origins for origin in request.headers.getlist("origin")):
            return error_page(403, "Another site", "Another site may not read the pages of this viewer.")
        if _is_of_another_site(request):
            return page("other_site", 403, here=_here(request, request.url.query))
        return None

    def _let_in(self, request: Request) -> Response | None:
        """Return a redirect that stores the token in a cookie, or a page that asks for it; None with a cookie."""
        known = self._is_token(request.cookies.get(self._cookie))
        given = request.query_params.get("token")
        if given is not None and (known or self._is_token(given)):
            answer = RedirectResponse(_without_token(request), 303)
            if self._is_token(given):
                answer.set_cookie(self._cookie, given, path="/", httponly=True, samesite="strict")
            return answer
        if known or request.scope["path"] in PUBLIC:
            return None
        return page("token", 403, wrong=given is not None, here=_without_token(request), port=request.url.port)

    def _is_token(self, given: str | None) -> bool:
        # Bytes, because `compare_digest` accepts only ASCII in texts.
        return given is not None and secrets.compare_digest(given.encode("utf-8", "replace"), self._token)

    def _error(self, request: Request, error: Exception) -> Response:
        if isinstance(error, EhrtrajError):
            return _described(request, status_of(error), "This does not work", str(error))
        self._report(f"internal error: {_place(error)}")
        text = "The viewer failed here. The terminal shows the place in the code."
        return _described(request, 500, "Internal error", text)


def _described(request: Request, status: int, title: str, message: str) -> Response:
    if request.scope["path"].startswith(API):
        return JSONResponse({"error": message}, status)
    return error_page(status, title, message)


def _is_of_another_site(request: Request) -> bool:
    """Return whether a page of another site sent the request.

    `same-site` is another port of this machine: a link from there is allowed, but no other request.
    """
    site, mode = request.headers.get("sec-fetch-site"), request.headers.get("sec-fetch-mode")
    return site == "cross-site" or (site == "same-site" and mode != "navigate")


def _here(request: Request, query: str) -> str:
    """Return the address of a request without its host. It never begins with `//`, which would name another host."""
    path = "/" + quote(request.scope["path"].lstrip("/\\"))
    return f"{path}?{query}" if query else path


def _without_token(request: Request) -> str:
    pairs = parse_qsl(request.url.query, keep_blank_values=True)
    return _here(request, urlencode([pair for pair in pairs if pair[0] != "token"], safe="/:,*"))


def status_of(error: EhrtrajError) -> int:
    """Return the status of the response to an error."""
    if isinstance(error, UnknownSubjectError):
        return 404
    return 400 if isinstance(error, SettingsError) else 500


def _place(error: Exception) -> str:
    """Return the kind of an error and its place in the code. The message is left out: it can contain patient data."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" in {trace.tb_frame.f_code.co_qualname}, line {trace.tb_lineno}"
    return f"{type(error).__name__}{where}"


def http_error(request: Request, error: Exception) -> Response:
    """Return the page of an error that Starlette raises, such as an unknown address."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _described(request, status, "Not found", "There is nothing at this address.")
