"""Faults during a download: it ends complete, or with a specific message and exit code."""

from __future__ import annotations

import base64
import io
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ehrtraj.download import errors, web
from ehrtraj.download.run import download
from ehrtraj.download.verify import verify
from ehrtraj.errors import EhrtrajError, OutputError, SettingsError

BLOCK = 256 << 10
LABS, PATIENTS = "hosp/labevents.csv.gz", "hosp/patients.csv.gz"
SIZES = {LABS: 3 * BLOCK + 1234, PATIENTS: 999, "LICENSE.txt": 77}
FOLDER = Path("physionet.org/files/mimiciv/3.1")
PASSWORD = "p4ss-w0rd"


@pytest.fixture
def release(loopback: ModuleType, tmp_path: Path) -> Path:
    """A release on the server's disk."""
    folder = tmp_path / "server" / "mimiciv" / "3.1"
    for path, size in SIZES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(os.urandom(size))
    loopback.write_sums(folder)
    return folder


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the password, bypass proxies, and shorten the waits between retries."""
    monkeypatch.setattr(web, "_FIRST_BACKOFF", 0.02)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("PHYSIONET_PASSWORD", PASSWORD)


@pytest.fixture
def server(loopback: ModuleType, release: Path) -> Iterator[Any]:
    """A server that requires a password."""
    with loopback.LoopbackServer(release.parents[1], password=PASSWORD) as running:
        yield running


def fetch(server: Any, to: Path, **settings: Any) -> Any:
    settings = {"user": "someone", "retries": 5, "timeout": 10, "connections": 3} | settings
    return download("mimiciv", to=to, base_url=server.url, **settings)


def is_complete(release: Path, out: Path) -> bool:
    folder = out / FOLDER
    return verify(folder).is_complete and all((release / p).read_bytes() == (folder / p).read_bytes() for p in SIZES)


def slow_headers(handler: Any) -> None:
    time.sleep(1)
    handler.serve()


def stall(handler: Any) -> None:
    """Stop in the middle without closing the connection, as when a laptop is suspended."""
    handler.serve(stop_after=100_000)
    time.sleep(1)


def shorter_range(handler: Any) -> None:
    """Send a shorter range than requested, which HTTP allows."""
    if (requested := handler.headers["Range"]) is not None:
        first = int(requested.removeprefix("bytes=").partition("-")[0])
        handler.headers.replace_header("Range", f"bytes={first}-{first + 999}")
    handler.serve()


def other_range(handler: Any) -> None:
    handler.headers.replace_header("Range", "bytes=7-1000")
    handler.serve()


def wrong_bytes(handler: Any) -> None:
    content = bytearray((handler.server.root / handler.path.lstrip("/")).read_bytes())
    content[1000] ^= 1
    handler.serve(data=bytes(content))


TRANSIENT: dict[str, Callable[[Any], object]] = {
    "dropped at once": lambda h: h.connection.shutdown(socket.SHUT_RDWR),
    "dropped in the middle": lambda h: h.serve(stop_after=100_000),
    "dropped after a byte": lambda h: h.serve(stop_after=1),
    "429": lambda h: h.refuse(429),
    "503 with a time": lambda h: h.refuse(503, {"Retry-After": "1"}),
    "503 with a date in the past": lambda h: h.refuse(503, {"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}),
    "502": lambda h: h.refuse(502),
    "slow headers": slow_headers,
    "silence in the middle": stall,
    "a shorter range": shorter_range,
}


@pytest.mark.parametrize("path", [LABS, "SHA256SUMS.txt"])
@pytest.mark.parametrize("fault", TRANSIENT)
def test_transient_faults_are_retried(
    server: Any, loopback: ModuleType, release: Path, tmp_path: Path, fault: str, path: str
) -> None:
    server.faults.append(loopback.on_paths(TRANSIENT[fault], path))
    fetch(server, tmp_path / "out", timeout=0.5)
    assert is_complete(release, tmp_path / "out")


def test_a_different_range_than_requested_is_refused(server: Any, loopback: ModuleType, tmp_path: Path) -> None:
    server.faults.append(loopback.on_paths(other_range, LABS))
    with pytest.raises(errors.NetworkError, match="different range of hosp/labevents"):
        fetch(server, tmp_path / "out")


def test_a_connection_that_keeps_dropping_still_completes(
    server: Any, loopback: ModuleType, release: Path, tmp_path: Path
) -> None:
    server.faults.append(loopback.on_paths(lambda h: h.serve(stop_after=70_000), LABS, times=9))
    fetch(server, tmp_path / "out", retries=0)
    assert is_complete(release, tmp_path / "out")
    assert sum(n for path, n in server.sent.items() if path.endswith(LABS)) == SIZES[LABS]


def test_wrong_bytes_are_fetched_again(server: Any, loopback: ModuleType, release: Path, tmp_path: Path) -> None:
    server.etags = False
    server.faults.append(loopback.on_paths(wrong_bytes, LABS, times=4))
    fetch(server, tmp_path / "out")
    assert is_complete(release, tmp_path / "out")


def test_wrong_bytes_every_time_are_an_error(server: Any, loopback: ModuleType, release: Path, tmp_path: Path) -> None:
    server.etags = False
    server.faults.append(loopback.on_paths(wrong_bytes, LABS, times=99))
    with pytest.raises(errors.WrongHashError, match=r"labevents.*The other 2 of 3 files are complete") as refused:
        fetch(server, tmp_path / "out")
    assert refused.value.exit_code == 18
    found = verify(tmp_path / "out" / FOLDER)
    assert (found.missing, found.unfinished, found.broken) == ((LABS,), (), ())


@pytest.mark.parametrize("length", [0, 1, BLOCK])
def test_a_file_truncated_on_the_server(server: Any, release: Path, tmp_path: Path, length: int) -> None:
    (release / LABS).write_bytes((release / LABS).read_bytes()[:length])
    with pytest.raises(errors.WrongHashError):
        fetch(server, tmp_path / "out")
    assert not (tmp_path / "out" / FOLDER / LABS).exists()


def test_retry_after_delays_every_connection(server: Any, loopback: ModuleType, release: Path, tmp_path: Path) -> None:
    moments: list[float] = []
    refused: list[float] = []

    def refuse(handler: Any) -> None:
        refused.append(time.monotonic())
        handler.refuse(429, {"Retry-After": "2"})

    def note(handler: Any) -> bool:
        moments.append(time.monotonic())
        return False

    server.faults += [note, loopback.on_paths(refuse, LABS)]
    server.bytes_per_second = 1_000_000
    fetch(server, tmp_path / "out")
    assert is_complete(release, tmp_path / "out")
    # Requests that were already sent when the server refused do not count.
    assert not [m for m in moments if refused[0] + 1 < m < refused[0] + 1.99]
    assert max(moments) >= refused[0] + 2


def refuse_always(status: int, headers: dict[str, str] | None = None) -> Callable[[Any], bool]:
    def fault(handler: Any) -> bool:
        handler.refuse(status, headers)
        return True

    return fault


@pytest.mark.parametrize(
    ("status", "headers", "error", "code", "message"),
    [
        (403, None, errors.NoAccessError, 12, r"data use agreement .*https://physionet.org/content/mimiciv/3.1/#files"),
        (404, None, errors.NoSuchReleaseError, 13, r"has no mimiciv 3.1 .*https://physionet.org/content/mimiciv/"),
        (503, None, errors.ServerBusyError, 19, "is busy .*503"),
        (429, {"Retry-After": "86400"}, errors.ServerBusyError, 19, "retry in 24.0 hours"),
        (500, None, errors.NetworkError, 10, "answered 500"),
        (418, None, errors.NetworkError, 10, "answered 418"),
    ],
)
def test_each_refusal_has_a_specific_message(
    server: Any,
    tmp_path: Path,
    status: int,
    headers: dict[str, str] | None,
    error: type[EhrtrajError],
    code: int,
    message: str,
) -> None:
    server.faults.append(refuse_always(status, headers))
    with pytest.raises(error, match=message) as refused:
        fetch(server, tmp_path / "out", retries=1)
    assert refused.value.exit_code == code


def test_access_is_refused_after_the_list_was_fetched(server: Any, loopback: ModuleType, tmp_path: Path) -> None:
    """PhysioNet gives the list only to accounts with access to the files, but a mirror may give it to everyone."""
    server.faults.append(loopback.on_paths(lambda h: h.refuse(403), LABS, times=99, method="HEAD"))
    with pytest.raises(errors.NoAccessError):
        fetch(server, tmp_path / "out")


def test_a_wrong_password(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHYSIONET_PASSWORD", "wr0ng-0ne")
    with pytest.raises(errors.PasswordError, match=r"does not accept this password \(from \$PHYSIONET") as refused:
        fetch(server, tmp_path / "out")
    assert refused.value.exit_code == 11
    assert "wr0ng-0ne" not in str(refused.value)
    assert not (tmp_path / "out").exists()
    with_password = [headers for _, _, headers in server.requests if "Authorization" in headers]
    assert len(with_password) == 1


def test_the_password_from_netrc_is_used(
    server: Any, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PHYSIONET_PASSWORD")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(errors.PasswordError, match="set PHYSIONET_PASSWORD"):
        fetch(server, tmp_path / "out")
    (tmp_path / ".netrc").write_text(f"machine 127.0.0.1 login someone password {PASSWORD}")
    (tmp_path / ".netrc").chmod(0o600)
    fetch(server, tmp_path / "out", user=None)
    assert is_complete(release, tmp_path / "out")


def test_a_server_that_is_not_running(loopback: ModuleType, release: Path, tmp_path: Path) -> None:
    with loopback.LoopbackServer(release.parents[1]) as stopped:
        pass
    with pytest.raises(errors.NetworkError, match="no connection") as refused:
        fetch(stopped, tmp_path / "out", retries=1)
    assert refused.value.exit_code == 10


def no_length(handler: Any) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True


@pytest.mark.parametrize("answer", [lambda h: h.refuse(405), lambda h: h.refuse(501), no_length])
def test_a_server_that_does_not_answer_head_requests(
    server: Any, loopback: ModuleType, release: Path, tmp_path: Path, answer: Callable[[Any], None]
) -> None:
    server.faults.append(loopback.on_paths(answer, ".gz", times=99, method="HEAD"))
    fetch(server, tmp_path / "out")
    assert is_complete(release, tmp_path / "out")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for half of the release."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = f"size={sum(SIZES.values()) // 2}"
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("this test needs a separate disk, which only root can mount")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this test needs a separate disk, and mounting one failed: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=False, capture_output=True)


def test_a_disk_that_becomes_full_during_the_download(
    server: Any, release: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other programs also write to the disk, so that less space may be free later than at the start."""
    usage = shutil.disk_usage(small_disk)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**9))
        with pytest.raises(errors.DiskSpaceError, match="is full"):
            fetch(server, small_disk)
    with pytest.raises(errors.DiskSpaceError):
        fetch(server, small_disk)
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    fetch(server, small_disk)
    assert is_complete(release, small_disk)


