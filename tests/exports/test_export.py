"""Exports: the files contain the same events as the dataset, and other programs can read them."""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
import re
import shutil
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import meds
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ehrtraj
from ehrtraj import rules
from ehrtraj.dataset.layout import DataFile
from ehrtraj.errors import DatasetError, OutputError, SettingsError
from ehrtraj.exports import formats, lines, run, text
from ehrtraj.exports.job import ExportJob, PatientGroup
from ehrtraj.exports.units import folder_of
from ehrtraj.exports.worker import export_patients
from ehrtraj.format.events import EVENT_SCHEMA, PRECISIONS
from ehrtraj.runtime.processes import stream_tasks
from ehrtraj.runtime.sizes import Sizes
from ehrtraj.storage.files import private_files

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?")


@pytest.fixture(scope="module")
def several(several_shards_built: Path) -> ehrtraj.Dataset:
    """The hand-made release in several shards."""
    return ehrtraj.open(several_shards_built)


def index_of(output: Path) -> pl.DataFrame:
    return pl.read_csv(output / "index.csv", try_parse_dates=True, infer_schema_length=None)


def files_of(output: Path) -> dict[str, bytes]:
    """Return the contents of all files except export.json, which contains a date."""
    return {
        p.relative_to(output).as_posix(): p.read_bytes()
        for p in sorted(output.rglob("*"))
        if p.is_file() and p.name != "export.json"
    }


def counted(events: pl.DataFrame) -> Counter[tuple[Any, ...]]:
    return Counter(events.rows())


# The same events ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", formats.names())
@pytest.mark.parametrize("piece", [5, 1 << 16])
def test_export_then_import_gives_the_same_events(
    several: ehrtraj.Dataset, tmp_path: Path, kind: Any, piece: int
) -> None:
    """The result does not depend on how many events are read and written at a time."""
    sizes = Sizes(exported_events=piece * 20, formatted_events=piece, placed_rows=piece * 10)
    result = ehrtraj.export(several, tmp_path / "out", format=kind, max_cpus=1, sizes=sizes)
    assert (result.files, result.patients) == (8, 8)
    assert result.events == several.subjects["n_events"].sum()
    for subject_id in several:
        name = f"p{subject_id}"
        read = ehrtraj.read_export(tmp_path / "out" / f"p{subject_id // 100_000}" / name / f"{name}.{kind}")
        assert read.equals(several[subject_id].events), subject_id
        assert read.schema == several[subject_id].events.schema


@pytest.mark.parametrize("kind", formats.names())
@pytest.mark.parametrize("per", ["admission", "icustay"])
def test_admissions_and_outside_events_add_up_to_the_patient(
    several: ehrtraj.Dataset, tmp_path: Path, per: Any, kind: Any
) -> None:
    out = tmp_path / "out"
    result = ehrtraj.export(several, out, per=per, format=kind, max_cpus=1)
    assert result.events == several.subjects["n_events"].sum()
    column = "hadm_id" if per == "admission" else "stay_id"
    of_icu = several.scan().filter(pl.col("source_table").str.starts_with("icu/")).collect()["stay_id"].unique()
    units = pl.col(column) if per == "admission" else pl.when(pl.col(column).is_in(of_icu.implode())).then(column)
    for subject_id in several:
        events = several[subject_id].events
        read = {p.stem: ehrtraj.read_export(p) for p in sorted((out / folder_of(subject_id)).iterdir())}
        assert counted(pl.concat(read.values())) == counted(events)
        for name, part in read.items():
            key = None if name == "outside" else int(name.partition("-")[2])
            assert part.equals(events.filter(units.eq_missing(key))), "all events, in order"


