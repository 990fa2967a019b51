"""Builds that are interrupted, run out of disk or start twice, with real processes, real signals and real full disks.

The killed build uses many copies of the hand-made patients in four shards. A small script sets a smaller shard size;
everything else is the command itself.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

import ehrtraj
from ehrtraj.errors import OutputError
from ehrtraj.runtime.sizes import Sizes
from ehrtraj.sources.source import packaged

COPIES = 8
# With the estimated number of rows per patient, this gives four shards.
SHARD_ROWS = 35_000
# Tables of every kind: those that all shards need, tables with a dictionary, with text keys, and with notes. Resuming
# treats tables of a kind alike, and each table takes time in every shard of every build. A resumed build of all tables
# is in test_slices.py.
TABLES = "patients,admissions,transfers,icustays,edstays,labevents,chartevents,poe,discharge"
# With dictionaries.
STAGED = 15

DRIVER = f"""
from ehrtraj.cli import main
from ehrtraj.runtime.sizes import Sizes
main(Sizes(shard_rows={SHARD_ROWS}))
"""

# Kills itself, like `kill -9`, before the n-th change that Python makes to files below the output (caches of the
# interpreter do not count).
SELF_KILLING_DRIVER = f"""
import os, signal, sys
output, left = sys.argv.pop(1), int(sys.argv.pop(1))
CHANGES = {{"os.rename", "os.remove", "os.rmdir", "os.mkdir"}}
def hook(event, arguments):
    global left
    if event in CHANGES or (event == "open" and arguments[1] in ("w", "wb")):
        # A path without a folder belongs to rmtree, which works within an open one; so does a file opened by number.
        path = os.fspath(arguments[0]) if not isinstance(arguments[0], int) else "/"
        if path.startswith(output) or "/" not in path:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
{DRIVER}
"""

# Kills itself before the first change for which an expression with `event` and `path` is true.
PRECISE_DRIVER = f"""
import os, signal, sys
when = compile(sys.argv.pop(1), "when", "eval")
def hook(event, arguments):
    if event in ("os.rename", "shutil.rmtree") and eval(when, {{"event": event, "path": str(arguments[0])}}):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
{DRIVER}
"""

Snapshot = dict[str, str]


def start(release: Path, output: Path, *options: str, code: str = DRIVER, before: tuple[str, ...] = ()) -> Any:
    """Start `ehrtraj build` of version v1 in its own process group."""
    command = [sys.executable, "-c", code, *before, "build", str(release), "--output", str(output)]
    return subprocess.Popen(
        [*command, "--trajectory-version", "v1", "--tables", TABLES, *(options or ("--max-cpus", "2"))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process: Any, code: int = 0) -> str:
    """Wait for the end of the process and return its stderr."""
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, out + err
    assert "Traceback" not in err
    return err


def finish(release: Path, output: Path, *options: str, code: int = 0) -> str:
    return end(start(release, output, *options), code)


def snapshot(dataset: Path) -> Snapshot:
    """Return the hashes of all files that must be the same each time, by name."""
    names = ["metadata/codes.parquet", "metadata/subjects.parquet", "metadata/subject_splits.parquet", "ledger.parquet"]
    paths = [
        *(dataset / n for n in names),
        *(p for d in ("data", "rejected") for p in (dataset / d).rglob("*.parquet")),
    ]
    return {str(p.relative_to(dataset)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(paths)}


def stamp(path: Path) -> tuple[int, int]:
    return path.stat().st_ino, path.stat().st_mtime_ns


def staged(output: Path) -> dict[str, tuple[int, int]]:
    """Return the markers of finished tables."""
    return {p.name: stamp(p) for p in (output / ".v1.build" / "stage").glob("[!.]*.json")}


def extracted(output: Path) -> dict[str, tuple[int, int]]:
    """Return the markers of finished shards."""
    return {p.name: stamp(p) for p in (output / ".v1.build" / "shards").glob("[!.]*.json")}


def shard_files(output: Path) -> dict[str, tuple[int, int]]:
    """Return the data files of the shards that have a marker."""
    data = output / ".v1.build" / "dataset" / "data"
    markers = (output / ".v1.build" / "shards").glob("[!.]*.json")
    return {str(p.relative_to(data)): stamp(p) for m in markers for p in data.glob(f"*/{m.stem}.parquet")}


def free_what_resuming_frees(output: Path) -> None:
    """Delete unfinished attempts and the staged rows of finished shards, which a kill may have left."""
    work = output / ".v1.build"
    shutil.rmtree(work / "attempts", ignore_errors=True)
    shared = {table.replace("/", ".") for table in packaged("mimiciv").roles.of_all_shards}
    for marker in extracted(output):
        for path in (work / "stage").glob(f"*/{Path(marker).stem}-*.arrow"):
            if path.parent.name not in shared:
                path.unlink()


def wait_until(condition: Callable[[], object], process: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            _, err = process.communicate()
            pytest.fail(f"the build ended by itself ({process.returncode}) before it could be killed: {err}")
        assert time.monotonic() < deadline, "the build did not reach this state in time"
        time.sleep(0.001)


def wait_for_the_end_of(processes: list[psutil.Process], seconds: float = 10) -> None:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    assert not alive


def workers_of(process: Any) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def kill_group(process: Any) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def crowd(handmade: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many copies of the hand-made patients with different IDs, and rows to reject in every table."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for name, rows in handmade.release_rows().items():
        tables[name] = list(rows)
        if "subject_id" not in rows[0]:
            continue
        tables[name] = [_moved(row, copy * 1000) for copy in range(COPIES) for row in rows]
        tables[name] += tables[name][:3]  # exact duplicates
        if name == "hosp/labevents":
            # Results with the admission of a patient in another shard.
            far = [r for r in tables[name] if r["subject_id"] % 1000 == handmade.BORROWED % 1000 and r.get("hadm_id")]
            tables[name] += [r | {"hadm_id": f["hadm_id"]} for r, f in zip(far, reversed(far), strict=True)]
    folder = tmp_path_factory.mktemp("interrupted") / "3.1"
    handmade.write_tables(folder, tables, plain=True)
    for name in ("hosp/d_labitems", "hosp/labevents", "icu/chartevents", "hosp/admissions"):
        with (folder / f"{name}.csv").open("a") as file:
            file.write("of no use\n")
    return folder


def _moved(row: dict[str, Any], by: int) -> dict[str, Any]:
    moved = dict(row)
    for name in ("subject_id", "hadm_id", "stay_id"):
        if moved.get(name) is not None:
            moved[name] += by
    for name, value in moved.items():
        if name.endswith(("poe_id", "emar_id")) and value:
            subject, _, number = value.partition("-")
            moved[name] = f"{int(subject) + by}-{number}"
    return moved


@pytest.fixture(scope="module")
def undisturbed(crowd: Path, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Hashes of the dataset from an undisturbed build."""
    output = tmp_path_factory.mktemp("undisturbed")
    finish(crowd, output)
    manifest = json.loads((output / "v1" / "manifest.json").read_text())
    assert manifest["shards"] == 5
    assert len(list((output / "v1" / "rejected").iterdir())) == 10
    return snapshot(output / "v1")


