"""Run the application on this machine."""

from __future__ import annotations

import errno
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.applications import Starlette
from uvicorn.server import HANDLED_SIGNALS

from ehrtraj.errors import SettingsError

DEFAULT_PORT = 8642
HOST = "127.0.0.1"
_LOOPBACK = (HOST, "localhost")
_WAITING = 64


def check_host(host: str, port: int) -> None:
    """Check that a host is this machine.

    Raises:
        SettingsError: if it is another one; the message explains how to use the viewer from there.
    """
    if host not in _LOOPBACK:
        raise SettingsError(
            f"the viewer shows patient data, so it answers only this machine ({HOST}), not '{host}'. To use it from "
            f"another machine, run `ssh -L {port}:{HOST}:{port} USER@SERVER` there, and open the address in the "
            "browser there"
        )


def open_socket(port: int) -> socket.socket:
    """Return a socket that listens on this machine only. Browsers can connect from now on, and wait for the server.

    Raises:
        SettingsError: if the port cannot be used; the message suggests another one.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(_WAITING)
    except OSError as error:
        listening.close()
        used = error.errno == errno.EADDRINUSE
        reason = "is in use, perhaps by another viewer" if used else f"cannot be used ({error.strerror or error})"
        other = port + 1 if DEFAULT_PORT <= port < 65535 else DEFAULT_PORT
        raise SettingsError(f"port {port} {reason}: choose another one, such as --port {other}") from None
    return listening


class _Server(uvicorn.Server):
    """A server that interrupts what is running when it stops, and that leaves ignored signals ignored."""

    def __init__(self, config: uvicorn.Config, stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop = stop

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # A shell ignores SIGINT for a command in the background of a script.
        ignored = [number for number in HANDLED_SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
        with super().capture_signals():
            for number in ignored:
                signal.signal(number, signal.SIG_IGN)
            yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stop()
        await super().shutdown(sockets)


def serve(app: Starlette, listening: socket.socket) -> None:
    """Answer requests until a signal stops the server.

    Nothing is logged: an address contains the number of a patient.

    Args:
        app: application of `make_app`.
        listening: socket of `open_socket`.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    _Server(config, app.state.viewer.stop).run(sockets=[listening])
