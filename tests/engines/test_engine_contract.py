"""An engine may run the tasks of a build in any order, twice, at the same time, or too late."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import ehrtraj
from ehrtraj.api import build_with
from ehrtraj.config import resolve
from ehrtraj.engines.base import Need, Report, Work, ignore
from ehrtraj.engines.local import LocalEngine
from ehrtraj.errors import OutputError
from ehrtraj.pipeline.shard.commit import commit
from ehrtraj.pipeline.shard.task import ShardTask
from ehrtraj.pipeline.shard.worker import ShardWork
from ehrtraj.pipeline.stage.table import StagedGroup
from ehrtraj.runtime.progress import Reporter
from ehrtraj.runtime.sizes import Sizes
from ehrtraj.storage.local import LocalStorage

MEMORY = 4 * 10**9
# So that the eight patients are in several shards.
SMALL = Sizes(shard_rows=4000)


def contents(dataset: Path) -> dict[str, str]:
    """Return the hash of each file of a dataset, except those that contain times."""
    return {
        path.relative_to(dataset).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(dataset.rglob("*.parquet"))
    }


def files_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


class Heard(Reporter):
    """Records the progress of a build, and checks that it only moves forward and never exceeds the total."""

    def __init__(self) -> None:
        self.total_bytes = self.bytes = self.rows = self.shards = self.extracted_shards = 0
        self.shares = [0.0]

    def staging(self, total_bytes: int) -> None:
        """Remember the total."""
        self.total_bytes = total_bytes

    def staged(self, _table: str, consumed: int, rows: int) -> None:
        """Add up the bytes."""
        assert consumed >= 0 and rows >= 0
        self.bytes += consumed
        self.rows += rows
        assert self.bytes <= self.total_bytes

    def extracting(self, shards: int) -> None:
        """Remember the number of shards."""
        self.shards = shards

    def extracting_share(self, share: float) -> None:
        """Compare the share with the last one."""
        assert self.shares[-1] <= share <= 1
        self.shares.append(share)

    def extracted(self, _events: int) -> None:
        """Count the shards."""
        self.extracted_shards += 1
        assert self.extracted_shards <= self.shards


def build_on(
    engine: Any, release: Path, output: Path, reporter: Reporter | None = None, **given: Any
) -> ehrtraj.BuildResult:
    settings, _ = resolve({"data_dir": release, "output": output, "trajectory_version": "v1", "max_cpus": 1, **given})
    return build_with(settings, reporter or Reporter(), engine=engine, sizes=SMALL)


class Wrapped(LocalEngine):
    """An engine with one process that runs tasks of one kind in unusual but allowed ways."""

    def map(self, work: Work[Any, Any], items: Sequence[Any], need: Need, report: Report = ignore) -> Iterator[Any]:
        """Run the tasks for shards as the test requires, and those for tables as usual."""
        if isinstance(work, ShardWork):
            return self.shards(work, items)
        return super().map(work, items, need, report)

    def shards(self, work: ShardWork, tasks: Sequence[ShardTask]) -> Iterator[Any]:
        """Run the tasks for shards."""
        raise NotImplementedError


class Careless(LocalEngine):
    """An engine that runs every task twice at the same time, in random order, and returns the second result too late.

    Attributes:
        refused: shards whose task was started after its inputs were deleted, and failed.
        kinds: types of the items that were processed.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(1, MEMORY)
        object.__setattr__(self, "root", root)
        object.__setattr__(self, "refused", [])
        object.__setattr__(self, "kinds", set())

    def map(self, work: Work[Any, Any], items: Sequence[Any], need: Need, report: Report = ignore) -> Iterator[Any]:
        """Run a task for each item twice."""
        dice = random.Random(4)
        late = []
        with ExitStack() as stack:
            both = [stack.enter_context(work.open(report)) for _ in range(2)]
            for item in dice.sample(items, len(items)):
                before = files_below(self.root)
                with ThreadPoolExecutor(2) as pool:
                    first, second = pool.map(lambda run, i=item: run(i), both)
                self.compare(first, second)
                after = files_below(self.root)
                assert {n: after.get(n) for n in before} == before, "a task changed or deleted existing files"
                assert all(n.startswith(("attempts/", "spill/")) for n in set(after) - set(before))
                yield first
                if isinstance(item, ShardTask):
                    # The item is committed and its inputs are deleted: an attempt that begins now fails harmlessly.
                    with pytest.raises(OutputError, match="is missing"):
                        both[0](item)
                    self.refused.append(item.shard)
                self.kinds.add(type(item))
                late.append(second)
            yield from dice.sample(late, len(late))

    def compare(self, first: Any, second: Any) -> None:
        """Check that two attempts at a task write the same bytes to two folders."""
        if isinstance(first, StagedGroup):
            assert first.error is second.error is None
            for one, other in zip(first.attempts, second.attempts, strict=True):
                self.compare(one, other)
            return
        assert first.folder != second.folder
        assert replace(second, folder=first.folder) == first
        assert files_below(self.root / first.folder) == files_below(self.root / second.folder)


