"""Downloads that are killed, stopped, or watched for the password: the command as a process of its own."""

from __future__ import annotations

import os
import pty
import random
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

# Starts the command again and again without the time that importing takes: each is a process, which can be killed.
FORKING_DRIVER = """
import os, signal, sys
import ehrtraj.download.run, ehrtraj.cli.show.download
from ehrtraj.cli import main
def kill_before(change):
    # As kill -9 would, before the n-th time that a file gets another name or is removed.
    left = change
    def hook(event, arguments):
        nonlocal left
        if event in ("os.rename", "os.remove"):
            left -= 1
            if left < 0:
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
    """A slow server that wants a password."""
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
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.005)


class Driver:
    """The command, started again and again."""

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
        """Start it; the id of its process. It kills itself before the given change to files, if any."""
        self._process.stdin.write(f"{to} {'' if change is None else change}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def end(self) -> int:
        """Its exit code, once it ended."""
        return int(self._process.stdout.readline())

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.stdin.close()
        said = self._process.stderr.read()
        self._process.wait()
        self._process.stdout.close()
        self._process.stderr.close()
        assert "Traceback" not in said, said


def test_killed_twenty_times_it_ends_whole_and_fetches_little_twice(server: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    seed = random.randrange(1 << 30)
    moments = random.Random(seed)
    server.bytes_per_second = 150_000
    with Driver(server, tmp_path) as driver:
        for _ in range(KILLS):
            before = received(server)
            child = driver.start(out)
            # Mostly while bytes come; sometimes before the first.
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


def test_killed_before_any_change_of_a_file_it_goes_on(loopback: ModuleType, server: Any, tmp_path: Path) -> None:
    """A file that gets its name, a journal that is written or removed: at none of these is anything lost."""
    sizes = {"hosp/labevents.csv.gz": 300_000, "LICENSE.txt": 77}
    shutil.rmtree(server.root)
    write_release(loopback, server.root / "mimiciv" / "3.1", sizes)
    server.bytes_per_second = 0
    with Driver(server, tmp_path) as driver:
        for change in range(60):
            out = tmp_path / f"out{change}"
            driver.start(out, change=change)
            code = driver.end()
            named = [p for p in sizes if (out / FOLDER / p).is_file()]
            if code:
                assert code == -signal.SIGKILL
                assert not named or set(named) <= set(verify(out / FOLDER).right)
                driver.start(out)
                assert driver.end() == 0
            assert verify(out / FOLDER).is_complete
            assert not [p for p in out.rglob("*") if ".part" in p.name or p.name.endswith(".new")]
            if not code:
                break
    assert code == 0
    assert change > 3 * len(sizes)


def test_stopped_at_any_moment_it_says_so_in_a_line(server: Any, tmp_path: Path) -> None:
    # Fast, so that it is mostly at work when it is told to stop, and not waiting.
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
def test_stopped_it_it_keeps_what_it_has(server: Any, tmp_path: Path, number: int) -> None:
    process = start(server, tmp_path / "out")
    wait_until(lambda: received(server) > 400_000)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "stopped. What was fetched is kept" in err
    assert "Traceback" not in out + err
    server.bytes_per_second = 0
    process = start(server, tmp_path / "out")
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "of them there already" in err
    assert received(server) <= 1.1 * sum(SIZES.values())
    assert verify(tmp_path / "out" / FOLDER).is_complete


def test_the_password_is_nowhere(server: Any, tmp_path: Path) -> None:
    """Not in what is said, written or listed, whether it goes well, is refused, or is cut short."""
    said = []
    for password in (PASSWORD, "wr0ng-one-of-no-one"):
        process = start(server, tmp_path / "out", PHYSIONET_PASSWORD=password, PYTHONASYNCIODEBUG="1")
        wait_until(lambda: server.requests)
        if (arguments := Path(f"/proc/{process.pid}/cmdline")).exists():
            said.append(arguments.read_bytes().decode())
        said += process.communicate(timeout=60)
        server.requests.clear()
    process = start(server, tmp_path / "other")
    wait_until(lambda: received(server) > 100_000)
    process.kill()
    said += process.communicate()
    contents = [p.read_bytes() for folder in ("out", "other") for p in (tmp_path / folder).rglob("*") if p.is_file()]
    assert len(contents) > 5
    for secret in (PASSWORD, "wr0ng-one-of-no-one"):
        assert not [text for text in said if secret in text]
        assert not [content for content in contents if secret.encode() in content]


def on_a_terminal(server: Any, to: Path, typed: bytes) -> tuple[int, str]:
    """Run the command where it can ask, and type when it does."""
    environ = environment(to.parent, COLUMNS="120", TERM="xterm")
    del environ["PHYSIONET_PASSWORD"]
    child, screen = pty.fork()
    if not child:
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
    assert "mimiciv 3.1 is whole" in shown
    assert verify(tmp_path / "out" / FOLDER).is_complete


def test_ctrl_c_ends_the_question_for_the_password(server: Any, tmp_path: Path) -> None:
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


def test_the_command_says_what_it_did_and_what_is_wrong(server: Any, tmp_path: Path) -> None:
    server.bytes_per_second = 0
    said = run(*command(server, tmp_path), "--modules", "icu", home=tmp_path)
    assert said.returncode == 0, said.stderr
    assert "2 files of mimiciv 3.1 are there (2 were not asked for)" in said.stdout
    assert "icu/chartevents.csv.gz is whole. " in said.stderr
    said = run("verify", tmp_path, home=tmp_path)
    assert said.returncode == 20
    assert "missing  hosp/labevents.csv.gz" in said.stdout
    assert "2 of 4 files have their published SHA-256: 2 missing, 0 broken, 0 extra" in said.stdout
    assert "ehrtraj download mimiciv --release 3.1 --user NAME --to" in said.stderr
    assert "--tables hosp/labevents,hosp/patients" in said.stderr
    (tmp_path / FOLDER / "icu" / "chartevents.csv.gz").write_bytes(b"other")
    (tmp_path / FOLDER / "icu" / "mine.csv").write_bytes(b"mine")
    said = run("verify", tmp_path / FOLDER, "--modules", "icu", home=tmp_path)
    assert said.returncode == 20
    assert "broken  icu/chartevents.csv.gz" in said.stdout
    assert "extra   icu/mine.csv" in said.stdout
    assert run(*command(server, tmp_path), home=tmp_path).returncode == 0
    said = run("verify", tmp_path / FOLDER, home=tmp_path)
    assert said.returncode == 0
    assert "4 of 4 files" in said.stdout


def test_exit_codes_of_the_command(server: Any, tmp_path: Path) -> None:
    assert run("download", home=tmp_path).returncode == 2
    server.faults.append(lambda handler: handler.refuse(403) is None)
    said = run(*command(server, tmp_path), home=tmp_path)
    assert said.returncode == 12
    assert said.stderr.startswith("error: 127.0.0.1 refuses mimiciv 3.1 to this account (403)")
    assert said.stdout == ""


def test_help_lists_every_exit_code(tmp_path: Path) -> None:
    said = run("download", "--help", home=tmp_path).stdout
    assert all(f"{code} " in said for code in (0, 2, 4, *range(10, 20), 130))
    assert "PHYSIONET_PASSWORD" in said
    assert "--password" not in said
    assert "20 missing or broken" in run("verify", "--help", home=tmp_path).stdout


def test_every_exit_code_is_documented() -> None:
    """docs/guides/download.md has a line for each error."""
    from ehrtraj.download import errors

    page = (Path(__file__).parents[2] / "docs" / "guides" / "download.md").read_text()
    codes = {error.exit_code for error in vars(errors).values() if isinstance(error, type) and error.exit_code >= 10}
    assert codes == set(range(10, 21))
    assert all(f"| {code} |" in page for code in codes)