def test_shard_files_and_a_single_file_contain_all_events(several: ehrtraj.Dataset, tmp_path: Path) -> None:
    everything = several.scan().collect()
    for kind in formats.names():
        out = tmp_path / kind
        result = ehrtraj.export(several, out, per="shard", format=kind, max_cpus=1)
        assert result.files == len(several.files) > 3
        read = [ehrtraj.read_export(out / path) for path in index_of(out)["path"]]
        assert pl.concat(read).equals(everything), kind
    one = ehrtraj.export(several, tmp_path / "one", single=True)
    assert (one.files, one.events) == (1, everything.height)
    table = pq.read_table(tmp_path / "one" / "events.parquet")
    meds.DataSchema.validate(table)
    assert ehrtraj.read_export(tmp_path / "one" / "events.parquet").equals(everything)


def test_a_dataset_with_clock_available_is_read_back(release: Path, tmp_path: Path) -> None:
    path = ehrtraj.build(release, tmp_path, "v1", max_cpus=1, clock="available").path
    ehrtraj.export(path, tmp_path / "json", format="json")
    ehrtraj.export(path, tmp_path / "csv", format="csv")
    ds = ehrtraj.open(path)
    for subject_id in ds:
        for kind in ("json", "csv"):
            (file,) = (tmp_path / kind / folder_of(subject_id)).iterdir()
            assert ehrtraj.read_export(file).equals(ds[subject_id].events)


def test_separate_notes_are_put_into_the_exported_events(release: Path, tmp_path: Path) -> None:
    ds = ehrtraj.open(ehrtraj.build(release, tmp_path, "apart", max_cpus=1, notes="separate").path)
    texts = 0
    for kind in formats.names():
        ehrtraj.export(ds, tmp_path / kind, format=kind)
        for subject_id in ds:
            (file,) = (tmp_path / kind / folder_of(subject_id)).iterdir()
            read = ehrtraj.read_export(file)
            assert read.equals(ds[subject_id].with_notes().events)
            texts += read["text_value"].count() - ds[subject_id].events["text_value"].count()
    assert texts > 0
    ehrtraj.export(ds, tmp_path / "one", single=True)
    everything = ehrtraj.read_export(tmp_path / "one" / "events.parquet")
    assert everything.equals(pl.concat([t.with_notes().events for t in ds.trajectories()]))


TEXTS = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.sampled_from(
        ["", " ", '"', "\\", "a,b", 'say "x"', "two\nlines", "\r\n", "\u2028", ',"attributes":{', "null", "é"]
    ),
)
TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2299, 1, 1))
NUMBERS = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=32))
IDS = st.one_of(st.none(), st.integers(-(2**62), 2**62), st.integers(1, 4))
_VALUES = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5))
ATTRIBUTES = st.one_of(st.none(), st.dictionaries(st.text(max_size=5), _VALUES, max_size=3))
PER = st.sampled_from(["patient", "admission", "icustay"])


@st.composite
def events_of_anyone(draw: st.DrawFn) -> pa.Table:
    """Generate events of up to four patients with arbitrary values in every column."""
    rows = []
    for subject_id in sorted(draw(st.sets(st.integers(1, 10**8), min_size=1, max_size=4))):
        for _ in range(draw(st.integers(1, 6))):
            attributes = draw(ATTRIBUTES)
            rows.append(
                {
                    "subject_id": subject_id,
                    "time": draw(st.one_of(st.none(), TIMES)),
                    "code": draw(st.text(max_size=8)),
                    "numeric_value": draw(NUMBERS),
                    "text_value": draw(TEXTS),
                    "unit": draw(TEXTS),
                    "available_time": draw(st.one_of(st.none(), TIMES)),
                    "time_precision": draw(st.sampled_from(PRECISIONS)),
                    "hadm_id": draw(IDS),
                    "stay_id": draw(st.one_of(st.none(), st.integers(1, 3))),
                    "raw_value": draw(TEXTS),
                    "raw_unit": draw(TEXTS),
                    "flags": draw(st.one_of(st.just(0), st.integers(0, 2**63 - 1))),
                    "source_table": draw(st.sampled_from(["hosp/labevents", "icu/chartevents", "ed/vitalsign"])),
                    "source_key": draw(IDS),
                    "link_id": draw(IDS),
                    "attributes": None if attributes is None else json.dumps(attributes, ensure_ascii=False),
                }
            )
    return pa.Table.from_pylist(rows, schema=EVENT_SCHEMA)


