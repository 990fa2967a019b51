"""Comparing two datasets: all differences, and only differences, are found, counted and shown."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ehrtraj
from ehrtraj.diffs import run
from ehrtraj.diffs.events import diff_events
from ehrtraj.errors import DatasetError
from ehrtraj.format.events import EVENT_SCHEMA


@pytest.fixture(scope="module")
def several(several_shards_built: Path) -> ehrtraj.Dataset:
    """The hand-made release in several shards."""
    return ehrtraj.open(several_shards_built)


@pytest.fixture
def changed(several: ehrtraj.Dataset, tmp_path: Path) -> Callable[[Callable[[pa.Table], pa.Table]], Path]:
    """Function that copies the dataset and changes its largest file, keeping the number of events."""

    def make(change: Callable[[pa.Table], pa.Table]) -> Path:
        copy = Path(shutil.copytree(several.path, tmp_path / "copy"))
        path = max((copy / "data").rglob("*.parquet"), key=lambda p: pq.read_metadata(p).num_rows)
        table = change(pq.read_table(path))
        pq.write_table(table, path)
        manifest = json.loads((copy / "manifest.json").read_text())
        manifest["contents"][path.relative_to(copy).as_posix()]["bytes"] = path.stat().st_size
        (copy / "manifest.json").write_text(json.dumps(manifest))
        return copy

    return make


def test_a_dataset_equals_itself_whatever_its_shards(several: ehrtraj.Dataset, release: Path, tmp_path: Path) -> None:
    one_shard = ehrtraj.build(release, tmp_path, "v1", max_cpus=1).path
    for other in (several.path, one_shard):
        report = ehrtraj.diff(several, other)
        assert report.same
        assert report.settings == {}
        assert report.events.compared == several.subjects["n_events"].sum()
    assert len(ehrtraj.open(one_shard).files) < len(several.files)


def labs(table: pa.Table) -> list[int]:
    return [i for i, name in enumerate(table["source_table"].to_pylist()) if name == "hosp/labevents"]


def put(table: pa.Table, column: str, at: list[int], value: object) -> pa.Table:
    values = [value if i in at else v for i, v in enumerate(table[column].to_pylist())]
    field = table.schema.field(column)
    return table.set_column(table.column_names.index(column), field, pa.array(values, field.type))


def test_changed_values_are_counted_by_table_and_column(several: ehrtraj.Dataset, changed: Callable[..., Path]) -> None:
    def change(table: pa.Table) -> pa.Table:
        at = labs(table)
        return put(put(table, "numeric_value", at[:3], 4711.0), "unit", at[2:4], "furlong")

    report = ehrtraj.diff(several, changed(change))
    events = report.events
    assert not report.same
    assert events.changed == {"hosp/labevents": 4}
    assert events.columns == {("hosp/labevents", "numeric_value"): 3, ("hosp/labevents", "unit"): 2}
    assert (events.only_a, events.only_b, events.patients, events.reordered) == ({}, {}, 1, 0)
    assert [e.what for e in events.examples] == ["changed"] * 4
    changes = Counter(tuple(sorted((name, b) for name, (_, b) in e.columns.items())) for e in events.examples)
    number, unit = ("numeric_value", 4711.0), ("unit", "furlong")
    assert changes == {(number,): 2, (number, unit): 1, (unit,): 1}
    assert report.codes.height == 0, "the copy has the same codes.parquet"


def test_events_that_are_in_only_one_dataset(several: ehrtraj.Dataset, changed: Callable[..., Path]) -> None:
    def change(table: pa.Table) -> pa.Table:
        """Move three results to another table, so that the number of events in subjects.parquet stays right."""
        table = put(table, "source_table", labs(table)[:3], "hosp/omr")
        order = pc.sort_indices(table, [("subject_id", "ascending")])
        return table.take(order)

    events = ehrtraj.diff(several, changed(change)).events
    assert events.only_a == {"hosp/labevents": 3}
    assert events.only_b == {"hosp/omr": 3}
    assert {e.what for e in events.examples} == {"only_a", "only_b"}


def test_another_order_is_not_a_changed_event(several: ehrtraj.Dataset, changed: Callable[..., Path]) -> None:
    def change(table: pa.Table) -> pa.Table:
        first, second = labs(table)[:2]
        order = list(range(table.num_rows))
        order[first], order[second] = order[second], order[first]
        return table.take(pa.array(order))

    report = ehrtraj.diff(several, changed(change))
    assert not report.same
    assert (report.events.reordered, report.events.patients, report.events.examples) == (1, 0, [])


def test_patients_splits_and_codes(several: ehrtraj.Dataset, release: Path, tmp_path: Path) -> None:
    some = ehrtraj.build(release, tmp_path, "some", max_cpus=1, subjects=5, seed=3, tables="labevents,patients").path
    other = ehrtraj.open(some)
    report = ehrtraj.diff(several, other)
    assert report.patients_a == tuple(sorted(set(several) - set(other)))
    assert report.patients_b == ()
    both = several.subjects.join(other.subjects, on="subject_id")
    assert report.moved == tuple(both.filter(pl.col("split") != pl.col("split_right"))["subject_id"])
    assert report.moved
    assert set(report.settings) == {"subjects", "seed", "tables"}
    counts = [Counter(dict(d.codes.select("code", "n_events").iter_rows())) for d in (several, other)]
    found = {code: (a or 0, b or 0) for code, a, b, _ in report.codes.iter_rows()}
    assert found == {c: (counts[0][c], counts[1][c]) for c in counts[0] | counts[1] if counts[0][c] != counts[1][c]}
    back = ehrtraj.diff(other, several)
    assert back.patients_b == report.patients_a
    assert back.events.only_b == report.events.only_a
    assert report.events.only_b == {}
    assert sum(report.events.only_a.values()) > 50


def test_columns_of_another_clock(several: ehrtraj.Dataset, release: Path, tmp_path: Path) -> None:
    other = ehrtraj.build(release, tmp_path, "v1", max_cpus=1, clock="available").path
    report = ehrtraj.diff(several, other)
    assert (report.columns_a, report.columns_b) == ((), ("event_time",))
    assert not report.same
    assert {column for _, column in report.events.columns} == {"time"}


@pytest.mark.parametrize("cpus", [1, 2])
def test_the_size_of_chunks_does_not_change_the_result(
    several: ehrtraj.Dataset, changed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, cpus: int
) -> None:
    copy = changed(lambda table: put(table, "numeric_value", labs(table), 4711.0))
    at_once = ehrtraj.diff(several, copy, max_cpus=1)
    monkeypatch.setattr(run, "CHUNK_EVENTS", 20)
    monkeypatch.setattr(run, "_WORTH_PROCESSES", 0)
    calls: list[tuple[int, int]] = []
    pieces = ehrtraj.diff(several, copy, max_cpus=cpus, progress=lambda done, all_: calls.append((done, all_)))
    assert pieces.to_json() == at_once.to_json()
    assert calls[-1][0] == calls[-1][1] == several.subjects["n_events"].sum()
    assert calls == sorted(calls)
    assert len({done for done, _ in calls}) > 3


# Any events ----------------------------------------------------------------------------------------------------

EVENT = st.fixed_dictionaries(
    {
        "time": st.one_of(st.none(), st.sampled_from([datetime(2150, 1, d) for d in (1, 2)])),
        "code": st.sampled_from(["LAB//1", "LAB//2", "CHART//1"]),
        "numeric_value": st.one_of(st.none(), st.sampled_from([1.0, 2.5])),
        "source_table": st.sampled_from(["hosp/labevents", "icu/chartevents"]),
        "source_key": st.one_of(st.none(), st.integers(1, 2)),
        "attributes": st.one_of(st.none(), st.just("{}")),
    }
)
PATIENTS = st.dictionaries(st.integers(1, 4), st.lists(EVENT, min_size=1, max_size=5))


def frame(patients: dict[int, list[dict[str, Any]]]) -> pl.DataFrame:
    rows = [
        dict.fromkeys(EVENT_SCHEMA.names) | {"subject_id": who, "time_precision": "day", "flags": 0} | event
        for who, events in sorted(patients.items())
        for event in events
    ]
    read = pl.from_arrow(pa.Table.from_pylist(rows, schema=EVENT_SCHEMA))
    assert isinstance(read, pl.DataFrame)
    return read


@settings(deadline=None, max_examples=25)
@given(a=PATIENTS, b=PATIENTS)
def test_every_event_is_equal_changed_or_in_only_one_dataset(a: dict[int, Any], b: dict[int, Any]) -> None:
    one, other = frame(a), frame(b)
    found = diff_events(one, other)
    rows_a, rows_b = Counter(one.rows()), Counter(other.rows())
    changed = found.changed.total()
    assert found.only_a.total() + changed == (rows_a - rows_b).total()
    assert found.only_b.total() + changed == (rows_b - rows_a).total()
    differing = {row[0] for row in (rows_a - rows_b) | (rows_b - rows_a)}
    assert found.patients == len(differing)
    in_order = {w for w in set(a) | set(b) if one.filter(subject_id=w).equals(other.filter(subject_id=w))}
    assert found.reordered == len((set(a) | set(b)) - in_order - differing)
    assert all(found.columns[key] > 0 for key in found.columns)
    # Events that are in only one dataset have no counterpart with the same key in the other.
    keys = [
        Counter((r[0], r[names["source_table"]], r[names["code"]].split("//")[0], r[names["source_key"]]) for r in rest)
        for names in [{n: i for i, n in enumerate(one.columns)}]
        for rest in ((rows_a - rows_b).elements(), (rows_b - rows_a).elements())
    ]
    keyed = sum(n for key, n in (keys[0] & keys[1]).items() if key[3] is not None)
    assert changed >= keyed


# The command ---------------------------------------------------------------------------------------------------


def ehrtraj_diff(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ehrtraj", "diff", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_command(several: ehrtraj.Dataset, changed: Callable[..., Path], tmp_path: Path) -> None:
    result = ehrtraj_diff(several.path, several.path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "the same" in result.stdout
    copy = changed(lambda table: put(table, "numeric_value", labs(table)[:1], 4711.0))
    result = ehrtraj_diff(several.path, copy)
    assert result.returncode == 1
    assert "numeric_value 1" in result.stdout
    assert "4711 in B" in result.stdout
    result = ehrtraj_diff(several.path, copy, "--json")
    content = json.loads(result.stdout)
    assert result.returncode == 1
    assert content["events"]["columns"] == {"hosp/labevents": {"numeric_value": 1}}
    result = ehrtraj_diff(several.path, tmp_path / "nowhere")
    assert result.returncode == 7
    assert "does not exist" in result.stderr


def test_a_broken_file_is_named(several: ehrtraj.Dataset, changed: Callable[..., Path]) -> None:
    copy = changed(lambda table: table)
    file = ehrtraj.open(copy).files[-1].path
    file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(DatasetError, match=f"{file.name} is damaged"):
        ehrtraj.diff(several, copy)
