"""Using a dataset: opening it, patients by ID and in order, cuts by time and by what was known."""

from __future__ import annotations

import itertools
import json
import pickle
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ehrtraj
from ehrtraj.dataset.reading import CHUNK_EVENTS, chunk_events, chunks, read_chunk
from ehrtraj.errors import DatasetError, SettingsError, UnknownSubjectError
from ehrtraj.format.names import FORMAT


@pytest.fixture(scope="module")
def ds(built: Path) -> ehrtraj.Dataset:
    return ehrtraj.open(built)


@pytest.fixture(scope="module")
def everything(built: Path, read_events: Callable[[Path], pa.Table]) -> pl.DataFrame:
    events = pl.from_arrow(read_events(built))
    assert isinstance(events, pl.DataFrame)
    return events


def test_every_patient_by_id_has_the_events_of_the_files(ds: ehrtraj.Dataset, everything: pl.DataFrame) -> None:
    assert len(ds) == 8
    for subject_id in ds:
        trajectory = ds[subject_id]
        assert trajectory.events.equals(everything.filter(subject_id=subject_id)), subject_id
        assert (trajectory.subject_id, len(trajectory)) == (subject_id, trajectory.events.height)


@pytest.mark.parametrize("workers", [1, 3])
def test_trajectories_in_order_contain_all_events_once(
    ds: ehrtraj.Dataset, everything: pl.DataFrame, workers: int
) -> None:
    read = list(ds.trajectories(workers=workers))
    assert sorted(t.subject_id for t in read) == list(ds)
    order = {"train": 0, "tuning": 1, "held_out": 2}
    assert [order[t.split] for t in read] == sorted(order[t.split] for t in read)
    together = pl.concat([t.events for t in sorted(read, key=lambda t: t.subject_id)])
    assert together.equals(everything.sort("subject_id", maintain_order=True))


def test_trajectories_of_a_split(ds: ehrtraj.Dataset) -> None:
    for split in ("train", "tuning", "held_out"):
        expected = ds.subjects.filter(split=split)["subject_id"].to_list()
        assert sorted(t.subject_id for t in ds.trajectories(split)) == expected
    with pytest.raises(SettingsError, match=r"'test'.*train, tuning, held_out"):
        ds.trajectories("test")
    with pytest.raises(SettingsError, match="at least 1"):
        ds.trajectories(workers=0)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("columns", [None, "code", ["numeric_value", "subject_id"], ["time", "attributes"]])
def test_frames_in_order_have_the_columns_of_the_trajectories(
    ds: ehrtraj.Dataset, columns: str | list[str] | None, workers: int
) -> None:
    chosen = ds.filter(pl.col("sex") == "F")
    read = list(chosen.frames(columns, workers=workers))
    complete = [(t.subject_id, t.events) for t in chosen.trajectories()]
    expected = [(s, events if columns is None else events.select(columns)) for s, events in complete]
    assert [subject_id for subject_id, _ in read] == [subject_id for subject_id, _ in expected]
    assert all(events.equals(wanted) for (_, events), (_, wanted) in zip(read, expected, strict=True))


def test_frames_of_a_split_and_of_unknown_columns(ds: ehrtraj.Dataset) -> None:
    assert [s for s, _ in ds.frames("code", "tuning")] == [t.subject_id for t in ds.trajectories("tuning")]
    with pytest.raises(SettingsError, match=r"events have no column 'codes' \(did you mean code\?\): use one of subj"):
        ds.frames(["time", "codes"])
    with pytest.raises(SettingsError, match="columns is empty"):
        ds.frames([])
    assert next(ds.frames(["code", "code"]))[1].columns == ["code"]
    with pytest.raises(SettingsError, match=r"'test'.*train, tuning, held_out"):
        ds.frames(split="test")
    with pytest.raises(SettingsError, match="at least 1"):
        ds.frames(workers=0)


def test_chunks_of_few_columns_have_more_events() -> None:
    narrow, wide, attributes = (chunk_events(names) for names in (["code"], ["code"] * 17, ["attributes"]))
    assert narrow > attributes > wide >= CHUNK_EVENTS