@pytest.fixture(scope="module")
def half_built(crowd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a build that was killed after two shards. Tests must copy it, not change it."""
    output = tmp_path_factory.mktemp("half")
    process = start(crowd, output, "--max-cpus", "1")
    wait_until(lambda: len(extracted(output)) >= 2, process)
    kill_group(process)
    return output


def build_crowd(
    build_sized: Callable[..., ehrtraj.BuildResult], release: Path, output: Path, **settings: Any
) -> ehrtraj.BuildResult:
    """Build in this process as `start` does with one process."""
    given = {"tables": TABLES, "max_cpus": 1} | settings
    return build_sized(Sizes(shard_rows=SHARD_ROWS), release, output, "v1", **given)


@pytest.fixture
def resumed(
    half_built: Path, tmp_path: Path, build_sized: Callable[..., ehrtraj.BuildResult]
) -> Iterator[Callable[..., tuple[Path, tuple[str, ...]]]]:
    """Return a function that resumes a copy of the half-built output, changed by `spoil`, in this process."""
    before = os.umask(0o022)

    def resume(release: Path, spoil: Callable[[Path], object] | None = None, **settings: Any) -> Any:
        output = tmp_path / "resumed"
        shutil.copytree(half_built, output)
        if spoil:
            spoil(output / ".v1.build")
        result = build_crowd(build_sized, release, output, **settings)
        return result.path, result.notes

    yield resume
    os.umask(before)


RESUMED = "resuming where it stopped"

# How far a build runs before it is killed: finished tables, finished shards, and whether it has begun to publish.
POINTS = [(0, 0, 0), (2, 0, 0), (6, 0, 0), (11, 0, 0), (STAGED, 0, 0), (0, 1, 0), (0, 2, 0), (0, 3, 0), (0, 0, 1)]


def reached(output: Path, tables: int, shards: int, published: int) -> bool:
    work = output / ".v1.build"
    if published:
        return (work / "dataset" / "metadata" / "codes.parquet").exists()
    if tables or shards:
        return len(staged(output)) >= tables and len(extracted(output)) >= shards
    return (work / "state.json").exists()


def test_a_build_killed_repeatedly_gives_the_same_result_without_repeating_work(
    crowd: Path, undisturbed: Snapshot, tmp_path: Path
) -> None:
    dice = random.Random(1)
    phases = []
    tables: dict[str, tuple[int, int]] = {}
    shards: dict[str, tuple[int, int]] = {}
    files: dict[str, tuple[int, int]] = {}
    for point in POINTS:
        process = start(crowd, tmp_path, "--max-cpus", str(dice.choice([1, 2, 2, 3])))
        wait_until(lambda point=point: reached(tmp_path, *point), process)
        if not point[2]:
            time.sleep(dice.uniform(0, 0.02))
        kill_group(process)
        assert not (tmp_path / "v1").exists()
        before = tables, shards, files
        tables, shards, files = staged(tmp_path), extracted(tmp_path), shard_files(tmp_path)
        for earlier, now in zip(before, (tables, shards, files), strict=True):
            assert earlier.items() <= now.items(), "finished work was repeated"
        phases.append("publish" if point[2] else "extract" if shards else "stage")
    assert {p: phases.count(p) >= 1 for p in ("stage", "extract", "publish")} == dict.fromkeys(
        ("stage", "extract", "publish"), True
    ), phases
    err = finish(crowd, tmp_path)
    assert RESUMED in err
    assert snapshot(tmp_path / "v1") == undisturbed
    assert not (tmp_path / ".v1.build").exists()
    assert {n: stamp(tmp_path / "v1" / "data" / n) for n in files} == files


def test_a_build_killed_after_any_change_to_files_gives_the_same_result(
    crowd: Path, undisturbed: Snapshot, tmp_path: Path
) -> None:
    # Each run is killed after more changes than the previous one, so that the build finishes in about ten runs.
    dice, kills, allowed = random.Random(5), 0, 4
    while True:
        process = start(
            crowd, tmp_path, "--max-cpus", "1", code=SELF_KILLING_DRIVER, before=(str(tmp_path), str(allowed))
        )
        _, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, err
        kills += 1
        assert kills < 30, "the build makes no progress"
        allowed += dice.randint(15, 40)
    assert kills >= 6
    assert snapshot(tmp_path / "v1") == undisturbed


def test_workers_end_when_the_main_process_is_killed(crowd: Path, undisturbed: Snapshot, tmp_path: Path) -> None:
    for shards in (0, 2):
        process = start(crowd, tmp_path)
        # In addition to the two workers, multiprocessing has one process.
        wait_until(lambda p=process, n=shards: len(workers_of(p)) >= 3 and len(extracted(tmp_path)) >= n, process)
        workers = workers_of(process)
        process.kill()
        wait_for_the_end_of(workers)
        process.communicate(timeout=30)
    done = shard_files(tmp_path)
    assert done
    finish(crowd, tmp_path, "--max-cpus", "1")
    assert snapshot(tmp_path / "v1") == undisturbed
    assert {n: stamp(tmp_path / "v1" / "data" / n) for n in done} == done


def test_a_killed_worker_is_reported_and_finished_work_is_kept(
    crowd: Path, undisturbed: Snapshot, tmp_path: Path
) -> None:
    process = start(crowd, tmp_path)
    wait_until(lambda: len(workers_of(process)) >= 3 and extracted(tmp_path), process)
    spawned = [w for w in workers_of(process) if "spawn_main" in " ".join(w.cmdline())]
    spawned[0].kill()
    err = end(process, code=4)
    assert "the system ended a worker process" in err
    assert "run the same command again" in err
    wait_for_the_end_of(spawned)
    finish(crowd, tmp_path, "--max-cpus", "1")
    assert snapshot(tmp_path / "v1") == undisturbed


@pytest.mark.parametrize(
    ("name", "whole_group", "tables", "shards"),
    [("SIGINT", True, 3, 0), ("SIGINT", True, 0, 2), ("SIGTERM", False, 3, 0), ("SIGTERM", False, 0, 2)],
)
def test_an_interrupted_build_explains_how_to_resume_and_leaves_no_process(
    crowd: Path, undisturbed: Snapshot, tmp_path: Path, name: str, whole_group: bool, tables: int, shards: int
) -> None:
    process = start(crowd, tmp_path)
    wait_until(lambda: reached(tmp_path, tables, shards, 0), process)
    workers = workers_of(process)
    (os.killpg if whole_group else os.kill)(process.pid, getattr(signal, name))
    err = end(process, code=130)
    assert "run the same command again" in err
    wait_for_the_end_of(workers)
    done = shard_files(tmp_path)
    assert bool(done) == bool(shards)
    assert RESUMED in finish(crowd, tmp_path, "--max-cpus", "1")
    assert snapshot(tmp_path / "v1") == undisturbed
    assert {n: stamp(tmp_path / "v1" / "data" / n) for n in done} == done


@pytest.fixture(scope="module")
def small(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Hashes of the dataset from an undisturbed build of the hand-made release."""
    output = tmp_path_factory.mktemp("small")
    finish(release, output, "--max-cpus", "1")
    return snapshot(output / "v1")


def published_anew(output: Path, small: Snapshot) -> None:
    assert snapshot(output / "v1") == small
    assert (output / "v1" / "manifest.json").is_file()
    assert not (output / ".v1.build").exists()


def test_a_kill_between_moving_the_old_dataset_and_showing_the_new_one(
    release: Path, small: Snapshot, tmp_path: Path
) -> None:
    finish(release, tmp_path, "--max-cpus", "1", "--seed", "1")
    assert snapshot(tmp_path / "v1") != small
    here = "event == 'os.rename' and path.endswith('/.v1.build/dataset')"
    process = start(release, tmp_path, "--max-cpus", "1", "--overwrite", code=PRECISE_DRIVER, before=(here,))
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "v1").exists()
    finish(release, tmp_path, "--max-cpus", "1", "--overwrite")
    published_anew(tmp_path, small)


