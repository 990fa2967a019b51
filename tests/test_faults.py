"""A command that is killed or runs out of disk at any change to files succeeds when it is run again.

Every write, rename, sync, removal and creation below the output is a fault point, including those of C++ libraries.
EHRTRAJ_FAULT_POINTS sets how many of them to try: a number for each test, or `all`, as in `make faults`. Without it, a
few points are chosen with a seed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ehrtraj

FOLDER = Path(__file__).parent / "faults"
KINDS = ("write", "rename", "remove", "sync", "create")
SEED = int(os.environ.get("EHRTRAJ_FAULT_SEED", "1"))
TABLES = "patients,admissions,labevents,chartevents,discharge"
BUILD = ("--tables", TABLES, "--notes", "separate", "--max-cpus", "1", "--as-written")


def chosen(total: int, few: int) -> list[int]:
    """Return as many points as EHRTRAJ_FAULT_POINTS requests; otherwise a few, chosen with a seed."""
    asked = os.environ.get("EHRTRAJ_FAULT_POINTS", str(few))
    count = total if asked == "all" else min(int(asked), total)
    return sorted(random.Random(SEED).sample(range(total), count))


class Server:
    """Runs commands that are ended at a chosen fault point."""

    def __init__(self, folder: Path, root: Path) -> None:
        library = folder / "shim.so"
        source = str(FOLDER / "shim.c")
        built = subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), source, "-ldl"], capture_output=True, text=True
        )
        assert built.returncode == 0, built.stderr
        state = folder / "state"
        state.write_bytes(bytes(64))
        environment = {"LD_PRELOAD": str(library), "FAULT_STATE": str(state), "FAULT_ROOT": str(root)}
        self._process = subprocess.Popen(
            [sys.executable, str(FOLDER / "server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )

    def run(self, *arguments: str | Path, at: int = -1, error: int = 0) -> dict[str, Any]:
        asked = {"armed": at, "errno": error, "arguments": [str(a) for a in arguments]}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the server ended"
        found: dict[str, Any] = json.loads(answer)
        assert "Traceback" not in found["stderr"], found["stderr"]
        return found

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder whose changes count."""
    return tmp_path_factory.mktemp("faults").resolve() / "out"


