"""Row groups: they end at patients, and readers read each of them once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ehrtraj
from ehrtraj.dataset import reading
from ehrtraj.dataset.layout import DataFile
from ehrtraj.format import event_file

ROWS = 40


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch, release: Path, tmp_path: Path) -> ehrtraj.Dataset:
    """The hand-made release in row groups of at least 40 rows."""
    for module in (event_file, reading):
        monkeypatch.setattr(module, "ROW_GROUP", ROWS)
    return ehrtraj.open(ehrtraj.build(release, tmp_path, "v1", max_cpus=1).path)


def ends_of_groups(file: DataFile) -> list[int]:
    metadata = pq.read_metadata(file.path)
    return list(accumulate(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)))


def test_row_groups_end_with_the_patient_who_reaches_their_size(
    small_groups: ehrtraj.Dataset, built: Path, read_events: Callable[[Path], pa.Table]
) -> None:
    for file in small_groups.files:
        patients = small_groups.patients_of(file)
        ends = ends_of_groups(file)
        expected, start = [], 0
        for end in (patients["position"] + patients["n_events"]).to_list():
            if end - start >= ROWS:
                expected.append(end)
                start = end
        assert ends == sorted({*expected, int(patients["n_events"].sum())})
    assert max(len(ends_of_groups(file)) for file in small_groups.files) > 2
    assert read_events(small_groups.path).equals(read_events(built))


def test_chunks_end_with_row_groups(small_groups: ehrtraj.Dataset) -> None:
    for file in small_groups.files:
        for size in (ROWS, 3 * ROWS):
            read = list(reading.chunks(file, small_groups.patients_of(file), size))
            assert {chunk.position + chunk.count for chunk in read} <= set(ends_of_groups(file))


@pytest.mark.parametrize(
    ("starts", "expected"),
    [
        ([0, 3], [(0, 3)]),
        ([0, 40], [(0, 40)]),
        ([0, 39, 41, 50], [(0, 41), (41, 50)]),
        # Patients with more rows than the largest row group are divided.
        ([7, 10, 360, 370], [(7, 107), (107, 207), (207, 307), (307, 360), (360, 370)]),
    ],
)
def test_patients_are_divided_only_if_they_are_large(
    monkeypatch: pytest.MonkeyPatch, starts: list[int], expected: list[tuple[int, int]]
) -> None:
    monkeypatch.setattr(event_file, "ROW_GROUP", ROWS)
    monkeypatch.setattr(event_file, "_LARGEST_ROW_GROUP", 100)
    assert list(event_file.row_groups(np.array(starts))) == expected


def test_a_file_that_was_replaced_is_read_again(small_groups: ehrtraj.Dataset) -> None:
    file = small_groups.files[0]
    before = reading.read_events(file, 0, 5)
    rows = pq.read_table(file.path)
    pq.write_table(rows.take(np.arange(rows.num_rows)[::-1]), file.path)
    after = reading.read_events(file, rows.num_rows - 5, 5)
    assert after.reverse().equals(before)