def test_a_kill_before_the_working_folder_is_removed(release: Path, small: Snapshot, tmp_path: Path) -> None:
    here = "event == 'shutil.rmtree' and path.endswith('/.v1.build/stage')"
    process = start(release, tmp_path, "--max-cpus", "1", code=PRECISE_DRIVER, before=(here,))
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert snapshot(tmp_path / "v1") == small
    assert (tmp_path / ".v1.build").exists()
    finish(release, tmp_path, "--max-cpus", "1")
    published_anew(tmp_path, small)


def test_a_request_for_the_old_dataset_keeps_the_work_on_the_new_one(
    release: Path, small: Snapshot, tmp_path: Path
) -> None:
    finish(release, tmp_path, "--max-cpus", "1")
    here = "event == 'os.rename' and path.endswith('/v1')"
    options = ("--max-cpus", "1", "--overwrite", "--seed", "1")
    process = start(release, tmp_path, *options, code=PRECISE_DRIVER, before=(here,))
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    finish(release, tmp_path, "--max-cpus", "1")
    assert snapshot(tmp_path / "v1") == small
    assert RESUMED in finish(release, tmp_path, *options)
    assert snapshot(tmp_path / "v1") != small


# Work that exists only in part ------------------------------------------------------------------------------


def first(folder: Path, pattern: str) -> Path:
    return min(p for p in folder.glob(pattern) if not p.name.startswith("."))


