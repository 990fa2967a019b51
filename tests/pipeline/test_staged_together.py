"""Small tables are staged at the same time: their files are the same, and a damaged one leaves the others finished."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ehrtraj.errors import ReleaseError
from ehrtraj.pipeline.plan.shards import ShardPlan
from ehrtraj.pipeline.stage.staged import StagedTable
from ehrtraj.pipeline.stage.table import StagedGroup, StageProgress, StageWork, groups
from ehrtraj.release.detect import detect
from ehrtraj.release.table_file import TableFile
from ehrtraj.storage.base import Output
from ehrtraj.storage.local import LocalStorage


@pytest.fixture(scope="module")
def files(handmade: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> list[TableFile]:
    folder = tmp_path_factory.mktemp("release")
    handmade.write_release(folder)
    return list(detect(folder).files.values())


def stage(
    folder: Path, files: list[TableFile], threads: int, report: Callable[[StageProgress], None] = lambda _: None
) -> StagedGroup:
    plan = ShardPlan(np.array([0, 10_900_400], np.int64))
    with StageWork(LocalStorage(folder), plan, threads, 1 << 20, 1 << 20).open(report) as run:
        return run(files)


def contents(folder: Path, group: StagedGroup) -> dict[str, tuple[StagedTable, dict[str, bytes]]]:
    """Return the record of each table, and its files."""
    return {
        attempt.table.table: (
            attempt.table,
            {
                path.relative_to(folder / attempt.folder).as_posix(): path.read_bytes()
                for path in sorted((folder / attempt.folder).rglob("*"))
                if path.is_file()
            },
        )
        for attempt in group.attempts
    }


def test_tables_staged_together_equal_those_staged_alone(files: list[TableFile], tmp_path: Path) -> None:
    heard: list[StageProgress] = []
    together = contents(tmp_path / "together", stage(tmp_path / "together", files, 4, heard.append))
    alone: dict[str, tuple[StagedTable, dict[str, bytes]]] = {}
    for file in files:
        alone |= contents(tmp_path / "alone", stage(tmp_path / "alone", [file], 1))
    assert together == alone
    assert [(p.table, p.consumed) for p in heard] == [(f.table.full_name, f.size) for f in files]
    assert {p.table: p.rows for p in heard} == {name: table.rows_read for name, (table, _) in alone.items()}


@pytest.mark.parametrize("threads", [1, 3])
def test_a_damaged_table_leaves_the_others_finished(handmade: ModuleType, tmp_path: Path, threads: int) -> None:
    handmade.write_release(tmp_path / "release")
    files = list(detect(tmp_path / "release").files.values())
    damaged = files[2].path
    damaged.write_bytes(damaged.read_bytes()[:-9])
    group = stage(tmp_path / "work", files, threads)
    assert isinstance(group.error, ReleaseError)
    assert str(damaged) in str(group.error)
    assert [attempt.table.table for attempt in group.attempts] == [
        file.table.full_name for file in files if file.path != damaged
    ]


class SlowDisk(LocalStorage):
    """Its first shard cannot be written, and the others only after that."""

    def create(self, name: str) -> Output:
        if name.endswith("/00000-00000.arrow"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), name)
        time.sleep(0.2)
        return super().create(name)


@pytest.mark.parametrize("count", [1, 3])
def test_a_failed_write_waits_for_the_others(files: list[TableFile], tmp_path: Path, count: int) -> None:
    """Otherwise they would write into the folder that is being deleted, and that error would hide the first one."""
    plan = ShardPlan(np.array([0, 10_900_200, 10_900_400], np.int64))
    of_patients = [file for file in files if file.table.kind == "patient"][:count]
    with StageWork(SlowDisk(tmp_path), plan, 4, 1 << 20, 1 << 20).open(lambda _: None) as run:
        if count == 1:
            with pytest.raises(OSError, match="error") as caught:
                run(of_patients)
            error: BaseException | None = caught.value
        else:
            error = run(of_patients).error
    assert isinstance(error, OSError)
    assert error.errno == errno.EIO
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_large_tables_are_staged_alone(files: list[TableFile]) -> None:
    block = 4 * sorted(file.size for file in files)[-3]
    divided = groups(files, block)
    assert [len(group) for group in divided] == [len(files) - 2, 1, 1]
    assert {file.table.full_name for group in divided for file in group} == {file.table.full_name for file in files}
