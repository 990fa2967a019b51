"""Downloads in a separate process that are killed, stopped, or searched for the password."""

from __future__ import annotations

import os
import pty
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ehrtraj.download.verify import verify

KILLS = 20
PASSWORD = "p4ss-w0rd-of-no-one"
SIZES = {
    "hosp/labevents.csv.gz": 2_500_000,
    "icu/chartevents.csv.gz": 3_000_000,
    "hosp/patients.csv.gz": 5000,
    "LICENSE.txt": 77,
}
FOLDER = Path("physionet.org/files/mimiciv/3.1")

# Starts the command repeatedly without importing everything again: each run is a forked process, which can be killed.
FORKING_DRIVER = """
import os, signal, sys
import ehrtraj.download.run, ehrtraj.cli.show.download
from ehrtraj.cli import main
def kill_before(change):
    # Like kill -9, just before the n-th time that a file is renamed or deleted.
    remaining = change
    def hook(event, arguments):
        nonlocal remaining
        if event in ("os.rename", "os.remove"):
            remaining -= 1
            if remaining < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
for line in sys.stdin:
    to, _, change = line.strip().partition(" ")
    child = os.fork()
    if not child:
        sys.argv[sys.argv.index("--to") + 1] = to
        if change:
            kill_before(int(change))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        main()
        os._exit(0)
    print(child, flush=True)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


def write_release(loopback: ModuleType, folder: Path, sizes: dict[str, int]) -> None:
    for path, size in sizes.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(os.urandom(size))
    loopback.write_sums(folder)


@pytest.fixture
def server(loopback: ModuleType, tmp_path: Path) -> Iterator[Any]:
    """A slow server that requires a password."""
    folder = tmp_path / "server" / "mimiciv" / "3.1"
    write_release(loopback, folder, SIZES)
    with loopback.LoopbackServer(folder.parents[1], password=PASSWORD, bytes_per_second=300_000) as running:
        yield running


def command(server: Any, to: Path) -> list[str]:
    return ["download", "mimiciv", "--user", "someone", "--to", str(to), "--base-url", server.url, "--connections", "4"]


def environment(home: Path, **more: str) -> dict[str, str]:
    return os.environ | {"HOME": str(home), "NO_PROXY": "127.0.0.1", "PHYSIONET_PASSWORD": PASSWORD} | more


def start(server: Any, to: Path, *options: str, **more: str) -> Any:
    return subprocess.Popen(
        [sys.executable, "-m", "ehrtraj", *command(server, to), *options],
        env=environment(to.parent, **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def received(server: Any) -> int:
    with server.lock:
        return sum(n for path, n in server.sent.items() if not path.endswith("SHA256SUMS.txt"))


def wait_until(condition: Any, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not become true in time"
        time.sleep(0.005)


class Driver:
    """Starts the command repeatedly."""

    def __init__(self, server: Any, home: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKING_DRIVER, *command(server, home)],
            env=environment(home),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start(self, to: Path, *, change: int | None = None) -> int:
        """Start the command and return its process ID. It kills itself before the given change of files, if any."""
        self._process.stdin.write(f"{to} {'' if change is None else change}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def end(self) -> int:
        """Wait for the command, and return its exit code."""
        return int(self._process.stdout.readline())

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.stdin.close()
        stderr = self._process.stderr.read()
        self._process.wait()
        self._process.stdout.close()
        self._process.stderr.close()
        assert "Traceback" not in stderr, stderr


def test_a_download_killed_twenty_times_completes_and_fetches_little_twice(server: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    seed = random.randrange(1 << 30)
    moments = random.Random(seed)
    server.bytes_per_second = 150_000
    with Driver(server, tmp_path) as driver:
        for _ in range(KILLS):
            before = received(server)
            child = driver.start(out)
            # Usually wait for the first bytes; sometimes kill before them.
            if moments.random() < 0.8:
                wait_until(lambda before=before: received(server) > before)
            time.sleep(moments.uniform(0, 0.3))
            os.kill(child, signal.SIGKILL)
            assert driver.end() == -signal.SIGKILL
        server.bytes_per_second = 0
        driver.start(out)
        assert driver.end() == 0
    assert verify(out / FOLDER).is_complete
    total = sum(SIZES.values())
    assert total <= received(server) <= 1.1 * total, f"seed {seed}: {received(server):,} of {total:,}"


def test_a_download_killed_before_any_change_of_files_resumes(
    loopback: ModuleType, server: Any, tmp_path: Path
) -> None:
    """Nothing is lost if it is killed before a file is renamed, or a journal is written or deleted."""
    sizes = {"hosp/labevents.csv.gz": 300_000, "LICENSE.txt": 77}
    shutil.rmtree(server.root)
    write_release(loopback, server.root / "mimiciv" / "3.1", sizes)
    server.bytes_per_second = 0
    with Driver(server, tmp_path) as driver:
        for change in range(60):
            out = tmp_path / f"out{change}"
            driver.start(out, change=change)
            code = driver.end()
            final = [p for p in sizes if (out / FOLDER / p).is_file()]
            if code:
                assert code == -signal.SIGKILL
                assert not final or set(final) <= set(verify(out / FOLDER).verified)
                driver.start(out)
                assert driver.end() == 0
            assert verify(out / FOLDER).is_complete
            assert not [p for p in out.rglob("*") if ".part" in p.name or p.name.endswith(".new")]
            if not code:
                break
    assert code == 0
    assert change > 3 * len(sizes)


def test_a_download_stopped_at_any_moment_exits_with_130(server: Any, tmp_path: Path) -> None:
    # The server is fast, so that the signal usually arrives while the download works, and not while it waits.
    server.bytes_per_second = 1_500_000
    with Driver(server, tmp_path) as driver:
        for turn in range(12):
            before = received(server)
            child = driver.start(tmp_path / f"out{turn}")
            wait_until(lambda before=before: received(server) > before)
            time.sleep(random.uniform(0, 0.1))
            os.kill(child, signal.SIGTERM if turn % 2 else signal.SIGINT)
            assert driver.end() == 130


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_download_keeps_its_data(server: Any, tmp_path: Path, number: int) -> None:
    process = start(server, tmp_path / "out")
    wait_until(lambda: received(server) > 400_000)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "stopped. Downloaded data is kept" in err
    assert "Traceback" not in out + err
    server.bytes_per_second = 0
    process = start(server, tmp_path / "out")
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert re.search(r"of which [\d.]+ \wB exist already", err)
    assert received(server) <= 1.1 * sum(SIZES.values())
    assert verify(tmp_path / "out" / FOLDER).is_complete


def test_the_password_does_not_leak(server: Any, tmp_path: Path) -> None:
    """It is not in output, files or process lists, whether the download succeeds, is refused, or is killed."""
    texts = []
    for password in (PASSWORD, "wr0ng-one-of-no-one"):
        process = start(server, tmp_path / "out", PHYSIONET_PASSWORD=password, PYTHONASYNCIODEBUG="1")
        wait_until(lambda: server.requests)
        if (arguments := Path(f"/proc/{process.pid}/cmdline")).exists():
            texts.append(arguments.read_bytes().decode())
        texts += process.communicate(timeout=60)
        server.requests.clear()
    process = start(server, tmp_path / "other")
    wait_until(lambda: received(server) > 100_000)
    process.kill()
    texts += process.communicate()
    contents = [p.read_bytes() for folder in ("out", "other") for p in (tmp_path / folder).rglob("*") if p.is_file()]
    assert len(contents) >= 5
    for secret in (PASSWORD, "wr0ng-one-of-no-one"):
        assert not [text for text in texts if secret in text]
        assert not [content for content in contents if secret.encode() in content]


def on_a_terminal(server: Any, to: Path, typed: bytes) -> tuple[int, str]:
    """Run the command on a terminal, and type a reply when it asks for the password."""
    environ = environment(to.parent, COLUMNS="120", TERM="xterm")
    del environ["PHYSIONET_PASSWORD"]
    child, screen = pty.fork()
    if not child:
        # Background jobs of a shell ignore Ctrl-C, and so do their children.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execve(sys.executable, [sys.executable, "-m", "ehrtraj", *command(server, to)], environ)
    shown = b""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if not select.select([screen], [], [], 0.5)[0]:
            continue
        try:
            data = os.read(screen, 65536)
        except OSError:
            break
        shown += data
        if b"Password for someone on 127.0.0.1: " in shown and typed:
            time.sleep(0.1)
            os.write(screen, typed)
            typed = b""
    else:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    os.close(screen)
    return os.waitstatus_to_exitcode(status), shown.decode()


def test_the_password_is_asked_for_on_a_terminal(server: Any, tmp_path: Path) -> None:
    server.bytes_per_second = 2_000_000
    code, shown = on_a_terminal(server, tmp_path / "out", f"{PASSWORD}\n".encode())
    assert code == 0, shown
    assert PASSWORD not in shown
    assert "all files" in shown
    assert "hosp/labevents.csv.gz" in shown
    assert "mimiciv 3.1 is complete" in shown
    assert verify(tmp_path / "out" / FOLDER).is_complete


def test_ctrl_c_ends_the_password_prompt(server: Any, tmp_path: Path) -> None:
    code, shown = on_a_terminal(server, tmp_path / "out", b"\x03")
    assert code == 130
    assert "stopped" in shown
    assert "Traceback" not in shown


def run(*arguments: object, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ehrtraj", *map(str, arguments)],
        env=environment(home, COLUMNS="200", NO_COLOR="1"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_reports_its_result_and_problems(server: Any, tmp_path: Path) -> None:
    server.bytes_per_second = 0
    result = run(*command(server, tmp_path), "--modules", "icu", home=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "all 2 requested files of mimiciv 3.1 are complete (2 others were not requested)" in result.stdout
    assert "icu/chartevents.csv.gz is complete. " in result.stderr
    result = run("verify", tmp_path, home=tmp_path)
    assert result.returncode == 20
    assert "missing  hosp/labevents.csv.gz" in result.stdout
    assert "2 of 4 files have their published SHA-256: 2 missing, 0 broken, 0 extra" in result.stdout
    assert "ehrtraj download mimiciv --release 3.1 --user NAME --to" in result.stderr
    assert "--tables hosp/labevents,hosp/patients" in result.stderr
    (tmp_path / FOLDER / "icu" / "chartevents.csv.gz").write_bytes(b"other")
    (tmp_path / FOLDER / "icu" / "mine.csv").write_bytes(b"mine")
    result = run("verify", tmp_path / FOLDER, "--modules", "icu", home=tmp_path)
    assert result.returncode == 20
    assert "broken  icu/chartevents.csv.gz" in result.stdout
    assert "extra   icu/mine.csv" in result.stdout
    assert run(*command(server, tmp_path), home=tmp_path).returncode == 0
    result = run("verify", tmp_path / FOLDER, home=tmp_path)
    assert result.returncode == 0
    assert "4 of 4 files" in result.stdout


def test_exit_codes_of_the_command(server: Any, tmp_path: Path) -> None:
    assert run("download", home=tmp_path).returncode == 2
    server.faults.append(lambda handler: handler.refuse(403) is None)
    result = run(*command(server, tmp_path), home=tmp_path)
    assert result.returncode == 12
    assert result.stderr.startswith("error: 127.0.0.1 does not give this account access to mimiciv 3.1 (403)")
    assert result.stdout == ""


def test_help_lists_every_exit_code(tmp_path: Path) -> None:
    text = run("download", "--help", home=tmp_path).stdout
    assert all(f"{code} " in text for code in (0, 2, 4, *range(10, 20), 130))
    assert "PHYSIONET_PASSWORD" in text
    assert "--password" not in text
    assert re.search(r"20 missing or\s+broken", run("verify", "--help", home=tmp_path).stdout)


def test_every_exit_code_is_documented() -> None:
    """docs/guides/download.md has a line for each error."""
    from ehrtraj.download import errors

    page = (Path(__file__).parents[2] / "docs" / "guides" / "download.md").read_text()
    codes = {error.exit_code for error in vars(errors).values() if isinstance(error, type) and error.exit_code >= 10}
    assert codes == set(range(10, 21))
    assert all(f"| {code} |" in page for code in codes)