def test_a_folder_that_cannot_be_written(server: Any, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="cannot write to") as refused:
        fetch(server, tmp_path / "out")
    assert refused.value.exit_code == 4


def test_a_listed_file_that_the_server_does_not_have(server: Any, release: Path, tmp_path: Path) -> None:
    (release / PATIENTS).unlink()
    with pytest.raises(errors.MissingOnServerError, match=r"patients.*The other 2 of 3 files are complete"):
        fetch(server, tmp_path / "out")
    assert verify(tmp_path / "out" / FOLDER).missing == (PATIENTS,)


def test_missing_disk_space_is_reported_before_the_download(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=sum(SIZES.values()) - 1))
    with pytest.raises(errors.DiskSpaceError, match="Nothing was downloaded") as refused:
        fetch(server, tmp_path / "out")
    assert refused.value.exit_code == 14
    assert not [path for path, n in server.sent.items() if n and not path.endswith("SHA256SUMS.txt")]


def test_a_server_that_ignores_ranges(server: Any, release: Path, tmp_path: Path) -> None:
    def ignore(handler: Any) -> bool:
        handler.serve(ignore_range=True)
        return True

    server.faults.append(ignore)
    with pytest.raises(errors.RangeIgnoredError, match="--whole-files") as refused:
        fetch(server, tmp_path / "out")
    assert refused.value.exit_code == 16
    fetch(server, tmp_path / "out", complete_files=True)
    assert is_complete(release, tmp_path / "out")