def exported(events: pa.Table, folder: Path, **about: Any) -> dict[str, pl.DataFrame]:
    """Export events that are not part of a dataset, and read the files back."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "out" / ".export").mkdir(parents=True)
    path = folder / "00000.parquet"
    pq.write_table(events, path, row_group_size=5)
    subject = events["subject_id"].to_numpy()
    ids, first, count = np.unique(subject, return_index=True, return_counts=True)
    spans = tuple(zip(ids.tolist(), first.tolist(), count.tolist(), strict=True))
    job = ExportJob(
        folder / "out", **({"history": False, "outside": True, "flags": rules.flags(), "icu_modules": ("icu",)} | about)
    )
    index = export_patients(job, PatientGroup(DataFile("train", "00000", path), spans))
    assert sorted(index["path"].to_pylist()) == sorted(
        p.relative_to(folder / "out").as_posix() for p in (folder / "out").glob("p*/*/*")
    )
    return {name: ehrtraj.read_export(folder / "out" / name) for name in index["path"].to_pylist()}


@settings(deadline=None, max_examples=60)
@given(events=events_of_anyone(), kind=st.sampled_from(formats.names()), per=PER)
def test_arbitrary_events_are_read_back_unchanged(
    tmp_path_factory: pytest.TempPathFactory, events: pa.Table, kind: Any, per: Any
) -> None:
    folder = tmp_path_factory.getbasetemp() / "anything"
    read = exported(events, folder, per=per, format=kind)
    frame = pl.from_arrow(events)
    assert isinstance(frame, pl.DataFrame)
    assert counted(pl.concat(read.values())) == counted(frame)
    if per == "patient":
        assert pl.concat(read.values()).equals(frame)


def known_before(events: list[dict[str, Any]], column: str, key: int) -> list[dict[str, Any]]:
    """Return the events that belong to a unit or were known when it began, decided event by event."""
    begin = min((e["time"] for e in events if e[column] == key and e["time"] is not None), default=None)
    return [
        e
        for e in events
        if e[column] == key or e["available_time"] is None or (begin is not None and e["available_time"] <= begin)
    ]


@settings(deadline=None, max_examples=40)
@given(events=events_of_anyone())
def test_history_contains_the_events_known_when_the_admission_began(
    tmp_path_factory: pytest.TempPathFactory, events: pa.Table
) -> None:
    folder = tmp_path_factory.getbasetemp() / "history"
    rows = events.to_pylist()
    for name, read in exported(events, folder, per="admission", format="jsonl", history=True).items():
        of_patient = [e for e in rows if name.startswith(folder_of(e["subject_id"]) + "/")]
        stem = Path(name).stem
        if stem == "outside":
            expected = [e for e in of_patient if e["hadm_id"] is None]
        else:
            expected = known_before(of_patient, "hadm_id", int(stem.removeprefix("hadm-")))
        assert read.rows() == [tuple(e.values()) for e in expected]


def test_history_of_a_real_trajectory(several: ehrtraj.Dataset, handmade: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ehrtraj.export(several, out, per="admission", history=True)
    index = index_of(out).filter(pl.col("hadm_id").is_not_null())
    assert index["history_events"].min() > 0, "at least the sex of the patient is known"
    for row in index.iter_rows(named=True):
        events = several[row["subject_id"]].events.rows(named=True)
        expected = known_before(events, "hadm_id", row["hadm_id"])
        read = ehrtraj.read_export(out / row["path"]).rows(named=True)
        assert read == expected
        assert row["events"] == len(expected)
        assert row["history_events"] == sum(e["hadm_id"] != row["hadm_id"] for e in expected)


def test_a_stay_in_the_emergency_department_is_not_an_icu_stay(tmp_path: Path) -> None:
    row = dict.fromkeys(EVENT_SCHEMA.names) | {"subject_id": 1, "code": "A", "time_precision": "day", "flags": 0}
    rows = [row | {"stay_id": 7, "source_table": "ed/triage"}, row | {"stay_id": 7, "source_table": "hosp/labevents"}]
    rows.append(row | {"stay_id": 8, "source_table": "icu/icustays"})
    read = exported(pa.Table.from_pylist(rows, schema=EVENT_SCHEMA), tmp_path, per="icustay", format="jsonl")
    assert {Path(name).stem: frame.height for name, frame in read.items()} == {"stay-8": 1, "outside": 2}


# Files that other programs can read -----------------------------------------------------------------------------


def refuse(constant: str) -> object:
    raise ValueError(constant)


def test_every_line_is_json_with_iso_times_and_without_nulls(several: ehrtraj.Dataset, tmp_path: Path) -> None:
    ehrtraj.export(several, tmp_path / "out", format="jsonl")
    flags = several.flags
    seen_flags: set[str] = set()
    for subject_id in several:
        (path,) = (tmp_path / "out" / folder_of(subject_id)).iterdir()
        lines = path.read_bytes().split(b"\n")
        assert lines.pop() == b"", "the last line has a line end"
        for line, event in zip(lines, several[subject_id].events.rows(named=True), strict=True):
            parsed = json.loads(line, parse_constant=refuse)
            assert None not in parsed.values()
            for name in ("time", "available_time"):
                assert (name in parsed) == (event[name] is not None)
                if name in parsed:
                    assert ISO.fullmatch(parsed[name])
                    assert datetime.fromisoformat(parsed[name]) == event[name]
            assert isinstance(parsed.get("attributes", {}), dict)
            assert sum(flags[name] for name in parsed.get("flags", [])) == event["flags"]
            seen_flags.update(parsed.get("flags", []))
            assert np.float32(parsed.get("numeric_value", math.nan)) == pytest.approx(
                math.nan if event["numeric_value"] is None else event["numeric_value"], nan_ok=True, rel=0
            )
    assert len(seen_flags) > 3


def test_other_programs_read_the_files(several: ehrtraj.Dataset, tmp_path: Path) -> None:
    for kind in formats.names():
        ehrtraj.export(several, tmp_path / kind, format=kind)
    everything = several.scan().collect()
    columns = "count(*), count(text_value), max(time), sum(numeric_value)"
    expected = duckdb.sql(f"SELECT {columns} FROM everything").fetchall()
    jsonl = f"read_json('{tmp_path}/jsonl/p*/*/*.jsonl', union_by_name=true)"
    found = duckdb.sql(f"SELECT {columns} FROM {jsonl}").fetchall()
    assert found[0][:3] == expected[0][:3]
    assert found[0][3] == pytest.approx(expected[0][3], rel=1e-4)
    rows = 0
    for subject_id in several:
        (document,) = (tmp_path / "json" / folder_of(subject_id)).iterdir()
        content = json.loads(document.read_text(), parse_constant=refuse)
        assert content["subject_id"] == subject_id
        assert len(content["events"]) == len(several[subject_id])
        (sheet,) = (tmp_path / "csv" / folder_of(subject_id)).iterdir()
        with sheet.open(newline="") as handle:
            lines = list(csv.DictReader(handle))
        rows += len(lines)
        assert {None} & {key for line in lines for key in line} == set()
        (parquet,) = (tmp_path / "parquet" / folder_of(subject_id)).iterdir()
        meds.DataSchema.validate(pq.read_table(parquet))
    assert rows == everything.height


def test_folders_index_and_file_modes(several: ehrtraj.Dataset, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    before = os.umask(0o022)
    try:
        result = ehrtraj.export(several, out, per="admission", max_cpus=2)
    finally:
        os.umask(before)
    index = index_of(out)
    assert index.height == result.files
    for row in index.iter_rows(named=True):
        path = out / row["path"]
        assert path.stat().st_size == row["bytes"]
        assert row["path"].startswith(f"p{row['subject_id'] // 100_000}/p{row['subject_id']}/")
        read = ehrtraj.read_export(path)
        timed = read["time"].drop_nulls()
        assert (row["events"], row["first_time"], row["last_time"]) == (read.height, timed.min(), timed.max())
        assert row["split"] == several.subjects.filter(subject_id=row["subject_id"])["split"].item()
    listed = {row["path"] for row in index.iter_rows(named=True)}
    existing = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert existing - listed == {
        "index.csv", "export.json", "metadata/codes.parquet", "metadata/flags.json", "metadata/dataset.json",
        "metadata/subject_splits.parquet",
    }  # fmt: skip
    for path in [out, *out.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    about = json.loads((out / "export.json").read_text())
    assert about["summary"] == {k: getattr(result, k) for k in ("files", "patients", "events", "bytes")}


def test_no_folder_of_a_large_release_contains_many_patients() -> None:
    folders = Counter(folder_of(n).partition("/")[0] for n in range(10_000_000, 20_000_000, 27))
    assert len(folders) == 100
    assert max(folders.values()) < 4000


# Selections -----------------------------------------------------------------------------------------------------


def test_selected_patients(several: ehrtraj.Dataset, tmp_path: Path) -> None:
    def patients(name: str, dataset: Any = several, **selection: Any) -> set[int]:
        ehrtraj.export(dataset, tmp_path / name, **selection)
        return set(index_of(tmp_path / name)["subject_id"])

    train = set(several.subjects.filter(split="train")["subject_id"])
    assert patients("train", split="train") == train
    two = sorted(several)[1:3]
    (tmp_path / "two.csv").write_text(f"subject_id\n{two[0]}\n{two[1]}\n")
    assert patients("file", subjects=tmp_path / "two.csv") == set(two)
    assert patients("sampled", subjects=3) == set(several.sample(3))
    assert patients("filtered", several.filter(pl.col("sex") == "F")) == set(several.filter(pl.col("sex") == "F"))
    assert patients("path", several.path) == set(several)


def test_without_outside_events(several: ehrtraj.Dataset, tmp_path: Path) -> None:
    ehrtraj.export(several, tmp_path / "out", per="admission", outside=False)
    index = index_of(tmp_path / "out")
    assert index["hadm_id"].null_count() == 0
    assert index["events"].sum() == several.scan().collect()["hadm_id"].count()


# Repeated and resumed exports -----------------------------------------------------------------------------------


def test_several_processes_write_the_same(
    several: ehrtraj.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress: list[tuple[int, int]] = []
    ehrtraj.export(several, tmp_path / "one", per="admission", max_cpus=1)
    monkeypatch.setattr(run, "_WORTH_PROCESSES", 0)
    ehrtraj.export(
        several, tmp_path / "two", per="admission", max_cpus=2, progress=lambda a, b: progress.append((a, b))
    )
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert progress == sorted(progress)
    assert len(progress) >= 2 * len(several.files), "each file is also reported while it is written"
    assert progress[-1] == (several.subjects["n_events"].sum(),) * 2


KILLED = """
import os, sys
remaining = int(sys.argv[3])
def hook(event, arguments):
    global remaining
    if event == "os.rename" and ".export/" in str(arguments[1]) and str(arguments[1]).endswith(".parquet"):
        remaining -= 1
        if remaining < 0:
            os._exit(9)
