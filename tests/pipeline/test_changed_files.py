"""Files that change during a build: an error names the file, nothing is published, and the next build rereads it."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import ehrtraj
from ehrtraj.engines.base import ignore
from ehrtraj.errors import ReleaseError
from ehrtraj.pipeline.plan import patients as selection
from ehrtraj.pipeline.plan.shards import ShardPlan
from ehrtraj.pipeline.stage import parse
from ehrtraj.pipeline.stage import table as stage
from ehrtraj.pipeline.stage.parse import read_table
from ehrtraj.pipeline.stage.run import commit_table
from ehrtraj.pipeline.stage.staged import finished
from ehrtraj.pipeline.stage.table import StageWork
from ehrtraj.release.detect import detect
from ehrtraj.release.found import Release
from ehrtraj.release.reader import TableStream, read_blocks
from ehrtraj.sources.source import packaged
from ehrtraj.storage.local import LocalStorage

MIMIC = packaged("mimiciv")

TABLES = [name for name, table in MIMIC.tables.items() if table.kind != "no_patients"]
PLANNED = ["hosp/patients", "hosp/admissions", "icu/icustays", "ed/edstays"]
LONG_AGO = 1_600_000_000


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def rewritten(path: Path) -> None:
    """Change a file in place, keeping its length."""
    path.write_bytes(path.read_bytes().replace(b"2", b"3"))


def replaced(path: Path) -> None:
    other = path.with_name("other")
    shutil.copy2(path, other)
    other.replace(path)


def removed(path: Path) -> None:
    path.unlink()


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\n")


WAYS = [truncated, rewritten, replaced, removed, grown]
Change = Callable[[Path], None]


def aged(folder: Path) -> Path:
    """Set the times of files back, since the clock of a file system may not distinguish two consecutive writes."""
    for path in folder.rglob("*.csv*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return folder


@pytest.fixture(scope="module")
def original(handmade: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    handmade.write_release(folder, plain=True)
    return folder


@pytest.fixture(scope="module")
def detected(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A release whose files are restored after each change."""
    folder = tmp_path_factory.mktemp("changing") / "release"
    shutil.copytree(original, folder)
    return detect(aged(folder))


@pytest.fixture
def table(detected: Release, original: Path) -> Iterator[Callable[[str], Any]]:
    """Return a function that returns the file of a table. The file is restored afterwards."""
    used = []

    def find(name: str) -> Any:
        used.append(name)
        return detected.files[name]

    yield find
    for name in used:
        path = detected.files[name].path
        path.unlink(missing_ok=True)
        shutil.copy(original / f"{name}.csv", path)
        os.utime(path, (LONG_AGO, LONG_AGO))


def changing(module: ModuleType, monkeypatch: pytest.MonkeyPatch, path: Path, change: Change, size: int = 100) -> None:
    """Change a file after its first block has been read."""

    def blocks(stream: TableStream, *_: Any, scan: Any = None) -> Iterator[Any]:
        for index, block in enumerate(read_blocks(stream, size, scan=scan)):
            yield block
            if index == 0 and stream.path == path:
                change(path)

    monkeypatch.setattr(module, "read_blocks", blocks)


@pytest.mark.parametrize("size", [100, 1 << 20])
@pytest.mark.parametrize("change", WAYS)
@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_changes_while_it_is_staged(
    table: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, change: Change, size: int
) -> None:
    file = table(name)
    storage = LocalStorage(tmp_path / "work")

    def staged() -> Any:
        with StageWork(storage, ShardPlan(np.zeros(1, np.int64)), 1, 1 << 20).open(ignore) as run:
            (attempt,) = run([file]).attempts
            return commit_table(storage, attempt)

    with monkeypatch.context() as patch:
        changing(stage, patch, file.path, change, size)
        with pytest.raises(ReleaseError, match=r"changed while|was removed while") as raised:
            staged()
    assert str(file.path) in str(raised.value)
    assert "run the same command again" in str(raised.value)
    assert finished(storage, name) is None
    # The file is no longer the one that was detected, whether or not anything writes to it.
    if change is not replaced:
        with pytest.raises(ReleaseError, match=r"changed after the build began|It existed when the build began"):
            staged()


@pytest.mark.parametrize("change", WAYS)
@pytest.mark.parametrize("name", PLANNED)
def test_a_table_that_changes_while_the_patients_are_found(
    table: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, name: str, change: Change
) -> None:
    file = table(name)
    changing(parse, monkeypatch, file.path, change)
    with pytest.raises(ReleaseError, match=r"changed while|was removed while") as raised:
        read_table(file)
    assert str(file.path) in str(raised.value)