LOST = {
    "a staged file": "stage/hosp.labevents/0000[!01]*.arrow",
    "a staged dictionary": "stage/hosp.d_labitems/*.arrow",
    "a table's marker": "stage/icu.chartevents.json",
    "a table's rows rejected": "rejected/icu.chartevents/unparsed.arrow",
    "a dictionary's rows rejected": "rejected/hosp.d_labitems/unparsed.arrow",
    "a shard's rows rejected": "rejected/*/shard-*.arrow",
    "a shard's data": "dataset/data/train/*.parquet",
    "a shard's codes": "shards/*.codes.arrow",
    "a shard's patients": "shards/*.subjects.arrow",
    "a shard's marker": "shards/*.json",
    "the plan": "plan.json",
}


# After a power failure, a file whose name was written to the disk may be empty.
EMPTY = [
    "a table's marker",
    "a dictionary's rows rejected",
    "a shard's codes",
    "a shard's marker",
    "the plan",
    "the state",
]


@pytest.mark.parametrize(
    ("what", "how"), [(w, "missing") for w in LOST if "marker" not in w] + [(w, "empty") for w in EMPTY]
)
def test_work_lost_in_a_power_failure_is_repeated(
    crowd: Path, undisturbed: Snapshot, resumed: Any, what: str, how: str
) -> None:
    def spoil(work: Path) -> None:
        path = first(work, LOST.get(what, "state.json"))
        path.unlink() if how == "missing" else path.write_bytes(b"")

    dataset, _ = resumed(crowd, spoil)
    assert snapshot(dataset) == undisturbed