sys.addaudithook(hook)
import ehrtraj
ehrtraj.export(sys.argv[1], sys.argv[2], per="admission", max_cpus=1)
"""


def test_a_killed_export_is_resumed(several: ehrtraj.Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", KILLED, several.path, out, "2"], timeout=60, check=False)
    assert done.returncode == 9
    assert not (out / "export.json").exists()
    markers = list((out / ".export").glob("*.parquet"))
    assert len(markers) == 2
    kept, redone = ([out / path for path in pq.read_table(marker)["path"].to_pylist()] for marker in markers)
    redone[-1].write_bytes(b"")
    before = {path: path.stat().st_mtime_ns for path in kept}
    result = ehrtraj.export(several, out, per="admission", max_cpus=1)
    assert result.resumed
    assert {path: path.stat().st_mtime_ns for path in before} == before, "finished files are not written again"
    ehrtraj.export(several, tmp_path / "uninterrupted", per="admission", max_cpus=1)
    assert files_of(out) == files_of(tmp_path / "uninterrupted"), "including the file that was lost"
    assert not (out / ".export").exists()


def test_repeating_an_export_changes_nothing(several: ehrtraj.Dataset, tmp_path: Path) -> None:
    first = ehrtraj.export(several, tmp_path / "out")
    before = (tmp_path / "out" / "export.json").read_bytes()
    again = ehrtraj.export(several.path, tmp_path / "out")
    assert (first.already_there, again.already_there) == (False, True)
    assert (again.files, again.patients, again.events) == (first.files, first.patients, first.events)
    assert (tmp_path / "out" / "export.json").read_bytes() == before


def test_another_export_is_replaced_only_with_overwrite(several: ehrtraj.Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ehrtraj.export(several, out)
    before = files_of(out)
    with pytest.raises(OutputError, match=r"with other settings.*--overwrite"):
        ehrtraj.export(several, out, format="csv")
    assert files_of(out) == before
    ehrtraj.export(several, out, format="csv", overwrite=True)
    ehrtraj.export(several, tmp_path / "fresh", format="csv")
    assert files_of(out) == files_of(tmp_path / "fresh")


def test_a_folder_that_is_not_an_export_is_not_changed(several: ehrtraj.Dataset, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "draft.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="files that are not an export"):
            ehrtraj.export(several, tmp_path / "thesis", overwrite=overwrite)
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["draft.txt"]
    with pytest.raises(OutputError, match="is a file"):
        ehrtraj.export(several, tmp_path / "thesis" / "draft.txt")
    with pytest.raises(SettingsError, match="inside the dataset"):
        ehrtraj.export(several, several.path / "export")
    assert ehrtraj.check(several.path).broken == []


def test_a_full_disk_is_reported_and_the_export_resumes(
    several: ehrtraj.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remaining_writes = iter(range(5))
    real = os.write

    def full(handle: int, piece: bytes) -> int:
        if next(remaining_writes, None) is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, piece)

    with monkeypatch.context() as patch:
        patch.setattr(text.os, "write", full)
        with pytest.raises(OutputError, match=r"is full.*run the same command again to resume"):
            ehrtraj.export(several, tmp_path / "out", max_cpus=1)
    assert ehrtraj.export(several, tmp_path / "out", max_cpus=1).resumed
    ehrtraj.export(several, tmp_path / "uninterrupted", max_cpus=1)
    assert files_of(tmp_path / "out") == files_of(tmp_path / "uninterrupted")


def test_an_interrupted_single_file_is_recognised_and_replaced(several: ehrtraj.Dataset, tmp_path: Path) -> None:
    def stop(_done: int, _total: int) -> None:
        raise RuntimeError("interrupted")

    out = tmp_path / "out"
    for overwrite in (False, True):
        with pytest.raises(RuntimeError, match="interrupted"):
            ehrtraj.export(several, out, single=True, overwrite=overwrite, progress=stop)
        assert [path.name for path in out.glob("events*")] == ["events.parquet.writing"]
        if overwrite:
            ehrtraj.export(several, out, per="admission", overwrite=True)
        else:
            assert ehrtraj.export(several, out, single=True).resumed
        assert not (out / "events.parquet.writing").exists()
    assert not (out / "events.parquet").exists()


STOPPED = """
import os, signal, sys
from ehrtraj.exports import worker
real = worker.write_units
def slowly(*arguments):
    if not os.path.exists(sys.argv[-1] + "/.export/met"):
        open(sys.argv[-1] + "/.export/met", "w").close()
        os.kill(os.getpid(), signal.SIGINT)
    return real(*arguments)