@pytest.mark.parametrize("change", [truncated, rewritten, removed])
def test_a_changed_gz_is_not_reported_as_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handmade: ModuleType, change: Change
) -> None:
    handmade.write_release(tmp_path / "release")
    path = tmp_path / "release" / "hosp" / "labevents.csv.gz"
    rows = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(rows + os.urandom(1 << 17).hex().encode() + b"\n", 1))
    file = detect(aged(tmp_path / "release")).files["hosp/labevents"]
    changing(parse, monkeypatch, path, change)
    with pytest.raises(ReleaseError, match=r"changed while|was removed while"):
        read_table(file)


def test_a_changed_header_is_detected_even_with_the_same_size_and_time(table: Callable[[str], Any]) -> None:
    file = table("icu/outputevents")
    data = file.path.read_bytes()
    file.path.write_bytes(data.replace(b"value,valueuom", b"valueuom,value", 1))
    os.utime(file.path, (LONG_AGO, LONG_AGO))
    with pytest.raises(ReleaseError, match="changed after the build began"):
        read_table(file)


# A complete build --------------------------------------------------------------------------------------------------


@pytest.fixture
def release(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "release")
    return aged(tmp_path / "release")


def build(release: Path) -> Path:
    return ehrtraj.build(
        release, release.parent / "out", "v1", max_cpus=1, tables=["patients", "admissions", "omr"]
    ).path


def patient_added(path: Path) -> None:
    with path.open("a") as file:
        file.write("99999999,F,50,2150,2017 - 2019,\n")


@pytest.mark.parametrize(("name", "change"), [("hosp/patients", patient_added), ("hosp/omr", removed)])
def test_a_table_that_changes_between_plan_and_staging(
    release: Path, monkeypatch: pytest.MonkeyPatch, name: str, change: Change
) -> None:
    path = release / f"{name}.csv"
    sound = path.read_bytes()

    def planned(*args: Any) -> Any:
        plan = selection.plan_build(*args)
        change(path)
        return plan

    with monkeypatch.context() as patch:
        patch.setattr("ehrtraj.pipeline.plan.run.plan_build", planned)
        with pytest.raises(
            ReleaseError, match=r"changed after the build began|It existed when the build began"
        ) as raised:
            build(release)
    assert str(path) in str(raised.value)
    assert not (release.parent / "out" / "v1").exists()
    assert (release.parent / "out" / ".v1.build").is_dir()
    if not path.exists():
        path.write_bytes(sound)
    # The same command reads the current file and creates a new plan.
    dataset = ehrtraj.open(build(release))
    manifest = json.loads((dataset.path / "manifest.json").read_text())
    assert manifest["files"][name]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (99999999 in dataset.subjects["subject_id"]) == (change is patient_added)


def test_a_table_that_disappears_before_it_is_detected(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ehrtraj.release import detect as module

    find_file = module.find_file

    def found(folder: Path, name: str) -> Path | None:
        path = find_file(folder, name)
        if path is not None and name == "omr":
            path.unlink()
        return path

    monkeypatch.setattr(module, "find_file", found)
    with pytest.raises(ReleaseError, match=r"cannot read .*omr\.csv: No such file"):
        build(release)


def test_the_identity_of_a_file_is_its_size_and_time_and_not_its_inode(release: Path) -> None:
    path = release / "hosp" / "omr.csv"
    before = detect(release).files["hosp/omr"]
    replaced(path)
    copied = detect(release).files["hosp/omr"]
    assert copied.stamp != before.stamp
    assert copied.identity == before.identity == (path.stat().st_size, path.stat().st_mtime_ns)
    files = json.loads((build(release) / "manifest.json").read_text())["fingerprint"]["files"]
    assert files["hosp/omr"] == ["hosp/omr.csv", *copied.identity]
    grown(path)
    assert detect(release).files["hosp/omr"].identity != before.identity


@pytest.mark.parametrize("seconds", [4_102_444_800, 0, -5])
def test_times_in_the_future_and_before_1970_are_times(release: Path, seconds: int) -> None:
    path = release / "hosp" / "omr.csv"
    os.utime(path, (seconds, seconds))
    assert read_table(detect(release).files["hosp/omr"])