def test_complete_files_resumes_if_the_server_supports_ranges(
    server: Any, loopback: ModuleType, release: Path, tmp_path: Path
) -> None:
    server.faults.append(loopback.on_paths(lambda h: h.serve(stop_after=300_000), LABS))
    fetch(server, tmp_path / "out", complete_files=True)
    assert is_complete(release, tmp_path / "out")
    assert sum(n for path, n in server.sent.items() if path.endswith(LABS)) == SIZES[LABS]


def test_complete_files_restarts_if_the_server_ignores_ranges(
    server: Any, loopback: ModuleType, release: Path, tmp_path: Path
) -> None:
    server.faults.append(loopback.on_paths(lambda h: h.serve(stop_after=300_000), LABS))
    server.faults.append(loopback.on_paths(lambda h: h.serve(ignore_range=True), LABS, times=99))
    fetch(server, tmp_path / "out", complete_files=True)
    assert is_complete(release, tmp_path / "out")


@pytest.mark.parametrize("etags", [True, False])
def test_a_file_that_changes_during_the_download(
    server: Any, loopback: ModuleType, release: Path, tmp_path: Path, etags: bool
) -> None:
    server.etags = etags

    def change(handler: Any) -> None:
        (release / LABS).write_bytes(os.urandom(SIZES[LABS]))
        os.utime(release / LABS, (1_800_000_000, 1_800_000_000))
        loopback.write_sums(release)
        handler.serve()

    server.faults.append(loopback.on_paths(change, LABS))
    with pytest.raises(errors.ChangedOnServerError, match="run the same command again") as refused:
        fetch(server, tmp_path / "out")
    assert refused.value.exit_code == 17
    assert verify(tmp_path / "out" / FOLDER).missing == (LABS,)
    fetch(server, tmp_path / "out")
    assert is_complete(release, tmp_path / "out")


