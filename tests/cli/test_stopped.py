"""Commands that are stopped by Ctrl-C or SIGTERM, at any moment: one line, 130, nothing half-written.

Moments are spread over the time that each command takes here, from when it handles signals at all. More of them:
EHRTRAJ_STOPS=50 pytest tests/cli/test_stopped.py
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer.main

import ehrtraj
from ehrtraj import interrupt
from ehrtraj.cli import app
from ehrtraj.release.versions import SYNTHETIC_MARKER

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="looks for signal handlers in /proc")

MOMENTS = int(os.environ.get("EHRTRAJ_STOPS", "2"))
SUBJECT = "10900116"


@dataclass
class Given:
    release: Path
    dataset: Path
    other: Path


@pytest.fixture(scope="module")
def given(release: Path, built: Path, several_shards_built: Path) -> Given:
    return Given(release, built, several_shards_built)


def whole_file(path: Path) -> None:
    """A file of labels is there and can be read, or is not there; nothing else is."""
    assert [p.name for p in path.parent.iterdir()] in ([], [path.name])
    if path.exists():
        assert path.read_bytes()[-4:] == b"PAR1"


def whole_release(path: Path) -> None:
    assert [p.name for p in path.parent.iterdir()] in ([], [path.name])
    if path.exists():
        assert {SYNTHETIC_MARKER, "SHA256SUMS.txt", "hosp", "icu"} <= {p.name for p in path.iterdir()}


def whole_dataset(path: Path) -> None:
    """The dataset is there, or work to resume."""
    version = path.name
    allowed = {version, f".{version}.build", f".{version}.lock"}
    assert not path.parent.exists() or {p.name for p in path.parent.iterdir()} <= allowed
    if path.exists():
        assert len(ehrtraj.open(path)) == 8


def whole_export(path: Path) -> None:
    if (path / "export.json").is_file():
        assert (path / "index.csv").read_text().count("\n") == 9
        assert len(list(path.rglob("*.jsonl"))) == 8


def whole_demo(path: Path) -> None:
    """A release without a dataset, or with one, or neither; nothing else."""
    if path.exists():
        assert {p.name for p in path.iterdir()} <= {"release", "trajectories"}
        assert not (path / "trajectories").exists() or (path / "release" / SYNTHETIC_MARKER).is_file()


def nothing(path: Path) -> None:
    assert not path.exists()


Command = tuple[Callable[[Given, Path], list[object]], Callable[[Path], None], int]

# Each command with its arguments, given where to write; what may be found there; and how many moments are tried for
# each one that others are tried for.
COMMANDS: dict[str, Command] = {
    "build": (
        lambda g, out: ["build", g.release, "-o", out.parent, "-t", out.name, "--max-cpus", 1], whole_dataset, MOMENTS
    ),
    "check": (lambda g, out: ["check", g.dataset, "--max-cpus", 1], nothing, MOMENTS),
    "diff": (lambda g, out: ["diff", g.dataset, g.other, "--max-cpus", 1], nothing, MOMENTS),
    "export": (lambda g, out: ["export", g.dataset, "-o", out, "--max-cpus", 1], whole_export, MOMENTS),
    "label": (lambda g, out: ["label", g.dataset, "in_hospital_mortality", "-o", out], whole_file, MOMENTS),
    "synth": (lambda g, out: ["synth", out, "-n", 5, "--max-cpus", 1], whole_release, MOMENTS),
    "show": (lambda g, out: ["show", g.dataset, SUBJECT], nothing, MOMENTS),
    "explain": (lambda g, out: ["explain", g.dataset, SUBJECT, "--limit", 3], nothing, 1),
    "codes": (lambda g, out: ["codes", g.dataset], nothing, 1),
    "info": (lambda g, out: ["info", g.dataset], nothing, 1),
    "rules applied": (lambda g, out: ["rules", "applied", g.other], nothing, 1),
    "rules explain": (lambda g, out: ["rules", "explain", "50912"], nothing, 1),
    "rules list": (lambda g, out: ["rules", "list"], nothing, 1),
    "rules docs": (lambda g, out: ["rules", "docs"], nothing, 1),
    "tables": (lambda g, out: ["tables"], nothing, 1),
    "tasks": (lambda g, out: ["tasks"], nothing, 1),
    "demo": (lambda g, out: ["demo", out, "-n", 5, "--max-cpus", 1], whole_demo, 1),
}  # fmt: skip
ELSEWHERE = {
    "download": "test_download_killed.py, with a server",
    "verify": "reads files as download does",
}


def names_of(command: Any, above: str = "") -> Iterator[str]:
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from names_of(inner, f"{name} ")
        else:
            yield f"{above}{name}"


def test_every_command_is_stopped() -> None:
    assert set(COMMANDS) | set(ELSEWHERE) == set(names_of(typer.main.get_command(app)))


def start(arguments: list[object], temporary: Path, *code: str) -> Any:
    """A command as a process of its own group, as a shell starts it."""
    return subprocess.Popen(
        [sys.executable, *(code or ("-m", "ehrtraj")), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    )


def wait_for_handlers(process: Any) -> None:
    """Wait until the command handles SIGTERM, which it does as the first thing; Python itself does not."""
    status = Path(f"/proc/{process.pid}/status")
    bit = 1 << (signal.SIGTERM - 1)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if int(re.search(r"SigCgt:\s*(\w+)", status.read_text())[1], 16) & bit:
            return
        time.sleep(0.001)
    pytest.fail(f"it never handled signals: {process.communicate()}")


def messages(err: str) -> list[str]:
    """What is on stderr beside notes."""
    return [line for line in err.splitlines() if line and not line.startswith(("note: ", "WARNING: "))]


def assert_stopped(code: int, err: str, finished: int | None) -> None:
    assert "Traceback" not in err, err
    if finished is not None and code == finished:
        assert messages(err) == []
        return
    assert code == interrupt.EXIT_CODE, err
    assert len(messages(err)) == 1, err
    assert messages(err)[0].startswith("stopped"), err


def contents(root: Path) -> set[tuple[str, int, int]]:
    return {(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in root.rglob("*")}


@pytest.mark.parametrize("name", COMMANDS)
def test_stopped_at_any_moment(given: Given, tmp_path: Path, name: str) -> None:
    arguments, check, moments = COMMANDS[name]
    before = contents(given.dataset) | contents(given.release)
    chance = random.Random(f"stopped {name}")
    (tmp_path / "tmp").mkdir()
    took, finished = 0.6, 0
    if moments > 1:
        # As long as it takes here and now, by a run that nobody stops.
        (tmp_path / "whole").mkdir()
        process = start(arguments(given, tmp_path / "whole" / "v1"), tmp_path / "tmp")
        wait_for_handlers(process)
        begun = time.monotonic()
        _, err = process.communicate(timeout=120)
        took, finished = time.monotonic() - begun, process.returncode
        assert finished == (1 if name == "diff" else 0), err
        check(tmp_path / "whole" / "v1")
    for moment in range(moments):
        parent = tmp_path / str(moment)
        parent.mkdir()
        process = start(arguments(given, parent / "v1"), tmp_path / "tmp")
        wait_for_handlers(process)
        time.sleep(took * (moment + chance.random()) / moments)
        number = chance.choice([signal.SIGINT, signal.SIGINT, signal.SIGTERM])
        for _ in range(chance.choice([1, 1, 2, 3])):
            if process.poll() is None:
                os.killpg(process.pid, number)
                time.sleep(chance.choice([0, 0.02]))
        _, err = process.communicate(timeout=60)
        assert_stopped(process.returncode, err, finished)
        check(parent / "v1")
        assert contents(given.dataset) | contents(given.release) == before
        assert list((tmp_path / "tmp").iterdir()) == [], "temporary files are left"


# Sends itself a second signal while the first one is handled.
TWICE = """
import os, signal, time
from ehrtraj import interrupt
interrupt.install()
write = os.write
def written(number, data):
    count = write(number, data)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)
    return count