@pytest.mark.parametrize("size", [1, 100, 10**9])
def test_chunks_contain_complete_patients_in_file_order(
    ds: ehrtraj.Dataset, everything: pl.DataFrame, size: int
) -> None:
    """With chunks of any size, and with gaps between the requested patients."""
    for file in ds.files:
        patients = ds.patients_of(file)
        for requested in (patients, patients[::2]):
            read = [patient for chunk in chunks(file, requested, size) for patient in read_chunk(chunk)]
            assert [subject_id for subject_id, _ in read] == requested["subject_id"].to_list()
            for subject_id, events in read:
                assert events.equals(everything.filter(subject_id=subject_id))
        if size == 1:
            assert len(list(chunks(file, patients, size))) == patients.height


def test_scan_is_lazy_and_complete(ds: ehrtraj.Dataset, everything: pl.DataFrame) -> None:
    scan = ds.scan()
    assert isinstance(scan, pl.LazyFrame)
    assert (
        scan.sort("subject_id", maintain_order=True)
        .collect()
        .equals(everything.sort("subject_id", maintain_order=True))
    )
    plan = scan.filter(pl.col("subject_id") == 10900116).select("code").explain()
    assert "PROJECT 2/" in plan or "PROJECT 1/" in plan, plan
    assert "SELECTION" in plan, plan


def test_a_sample_and_a_filter_contain_only_their_patients(ds: ehrtraj.Dataset, everything: pl.DataFrame) -> None:
    for chosen in (ds.sample(3, seed=1), ds.filter(pl.col("sex") == "F"), ds.filter(split="train").sample(2)):
        assert 0 < len(chosen) < len(ds)
        expected = everything.filter(pl.col("subject_id").is_in(list(chosen)))
        assert chosen.scan().collect().height == expected.height
        assert sum(len(t) for t in chosen.trajectories()) == expected.height
        absent = next(s for s in ds if s not in chosen)
        with pytest.raises(UnknownSubjectError, match=f"patient {absent} is in .*not among the {len(chosen)} selected"):
            chosen[absent]


def test_a_larger_sample_contains_a_smaller_one(ds: ehrtraj.Dataset) -> None:
    samples = [set(ds.sample(n, seed=4)) for n in range(10)]
    assert [len(d) for d in samples] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8]
    assert all(a <= b for a, b in itertools.pairwise(samples))
    assert any(set(ds.sample(3, seed=s)) != samples[3] for s in range(5))
    with pytest.raises(SettingsError):
        ds.sample(-1)


def test_filter_by_codes_of_events(ds: ehrtraj.Dataset, handmade: ModuleType, everything: pl.DataFrame) -> None:
    assert list(ds.filter(having="HOSPITAL_DEATH")) == [handmade.DIED]
    for patterns in ("LAB//*", ["ICU_START//*", "OMR//*"], "DIAGNOSIS//*//A41*"):
        prefixes = [patterns] if isinstance(patterns, str) else patterns
        expected = {
            row["subject_id"]
            for row in everything.select("subject_id", "code").unique().iter_rows(named=True)
            for p in prefixes
            if row["code"].startswith(p.split("*")[0]) and p.split("*")[-2].strip("/") in row["code"]
        }
        assert set(ds.filter(having=patterns)) == expected
    survivor = ds.filter(pl.col("subject_id") == handmade.SEPSIS)
    assert len(survivor.filter(having="HOSPITAL_DEATH")) == 0
    assert list(survivor.filter(having="HOSPITAL_DEATH").trajectories()) == []
    with pytest.raises(SettingsError, match=r"no column .*eye.*use one of subject_id"):
        ds.filter(pl.col("eye") == 1)


def test_a_dataset_and_a_trajectory_can_be_pickled(ds: ehrtraj.Dataset) -> None:
    again = pickle.loads(pickle.dumps(ds.sample(2)))
    first = next(iter(again))
    assert again[first].events.equals(ds[first].events)
    assert pickle.loads(pickle.dumps(ds[first])).admissions.equals(ds[first].admissions)


