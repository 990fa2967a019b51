"""The contract of every storage, and builds with a storage that fails at any call."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest

import ehrtraj
from ehrtraj.api import build_with
from ehrtraj.config import resolve
from ehrtraj.errors import OutputError
from ehrtraj.runtime.progress import Reporter
from ehrtraj.runtime.sizes import Sizes
from ehrtraj.storage.base import LockedError, Storage
from ehrtraj.storage.documents import read_document, write_document
from ehrtraj.storage.local import LocalStorage

POINTS = os.environ.get("EHRTRAJ_FAULT_POINTS", "6")
TABLES = "patients,admissions,icustays,labevents,discharge"


@pytest.fixture(params=[LocalStorage])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty storage of each kind."""
    return request.param(tmp_path)


def put(storage: Storage, name: str, data: bytes) -> None:
    output = storage.create(name)
    output.sink.write(data)
    output.commit()


def test_a_file_appears_only_when_it_is_complete(storage: Storage) -> None:
    output = storage.create("a/b.bin")
    output.sink.write(b"12345")
    assert storage.size("a/b.bin") is None
    assert storage.read("a/b.bin") is None
    assert output.commit() == 5
    assert storage.size("a/b.bin") == 5
    output.abandon()
    assert storage.read("a/b.bin") == b"12345"


def test_an_abandoned_file_leaves_nothing_behind(storage: Storage) -> None:
    put(storage, "a.bin", b"old")
    output = storage.create("a.bin")
    output.sink.write(b"new")
    output.abandon()
    output.abandon()
    assert storage.read("a.bin") == b"old"
    assert storage.files() == ["a.bin"]


def test_files_are_listed_with_folders_in_their_names(storage: Storage) -> None:
    for name in ("b", "a/2", "a/1/x", "c/y"):
        put(storage, name, b"")
    assert storage.files() == ["a/1/x", "a/2", "b", "c/y"]
    assert storage.files("a") == ["a/1/x", "a/2"]
    assert storage.files("none") == []
    assert storage.below("a").files() == ["1/x", "2"]
    assert storage.unlisted_entries("a", ["2"]) == ["1/"]


def test_any_range_of_a_file_can_be_read(storage: Storage) -> None:
    put(storage, "a", bytes(range(100)))
    with storage.open_input("a") as source:
        source.seek(90)
        assert source.read(5) == bytes(range(90, 95))
        source.seek(0)
        assert source.read() == bytes(range(100))
    assert storage.sha256("a") == hashlib.sha256(bytes(range(100))).hexdigest()


def test_a_file_can_be_read_from_start_to_end(storage: Storage) -> None:
    put(storage, "a", bytes(range(100)))
    with storage.open_stream("a") as source:
        assert [source.read(60), source.read(60), source.read(60)] == [bytes(range(60)), bytes(range(60, 100)), b""]


def test_small_files_are_written_replaced_and_put_once(storage: Storage) -> None:
    storage.write("x/state", b"1")
    storage.write("x/state", b"2")
    assert storage.read("x/state") == b"2"
    assert not storage.put_if_absent("x/state", b"3")
    assert storage.put_if_absent("x/other", b"3")
    assert (storage.read("x/state"), storage.read("x/other")) == (b"2", b"3")


def test_files_and_folders_are_moved_and_deleted(storage: Storage) -> None:
    put(storage, "a/1", b"1")
    put(storage, "a/b/2", b"2")
    storage.move("a", "new/place")
    assert storage.files() == ["new/place/1", "new/place/b/2"]
    put(storage, "3", b"3")
    storage.move("3", "new/place/1")
    assert storage.read("new/place/1") == b"3"
    storage.delete("new/place/b")
    storage.delete("new/place/b")
    storage.delete("never/there")
    assert storage.files() == ["new/place/1"]


