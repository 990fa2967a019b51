"""Tasks in processes: started one by one, and ended at any moment without hanging."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ehrtraj.dataset.database import open_database
from ehrtraj.errors import DatasetError, OutputError
from ehrtraj.runtime.processes import stream_tasks, workers_in_advance


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let new processes find this module and its tasks through an inherited path."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2])


def twice(number: int) -> int:
    return number * 2


def report_often(times: int, *, report: Callable[[object], None]) -> int:
    for step in range(times):
        report(step)
    return times


def report_and_refuse(*, report: Callable[[object], None]) -> None:
    report(0)
    raise DatasetError("after a report")


def report_and_die(*, report: Callable[[object], None]) -> None:
    report(0)
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(number: int) -> int:
    raise DatasetError(f"not {number}")


def die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def large(flag: Path) -> bytes:
    """Return more than a pipe can buffer, so that the process blocks while it sends the result."""
    flag.touch()
    return bytes(20 << 20)


def in_steps(name: str, *, report: Callable[[object], None]) -> str:
    report((name, 1))
    report((name, 2))
    return name


def wait_for(path: Path) -> None:
    for _ in range(2_000):
        if path.exists():
            return
        time.sleep(0.01)
    raise TimeoutError(path)


@pytest.mark.skipif(sys.platform != "linux", reason="pyarrow has jemalloc on Linux only")
def test_workers_use_jemalloc_unless_the_user_chose_another_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [(n, ("ARROW_DEFAULT_MEMORY_POOL",)) for n in range(2)]
    for given, used in ((None, "jemalloc"), ("mimalloc", "mimalloc")):
        if given is None:
            monkeypatch.delenv("ARROW_DEFAULT_MEMORY_POOL", raising=False)
        else:
            monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", given)
        assert dict(stream_tasks(os.getenv, tasks, 2)) == {0: used, 1: used}
        assert os.environ.get("ARROW_DEFAULT_MEMORY_POOL") == given


@pytest.mark.skipif(sys.platform != "linux", reason="pyarrow has jemalloc on Linux only")
def test_workers_keep_freed_memory_unless_the_user_configures_jemalloc(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "JE_ARROW_MALLOC_CONF"
    tasks = [(n, (name,)) for n in range(2)]
    monkeypatch.delenv(name, raising=False)
    assert all("dirty_decay_ms:-1" in str(value) for value in dict(stream_tasks(os.getenv, tasks, 2)).values())
    assert name not in os.environ
    monkeypatch.setenv(name, "dirty_decay_ms:9")
    assert dict(stream_tasks(os.getenv, tasks, 2)) == dict.fromkeys(range(2), "dirty_decay_ms:9")
    monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", "mimalloc")
    monkeypatch.delenv(name)
    assert dict(stream_tasks(os.getenv, tasks, 2)) == dict.fromkeys(range(2), None)


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


def test_processes_that_start_in_advance_work_on_the_tasks_and_end_without_one() -> None:
    with workers_in_advance(os.getppid, 3, reports=False) as waiting:
        pids = {worker.process.pid for worker in waiting}
        assert {process.pid for process in multiprocessing.active_children()} == pids
        taken = waiting.copy()
        waiting.clear()
        assert list(stream_tasks(os.getppid, [(7, ())], 3, waiting=taken)) == [(7, os.getpid())]
        assert not multiprocessing.active_children()


def test_processes_that_start_in_advance_and_are_not_used_end() -> None:
    with pytest.raises(ZeroDivisionError), workers_in_advance(twice, 2, reports=False):
        assert len(multiprocessing.active_children()) == 2
        raise ZeroDivisionError
    assert not multiprocessing.active_children()


def set_variable(value: str) -> None:
    os.environ["PREPARED_BY_TEST"] = value


def test_processes_are_prepared_before_their_first_task() -> None:
    with workers_in_advance(os.getenv, 2, reports=False) as waiting:
        taken = waiting.copy()
        waiting.clear()
        for worker in taken:
            worker.prepare(set_variable, "yes")
        tasks = [(number, ("PREPARED_BY_TEST",)) for number in range(4)]
        assert dict(stream_tasks(os.getenv, tasks, 2, waiting=taken)) == dict.fromkeys(range(4), "yes")


def test_an_error_in_the_preparation_is_raised() -> None:
    with workers_in_advance(twice, 2, reports=False) as waiting:
        taken = waiting.copy()
        waiting.clear()
        for worker in taken:
            worker.prepare(refuse, 3)
        with pytest.raises(DatasetError, match="not 3"):
            list(stream_tasks(twice, [(0, (0,)), (1, (1,))], 2, waiting=taken))
    assert not multiprocessing.active_children()


def test_workers_start_without_threads_of_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ("4", None):
        if given is None:
            monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
        else:
            monkeypatch.setenv("OPENBLAS_NUM_THREADS", given)
        tasks = [(n, ("OPENBLAS_NUM_THREADS",)) for n in range(2)]
        assert dict(stream_tasks(os.getenv, tasks, 2)) == {0: "1", 1: "1"}
        assert os.environ.get("OPENBLAS_NUM_THREADS") == given


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_reports_its_progress_before_its_result(workers: int) -> None:
    seen: list[object] = []
    tasks = [(number, (f"task {number}",)) for number in range(3)]
    for number, _result in stream_tasks(in_steps, tasks, workers, lambda key, progress: seen.append((key, progress))):
        seen.append(number)
    for number in range(3):
        assert seen.index((number, (f"task {number}", 1))) < seen.index(number)
    # A process drops a report that follows another one at once. Without processes, none is dropped.
    assert workers > 1 or len(seen) == 9
    assert multiprocessing.active_children() == []


def test_a_task_that_reports_all_the_time_sends_few_reports() -> None:
    seen: list[tuple[int, int]] = []
    tasks = [(0, (20_000,)), (1, (20_000,))]
    assert dict(stream_tasks(report_often, tasks, 2, lambda key, step: seen.append((key, step)))) == {
        0: 20_000,
        1: 20_000,
    }
    assert {key for key, _ in seen} == {0, 1}
    assert len(seen) < 200


def test_a_task_that_fails_or_is_killed_after_a_report_is_noticed() -> None:
    with pytest.raises(DatasetError, match="after a report"):
        list(stream_tasks(report_and_refuse, [(0, ()), (1, ())], 2, lambda _key, _progress: None))
    with pytest.raises(OutputError, match="memory"):
        list(stream_tasks(report_and_die, [(0, ()), (1, ())], 2, lambda _key, _progress: None))


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