os.write = written
os.kill(os.getpid(), signal.SIGINT)
time.sleep(10)
"""


def test_a_second_signal_at_once_says_nothing_more() -> None:
    ended = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (130, "stopped\n")


# Loaded before anything else, so that the small dataset is worth several processes.
SEVERAL_PROCESSES = """
import importlib, sys
for name in ("ehrtraj.checks.run", "ehrtraj.diffs.run", "ehrtraj.exports.run"):
    importlib.import_module(name)._WORTH_PROCESSES = -1
from ehrtraj.pipeline.plan import shards
shards.plan_shards.__defaults__ = (4000,)
from ehrtraj.cli import main
main()
"""


@pytest.mark.parametrize("name", ["build", "check", "export"])
def test_stopped_while_its_workers_start(given: Given, tmp_path: Path, name: str) -> None:
    """Ctrl-C reaches them, too, while they import: they print nothing, and none is left."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "out").mkdir()
    arguments = [a if a != given.dataset else given.other for a in COMMANDS[name][0](given, tmp_path / "out" / "v1")]
    process = start([*arguments[:-1], 2], tmp_path / "tmp", "-c", SEVERAL_PROCESSES)
    workers: list[psutil.Process] = []
    deadline = time.monotonic() + 60
    while len(workers) < 2 and time.monotonic() < deadline and process.poll() is None:
        workers = [p for p in psutil.Process(process.pid).children(recursive=True) if "spawn_main" in str(cmdline(p))]
        time.sleep(0.002)
    assert len(workers) == 2, process.communicate()
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert_stopped(process.returncode, err, None)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
    COMMANDS[name][1](tmp_path / "out" / "v1")


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