def test_documents_are_read_completely_or_not_at_all(storage: Storage) -> None:
    assert read_document(storage, "d.json") is None
    write_document(storage, "d.json", {"a": [1, None], "p": Path("x")})
    assert read_document(storage, "d.json") == {"a": [1, None], "p": "x"}
    for damaged in (b"{", b"[1]", b"\xff\xfe", b""):
        storage.write("d.json", damaged)
        assert read_document(storage, "d.json") is None


def test_a_storage_can_be_sent_to_another_process(storage: Storage) -> None:
    put(storage, "a/b", b"1")
    copy = pickle.loads(pickle.dumps(storage.below("a")))
    assert copy.read("b") == b"1"
    storage.sync()
    storage.sync_names()
    assert copy.where("b").endswith("a/b")


def test_a_lock_is_held_by_one_process(storage: Storage) -> None:
    with storage.lock(".lock"):
        with pytest.raises(LockedError), storage.lock(".lock"):
            pass
        with storage.lock(".other"):
            pass
    with storage.lock(".lock"):
        pass


class Failing(LocalStorage):
    """A storage whose n-th call and all later calls fail, until it is repaired."""

    calls = 0
    fails_at = -1
    error = errno.EIO

    @classmethod
    def arm(cls, fails_at: int, error: int = errno.EIO) -> None:
        """Restart the counter at 0."""
        cls.calls, cls.fails_at, cls.error = 0, fails_at, error

    def _count(self, name: str) -> None:
        cls = type(self)
        cls.calls += 1
        if 0 < cls.fails_at <= cls.calls:
            raise OSError(cls.error, os.strerror(cls.error), self.where(name))

    def below(self, folder: str) -> Self:
        """Count the calls of this storage too."""
        return type(self)(self.root / folder)


def _counted(method: str) -> Callable[..., Any]:
    def call(self: Failing, *arguments: Any) -> Any:
        self._count(arguments[0] if arguments and isinstance(arguments[0], str) else "")
        return getattr(LocalStorage, method)(self, *arguments)

    return call


METHODS = (
    "size", "files", "read", "open_input", "open_stream", "sha256", "create", "write", "put_if_absent", "move",
    "delete", "unlisted_entries", "lock", "sync", "sync_names",
)  # fmt: skip
for _name in METHODS:
    setattr(Failing, _name, _counted(_name))


def test_all_calls_of_a_storage_are_counted_here() -> None:
    """A method that is added to the storage must be tested with failures too."""
    public = {name for name in vars(LocalStorage) if not name.startswith("_")}
    assert public - {"below", "where", "scratch"} == set(METHODS)


def build_in(storage: LocalStorage, release: Path) -> ehrtraj.BuildResult:
    given = {"data_dir": release, "output": storage.root, "trajectory_version": "v1", "max_cpus": 1, "tables": TABLES}
    settings, _ = resolve(given)
    return build_with(settings, Reporter(), output=storage, sizes=Sizes(shard_rows=4000))


def contents(dataset: Path) -> dict[str, str]:
    return {
        path.relative_to(dataset).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(dataset.rglob("*.parquet"))
    }


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_storage_that_fails_at_any_call(release: Path, tmp_path: Path, error: int) -> None:
    """The build ends with a message and no dataset, or a complete one; the same command then gives the same bytes."""
    Failing.arm(-1)
    wanted = contents(build_in(Failing(tmp_path / "sound"), release).path)
    total = Failing.calls
    assert total > 300
    every = range(1, total + 1)
    points = every if POINTS == "all" else random.Random(error).sample(every, int(POINTS))
    for point in points:
        output = tmp_path / f"at-{point}"
        Failing.arm(point, error)
        try:
            with pytest.raises(OutputError, match="run the same command again"):
                build_in(Failing(output), release)
            shown = contents(output / "v1")
            assert shown in ({}, wanted), point
        finally:
            Failing.arm(-1)
        assert contents(build_in(Failing(output), release).path) == wanted, point
        assert sorted(p.name for p in output.iterdir()) == ["v1", "v1-report.html"], point
