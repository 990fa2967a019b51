"""A file server on loopback that behaves like PhysioNet's, slowly and with faults on demand.

It serves the files of a folder, requires a user name and password, supports ranges, and counts the bytes that it sends.
To simulate faults, add functions to `faults`: each is called before an answer, and may answer instead.
"""

from __future__ import annotations

import base64
import hashlib
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PIECE = 4096


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: LoopbackServer

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        """Answer the request, unless a fault answers it."""
        server = self.server
        with server.lock:
            server.requests.append((self.command, self.path, dict(self.headers)))
            faults = list(server.faults)
        if self.command == "GET":
            server.enter()
        try:
            if not any(fault(self) for fault in faults):
                self.serve()
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            self.close_connection = True
        finally:
            if self.command == "GET":
                server.leave()

    def serve(self, *, data: bytes | None = None, stop_after: int | None = None, ignore_range: bool = False) -> None:
        """Send a file.

        Args:
            data: bytes to send instead of the content of the file.
            stop_after: number of bytes after which to drop the connection.
            ignore_range: send the complete file even if a range is requested.
        """
        if not self.is_allowed():
            return
        file = self.server.root / self.path.lstrip("/")
        if not file.is_file():
            self.refuse(404)
            return
        content = file.read_bytes() if data is None else data
        etag = f'"{hashlib.md5(content).hexdigest()}"' if self.server.etags else None
        modified = formatdate(file.stat().st_mtime, usegmt=True)
        start, end = 0, len(content)
        requested_range = self.headers.get("Range")
        validator = self.headers.get("If-Range")
        if requested_range and not ignore_range and validator in (None, etag, modified):
            first, _, last = requested_range.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last) + 1 if last else end, end)
            if start >= len(content):
                self.refuse(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(end - start))
        self.send_header("Last-Modified", modified)
        self.send_header("Accept-Ranges", "bytes")
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        if self.command == "HEAD":
            return
        body = content[start:end]
        self.send_slowly(body if stop_after is None else body[:stop_after])
        if stop_after is not None and stop_after < len(body):
            self.close_connection = True

    def send_slowly(self, body: bytes) -> None:
        """Send bytes at the server's speed, and count them."""
        speed = self.server.bytes_per_second
        started, sent = time.monotonic(), 0
        while sent < len(body):
            piece = body[sent : sent + PIECE]
            self.wfile.write(piece)
            sent += len(piece)
            with self.server.lock:
                self.server.sent[self.path] += len(piece)
            if speed and (ahead := sent / speed - (time.monotonic() - started)) > 0:
                time.sleep(ahead)

    def is_allowed(self) -> bool:
        """Whether user name and password are correct; if not, this sends the refusal."""
        password = self.server.password
        if password is None:
            return True
        # Like PhysioNet, refuse other programs without asking for a password.
        if not self.headers.get("User-Agent", "").startswith("Wget/"):
            self.refuse(403)
            return False
        expected = "Basic " + base64.b64encode(f"{self.server.user}:{password}".encode()).decode()
        if self.headers.get("Authorization") == expected:
            return True
        self.refuse(401, {"WWW-Authenticate": 'Basic realm="loopback"', "Set-Cookie": "testcookie=1; HttpOnly"})
        return False

    def refuse(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"<html>no</html>") -> None:
        """Answer with a status and a page."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class LoopbackServer(ThreadingHTTPServer):
    """Serves a folder, for use with `with`.

    Attributes:
        sent: number of bytes sent, by path.
        requests: method, path and headers of every request.
        most_at_once: maximum number of files and ranges sent at the same time.
        faults: functions called before each answer, which return whether they answered.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        root: Path,
        *,
        user: str = "someone",
        password: str | None = None,
        bytes_per_second: int = 0,
        etags: bool = True,
        certificate: Path | None = None,
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = root
        self.user, self.password = user, password
        self.bytes_per_second = bytes_per_second
        self.etags = etags
        self.sent: Counter[str] = Counter()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.faults: list[Callable[[Handler], bool]] = []
        self.most_at_once = self._at_once = 0
        self.lock = threading.Lock()
        self._scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self._scheme = "https"

    @property
    def url(self) -> str:
        """URL of the folder."""
        return f"{self._scheme}://127.0.0.1:{self.server_address[1]}"

    def enter(self) -> None:
        """Count the start of an answer."""
        with self.lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)

    def leave(self) -> None:
        """Count the end of an answer."""
        with self.lock:
            self._at_once -= 1

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that disconnect, which the tests do on purpose."""

    def __enter__(self) -> LoopbackServer:
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


def on_paths(
    action: Callable[[Handler], object], ending: str, times: int = 1, method: str = "GET"
) -> Callable[[Handler], bool]:
    """Return a fault for the first `times` requests whose path has this ending."""
    remaining = times
    lock = threading.Lock()

    def fault(handler: Handler) -> bool:
        nonlocal remaining
        with lock:
            if handler.command != method or not handler.path.endswith(ending) or remaining <= 0:
                return False
            remaining -= 1
        action(handler)
        return True

    return fault


def write_sums(folder: Path) -> dict[str, str]:
    """Write SHA256SUMS.txt for all files in a folder, as PhysioNet does; return the hashes by path."""
    sums = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "SHA256SUMS.txt"
    }
    (folder / "SHA256SUMS.txt").write_text("".join(f"{digest} {path}\n" for path, digest in sums.items()))
    return sums
