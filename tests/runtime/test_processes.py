"""Tasks in processes: started one by one, and ended at any moment without hanging."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ehrtraj.dataset.database import open_database
from ehrtraj.errors import DatasetError, OutputError
from ehrtraj.runtime.processes import stream_tasks


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let new processes find this module and its tasks through an inherited path."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2])


def twice(number: int) -> int:
    return number * 2


def refuse(number: int) -> int:
    raise DatasetError(f"not {number}")


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def large(flag: Path) -> bytes:
    """Return more than a pipe can buffer, so that the process blocks while it sends the result."""
    flag.touch()
    return bytes(20 << 20)


def wait_for(path: Path) -> None:
    for _ in range(2_000):
        if path.exists():
            return
        time.sleep(0.01)
    raise TimeoutError(path)


@pytest.mark.parametrize("workers", [1, 2])
def test_each_task_has_its_result(workers: int) -> None:
    tasks = [(f"task {number}", (number,)) for number in range(7)]
    assert dict(stream_tasks(twice, tasks, workers)) == {f"task {number}": number * 2 for number in range(7)}
    assert multiprocessing.active_children() == []


def test_tasks_are_taken_only_when_a_process_is_free() -> None:
    taken = []

    def tasks() -> Iterator[tuple[int, tuple[int]]]:
        for number in range(50):
            taken.append(number)
            yield number, (number,)

    for done, _ in enumerate(stream_tasks(twice, tasks(), 2), 1):
        assert len(taken) <= done + 2


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_task_is_raised(workers: int) -> None:
    with pytest.raises(DatasetError, match="not 0"):
        list(stream_tasks(refuse, [(0, (0,))], workers))
    assert multiprocessing.active_children() == []


def test_a_killed_process_is_reported() -> None:
    with pytest.raises(OutputError, match="the system ended a worker process"):
        list(stream_tasks(die, [(0, (0,)), (1, (1,))], 2))
    assert multiprocessing.active_children() == []


def test_a_process_that_sends_a_large_result_can_be_ended(tmp_path: Path) -> None:
    """With a pipe shared by all processes, the end of the result never arrived and the command did not end."""
    results = stream_tasks(large, [(n, (tmp_path / str(n),)) for n in range(3)], 2)
    next(results)
    # The third task is running, and its result is never read.
    wait_for(tmp_path / "2")
    results.close()
    assert multiprocessing.active_children() == []


def test_ctrl_c_during_a_query_raises_keyboardinterrupt(tmp_path: Path) -> None:
    """DuckDB alone would raise a RuntimeError."""
    endless = "SELECT sum(hash(a.range + b.range)) FROM range(10000000) a, range(10000000) b"
    with open_database(tmp_path, 10**9, 1) as database:
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            database.one(endless)


COMMAND = """
import sys
from ehrtraj.checks import run as check
from ehrtraj.diffs import run as diff
from ehrtraj.labels import run as label
check._WORTH_PROCESSES = diff._WORTH_PROCESSES = label._WORTH_PROCESSES = 0
label._BATCH_EVENTS = 1
diff.CHUNK_EVENTS = 20
from ehrtraj.cli import main
main()
"""


@pytest.mark.parametrize(
    ("command", "moment"),
    [
        ("check", "ehrtraj-*"),
        ("check", "ehrtraj-*/*"),
        ("diff", "ehrtraj-*"),
        ("label", "ehrtraj-*"),
        ("label", "ehrtraj-*/*"),
    ],
)
def test_ctrl_c_ends_a_command_and_leaves_no_files(
    several_shards_built: Path, tmp_path: Path, command: str, moment: str
) -> None:
    """Ctrl-C is sent while processes start, and after the first of them has begun to write."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    output = tmp_path / "labels.parquet"
    arguments = [several_shards_built] * (2 if command == "diff" else 1)
    if command == "label":
        arguments += ["aki_48h", "--output", output]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, command, *map(str, arguments), "--max-cpus", "2"],
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while process.poll() is None and not any(temporary.glob(moment)):
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    stopped = "stopped: no labels were written\n" if command == "label" else "stopped\n"
    assert (process.returncode, out, err) == (130, "", stopped)
    assert list(temporary.iterdir()) == []
    assert not output.exists()