IN_PROCESS = """
import os, signal, sys, time
from ehrtraj import interrupt
interrupt.install()
from ehrtraj.cli.application import app, tidy_end
from ehrtraj.cli import run

def stop():
    os.kill(os.getpid(), signal.SIGINT)

@app.command("tried")
def tried():
    {body}

sys.argv = ["ehrtraj", "tried"]
run.run()
"""


def tried(body: str) -> tuple[int, str, str]:
    """What a command does whose body is given."""
    code = IN_PROCESS.replace("{body}", body.replace("\n", "\n    "))
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in said.stderr, said.stderr
    return said.returncode, said.stdout, said.stderr


BODIES = {
    "swallowed by a callback": """
class Lost:
    def __del__(self):
        stop()
with tidy_end(": kept"):
    Lost()
os.write(1, b"went on")""",
    "turned into an error of a library": """
with tidy_end(": kept"):
    try:
        stop()
    except KeyboardInterrupt:
        raise RuntimeError("Query interrupted")""",
    "lost, and noticed by what shows progress": """
from ehrtraj.cli.show.bars import bar
with tidy_end(": kept"), bar("x") as advance:
    try:
        stop()
    except KeyboardInterrupt:
        pass
    advance(1, 2)
    os.write(1, b"went on")""",
    "twice more while it cleans up": """
with tidy_end(": kept"):
    try:
        stop()
    finally:
        stop()
        stop()
        os.write(1, b"clean")""",
    "in a generator that nobody closes": """
def cleaning():
    try:
        yield 1
    finally:
        os.write(1, b"clean")
with tidy_end(": kept"):
    work = cleaning()
    next(work)
    stop()""",
    "in a part that is not cut short": """
with tidy_end(": kept"):
    with interrupt.held():
        stop()
        os.write(1, b"clean")
    os.write(1, b"went on")""",
    "while it waits": """
import threading
with tidy_end(": kept"):
    threading.Thread(target=stop).start()
    time.sleep(30)""",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_what_stops_a_command_is_not_lost(body: str) -> None:
    code, out, err = tried(body)
    assert (code, err) == (130, "stopped: kept\n")
    assert "went on" not in out
    assert out == ("clean" if "clean" in body else "")


def test_stopped_after_all_is_done_it_keeps_its_exit_code() -> None:
    assert tried("import atexit; atexit.register(stop)") == (0, "", "")


def test_without_anything_to_clean_up_it_ends_at_once() -> None:
    assert tried("try:\n    stop()\nfinally:\n    os.write(1, b'went on')") == (130, "", "stopped\n")


def test_under_nohup_it_goes_on(tmp_path: Path) -> None:
    """What is ignored when the command starts stays ignored."""
    code = "import os, signal; from ehrtraj import interrupt; interrupt.install(); os.kill(0, signal.SIGINT); print(1)"
    said = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert (said.returncode, said.stdout) == (0, "1\n")
