"""Commands stopped by Ctrl-C or SIGTERM at any moment: they print one line, exit with 130, and leave no partial files.

The moments are spread over the running time of each command, beginning when it handles signals. To try more of them:
EHRTRAJ_STOPS=50 pytest tests/cli/test_stopped.py
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
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
class Inputs:
    release: Path
    dataset: Path
    other: Path
    as_written: Path


@pytest.fixture(scope="module")
def inputs(release: Path, built: Path, several_shards_built: Path, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    output = tmp_path_factory.mktemp("as_written")
    as_written = ehrtraj.build(release, output, "v1", max_cpus=1, standardise=False).path
    return Inputs(release, built, several_shards_built, as_written)


def check_label_file(path: Path) -> None:
    """Check that the label file is complete or absent, and that its folder contains nothing else."""
    assert [p.name for p in path.parent.iterdir()] in ([], [path.name])
    if path.exists():
        assert path.read_bytes()[-4:] == b"PAR1"


def check_report(path: Path) -> None:
    """Check that the report is complete or absent, and that its folder contains nothing else."""
    assert [p.name for p in path.parent.iterdir()] in ([], [path.name])
    if path.exists():
        assert path.read_bytes().endswith(b"</html>")


def check_release(path: Path) -> None:
    assert [p.name for p in path.parent.iterdir()] in ([], [path.name])
    if path.exists():
        assert {SYNTHETIC_MARKER, "SHA256SUMS.txt", "hosp", "icu"} <= {p.name for p in path.iterdir()}


def check_dataset(path: Path) -> None:
    """Check that the folder contains only the dataset, or work to resume."""
    version = path.name
    allowed = {version, f".{version}.build", f".{version}.lock", f"{version}-report.html"}
    assert not path.parent.exists() or {p.name for p in path.parent.iterdir()} <= allowed
    if path.exists():
        assert len(ehrtraj.open(path)) == 8


def check_export(path: Path) -> None:
    if (path / "export.json").is_file():
        assert (path / "index.csv").read_text().count("\n") == 9
        assert len(list(path.rglob("*.jsonl"))) == 8


def check_with_concepts(path: Path) -> None:
    """Check that the dataset is unchanged, apart from complete concepts, or work to resume."""
    ds = ehrtraj.open(path)
    assert not ehrtraj.check(path, max_cpus=1).broken
    for name in ds.concepts["concept"]:
        assert ds.concept(name).collect().columns


def check_demo(path: Path) -> None:
    """Check that the folder contains nothing, a release, or a release and a dataset."""
    if path.exists():
        assert {p.name for p in path.iterdir()} <= {"release", "trajectories"}
        assert not (path / "trajectories").exists() or (path / "release" / SYNTHETIC_MARKER).is_file()


def check_nothing_written(path: Path) -> None:
    assert not path.exists()


Command = tuple[Callable[[Inputs, Path], list[object]], Callable[[Path], None], int]

# For each command: a function that returns its arguments, given the inputs and an output path; a function that checks
# what it left at that path; and the number of moments to try.
COMMANDS: dict[str, Command] = {
    "build": (
        lambda i, out: ["build", i.release, "-o", out.parent, "-t", out.name, "--max-cpus", 1], check_dataset, MOMENTS
    ),
    "check": (lambda i, out: ["check", i.dataset, "--max-cpus", 1], check_nothing_written, MOMENTS),
    "diff": (lambda i, out: ["diff", i.dataset, i.as_written, "--max-cpus", 1], check_nothing_written, MOMENTS),
    "export": (lambda i, out: ["export", i.dataset, "-o", out, "--max-cpus", 1], check_export, MOMENTS),
    "concepts": (
        lambda i, out: ["concepts", shutil.copytree(i.dataset, out), "--max-cpus", 1], check_with_concepts, MOMENTS
    ),
    "label": (lambda i, out: ["label", i.dataset, "in_hospital_mortality", "-o", out], check_label_file, MOMENTS),
    "report": (lambda i, out: ["report", i.dataset, "-o", out], check_report, 1),
    "synth": (lambda i, out: ["synth", out, "-n", 5, "--max-cpus", 1], check_release, MOMENTS),
    "show": (lambda i, out: ["show", i.dataset, SUBJECT], check_nothing_written, MOMENTS),
    "explain": (lambda i, out: ["explain", i.dataset, SUBJECT, "--limit", 3], check_nothing_written, 1),
    "codes": (lambda i, out: ["codes", i.dataset], check_nothing_written, 1),
    "info": (lambda i, out: ["info", i.dataset], check_nothing_written, 1),
    "plan": (lambda i, out: ["plan", i.release, "-o", out], check_nothing_written, 1),
    "rules applied": (lambda i, out: ["rules", "applied", i.other], check_nothing_written, 1),
    "rules explain": (lambda i, out: ["rules", "explain", "50912"], check_nothing_written, 1),
    "rules list": (lambda i, out: ["rules", "list"], check_nothing_written, 1),
    "rules docs": (lambda i, out: ["rules", "docs"], check_nothing_written, 1),
    "flags": (lambda i, out: ["flags", i.dataset], check_nothing_written, 1),
    "tables": (lambda i, out: ["tables"], check_nothing_written, 1),
    "tasks": (lambda i, out: ["tasks"], check_nothing_written, 1),
    "view": (lambda i, out: ["view", i.dataset, "--no-browser", "--port", 0], check_nothing_written, 1),
    "demo": (lambda i, out: ["demo", out, "-n", 5, "--max-cpus", 1], check_demo, 1),
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
    """Start a command in a separate process group, as a shell does."""
    return subprocess.Popen(
        [sys.executable, *(code or ("-m", "ehrtraj")), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    )


def wait_for_handlers(process: Any) -> None:
    """Wait until the command handles SIGTERM, which it sets up first; Python itself does not handle it."""
    status = Path(f"/proc/{process.pid}/status")
    bit = 1 << (signal.SIGTERM - 1)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if int(re.search(r"SigCgt:\s*(\w+)", status.read_text())[1], 16) & bit:
            return
        time.sleep(0.001)
    pytest.fail(f"the command never handled signals: {process.communicate()}")


def messages(err: str) -> list[str]:
    """Return the lines on stderr that are neither notes, warnings nor the progress of a slow machine."""
    usual = re.compile(r"note: |WARNING: |\d\d:\d\d:\d\d \w")
    return [line for line in err.splitlines() if line and not usual.match(line)]


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
def test_stopped_at_any_moment(inputs: Inputs, tmp_path: Path, name: str) -> None:
    arguments, check, moments = COMMANDS[name]
    before = contents(inputs.dataset) | contents(inputs.release)
    chance = random.Random(f"stopped {name}")
    (tmp_path / "tmp").mkdir()
    took, finished = 0.6, 0
    if moments > 1:
        # Measure the running time on this machine with an uninterrupted run.
        (tmp_path / "uninterrupted").mkdir()
        process = start(arguments(inputs, tmp_path / "uninterrupted" / "v1"), tmp_path / "tmp")
        wait_for_handlers(process)
        begun = time.monotonic()
        _, err = process.communicate(timeout=120)
        took, finished = time.monotonic() - begun, process.returncode
        assert finished == (1 if name == "diff" else 0), err
        check(tmp_path / "uninterrupted" / "v1")
    for moment in range(moments):
        parent = tmp_path / str(moment)
        parent.mkdir()
        process = start(arguments(inputs, parent / "v1"), tmp_path / "tmp")
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
        assert contents(inputs.dataset) | contents(inputs.release) == before
        assert list((tmp_path / "tmp").iterdir()) == [], "temporary files were left behind"


# A process that sends itself further signals while the first one is handled, before and after a step of that.
AGAIN = """
import os, signal, sys, time
from ehrtraj import interrupt
interrupt.install()
step = getattr(os, sys.argv[1])
def interrupted(*arguments):
    os.kill(os.getpid(), signal.SIGINT)
    result = step(*arguments)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)
    return result