@pytest.mark.parametrize("notes", ["inline", "separate"])
def test_every_task_twice_in_any_order_with_late_duplicates(release: Path, tmp_path: Path, notes: str) -> None:
    once, twice = Heard(), Heard()
    wanted = contents(build_on(None, release, tmp_path / "once", once, notes=notes).path)
    engine = Careless(tmp_path / "twice" / ".v1.build")
    result = build_on(engine, release, tmp_path / "twice", twice, notes=notes)
    for heard in (once, twice):
        assert heard.bytes == heard.total_bytes > 0
        assert heard.extracted_shards == heard.shards >= 3
        assert heard.shares[-1] == 1
        # Several steps for each shard.
        assert len(set(heard.shares)) > 10 * heard.shards
    assert once.rows == twice.rows
    assert contents(result.path) == wanted
    assert len(engine.refused) >= 3
    assert engine.kinds == {tuple, ShardTask}
    assert sorted(p.name for p in (tmp_path / "twice").iterdir()) == ["v1", "v1-report.html"]
    assert ehrtraj.check(result.path).broken == []


def test_an_attempt_with_a_missing_file_is_not_committed(release: Path, tmp_path: Path) -> None:
    class Cut(Wrapped):
        def shards(self, work: ShardWork, tasks: Sequence[ShardTask]) -> Iterator[Any]:
            root = Path(work.job.storage.where())
            with work.open(ignore) as run:
                result = run(tasks[0])
            (file,) = list((root / result.folder / "dataset" / "data").rglob("*.parquet"))[:1]
            file.write_bytes(file.read_bytes()[:-1])
            with pytest.raises(OutputError, match="is missing or incomplete"):
                commit(LocalStorage(root), result)
            assert not list((root / "shards").glob("*.json"))
            yield result

    with pytest.raises(OutputError, match=r"(?i)run the same command again"):
        build_on(Cut(1, MEMORY), release, tmp_path)
    build_on(None, release, tmp_path)


def removed(path: Path) -> None:
    path.unlink()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("table", ["hosp.admissions", "hosp.labevents", "hosp.d_labitems"])
@pytest.mark.parametrize("how", [removed, cut_short])
def test_a_missing_input_fails_the_shard(
    release: Path, tmp_path: Path, table: str, how: Callable[[Path], None]
) -> None:
    class Losing(Wrapped):
        def shards(self, work: ShardWork, tasks: Sequence[ShardTask]) -> Iterator[Any]:
            for path in (Path(work.job.storage.where()) / "stage" / table).glob("*.arrow"):
                how(path)
            with work.open(ignore) as run:
                for task in tasks:
                    yield run(task)

    with pytest.raises(OutputError, match=f"{table}.*is missing or incomplete"):
        build_on(Losing(1, MEMORY), release, tmp_path)
    assert not (tmp_path / "v1").exists()


@pytest.mark.parametrize(
    ("cpus", "memory", "need", "wanted"),
    [
        (4, 10**10, Need(10**9), 4),
        (4, 3 * 10**9, Need(10**9), 2),
        (4, 10**9, Need(10**9), 1),
        (4, 10**10, Need(10**9, cores=None), 1),
        (4, 10**10, Need(10**9, cores=2), 2),
        (2, 10**10, Need(10**9, cores=3), 1),
    ],
)
def test_cores_and_memory_limit_the_number_of_simultaneous_tasks(
    cpus: int, memory: int, need: Need, wanted: int
) -> None:
    assert LocalEngine(cpus, memory).at_once(need) == wanted


class Pid:
    """A kind of task that returns the number of its process."""

    @contextmanager
    def open(self, report: Report) -> Iterator[Callable[[int], int]]:
        """Yield the task."""
        yield lambda _item: os.getpid()


@pytest.mark.parametrize("items", [1, 2, 5])
def test_prepared_processes_do_the_work_and_end(monkeypatch: pytest.MonkeyPatch, items: int) -> None:
    # New processes find this module through an inherited path.
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    engine, need = LocalEngine(2, MEMORY), Need(1)
    with engine.prepare(Pid, 2, need):
        prepared = {process.pid for process in multiprocessing.active_children()}
        assert len(prepared) == 2
        used = set(engine.map(Pid(), iter(range(items)), need))
        assert used <= prepared
        assert not multiprocessing.active_children()


def test_prepared_processes_without_work_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    engine = LocalEngine(2, MEMORY)
    with engine.prepare(Pid, 5, Need(1)):
        assert len(multiprocessing.active_children()) == 2
    assert not multiprocessing.active_children()
    with engine.prepare(Pid, 1, Need(1)):
        assert not multiprocessing.active_children()