def test_admissions_lost_in_a_power_failure_are_read_again(crowd: Path, undisturbed: Snapshot, resumed: Any) -> None:
    """This includes admissions of a finished shard: every other shard needs the patient of each admission."""

    def spoil(work: Path) -> None:
        done = [p.stem for p in (work / "shards").glob("[!.]*.json")]
        lost = [p for number in done for p in (work / "stage" / "hosp.admissions").glob(f"{number}-*.arrow")]
        assert len(lost) == len(done) >= 2
        for path in lost:
            path.unlink()

    dataset, _ = resumed(crowd, spoil)
    assert snapshot(dataset) == undisturbed


def test_the_remains_of_a_removal_are_not_finished_work(crowd: Path, undisturbed: Snapshot, resumed: Any) -> None:
    def spoil(work: Path) -> None:
        shutil.rmtree(work / "rejected")
        shutil.rmtree(work / "stage" / "hosp.poe")

    dataset, _ = resumed(crowd, spoil)
    assert snapshot(dataset) == undisturbed


def test_a_partially_built_copy_is_resumed(crowd: Path, undisturbed: Snapshot, resumed: Any) -> None:
    dataset, notes = resumed(crowd)
    assert any(RESUMED in n for n in notes)
    assert snapshot(dataset) == undisturbed


# Changed input, changed settings -----------------------------------------------------------------------------


def changed(release: Path, folder: Path) -> Path:
    """Copy the release with all file times, and change one digit of one lab value."""
    copy = shutil.copytree(release, folder / "3.1")
    path = copy / "hosp" / "labevents.csv"
    text, times = path.read_text(), path.stat()
    before = text.replace(",4.1,4.1,mmol/L", ",4.2,4.2,mmol/L", 1)
    assert before != text
    path.write_text(before)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    return copy


def test_changed_input_never_uses_old_work(
    crowd: Path,
    undisturbed: Snapshot,
    resumed: Any,
    tmp_path: Path,
    build_sized: Callable[..., ehrtraj.BuildResult],
) -> None:
    other = changed(crowd, tmp_path)
    dataset, notes = resumed(other)
    assert not any(RESUMED in n for n in notes)
    fresh = build_crowd(build_sized, other, tmp_path / "fresh").path
    assert snapshot(dataset) == snapshot(fresh) != undisturbed


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": 3, "tables": "labevents,patients"},
        {"clock": "available"},
        {"subjects": 20},
        {"icu_only": True, "tables": "chartevents"},
    ],
    ids=lambda s: next(iter(s)),
)
def test_changed_settings_never_use_old_work(
    crowd: Path,
    undisturbed: Snapshot,
    resumed: Any,
    tmp_path: Path,
    settings: dict[str, Any],
    build_sized: Callable[..., ehrtraj.BuildResult],
) -> None:
    dataset, notes = resumed(crowd, **settings)
    assert not any(RESUMED in n for n in notes)
    fresh = build_crowd(build_sized, crowd, tmp_path / "fresh", **settings).path
    assert snapshot(dataset) == snapshot(fresh) != undisturbed