def test_a_redirect_does_not_send_the_password_to_another_server(
    server: Any, loopback: ModuleType, release: Path, tmp_path: Path
) -> None:
    with loopback.LoopbackServer(release.parents[1]) as other:

        def redirect(handler: Any) -> bool:
            if handler.path.endswith("SHA256SUMS.txt") or not handler.is_allowed():
                return handler.path.endswith("SHA256SUMS.txt") and handler.serve() is None
            handler.refuse(302, {"Location": f"{other.url}{handler.path}"})
            return True

        server.faults.append(redirect)
        fetch(server, tmp_path / "out")
        assert is_complete(release, tmp_path / "out")
        assert len(other.requests) >= len(SIZES)
        for _, _, headers in other.requests:
            assert "Authorization" not in headers
        assert any("Authorization" in headers for _, _, headers in server.requests)
        secret = base64.b64encode(f"someone:{PASSWORD}".encode()).decode()
        assert secret not in str(other.requests)


def test_a_redirect_to_another_server_with_a_login_gets_no_password(
    server: Any, loopback: ModuleType, release: Path, tmp_path: Path
) -> None:
    with loopback.LoopbackServer(release.parents[1], password=PASSWORD) as other:
        server.faults.append(lambda h: h.refuse(302, {"Location": f"{other.url}{h.path}"}) is None)
        with pytest.raises(errors.NetworkError, match="It was not sent there"):
            fetch(server, tmp_path / "out")
        assert not [headers for _, _, headers in other.requests if "Authorization" in headers]


@pytest.mark.parametrize("location", ["http://physionet.example/x", "ftp://physionet.example/x"])
def test_a_redirect_without_encryption_is_not_followed(server: Any, tmp_path: Path, location: str) -> None:
    server.faults.append(lambda h: h.refuse(302, {"Location": location}) is None)
    with pytest.raises(errors.NetworkError, match=r"not encrypted|ftp"):
        fetch(server, tmp_path / "out")


def test_an_endless_redirect_is_an_error(server: Any, tmp_path: Path) -> None:
    server.faults.append(lambda h: h.refuse(302, {"Location": h.path}) is None)
    with pytest.raises(errors.NetworkError, match="more than 5 times"):
        fetch(server, tmp_path / "out")


def test_an_untrusted_certificate_is_refused(
    loopback: ModuleType, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = Path(__file__).with_name("loopback_certificate.pem")
    with loopback.LoopbackServer(release.parents[1], password=PASSWORD, certificate=certificate) as server:
        with pytest.raises(errors.CertificateError, match="SSL_CERT_FILE") as refused:
            fetch(server, tmp_path / "out")
        assert refused.value.exit_code == 15
        assert server.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        fetch(server, tmp_path / "out", timeout=5)
        assert is_complete(release, tmp_path / "out")


@pytest.mark.parametrize("setting", [{"connections": 0}, {"connections": 17}, {"timeout": 0}, {"retries": -1}])
def test_invalid_settings_are_refused(server: Any, tmp_path: Path, setting: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        fetch(server, tmp_path / "out", **setting)
    assert server.requests == []
