"""Retries and waits of a download, and Ctrl-C while it waits."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ehrtraj.download import errors, web
from ehrtraj.download.concept_maps import fetch_concept_maps
from ehrtraj.download.failures import TransientError
from ehrtraj.download.report import DownloadReporter
from ehrtraj.download.run import download, run_async
from ehrtraj.download.verify import verify

BLOCK = 256 << 10
LABS, LICENCE = "hosp/labevents.csv.gz", "LICENSE.txt"
SIZES = {LABS: BLOCK + 1234, LICENCE: 77}
FOLDER = Path("physionet.org/files/mimiciv/3.1")


@pytest.fixture
def release(loopback: ModuleType, tmp_path: Path) -> Path:
    """A release on the server's disk."""
    folder = tmp_path / "server" / "mimiciv" / "3.1"
    for path, size in SIZES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(random.randbytes(size))
    loopback.write_sums(folder)
    return folder


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bypass proxies, and shorten the waits between retries."""
    monkeypatch.setattr(web, "_FIRST_BACKOFF", 0.02)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def server(loopback: ModuleType, release: Path) -> Iterator[Any]:
    """A server without a password."""
    with loopback.LoopbackServer(release.parents[1]) as running:
        yield running


def fetch(server: Any, to: Path, **settings: Any) -> Any:
    settings = {"retries": 3, "timeout": 10, "connections": 3} | settings
    return download("mimiciv", to=to, base_url=server.url, **settings)


class FailIfSlow(DownloadReporter):
    """Fails if the download waits longer in total than the test allows."""

    def __init__(self, seconds: float = 5) -> None:
        self.remaining = seconds

    def retrying(self, what: str, why: str, seconds: float) -> None:
        self.remaining -= seconds
        assert self.remaining > 0, f"still waiting: {why}"


class TestWaiting:
    """When the download waits, and for how long."""

    def test_no_wait_after_an_attempt_that_received_bytes(
        self, server: Any, loopback: ModuleType, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        waits: list[float] = []
        sleep = asyncio.sleep

        async def waiting(seconds: float, *result: Any) -> Any:
            waits.append(seconds)
            return await sleep(seconds, *result)

        monkeypatch.setattr(asyncio, "sleep", waiting)
        server.faults.append(loopback.on_paths(lambda handler: handler.serve(stop_after=5000), LABS, times=10_000))
        fetch(server, tmp_path / "out", retries=0)
        assert (tmp_path / "out" / FOLDER / LABS).read_bytes() == (release / LABS).read_bytes()
        assert len(server.requests) > 50
        assert [seconds for seconds in waits if seconds] == []

    def test_dropping_every_third_connection_costs_little(self, server: Any, release: Path, tmp_path: Path) -> None:
        count = iter(range(10**6))

        def third(handler: Any) -> bool:
            if next(count) % 3:
                return False
            handler.connection.shutdown(socket.SHUT_RDWR)
            return True

        server.faults.append(third)
        fetch(server, tmp_path / "out", retries=12, reporter=FailIfSlow(1))
        assert verify(tmp_path / "out" / FOLDER).is_complete

    @pytest.mark.parametrize(("status", "is_retried"), [(0, True), (500, False)])
    def test_a_dropped_connection_does_not_count_while_others_receive(self, status: int, is_retried: bool) -> None:
        tries = 0

        async def work() -> str:
            async with web.Web("https://x.example", 1, web.Patience(1, 2), DownloadReporter()) as client:

                async def action() -> str:
                    nonlocal tries
                    tries += 1
                    client.progress += 1
                    if tries < 6:
                        raise TransientError("dropped", status)
                    return "done"

                return await client.with_retries(action, "it")

        if is_retried:
            assert run_async(work()) == "done"
        else:
            with pytest.raises(errors.NetworkError, match=r"\(3 attempts\)"):
                run_async(work())

    def test_receiving_the_same_bytes_again_is_not_progress(
        self, server: Any, loopback: ModuleType, tmp_path: Path
    ) -> None:
        """Otherwise a server that ignores ranges and always drops at the same byte would be retried forever."""
        server.faults.append(
            loopback.on_paths(lambda h: h.serve(ignore_range=True, stop_after=100_000), LABS, times=50)
        )
        with pytest.raises(errors.NetworkError, match="dropped"):
            fetch(server, tmp_path / "out", complete_files=True, retries=2)
        assert len([1 for method, path, _ in server.requests if path.endswith(LABS) and method == "GET"]) < 20

    @pytest.mark.parametrize("code", [socket.EAI_NONAME, socket.EAI_AGAIN])
    def test_an_unresolvable_name_fails_soon(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
        def unknown(*arguments: object, **more: object) -> Any:
            raise socket.gaierror(code, "it is unknown")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        monkeypatch.setattr(web, "_FIRST_CONTACT", 0.3)
        with pytest.raises(errors.NetworkError, match=r"name physionet.example cannot be resolved.*DNS") as refused:
            download(
                "mimiciv",
                to=tmp_path / "out",
                base_url="https://physionet.example/files",
                retries=10_000,
                reporter=FailIfSlow(),
            )
        assert refused.value.exit_code == 10
        assert not (tmp_path / "out").exists()

    def test_a_refused_connection_fails_soon(
        self, server: Any, loopback: ModuleType, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with loopback.LoopbackServer(release.parents[1]) as closed:
            port = closed.server_address[1]
        monkeypatch.setattr(web, "_FIRST_CONTACT", 0.3)
        with pytest.raises(errors.NetworkError, match=rf"refuses connections on port {port}.*--base-url"):
            fetch(closed, tmp_path / "out", retries=10_000, reporter=FailIfSlow())

    def test_advice_about_the_concept_maps_names_their_options(
        self, server: Any, loopback: ModuleType, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(web, "_FIRST_CONTACT", 0.1)
        with loopback.LoopbackServer(release.parents[1]) as closed:
            url = closed.url
        with pytest.raises(errors.NetworkError, match="refuses connections") as refused:
            fetch_concept_maps(tmp_path / "out", url=url, retries=0)
        assert "the address in --maps-url" in str(refused.value)
        assert "--base-url" not in str(refused.value)
        server.faults.append(loopback.on_paths(lambda h: h.refuse(503), "", times=99))
        with pytest.raises(errors.ServerBusyError, match="run the same command again later") as busy:
            fetch_concept_maps(tmp_path / "out", url=server.url, retries=0)
        assert "--connections" not in str(busy.value), "it has no effect on the maps"
        with pytest.raises(errors.ServerBusyError, match="again later, or with fewer --connections"):
            fetch(server, tmp_path / "out", retries=0)

    def test_the_first_contact_takes_seconds_not_minutes(self) -> None:
        assert web._FIRST_CONTACT + web._LONGEST_FIRST_BACKOFF <= 10

    def test_a_name_that_becomes_unresolvable_during_the_download_is_retried(
        self, server: Any, loopback: ModuleType, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The network is down for some time, after the server had answered."""
        resolve, failures = socket.getaddrinfo, 0

        def sometimes(host: Any, *arguments: Any, **more: Any) -> Any:
            nonlocal failures
            if server.sent and failures < 6:
                failures += 1
                raise socket.gaierror(socket.EAI_AGAIN, "try again")
            return resolve(host, *arguments, **more)

        monkeypatch.setattr(socket, "getaddrinfo", sometimes)
        monkeypatch.setattr(web, "_FIRST_CONTACT", 0.0)
        url = server.url.replace("127.0.0.1", "localhost")
        download("mimiciv", to=tmp_path / "out", base_url=url, retries=12)
        assert failures == 6
        assert verify(tmp_path / "out" / FOLDER).is_complete


