"""Downloads without faults from nginx, the server that PhysioNet uses."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ehrtraj.download.errors import PasswordError
from ehrtraj.download.run import download
from ehrtraj.download.verify import verify

CONFIGURATION = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/errors;
events {{ worker_connections 64; }}
http {{
  access_log {folder}/requests; default_type application/octet-stream;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port}; root {root};
    auth_basic "PhysioNet"; auth_basic_user_file {folder}/users;
    limit_rate {rate};
  }}
}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def nginx(loopback: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of an nginx that serves a release to one account, at 400 kB/s for each connection."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    root = tmp_path / "server" / "mimiciv" / "3.1"
    (root / "hosp").mkdir(parents=True)
    for name, size in (("hosp/labevents.csv.gz", 1_600_000), ("hosp/patients.csv.gz", 4000), ("README.txt", 0)):
        (root / name).write_bytes(os.urandom(size))
    loopback.write_sums(root)
    port, folder = free_port(), tmp_path / "nginx"
    folder.mkdir()
    digest = base64.b64encode(hashlib.sha1(b"secret").digest()).decode()
    (folder / "users").write_text(f"someone:{{SHA}}{digest}\n")
    configuration = CONFIGURATION.format(folder=folder, port=port, root=tmp_path / "server", rate="400k")
    (folder / "conf").write_text(configuration)
    with subprocess.Popen(
        [program, "-p", str(folder), "-e", f"{folder}/errors", "-c", str(folder / "conf")]
    ) as running:
        try:
            wait_for(port, running)
            yield f"http://127.0.0.1:{port}"
        finally:
            running.terminate()


def wait_for(port: int, running: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert running.poll() is None, "nginx ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise AssertionError("nginx does not answer")


def test_a_release_from_nginx(nginx: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHYSIONET_PASSWORD", "secret")
    result = download("mimiciv", user="someone", to=tmp_path / "out", base_url=nginx)
    assert verify(result.folder).is_complete
    assert len(result.fetched) == 3
    requests = (tmp_path / "nginx" / "requests").read_text().splitlines()
    parts = [line for line in requests if "GET /mimiciv/3.1/hosp/labevents.csv.gz" in line]
    assert len(parts) == 7
    assert all('" 206 ' in line for line in parts)
    assert all("someone" in line for line in parts)


def test_a_download_begun_with_wget_is_completed_from_nginx(
    nginx: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real wget, if it is installed, is stopped in the middle."""
    if shutil.which("wget") is None:
        pytest.skip("wget is not installed: apt-get install wget")
    monkeypatch.setenv("PHYSIONET_PASSWORD", "secret")
    out = tmp_path / "out" / "physionet.org" / "files"
    out.mkdir(parents=True)
    url = f"{nginx}/mimiciv/3.1/hosp/labevents.csv.gz"
    with subprocess.Popen(
        ["wget", "-q", "-x", "-nH", "-c", "--user", "someone", "--password", "secret", url], cwd=out
    ) as wget:
        path = out / "mimiciv" / "3.1" / "hosp" / "labevents.csv.gz"
        for _ in range(500):
            if path.is_file() and path.stat().st_size > 200_000:
                break
            time.sleep(0.01)
        wget.kill()
    prefix = path.stat().st_size
    assert 200_000 < prefix < 1_600_000
    result = download("mimiciv", user="someone", to=tmp_path / "out", base_url=nginx)
    assert verify(result.folder).is_complete
    assert result.received == 1_600_000 - prefix + 4000


def test_a_wrong_password_for_nginx(nginx: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHYSIONET_PASSWORD", "other")
    with pytest.raises(PasswordError):
        download("mimiciv", user="someone", to=tmp_path / "out", base_url=nginx)
