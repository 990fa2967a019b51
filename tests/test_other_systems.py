"""On systems that lack features of Linux, every command still works and writes the same bytes.

The project's checks do not run on Windows or macOS. Instead, these tests remove the features that those systems lack.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pytest

import ehrtraj
from ehrtraj.checks import books
from ehrtraj.download import part
from ehrtraj.download import run as download_run
from ehrtraj.download.errors import DiskSpaceError
from ehrtraj.download.space import check_room
from ehrtraj.runtime import processes
from ehrtraj.runtime.limits import usable_cpus
from ehrtraj.runtime.processes import lean_memory, return_memory, stream_tasks
from ehrtraj.storage import safe
from ehrtraj.storage.owned import claim

# Runs in a separate process, since modules read these names when they are imported. `bare` removes them.
# O_BINARY, which only Windows has, becomes a flag that Python sets anyway: without it, Windows changes line ends.
SCRIPT = """
import asyncio, filelock, hashlib, multiprocessing.resource_tracker, os, shutil, signal, subprocess, sys, tempfile
from pathlib import Path
import duckdb, httpx, polars, psutil, pyarrow.parquet, rich, typer

release, output, system = sys.argv[1:]
if system == "bare":
    for name in ("O_NOFOLLOW", "geteuid", "getuid", "sched_getaffinity"):
        if hasattr(os, name):
            delattr(os, name)
    os.O_BINARY = getattr(os, "O_BINARY", 0) or os.O_CLOEXEC
    unpatched, package = os.open, os.path.join("src", "ehrtraj")
    def open_binary(path, flags, *rest, **more):
        caller = sys._getframe(1).f_code
        is_ours = package in caller.co_filename and caller.co_name != "sync_path"
        assert flags & os.O_BINARY or not is_ours, caller
        return unpatched(path, flags, *rest, **more)
    os.open = open_binary

import ehrtraj
from ehrtraj.cli import main

dataset = str(ehrtraj.build(Path(release), Path(output), "v1", max_cpus=1).path)
ehrtraj.export(dataset, Path(output, "export"), format="jsonl", max_cpus=1)
assert ehrtraj.check(dataset, max_cpus=1).broken == []
for file in sorted(Path(output).rglob("*")):
    if file.suffix in (".parquet", ".jsonl", ".csv"):
        print(file.relative_to(output), hashlib.sha256(file.read_bytes()).hexdigest())
"""


class System:
    """The module `os` of another system. It is replaced in one module only, since pathlib uses it too."""

    def __init__(self, **other: object) -> None:
        self.__dict__.update(other)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let new processes find this module and its tasks through an inherited path."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1])


@pytest.fixture
def same_memory() -> Iterator[None]:
    """Restore the settings of the process that `lean_memory` changes."""
    cpus = pa.cpu_count()
    yield
    pa.set_cpu_count(cpus)


def twice(number: int) -> int:
    return number * 2


def test_a_system_without_posix_names_writes_the_same_bytes(release: Path, tmp_path: Path) -> None:
    printed = {}
    for system in ("bare", "usual"):
        command = [sys.executable, "-c", SCRIPT, str(release), str(tmp_path / system), system]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        printed[system] = done.stdout.splitlines()
    assert len(printed["bare"]) > 10
    assert printed["bare"] == printed["usual"]


@pytest.mark.parametrize(("counted", "cpus"), [(6, 6), (None, 1)])
def test_cores_are_counted_without_affinity(monkeypatch: pytest.MonkeyPatch, counted: int | None, cpus: int) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: counted)
    assert usable_cpus() == cpus


def test_processes_start_without_signals_that_can_be_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "signal", types.SimpleNamespace())
    tasks = [(number, (number,)) for number in range(3)]
    assert dict(stream_tasks(twice, tasks, 2)) == {0: 0, 1: 2, 2: 4}


def no_library(_name: None) -> NoReturn:
    raise OSError("no such library")


@pytest.mark.parametrize(
    ("system", "load"),
    [("darwin", ctypes.CDLL), ("linux", lambda _: types.SimpleNamespace()), ("linux", no_library)],
    ids=["not Linux", "not glibc", "no C library"],
)
def test_lean_memory_works_without_glibc(
    system: str, load: Callable[[None], object], monkeypatch: pytest.MonkeyPatch, same_memory: None
) -> None:
    monkeypatch.setattr(processes.sys, "platform", system)
    monkeypatch.setattr(ctypes, "CDLL", load)
    lean_memory()
    assert pa.cpu_count() == 1
    return_memory()


def test_a_working_folder_is_claimed_without_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "geteuid", raising=False)
    assert claim(tmp_path / "work", "build") is False
    assert claim(tmp_path / "work", "build") is True


def test_windows_syncs_files_that_are_open_for_writing_and_no_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def opened(path: Path, flags: int) -> int:
        assert flags & os.O_RDWR
        synced.append(path)
        return os.open(path, flags)

    file = tmp_path / "file"
    file.write_bytes(b"content")
    monkeypatch.setattr(safe, "os", System(name="nt", open=opened))
    safe.sync_path(tmp_path)
    safe.sync_path(file)
    assert synced == [file]
    assert file.read_bytes() == b"content"


def test_modes_are_not_checked_on_windows(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "os", System(name="nt"))
    report = ehrtraj.check(built, max_cpus=1)
    assert report.broken == []
    assert report.findings.skipped["private"] == "this system has no POSIX file modes"


def test_work_of_a_download_ends_where_loops_handle_no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise NotImplementedError

    async def work() -> str:
        monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", refuse)
        return await download_run._stopped_by_signals(asyncio.sleep(0, "done"))

    monkeypatch.setattr(download_run, "os", System(name="nt"))
    monkeypatch.setattr(download_run.interrupt, "handled", lambda: [signal.SIGINT])
    assert asyncio.run(work()) == "done"


def test_a_file_gets_its_time_on_systems_without_link_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part, "_UTIME_FOLLOWS_LINKS", True)
    path = tmp_path / "file"
    part.PartialFile(path, part.Identity(0, "", "", "", "")).finish(1_700_000_000)
    assert path.stat().st_mtime == 1_700_000_000


def test_required_space_is_computed_on_systems_without_block_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    part.part_path(path).write_bytes(bytes(60))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=40))
    usual = Path.stat

    def without_blocks(path: Path, **options: bool) -> types.SimpleNamespace:
        status = usual(path, **options)
        return types.SimpleNamespace(**{n: getattr(status, n) for n in ("st_mode", "st_size", "st_dev")})

    monkeypatch.setattr(Path, "stat", without_blocks)
    check_room([(path, 100)])
    with pytest.raises(DiskSpaceError):
        check_room([(path, 101)])