setattr(os, sys.argv[1], interrupted)
os.kill(os.getpid(), signal.SIGINT)
time.sleep(10)
"""


@pytest.mark.parametrize("step", ["isatty", "write"])
def test_immediate_further_signals_print_nothing_more(step: str) -> None:
    ended = subprocess.run([sys.executable, "-c", AGAIN, step], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (130, "stopped\n")


# Runs before anything else, so that even the small dataset is processed by several processes.
SEVERAL_PROCESSES = """
import importlib, sys
for name in ("ehrtraj.checks.run", "ehrtraj.diffs.run", "ehrtraj.exports.run"):
    importlib.import_module(name)._WORTH_PROCESSES = -1
from ehrtraj.cli import main
from ehrtraj.runtime.sizes import Sizes
main(Sizes(shard_rows=4000))
"""


@pytest.mark.parametrize("name", ["build", "check", "export"])
def test_stopped_while_its_workers_start(inputs: Inputs, tmp_path: Path, name: str) -> None:
    """Ctrl-C also reaches the workers, while they are importing: they print nothing, and none keeps running."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "out").mkdir()
    arguments = [a if a != inputs.dataset else inputs.other for a in COMMANDS[name][0](inputs, tmp_path / "out" / "v1")]
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
from ehrtraj.cli.application import graceful_stop, new_application
from ehrtraj.cli import run