def test_sex_birth_and_death_of_a_patient(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    sepsis = ds[handmade.SEPSIS]
    assert (sepsis.sex, sepsis.birth_year, sepsis.death_time) == ("F", 2152 - 66, None)
    assert sepsis.age(datetime(2153, 4, 11)) == 67
    assert sepsis.age(datetime(2153, 12, 31)) == 67
    assert ds[handmade.DIED].death_time == ds[handmade.DIED].codes("MEDS_DEATH").events["time"].item()


def test_stays(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    sepsis = ds[handmade.SEPSIS]
    assert sepsis.admissions.to_dicts() == [
        {
            "subject_id": handmade.SEPSIS, "hadm_id": handmade.SEPSIS_HADM, "stay_id": None,
            "start": datetime(2153, 4, 11, 23, 58), "end": datetime(2153, 4, 18, 13, 45),
            "admission_type": "EW EMER.", "discharge_location": "HOME HEALTH CARE",
            "source_table": "hosp/admissions", "end_before_start": False,
        }
    ]  # fmt: skip
    icu = sepsis.icu_stays.row(0, named=True)
    assert (icu["stay_id"], icu["start"]) == (handmade.SEPSIS_STAY, datetime(2153, 4, 12, 9, 17, 23))
    assert icu["first_careunit"] == "Medical Intensive Care Unit (MICU)"
    assert icu["last_careunit"] == "Surgical Intensive Care Unit (SICU)"
    ed = sepsis.ed_stays.row(0, named=True)
    assert (ed["start"], ed["end"]) == (datetime(2153, 4, 11, 20, 52), datetime(2153, 4, 12, 2, 41))
    assert ds[handmade.CLINIC].admissions.height == 0
    assert ds[handmade.OVERLAP].admissions["hadm_id"].to_list() == [handmade.OVERLAP_OUTER, handmade.OVERLAP_INNER]


def test_as_of_hides_what_was_not_known_yet(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    """No property of a trajectory cut by `as_of` shows a later discharge, end or death."""
    died = ds[handmade.DIED]
    death = died.death_time
    assert death is not None
    in_icu = died.icu_stays["start"][0]
    before = died.as_of(in_icu)
    assert before.death_time is None
    assert before.admissions["end"].to_list() == [None]
    assert before.admissions["discharge_location"].to_list() == [None]
    assert before.icu_stays["end"].to_list() == [None]
    assert before.sex == "M"
    assert before.as_of(datetime(2200, 1, 1)).death_time is None, "a second cut cannot undo the first"
    assert before.between(None, datetime(2200, 1, 1)).death_time is None
    assert died.as_of(death).death_time == death
    assert died.as_of(death).admissions["discharge_location"].item() is not None


def test_both_clocks_give_the_same_results(ds: ehrtraj.Dataset, release: Path, tmp_path: Path) -> None:
    """If the column time contains when things became known, cuts, stays and intervals are the same."""
    known = ehrtraj.open(ehrtraj.build(release, tmp_path, "known", clock="available", max_cpus=1).path)
    for subject_id in ds:
        by_event, by_available = ds[subject_id], known[subject_id]
        times = by_event.events["available_time"].drop_nulls().unique().sort()
        for at in [times[0], times[len(times) // 2], times[-1]]:
            left, right = (t.as_of(at) for t in (by_event, by_available))
            columns = ["code", "available_time", "source_table", "source_key", "link_id", "numeric_value"]
            assert left.events.select(columns).sort(columns).equals(right.events.select(columns).sort(columns))
            assert left.admissions.equals(right.admissions)
            assert left.icu_stays.equals(right.icu_stays)
        kept = ["interval", "item", "start", "end", "start_available", "end_available", "link_id"]
        tables = [t.intervals().select(kept).sort(kept) for t in (by_event, by_available)]
        assert tables[0].equals(tables[1])


def test_times_can_be_written_as_text_or_dates(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    trajectory, noon = ds[handmade.SEPSIS], datetime(2153, 4, 12, 12)
    for same in ("2153-04-12 12:00", "2153-04-12T12:00:00"):
        assert trajectory.as_of(same).events.equals(trajectory.as_of(noon).events)
        assert trajectory.between(same).events.equals(trajectory.between(noon).events)
    assert trajectory.between(None, noon.date()).events.equals(trajectory.between(None, "2153-04-12").events)
    assert trajectory.age("2153-04-12") == trajectory.age(noon) == trajectory.age(noon.date())
    for wrong, words in (("noon", "is not a valid time"), (noon.replace(tzinfo=UTC), "has a time zone")):
        for cut in (trajectory.as_of, trajectory.between, trajectory.age):
            with pytest.raises(SettingsError, match=words):
                cut(wrong)


def moments(events: pl.DataFrame) -> st.SearchStrategy[datetime]:
    """Times of events, times one microsecond before and after them, and any others."""
    known = events["available_time"].drop_nulls().to_list() + events["time"].drop_nulls().to_list()
    steps = st.sampled_from([-1, 0, 1]).map(lambda us: np.timedelta64(us, "us").item())
    return st.one_of(
        st.builds(lambda t, d: t + d, st.sampled_from(sorted(set(known))), steps),
        st.datetimes(datetime(1800, 1, 1), datetime(2300, 1, 1)),
    )


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_as_of_contains_exactly_what_was_known(ds: ehrtraj.Dataset, data: st.DataObject) -> None:
    trajectory = ds[data.draw(st.sampled_from(list(ds)))]
    events = trajectory.events
    t, u = sorted(data.draw(st.tuples(moments(events), moments(events))))
    earlier, later = trajectory.as_of(t), trajectory.as_of(u)
    rows = events.to_dicts()
    assert earlier.events.to_dicts() == [r for r in rows if r["available_time"] is None or r["available_time"] <= t]
    assert later.as_of(t).events.equals(earlier.events), "cutting twice is the same as cutting at the earlier time"
    assert earlier.as_of(u).events.equals(earlier.events)
    # Nothing else shows later events: every end in a frame of stays was known.
    for stays in (earlier.admissions, earlier.icu_stays, earlier.ed_stays):
        ends = stays.filter(pl.col("end").is_not_null())["end"].to_list()
        assert all(end <= t for end in ends)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_cutting_time_neither_loses_nor_repeats_events(ds: ehrtraj.Dataset, data: st.DataObject) -> None:
    trajectory = ds[data.draw(st.sampled_from(list(ds)))]
    events = trajectory.events
    cuts = sorted(data.draw(st.lists(moments(events), max_size=4)))
    edges = [None, *cuts, None]
    pieces = [
        trajectory.between(a, b, static=(number == 0)).events for number, (a, b) in enumerate(itertools.pairwise(edges))
    ]
    assert pl.concat(pieces).equals(events)
    assert trajectory.between(datetime.min, datetime.max).events.equals(events)
    assert trajectory.as_of(datetime.max).events.equals(events)
    first = trajectory.between(*cuts[:2]) if len(cuts) > 1 else trajectory
    assert first.events.filter(pl.col("time").is_null()).height == events["time"].null_count()


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        (["LAB//50912"], lambda c: c == "LAB//50912"),
        (["LAB//*"], lambda c: c.startswith("LAB//")),
        (["*//*MICU*"], lambda c: "//" in c and "MICU" in c.split("//", 1)[1]),
        (["*"], lambda c: True),
        (["HOSPITAL_DEATH"], lambda c: False),
        (["HOSPITAL_*"], lambda c: False),
        (
            ["ICU_START//Medical Intensive Care Unit (MICU)", "CHART//*"],
            lambda c: c.startswith(("ICU_START", "CHART//")),
        ),
        ([], lambda c: False),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_codes_by_pattern(
    ds: ehrtraj.Dataset, handmade: ModuleType, patterns: list[str], kept: Callable[[str], bool]
) -> None:
    trajectory = ds[handmade.SEPSIS]
    expected = [c for c in trajectory.events["code"].to_list() if kept(c)]
    assert trajectory.codes(*patterns).events["code"].to_list() == expected


@pytest.fixture
def copied(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


def test_a_patient_who_does_not_exist(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    assert 99 not in ds
    assert handmade.SEPSIS in ds
    with pytest.raises(UnknownSubjectError) as raised:
        ds[99]
    assert str(raised.value) == f"{ds.path} has no patient 99: it contains 8 patients, from {min(ds)} to {max(ds)}"
    for nobody in (99, -1, 10**30, str(handmade.SEPSIS), None):
        assert nobody not in ds
        with pytest.raises(KeyError, match="no patient "):
            ds[nobody]
    assert ds[np.int64(handmade.SEPSIS)].subject_id == handmade.SEPSIS


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p / "nowhere", "does not exist"),
        (lambda p: p / "v1" / "manifest.json", "is a file"),
        (lambda p: p, "open one of v1"),
        (lambda p: p / "v1" / "data", "is not a dataset"),
    ],
)
def test_a_path_that_is_not_a_dataset(built: Path, tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    shutil.copytree(built, tmp_path / "v1")
    with pytest.raises(DatasetError, match=words) as raised:
        ehrtraj.open(make(tmp_path))
    assert str(make(tmp_path)) in str(raised.value)


def test_the_folder_of_an_unfinished_build(copied: Path) -> None:
    (copied / "manifest.json").unlink()
    working = copied.rename(copied.parent / ".v1.build")
    with pytest.raises(DatasetError, match="run `ehrtraj build` again"):
        ehrtraj.open(working)


def test_a_dataset_of_a_newer_format(copied: Path) -> None:
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest |= {"format": FORMAT + 1, "software": {"ehrtraj": "9.1"}}
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DatasetError, match=rf"built by ehrtraj 9\.1 in format {FORMAT + 1}.*pip install"):
        ehrtraj.open(copied)


def test_every_missing_file_of_a_dataset_is_detected(built: Path, tmp_path: Path) -> None:
    files = [p.relative_to(built) for p in built.rglob("*") if p.is_file()]
    assert len(files) > 10
    for number, name in enumerate(sorted(files)):
        copy = Path(shutil.copytree(built, tmp_path / str(number)))
        (copy / name).unlink()
        with pytest.raises(DatasetError, match=str(name)):
            ehrtraj.open(copy)


def test_a_file_that_was_copied_incompletely(copied: Path) -> None:
    file = next((copied / "data").rglob("*.parquet"))
    content = file.read_bytes()
    file.write_bytes(content[:1000])
    name = str(file.relative_to(copied))
    with pytest.raises(DatasetError, match=rf"is incomplete: {name} \(1,000 of {len(content):,} bytes\)"):
        ehrtraj.open(copied)


def test_a_damaged_data_file(copied: Path, built: Path) -> None:
    """A damaged file of the right size is detected and named when it is read."""
    ds = ehrtraj.open(copied)
    for file in ds.files:
        file.path.write_bytes(b"\0" * file.path.stat().st_size)
    ds = ehrtraj.open(copied)
    with pytest.raises(DatasetError, match=r"\.parquet is damaged .*copy the dataset again"):
        ds[next(iter(ds))]
    with pytest.raises(DatasetError, match=r"\.parquet is damaged"):
        list(ds.trajectories(workers=2))
    with pytest.raises(DatasetError, match="a data file is damaged"):
        ds.sql("SELECT max(code) FROM events")
    shutil.rmtree(copied / "data")
    with pytest.raises(DatasetError, match=r"\.parquet is missing"):
        ds[next(iter(ds))]


@pytest.mark.parametrize("name", ["manifest.json", "metadata/subjects.parquet"])
def test_a_damaged_metadata_file(copied: Path, name: str) -> None:
    path = copied / name
    path.write_bytes(b"?" * path.stat().st_size)
    with pytest.raises(DatasetError, match=f"{name} is damaged"):
        ehrtraj.open(copied)


def test_a_file_with_too_few_events(copied: Path) -> None:
    ds = ehrtraj.open(copied)
    for file in ds.files:
        pl.read_parquet(file.path).head(1).write_parquet(file.path)
    with pytest.raises(DatasetError, match="ends before event"):
        ds[next(iter(ds))]


def test_the_manifest_lists_every_file_with_its_hash(built: Path) -> None:
    import hashlib

    contents = json.loads((built / "manifest.json").read_text())["contents"]
    files = {p.relative_to(built).as_posix(): p for p in built.rglob("*") if p.is_file()}
    assert set(contents) == set(files) - {"manifest.json"}
    for name, recorded in contents.items():
        content = files[name].read_bytes()
        assert recorded == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