def test_a_changed_list_of_patients_never_uses_old_work(
    release: Path, handmade: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    chosen = tmp_path / "chosen.csv"
    for name in (str(chosen), "~/chosen.csv"):
        chosen.write_text(f"subject_id\n{handmade.SEPSIS}\n{handmade.DIED}\n")
        settings = {"subjects": name, "tables": "patients", "max_cpus": 1}
        ehrtraj.build(release, tmp_path / "out", "v1", **settings, overwrite=True)
        assert ehrtraj.build(release, tmp_path / "out", "v1", **settings).already_there
        chosen.write_text(f"subject_id\n{handmade.SEPSIS}\n{handmade.CLINIC}\n")
        with pytest.raises(OutputError, match="settings"):
            ehrtraj.build(release, tmp_path / "out", "v1", **settings)


# The place -----------------------------------------------------------------------------------------------------


def mounted(folder: Path, options: str) -> None:
    """Mount a separate file system in `folder`, or skip the test."""
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("a separate disk is needed, and only root can mount one")
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a separate disk is needed, and none can be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Return a function that mounts a disk, or mounts it again with other options."""
    folder = tmp_path / "disk"

    def mount(options: str) -> Path:
        if folder.exists():
            subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
        else:
            mounted(folder, options)
        return folder

    yield mount
    subprocess.run(["umount", str(folder)], check=False, capture_output=True)


def test_a_full_disk_is_reported_and_the_build_resumes_when_there_is_room(
    crowd: Path, undisturbed: Snapshot, disk: Callable[[str], Path]
) -> None:
    def full(output: Path) -> None:
        err = finish(crowd, output, code=4)
        assert f"the disk that contains {output} is full" in err
        assert "run the same command again" in err
        assert not (output / "v1").exists()

    # The disk is full while the tables are read ...
    output = disk("size=225k")
    full(output)
    assert 0 < len(staged(output)) < STAGED - 1
    # ... and while the events are built.
    disk("size=64m")
    process = start(crowd, output, "--max-cpus", "1")
    wait_until(lambda: extracted(output), process)
    kill_group(process)
    free_what_resuming_frees(output)
    space = os.statvfs(output)
    disk(f"size={(space.f_blocks - space.f_bfree) * space.f_frsize + 8192}")
    done = shard_files(output)
    full(output)
    assert shard_files(output) == done
    disk("size=64m")
    assert RESUMED in finish(crowd, output)
    assert snapshot(output / "v1") == undisturbed
    assert {n: stamp(output / "v1" / "data" / n) for n in done} == done


def test_an_output_that_cannot_be_written_is_named(release: Path, tmp_path: Path, disk: Callable[[str], Path]) -> None:
    if os.geteuid():
        output = tmp_path / "closed"
        output.mkdir(mode=0o500)
    else:
        output = disk("ro")
    for place in (output, output / "new"):
        err = finish(release, place, code=4)
        assert str(output) in err
        assert "Read-only" in err or "Permission" in err


def test_an_output_that_is_a_file_is_named(release: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in finish(release, tmp_path / "file", code=4)


def test_the_second_of_two_builds_in_the_same_place_stops(crowd: Path, undisturbed: Snapshot, tmp_path: Path) -> None:
    first_build = start(crowd, tmp_path)
    wait_until(lambda: staged(tmp_path), first_build)
    os.killpg(first_build.pid, signal.SIGSTOP)
    try:
        err = finish(crowd, tmp_path, code=4)
        assert "another build of 'v1' is running" in err
        assert str(tmp_path) in err
    finally:
        os.killpg(first_build.pid, signal.SIGCONT)
    end(first_build)
    assert snapshot(tmp_path / "v1") == undisturbed


def everything(folder: Path) -> dict[str, tuple[int, int, int]]:
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns, p.stat().st_ctime_ns) for p in folder.rglob("*")}


def test_an_existing_dataset_is_replaced_only_on_request(release: Path, small: Snapshot, tmp_path: Path) -> None:
    finish(release, tmp_path, "--max-cpus", "1")
    before = everything(tmp_path / "v1")

    again = start(release, tmp_path, "--max-cpus", "1")
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert "already there" in out
    assert "nothing was changed" in out
    assert everything(tmp_path / "v1") == before

    err = finish(release, tmp_path, "--max-cpus", "1", "--seed", "8", code=4)
    assert "settings" in err
    assert "--overwrite" in err
    assert everything(tmp_path / "v1") == before

    finish(release, tmp_path, "--max-cpus", "1", "--seed", "8", "--overwrite")
    manifest = json.loads((tmp_path / "v1" / "manifest.json").read_text())
    assert manifest["settings"]["seed"] == 8
    assert snapshot(tmp_path / "v1") != small
    finish(release, tmp_path, "--max-cpus", "1", "--overwrite")
    assert snapshot(tmp_path / "v1") == small


def test_a_foreign_folder_is_left_alone(release: Path, tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "v1" / "thesis.txt").write_text("years of work")
    err = finish(release, tmp_path, code=4)
    assert "was not made by ehrtraj" in err
    assert [p.name for p in (tmp_path / "v1").iterdir()] == ["thesis.txt"]