HANGING = """
import socket, sys, time
def hang(*arguments, **more):
    sys.stderr.write("hanging\\n")
    time.sleep(300)
socket.getaddrinfo = hang
from ehrtraj.cli import main
main()
"""
HASHING = """
import os, sys
opened = os.open
def notify(path, *arguments, **more):
    if str(path).endswith("labevents.csv.gz"):
        sys.stderr.write("hanging\\n")
    return opened(path, *arguments, **more)
os.open = notify
from ehrtraj.cli import main
main()
"""


def test_ctrl_c_and_sigterm_work_while_a_thread_is_busy(server: Any, tmp_path: Path) -> None:
    """A name server that does not answer, and a file that takes an hour to hash, in `download` and `verify`."""
    folder = tmp_path / "out" / FOLDER
    (folder / "hosp").mkdir(parents=True)
    shutil.copy(server.root / "mimiciv/3.1/SHA256SUMS.txt", folder)
    with (folder / LABS).open("wb") as handle:
        handle.truncate(4 << 40)
    hang = [HANGING, "download", "mimiciv", "--to", str(tmp_path / "other"), "--base-url", "https://x.example"]
    existing = [HASHING, "download", "mimiciv", "--to", str(tmp_path / "out"), "--base-url", server.url]
    check = [HASHING, "verify", str(folder)]
    running: list[tuple[subprocess.Popen[str], int]] = []
    cases: list[tuple[list[str], int]] = [
        (hang, signal.SIGINT),
        (hang, signal.SIGTERM),
        (existing, signal.SIGTERM),
        (check, signal.SIGINT),
    ]
    try:
        for command, number in cases:
            process = subprocess.Popen(
                [sys.executable, "-c", *command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
            )
            running.append((process, number))
        for process, number in running:
            assert process.stderr is not None
            while "hanging" not in (line := process.stderr.readline()):
                assert line, "the process ended before it received a signal"
            process.send_signal(number)
        for process, _ in running:
            _, message = process.communicate(timeout=30)
            assert process.returncode == 130, message
            assert "stopped" in message
            assert "Traceback" not in message
    finally:
        for process, _ in running:
            process.kill()
            process.communicate()


def test_ctrl_c_in_a_notebook_stops_the_work(tmp_path: Path) -> None:
    """In a notebook the work runs in the event loop of another thread, which does not receive Ctrl-C."""
    ended: list[bool] = []

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append(True)
            raise

    async def cell() -> None:
        run_async(work())

    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(cell())
    finally:
        loop.close()
    assert ended == [True]
