"""The command `ehrtraj view`: the server that it starts, and how it ends."""

from __future__ import annotations

import inspect
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ehrtraj.cli.commands.view import view
from ehrtraj.errors import SettingsError
from ehrtraj.view.browser import open_browser
from ehrtraj.view.server import DEFAULT_PORT, check_host, open_socket


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "ehrtraj", "view", *map(str, arguments)]


@pytest.fixture
def server(built: Path) -> Iterator[Any]:
    """A running server, with the address that it printed."""
    arguments = command(built, "--port", 0, "--no-browser")
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.address = process.stdout.readline().removeprefix("Open ").strip()
        assert process.stdout.readline() == "Ctrl-C stops the viewer.\n"
        yield process
        process.kill()


def test_the_printed_address_opens_the_pages_until_a_signal_stops_the_server(server: Any, built: Path) -> None:
    url = httpx.URL(server.address)
    assert (url.host, url.path) == ("127.0.0.1", "/")
    assert len(url.params["token"]) > 40
    with httpx.Client(follow_redirects=True) as browser:
        page = browser.get(server.address)
        assert page.status_code == 200
        assert "10900116" in page.text
        assert "token" not in str(page.url)
        assert "server" not in page.headers
        site = f"http://127.0.0.1:{url.port}"
        assert browser.get(f"{site}/api/patients/10900116/outline").status_code == 200
        assert browser.get(f"{site}/patients/7").status_code == 404
        assert browser.post(f"{site}/patients").status_code == 405
        # The connection stays open: the server does not wait for it.
        with socket.create_connection(("127.0.0.1", url.port)) as broken:
            broken.sendall(b"nonsense\r\n\r\n")
            assert broken.recv(12) == b"HTTP/1.1 400"
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=20)
    assert server.returncode == 130
    # Neither addresses nor errors are logged.
    assert (out, err) == ("", "stopped\n")


def test_each_start_has_another_token_and_an_ignored_signal_stays_ignored(server: Any, built: Path) -> None:
    """A shell ignores SIGINT for a command that a script runs in the background."""
    with subprocess.Popen(
        command(built, "--port", 0, "--no-browser"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    ) as other:
        address = other.stdout.readline().removeprefix("Open ").strip()
        assert httpx.get(address).status_code == 303
        other.send_signal(signal.SIGINT)
        time.sleep(0.3)  # the server notices a signal within 0.1 s
        assert httpx.get(address).status_code == 303
        other.terminate()
        other.communicate(timeout=20)
    assert other.returncode == 130
    assert httpx.URL(address).params["token"] != httpx.URL(server.address).params["token"]


def test_the_default_port_is_fixed_so_that_bookmarks_work() -> None:
    assert inspect.signature(view).parameters["port"].default == DEFAULT_PORT == 8642


def test_only_this_machine_can_connect() -> None:
    with open_socket(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"


def test_a_port_in_use_is_an_error_that_names_another(built: Path) -> None:
    with open_socket(0) as listening:
        port = listening.getsockname()[1]
        other = port + 1 if 8642 <= port < 65535 else 8642
        with pytest.raises(SettingsError, match=rf"port {port} is in use, .* such as --port {other}$"):
            view(built, port=port, browser=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::1", "192.168.1.5", "example.org", "localhost.example.org", ""])
def test_another_host_is_refused_with_the_way_out(host: str) -> None:
    with pytest.raises(SettingsError, match=r"ssh -L 8642:127.0.0.1:8642 USER@SERVER"):
        check_host(host, 8642)


def test_the_command_refuses_another_host(built: Path) -> None:
    with pytest.raises(SettingsError, match=r"ssh -L 9000:127\.0\.0\.1:9000"):
        view(built, host="0.0.0.0", port=9000, browser=False)


def test_without_a_screen_no_browser_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    open_browser("http://127.0.0.1")
    assert opened == []
    monkeypatch.setitem(os.environ, "DISPLAY", ":0")
    open_browser("http://127.0.0.1")
    assert opened == ["http://127.0.0.1"]


def test_a_list_that_cannot_be_read_is_an_error(built: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.csv cannot be read"):
        view(built, port=0, browser=False, cohort=[tmp_path / "nowhere.csv"])