worker.write_units = slowly
from ehrtraj.cli import main
main()
"""


def test_ctrl_c_keeps_finished_work(several: ehrtraj.Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", STOPPED, "export", str(several.path), "--max-cpus", "1", "-o", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 130, result.stderr
    assert "Finished work is kept" in result.stderr
    assert "Traceback" not in result.stderr
    assert ehrtraj.export(several, out).resumed


def test_a_process_that_is_killed_from_outside_is_reported() -> None:
    with pytest.raises(OutputError, match=r"the system ended a worker process.*--max-cpus"):
        list(stream_tasks(os._exit, [(1, (1,)), (2, (1,))], 2))


# Errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"per": "ward"}, "per is 'ward'.*patient, admission"),
        ({"format": "xlsx"}, "format is 'xlsx'.*jsonl"),
        ({"single": True, "format": "csv"}, "--single writes Parquet, not csv"),
        ({"excel": True}, "--excel applies only to CSV: add --format csv"),
        ({"excel": True, "format": "parquet"}, "--excel applies only to CSV"),
        ({"single": True, "per": "shard"}, "omit --per"),
        ({"history": True}, "--history requires --per admission"),
        ({"outside": False}, "--no-outside requires --per admission"),
        ({"split": "test"}, "test"),
        ({"subjects": "nobody.txt"}, "neither a number nor an existing file"),
        ({"subjects": 0}, "1 or more"),
    ],
    ids=str,
)
def test_an_invalid_setting_is_refused(
    several: ehrtraj.Dataset, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        ehrtraj.export(several, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("cpus", [1, 2])
def test_the_error_for_a_damaged_data_file_names_it(
    several: ehrtraj.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpus: int
) -> None:
    monkeypatch.setattr(run, "_WORTH_PROCESSES", 0)
    copy = Path(shutil.copytree(several.path, tmp_path / "copy"))
    file = ehrtraj.open(copy).files[0].path
    file.write_bytes(b"PAR1" + b"\0" * (file.stat().st_size - 8) + b"PAR1")
    with pytest.raises(DatasetError, match=rf"{file.parent.name}/{file.name} is damaged"):
        ehrtraj.export(copy, tmp_path / "out", max_cpus=cpus)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"", "not a file of an export"),
        ("missing.jsonl", None, "No such file"),
        ("a.jsonl", b"{oops\n", "was not written by `ehrtraj export`"),
        ("a.json", b"[]", "was not written by `ehrtraj export`"),
        ("a.csv", b"a,b\n1\n", "was not written by `ehrtraj export`"),
        ("a.parquet", b"PAR1", "was not written by `ehrtraj export`"),
    ],
)
def test_a_file_that_is_not_an_export_is_refused(tmp_path: Path, name: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=words):
        ehrtraj.read_export(tmp_path / name)


# The commands ---------------------------------------------------------------------------------------------------


FORMULAS = (
    "=1+1",
    "+SUM(A1)",
    "-A1",
    "@x",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    '=HYPERLINK("http://x","y")',
    "-5 to 3",
    "=a,b",
)
HARMLESS = ("plain", "-5", "+5.25", "-1e-3", "a=1", "'=1", "", " =1", None)


def test_texts_that_a_spreadsheet_would_treat_as_formulas_get_an_apostrophe() -> None:
    """Only formulas get one, only in text columns, and only with `excel`."""
    texts = [*FORMULAS, *HARMLESS]
    rows = pa.table(
        {
            "text_value": pa.array(texts).dictionary_encode(),
            "numeric_value": pa.array([-1.5] * len(texts), pa.float32()),
            "source_key": pa.array([-7] * len(texts), pa.int64()),
        }
    )

    def read(**options: bool) -> list[list[str]]:
        return list(csv.reader(io.StringIO("".join(lines.csv_lines(rows, **options).to_pylist()), newline="")))

    plain, safe = read(), read(excel=True)
    assert [row[0] for row in plain] == [text or "" for text in texts]
    assert [row[0] for row in safe] == [f"'{text}" for text in FORMULAS] + [text or "" for text in HARMLESS]
    assert {tuple(row[1:]) for row in plain} == {tuple(row[1:]) for row in safe} == {("-1.5", "-7")}


def test_export_for_spreadsheets(build_rows: Callable[..., Any], handmade: ModuleType, tmp_path: Path) -> None:
    tables = handmade.release_rows()
    for number, row in enumerate(tables["hosp/labevents"]):
        row |= {"value": f'=HYPERLINK("http://{number}.example","x")', "valuenum": None}
    built = build_rows(tables).dataset
    plain = ["export", built, "-f", "csv", "-o", tmp_path / "plain"]
    safe = ["export", built, "-f", "csv", "--excel", "-o", tmp_path / "safe"]
    for command in (plain, safe):
        done = ehrtraj_cli(*command)
        assert done.returncode == 0, done.stderr
    assert "excel" not in json.loads((tmp_path / "plain" / "export.json").read_text())
    assert json.loads((tmp_path / "safe" / "export.json").read_text())["excel"] is True
    cells = 0
    for path in sorted((tmp_path / "plain").glob("p*/*/*.csv")):
        with (
            path.open(newline="") as one,
            (tmp_path / "safe" / path.relative_to(tmp_path / "plain")).open(newline="") as other,
        ):
            for before, after in zip(csv.reader(one), csv.reader(other), strict=True):
                for text, written in zip(before, after, strict=True):
                    assert written in (text, f"'{text}")
                    cells += written != text
                    assert written[:1] not in tuple("=+@")
    texts = ehrtraj.open(built).scan().select(pl.col(pl.String).str.starts_with("=").sum()).collect()
    assert cells == sum(texts.row(0)) >= len(tables["hosp/labevents"]) - 1
    # With --excel it is a different export, which must not reuse the files of the first.
    done = ehrtraj_cli(*plain, "--excel")
    assert done.returncode == 4
    assert "with other settings" in done.stderr


def ehrtraj_cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ehrtraj", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_command(several: ehrtraj.Dataset, tmp_path: Path) -> None:
    command = ["export", several.path, "-o", tmp_path / "out", "--per", "admission", "--format", "csv"]
    result = ehrtraj_cli(*command)
    assert (result.returncode, result.stderr) == (0, "")
    files = index_of(tmp_path / "out").height
    assert f"{files} files, 8 patients, {several.subjects['n_events'].sum()} events in" in result.stdout
    assert f"index: {tmp_path / 'out' / 'index.csv'}" in result.stdout
    assert "nothing was changed" in ehrtraj_cli(*command).stdout
    result = ehrtraj_cli(*command, "--history")
    assert result.returncode == 4, result.stderr
    assert "--overwrite" in result.stderr


def test_a_build_that_exports(release: Path, tmp_path: Path) -> None:
    command = ["build", release, "-o", tmp_path, "-t", "v1", "--max-cpus", 1, "--export", "patient:jsonl,admission:csv"]
    result = ehrtraj_cli(*command)
    assert result.returncode == 0, result.stderr
    assert f"files: {tmp_path / 'v1-patient-jsonl'}" in result.stdout
    with private_files():
        ehrtraj.export(tmp_path / "v1", tmp_path / "by-hand")
    assert files_of(tmp_path / "v1-patient-jsonl") == files_of(tmp_path / "by-hand")
    assert index_of(tmp_path / "v1-admission-csv").height > 8
    again = ehrtraj.build(release, tmp_path, "v1", max_cpus=1, export="patient:jsonl,admission:csv")
    assert again.already_there
    assert [(e.path.name, e.already_there) for e in again.exports] == [
        ("v1-patient-jsonl", True),
        ("v1-admission-csv", True),
    ]
    result = ehrtraj.build(release, tmp_path, "v1", max_cpus=1, export="patient", overwrite=True)
    assert [(e.path.name, e.already_there) for e in result.exports] == [("v1-patient-jsonl", False)]