@pytest.fixture(scope="module")
def server(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if sys.platform != "linux" or not shutil.which("cc"):
        pytest.skip("a C compiler and Linux are needed to end a process at a chosen write")
    found = Server(tmp_path_factory.mktemp("shim"), place)
    yield found
    found.close()


@pytest.fixture(scope="module")
def small_release(handmade: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-made patients, with rows that are rejected during staging and while shards are built."""
    folder = tmp_path_factory.mktemp("faulty") / "3.1"
    tables = {name: list(rows) for name, rows in handmade.release_rows().items()}
    tables["hosp/labevents"] += tables["hosp/labevents"][:3]
    handmade.write_tables(folder, tables, plain=True)
    for name in ("hosp/labevents", "icu/chartevents"):
        with (folder / f"{name}.csv").open("a") as file:
            file.write("of no use\n")
    return folder


def contents(dataset: Path) -> dict[str, str]:
    """Return the hash of each file of a dataset or export; an empty hash for files that contain times or paths."""
    dated = ("manifest.json", "metadata/dataset.json", "export.json")
    found = {}
    for path in sorted(p for p in dataset.rglob("*") if p.is_file()):
        name = path.relative_to(dataset).as_posix()
        found[name] = "" if name in dated else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def is_complete(dataset: Path) -> bool:
    """Return whether the manifest lists exactly the existing files with their hashes."""
    listed = json.loads((dataset / "manifest.json").read_text())["contents"]
    files = {p.relative_to(dataset).as_posix(): p for p in dataset.rglob("*") if p.is_file()}
    files.pop("manifest.json")
    return listed.keys() == files.keys() and all(
        hashlib.sha256(path.read_bytes()).hexdigest() == listed[name]["sha256"] for name, path in files.items()
    )


def start_again(place: Path, before: Path | None = None) -> None:
    shutil.rmtree(place, ignore_errors=True)
    if before is None:
        place.mkdir()
    else:
        shutil.copytree(before, place)


def leftovers(place: Path, *expected: str) -> set[str]:
    return {p.name for p in place.iterdir()} - set(expected)


def test_a_build_killed_anywhere_gives_the_same_result(server: Server, place: Path, small_release: Path) -> None:
    command = ("build", small_release, "-o", place, "-t", "v1", *BUILD)
    start_again(place)
    undisturbed = server.run(*command)
    assert undisturbed["status"] == 0, undisturbed
    wanted = contents(place / "v1")
    assert is_complete(place / "v1")
    assert len([name for name in wanted if name.startswith("data/")]) >= 4, "several shards are needed"
    assert all(count > 20 for count in undisturbed["kinds"][:5]), dict(zip(KINDS, undisturbed["kinds"], strict=False))
    points = chosen(undisturbed["passed"], 12)
    for point in points:
        start_again(place)
        killed = server.run(*command, at=point)
        assert killed["status"] == -signal.SIGKILL, (point, killed)
        if (place / "v1").exists():
            assert contents(place / "v1") == wanted, point
            assert is_complete(place / "v1"), point
        again = server.run(*command)
        assert again["status"] == 0, (point, again)
        assert contents(place / "v1") == wanted, point
        assert is_complete(place / "v1"), point
        assert not leftovers(place, "v1", "v1-report.html"), point
    print(f"build: killed at {len(points)} of {undisturbed['passed']} points")


def test_a_dataset_is_not_lost_when_its_replacement_is_killed(
    server: Server, place: Path, small_release: Path, tmp_path: Path
) -> None:
    old = ("build", small_release, "-o", place, "-t", "v1", *BUILD, "--seed", "3")
    new = ("build", small_release, "-o", place, "-t", "v1", *BUILD)
    start_again(place)
    assert server.run(*old)["status"] == 0
    before = contents(place / "v1")
    shutil.copytree(place, tmp_path / "before")
    undisturbed = server.run(*new, "--overwrite")
    assert undisturbed["status"] == 0
    after = contents(place / "v1")
    assert after != before
    points = chosen(undisturbed["passed"], 8)
    # A dataset could be lost in the last steps, so some of them are always tried.
    points = sorted({*points, *range(undisturbed["passed"] - 70, undisturbed["passed"], 7)})
    for point in points:
        start_again(place, tmp_path / "before")
        assert server.run(*new, "--overwrite", at=point)["status"] == -signal.SIGKILL, point
        # A build with the old settings finds the old dataset, unless the new one is already in place.
        asked = server.run(*old)
        assert contents(place / "v1") == (before if asked["status"] == 0 else after), (point, asked)
        assert is_complete(place / "v1"), point
        if asked["status"]:
            assert "was built from other input or settings" in asked["stderr"], asked
        again = server.run(*new, "--overwrite")
        assert again["status"] == 0, (point, again)
        assert contents(place / "v1") == after, point
        assert is_complete(place / "v1"), point
        assert not leftovers(place, "v1", "v1-report.html"), point
    print(f"build --overwrite: killed at {len(points)} of {undisturbed['passed']} points")


def test_an_export_killed_anywhere_gives_the_same_result(
    server: Server, place: Path, several_shards_built: Path, tmp_path: Path
) -> None:
    first = ("export", several_shards_built, "-o", place / "files", "--max-cpus", "1")
    second = (*first, "--per", "admission", "--format", "csv")
    start_again(place)
    assert server.run(*first)["status"] == 0
    shutil.copytree(place, tmp_path / "before")
    undisturbed = server.run(*second, "--overwrite")
    assert undisturbed["status"] == 0, undisturbed
    wanted = contents(place / "files")
    points = chosen(undisturbed["passed"], 8)
    for point in points:
        start_again(place, tmp_path / "before")
        assert server.run(*second, "--overwrite", at=point)["status"] == -signal.SIGKILL, point
        again = server.run(*second, "--overwrite")
        assert again["status"] == 0, (point, again)
        assert contents(place / "files") == wanted, point
        assert not leftovers(place / "files", *{name.split("/")[0] for name in wanted}), point
    print(f"export --overwrite: killed at {len(points)} of {undisturbed['passed']} points")


def test_concepts_killed_anywhere_give_the_same_result(
    server: Server, place: Path, several_shards_built: Path, tmp_path: Path
) -> None:
    """Concepts that replace others: after a kill, the dataset is usable, and the same command finishes the work."""
    names = ("vitalsign", "chemistry")
    shutil.copytree(several_shards_built, tmp_path / "before" / "v1")
    start_again(place, tmp_path / "before")
    command = ("concepts", place / "v1", "--max-cpus", "1")
    assert server.run(*command, names[0])["status"] == 0
    start_again(tmp_path / "before", place)
    undisturbed = server.run(*command, *names, "--overwrite")
    assert undisturbed["status"] == 0, undisturbed
    wanted = contents(place / "v1")
    points = chosen(undisturbed["passed"], 6)
    for point in points:
        start_again(place, tmp_path / "before")
        assert server.run(*command, *names, "--overwrite", at=point)["status"] == -signal.SIGKILL, point
        for name in ehrtraj.open(place / "v1").concepts["concept"]:
            assert ehrtraj.open(place / "v1").concept(name).collect().height > 0, (point, name)
        again = server.run(*command, *names, "--overwrite")
        assert again["status"] == 0, (point, again)
        assert contents(place / "v1") == wanted, point
        assert not leftovers(place / "v1" / "concepts", "index.json", *names), point
    assert not ehrtraj.check(place / "v1", max_cpus=1).broken
    print(f"concepts --overwrite: killed at {len(points)} of {undisturbed['passed']} points")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full disk", "broken disk"])
def test_a_disk_failure_at_any_point_gives_a_message(
    server: Server, place: Path, small_release: Path, number: int
) -> None:
    command = ("build", small_release, "-o", place, "-t", "v1", *BUILD)
    start_again(place)
    undisturbed = server.run(*command)
    wanted = contents(place / "v1")
    points = chosen(undisturbed["passed"], 6)
    for point in points:
        start_again(place)
        failed = server.run(*command, at=point, error=number)
        assert failed["status"] in (0, 4), (point, failed)
        if failed["status"]:
            assert "run the same command again" in failed["stderr"], (point, failed)
        again = server.run(*command)
        assert again["status"] == 0, (point, again)
        assert contents(place / "v1") == wanted, point
        assert is_complete(place / "v1"), point
    print(f"build: errno {number} at {len(points)} of {undisturbed['passed']} points")
