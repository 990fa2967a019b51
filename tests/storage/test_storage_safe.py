"""Files are opened, locked and replaced without changing the target of a link that somebody placed there."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import Timeout

from ehrtraj.errors import OutputError
from ehrtraj.storage import safe
from ehrtraj.storage.safe import locked_file, open_private, refuse_link, write_atomically

MINE = b"not to be touched"


def lock(path: Path) -> None:
    with locked_file(path):
        pass


def open_and_close(path: Path, flags: int = os.O_RDWR | os.O_CREAT | os.O_TRUNC) -> None:
    os.close(open_private(path, flags))


WRITERS: dict[str, Callable[[Path], object]] = {
    "open": open_and_close,
    "lock": lock,
    "write": lambda path: write_atomically(path, b"new"),
    "write under a lock": lambda path: write_atomically(path, b"new", is_locked=True),
}


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A file that a link points to."""
    path = tmp_path / "elsewhere" / "mine"
    path.parent.mkdir()
    path.write_bytes(MINE)
    return path


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("has_flag", [True, False], ids=["O_NOFOLLOW", "lstat"])
def test_a_link_is_refused_and_its_target_unchanged(
    mine: Path, tmp_path: Path, writer: str, has_flag: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_flag:
        monkeypatch.setattr(safe, "_NOFOLLOW", 0)
        monkeypatch.setattr(safe, "_FLAGS", 0)
    link = tmp_path / "link"
    link.symlink_to(mine)
    with pytest.raises(OutputError, match=r"refusing to write to .*link: it is a symbolic link.*Remove the link"):
        WRITERS[writer](link)
    assert mine.read_bytes() == MINE
    assert link.is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere", "link"]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_link_to_nothing_creates_nothing(tmp_path: Path, writer: str) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "created")
    with pytest.raises(OutputError, match="symbolic link"):
        WRITERS[writer](link)
    assert not (tmp_path / "created").exists()


@pytest.mark.parametrize("writer", ["open", "lock"])
def test_a_link_planted_after_the_check_is_refused(
    mine: Path, tmp_path: Path, writer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system call refuses the link too, not only the check before it."""
    link = tmp_path / "link"
    checks = 0

    def plant(path: Path) -> None:
        nonlocal checks
        checks += 1
        if checks == 1 and writer == "lock":
            link.symlink_to(mine)
            return
        refuse_link(path)

    if writer == "open":
        link.symlink_to(mine)
    monkeypatch.setattr(safe, "refuse_link", plant)
    monkeypatch.setattr(safe, "_refuse_special", lambda path: None)
    with pytest.raises(OutputError, match="symbolic link"):
        WRITERS[writer](link)
    assert mine.read_bytes() == MINE


def test_a_hard_link_is_refused_before_the_file_is_truncated(mine: Path, tmp_path: Path) -> None:
    os.link(mine, tmp_path / "second")
    with pytest.raises(OutputError, match="hard link"):
        open_and_close(tmp_path / "second")
    assert mine.read_bytes() == MINE
    open_and_close(tmp_path / "second", os.O_RDONLY)
    write_atomically(tmp_path / "second", b"new")
    assert (mine.read_bytes(), (tmp_path / "second").read_bytes()) == (MINE, b"new")


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
def test_a_pipe_does_not_block_and_is_refused(tmp_path: Path, flags: int) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="not a regular file"):
        open_and_close(tmp_path / "pipe", flags)
    with pytest.raises(OutputError, match="not a regular file"):
        lock(tmp_path / "pipe")


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    for writer in WRITERS.values():
        writer(tmp_path / "data" / "file")
    assert (tmp_path / "disk" / "file").read_bytes() == b"new"


def test_files_are_private_with_any_umask(tmp_path: Path) -> None:
    def mode_of(name: str) -> int:
        return stat.S_IMODE((tmp_path / name).stat().st_mode)

    before = os.umask(0)
    try:
        for name, writer in WRITERS.items():
            writer(tmp_path / name)
            # The file of a lock exists only while it is held.
            assert name == "lock" or mode_of(name) == 0o600, name
        with locked_file(tmp_path / "lock"):
            assert mode_of("lock") == 0o600
    finally:
        os.umask(before)


def test_a_failed_write_leaves_only_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "file", b"old", sync=True)

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "file", b"new", sync=True)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"old")]


def test_a_temporary_file_of_a_killed_process_is_replaced(mine: Path, tmp_path: Path) -> None:
    (tmp_path / ".file.new").symlink_to(mine)
    write_atomically(tmp_path / "file", b"new", is_locked=True)
    assert mine.read_bytes() == MINE
    assert sorted(p.name for p in tmp_path.iterdir()) == ["elsewhere", "file"]


def test_only_one_process_holds_a_lock(tmp_path: Path) -> None:
    with locked_file(tmp_path / "lock"):
        with pytest.raises(Timeout), locked_file(tmp_path / "lock"):
            raise AssertionError("two holders")
        refuse_link(tmp_path / "lock")
    with locked_file(tmp_path / "lock"):
        pass
    assert list(tmp_path.iterdir()) == []


# Each process holds the lock many times. `mkdir` fails if two processes hold it at once.
CONTENDER = """
import sys
import time
from pathlib import Path
from filelock import Timeout
from ehrtraj.storage.safe import locked_file

folder, held = Path(sys.argv[1]), 0
while held < 200:
    try:
        with locked_file(folder / "lock"):
            (folder / "held").mkdir()
            time.sleep(0.001)
            (folder / "held").rmdir()
            held += 1
    except Timeout:
        pass
"""


def test_contending_processes_never_hold_a_lock_together(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CONTENDER, str(tmp_path)]
    contenders = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for contender in contenders:
        _, err = contender.communicate(timeout=60)
        assert contender.returncode == 0, err
    assert list(tmp_path.iterdir()) == []


def test_a_lock_on_a_removed_file_does_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The holder before removes the file after this process has opened it, and another process creates it again."""
    path, acquired = tmp_path / "lock", []
    acquire = safe.FileLock.acquire

    def late(lock: safe.FileLock) -> object:
        result = acquire(lock)
        if not acquired:
            path.rename(tmp_path / "removed")
            path.touch()
        acquired.append(lock)
        return result

    monkeypatch.setattr(safe.FileLock, "acquire", late)
    with locked_file(path):
        monkeypatch.undo()
        assert len(acquired) == 2
        with pytest.raises(Timeout), locked_file(path):
            raise AssertionError("two holders")
    assert [path.name for path in tmp_path.iterdir()] == ["removed"]


def test_releasing_a_lock_removes_only_its_own_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locked_file(path):
        path.unlink()
        path.touch()
    assert path.is_file()
    path.write_bytes(MINE)
    with locked_file(path):
        pass
    assert path.read_bytes() == MINE