def stop():
    os.kill(os.getpid(), signal.SIGINT)

app = new_application()

@app.command("tried")
def tried():
    {body}

sys.argv = ["ehrtraj", "tried"]
run.application = lambda arguments: app
run.run()
"""


def tried(body: str) -> tuple[int, str, str]:
    """Run a command with this body; return its exit code, stdout and stderr."""
    code = IN_PROCESS.replace("{body}", body.replace("\n", "\n    "))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tried_command.py").write_text(code)
        arguments = [sys.executable, "-m", "tried_command"]
        result = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in result.stderr, result.stderr
    return result.returncode, result.stdout, result.stderr


BODIES = {
    "swallowed by a callback": """
class SwallowsException:
    def __del__(self):
        stop()
with graceful_stop(": kept"):
    SwallowsException()
os.write(1, b"continued")""",
    "in code that is a string": """
with graceful_stop(": kept"):
    exec("stop()")""",
    "turned into an error of a library": """
with graceful_stop(": kept"):
    try:
        stop()
    except KeyboardInterrupt:
        raise RuntimeError("Query interrupted")""",
    "lost, and noticed by the progress bar": """
from ehrtraj.cli.show.activity import bar
with graceful_stop(": kept"), bar("x") as advance:
    try:
        stop()
    except KeyboardInterrupt:
        pass
    advance(1, 2)
    os.write(1, b"continued")""",
    "two more signals while it cleans up": """
with graceful_stop(": kept"):
    try:
        stop()
    finally:
        stop()
        stop()
        os.write(1, b"clean")""",
    "in a generator that is never closed": """
def cleaning():
    try:
        yield 1
    finally:
        os.write(1, b"clean")
with graceful_stop(": kept"):
    work = cleaning()
    next(work)
    stop()""",
    "in a part that must not be interrupted": """
with graceful_stop(": kept"):
    with interrupt.held():
        stop()
        os.write(1, b"clean")
    os.write(1, b"continued")""",
    "while it waits": """
import threading
with graceful_stop(": kept"):
    threading.Thread(target=stop).start()
    time.sleep(30)""",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_stop_signal_is_not_lost(body: str) -> None:
    code, out, err = tried(body)
    assert (code, err) == (130, "stopped: kept\n")
    assert "continued" not in out
    assert out == ("clean" if "clean" in body else "")


def test_a_signal_after_the_work_is_done_does_not_change_the_exit_code() -> None:
    assert tried("import atexit; atexit.register(stop)") == (0, "", "")


def test_without_anything_to_clean_up_the_process_ends_at_once() -> None:
    assert tried("try:\n    stop()\nfinally:\n    os.write(1, b'continued')") == (130, "", "stopped\n")


def test_under_nohup_the_command_continues(tmp_path: Path) -> None:
    """A signal that is ignored when the command starts stays ignored."""
    code = "import os, signal; from ehrtraj import interrupt; interrupt.install(); os.kill(0, signal.SIGINT); print(1)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    assert (result.returncode, result.stdout) == (0, "1\n")
