"""The same rows and settings give the same bytes, however the rows are stored, read and distributed."""

from __future__ import annotations

import csv
import gzip
import io
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ehrtraj
from ehrtraj.runtime.sizes import DEFAULT, Sizes

Build = Callable[..., Path]
Files = dict[str, bytes]


# Divides the eight patients into about four shards.
SEVERAL = Sizes(shard_rows=4000)


@pytest.fixture
def build(tmp_path: Path, build_sized: Callable[..., ehrtraj.BuildResult]) -> Build:
    """Return a function that builds a release in a new folder each time."""
    count = iter(range(100))

    def build(release: Path, sizes: Sizes = DEFAULT, **settings: Any) -> Path:
        output = tmp_path / f"out{next(count)}"
        return build_sized(sizes, release, output, "v1", **({"max_cpus": 1} | settings)).path

    return build


def files_of(dataset: Path, *, rejects: bool = True) -> Files:
    """Return the contents of all files that must be the same each time."""
    names = ["metadata/codes.parquet", "metadata/subjects.parquet", "metadata/subject_splits.parquet", "ledger.parquet"]
    paths = [dataset / n for n in names] + list((dataset / "data").rglob("*.parquet"))
    if rejects:
        paths += (dataset / "rejected").iterdir()
    return {str(p.relative_to(dataset)): p.read_bytes() for p in paths}


def rejects_of(dataset: Path) -> dict[str, Counter[tuple[Any, ...]]]:
    """Return the rejected rows without their line numbers, by table."""
    return {
        path.stem: Counter(tuple(row.values()) for row in pq.read_table(path).drop_columns("line").to_pylist())
        for path in (dataset / "rejected").glob("*.parquet")
    }


def shuffle(path: Path, to: Path, dice: random.Random) -> None:
    """Write a table to `to` as .csv, with its rows in another order."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    header, *rows = csv.reader(io.StringIO(data.decode(), newline=""))
    dice.shuffle(rows)
    to.parent.mkdir(parents=True, exist_ok=True)
    with to.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def shuffled(release: Path, to: Path, seed: int) -> Path:
    dice = random.Random(seed)
    for module in ("hosp", "icu", "ed", "note"):
        for path in sorted((release / module).glob("*.csv*")):
            shuffle(path, to / module / f"{path.name.removesuffix('.gz').removesuffix('.csv')}.csv", dice)
    return to


def test_the_number_of_cores_changes_no_byte(release: Path, several_shards_built: Path, build: Build) -> None:
    assert len({p.name for p in (several_shards_built / "data").rglob("*.parquet")}) >= 3
    for cpus in (2, 3):
        assert files_of(build(release, SEVERAL, max_cpus=cpus)) == files_of(several_shards_built)


def test_the_memory_limit_changes_no_byte(release: Path, build: Build) -> None:
    little = build(release, SEVERAL, max_cpus=2, memory_limit="1GB")
    assert files_of(little) == files_of(build(release, SEVERAL, memory_limit="4GB"))


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_the_rows_changes_no_byte(
    release: Path, built: Path, build: Build, tmp_path: Path, seed: int
) -> None:
    dataset = build(shuffled(release, tmp_path / "shuffled", seed))
    assert files_of(dataset, rejects=False) == files_of(built, rejects=False)
    assert rejects_of(dataset) == rejects_of(built)


def test_the_order_of_the_rows_of_the_demo_changes_no_byte(
    demo: Path, demo_built: Path, build: Build, tmp_path: Path
) -> None:
    other = shuffled(demo, tmp_path / "shuffled", 4)
    shutil.copy(demo / "demo_subject_id.csv", other)
    dataset = build(other)
    assert files_of(dataset, rejects=False) == files_of(demo_built, rejects=False)
    assert rejects_of(dataset) == rejects_of(demo_built)


def test_compression_of_the_input_changes_no_byte(
    handmade: ModuleType, built: Path, build: Build, tmp_path: Path
) -> None:
    handmade.write_release(tmp_path / "plain", plain=True)
    assert files_of(build(tmp_path / "plain")) == files_of(built)
    # Here, only some files are compressed.
    for path in sorted((tmp_path / "plain").rglob("*.csv"))[::2]:
        path.with_suffix(".csv.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert files_of(build(tmp_path / "plain")) == files_of(built)


@pytest.mark.parametrize("size", [100, 3000])
def test_block_and_round_sizes_change_no_byte(release: Path, built: Path, build: Build, size: int) -> None:
    assert files_of(build(release, Sizes(block_bytes=size, round_bytes=size))) == files_of(built)


def test_the_number_of_shards_changes_no_event(
    several_shards_built: Path, built: Path, read_events: Callable[[Path], pa.Table]
) -> None:
    dataset = several_shards_built
    assert len(list((dataset / "data").rglob("*.parquet"))) > len(list((built / "data").rglob("*.parquet")))
    assert read_events(dataset).equals(read_events(built))
    for name in ("metadata/codes.parquet", "metadata/subject_splits.parquet", "ledger.parquet"):
        assert pq.read_table(dataset / name).equals(pq.read_table(built / name))
    assert rejects_of(dataset) == rejects_of(built)


@pytest.mark.parametrize("rows", [1, 40])
def test_the_size_of_parts_changes_no_event(
    release: Path,
    built: Path,
    build: Build,
    read_events: Callable[[Path], pa.Table],
    rows: int,
) -> None:
    dataset = build(release, Sizes(span_rows=rows))
    # Each part is at least one row group.
    groups = [sum(pq.ParquetFile(p).num_row_groups for p in (d / "data").rglob("*.parquet")) for d in (built, dataset)]
    assert groups[1] > groups[0]
    assert read_events(dataset).equals(read_events(built))
    for name in ("codes", "subjects", "subject_splits"):
        path = f"metadata/{name}.parquet"
        assert pq.read_table(dataset / path).equals(pq.read_table(built / path))
    assert pq.read_table(dataset / "ledger.parquet").equals(pq.read_table(built / "ledger.parquet"))
    assert rejects_of(dataset) == rejects_of(built)
