"""What an engine may do with the shards of a build: run them in any order, twice, at the same time, or too late."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import ehrtraj
from ehrtraj.errors import OutputError
from ehrtraj.pipeline import run
from ehrtraj.pipeline.plan.shards import plan_shards
from ehrtraj.pipeline.shard.commit import commit
from ehrtraj.pipeline.shard.task import ShardJob, ShardResult, ShardTask
from ehrtraj.pipeline.shard.worker import ShardWorker
from ehrtraj.pipeline.workspace import Workspace


@pytest.fixture(autouse=True)
def several_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_shards, "__defaults__", (4000,))


def contents(dataset: Path) -> dict[str, str]:
    """Hash of each file of a dataset that does not hold a time."""
    return {
        path.relative_to(dataset).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(dataset.rglob("*.parquet"))
    }


def files_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("notes", ["inline", "separate"])
def test_every_shard_twice_in_any_order_with_late_duplicates(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: str
) -> None:
    wanted = contents(ehrtraj.build(release, tmp_path / "once", "v1", max_cpus=1, notes=notes).path)
    refused: list[str] = []

    def engine(job: ShardJob, tasks: Sequence[ShardTask], workers: int) -> Iterator[ShardResult]:
        assert len(tasks) >= 3
        dice = random.Random(4)
        late: list[ShardResult] = []
        others = [ShardWorker(job), ShardWorker(job)]
        for task in dice.sample(tasks, len(tasks)):
            before = {p for files in task.inputs.values() for f in files if (p := f.path)}
            with ThreadPoolExecutor(2) as pool:
                first, second = pool.map(lambda worker, t=task: worker.build(t), others)
            assert first.folder != second.folder
            assert first.account == second.account
            assert files_below(first.folder) == files_below(second.folder)
            assert all(path.is_file() for path in before), "a worker deleted its input"
            yield first
            # The driver has committed it and freed its input: an attempt that begins now fails, and changes nothing.
            with pytest.raises(OutputError, match="is missing"):
                others[0].build(task)
            refused.append(str(task.shard))
            late.append(second)
        yield from dice.sample(late, len(late))
        for worker in others:
            worker.close()

    monkeypatch.setattr(run, "run_shards", engine)
    result = ehrtraj.build(release, tmp_path / "twice", "v1", max_cpus=1, notes=notes)
    assert contents(result.path) == wanted
    assert len(refused) >= 3
    assert sorted(p.name for p in (tmp_path / "twice").iterdir()) == [".v1.lock", "v1"]


def test_an_attempt_that_lacks_a_file_is_not_committed(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def engine(job: ShardJob, tasks: Sequence[ShardTask], workers: int) -> Iterator[ShardResult]:
        worker = ShardWorker(job)
        result = worker.build(tasks[0])
        (file,) = list((result.folder / "dataset" / "data").rglob("*.parquet"))[:1]
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.raises(OutputError, match="is missing or incomplete"):
            commit(Workspace(tmp_path, "v1"), result)
        assert not list((job.root / "shards").glob("*.json"))
        worker.close()
        yield result

    monkeypatch.setattr(run, "run_shards", engine)
    with pytest.raises(OutputError, match=r"(?i)run the same command again"):
        ehrtraj.build(release, tmp_path, "v1", max_cpus=1)
    monkeypatch.undo()
    ehrtraj.build(release, tmp_path, "v1", max_cpus=1)


@pytest.mark.parametrize("table", ["hosp.admissions", "hosp.labevents", "hosp.d_labitems"])
@pytest.mark.parametrize("how", ["removed", "cut short"])
def test_a_missing_input_fails_the_shard(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, how: str
) -> None:
    def engine(job: ShardJob, tasks: Sequence[ShardTask], workers: int) -> Iterator[ShardResult]:
        for path in (job.root / "stage" / table).glob("*.arrow"):
            path.unlink() if how == "removed" else path.write_bytes(path.read_bytes()[:-1])
        worker = ShardWorker(job)
        for task in tasks:
            yield worker.build(task)

    monkeypatch.setattr(run, "run_shards", engine)
    with pytest.raises(OutputError, match=f"{table}.*is missing or incomplete"):
        ehrtraj.build(release, tmp_path, "v1", max_cpus=1)
    assert not (tmp_path / "v1").exists()
