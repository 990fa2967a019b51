"""Notes: complete, byte for byte, available at the right time, inline or in separate files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ehrtraj
from ehrtraj.errors import OutputError, SettingsError
from ehrtraj.notes import join_notes, read_notes
from ehrtraj.pipeline.plan.shards import Entries, plan_shards
from ehrtraj.runtime.sizes import Sizes
from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")

SEPSIS, VISIT = 10900116, 10900845
SEPSIS_HADM = 29000116
DISCHARGED = datetime(2153, 4, 18, 23, 59, 59)


def number(note_id: str) -> int:
    with duckdb.connect() as connection:
        connection.execute(MIMIC.helper("macros"))
        return connection.execute("SELECT note_number(?)", [note_id]).fetchone()[0]


@pytest.fixture(scope="module")
def separate(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ehrtraj.build(release, tmp_path_factory.mktemp("separate"), "v1", max_cpus=1, notes="separate").path


# In the events ------------------------------------------------------------------------------------------------


def test_a_summary_is_complete_and_available_at_the_end_of_its_day_or_when_stored(
    trajectories: Any, handmade: ModuleType
) -> None:
    summary = trajectories.one(SEPSIS, "DISCHARGE_NOTE//DS")
    assert summary["text_value"] == handmade.SUMMARY
    assert summary["time"] == DISCHARGED
    assert summary["available_time"] == datetime(2153, 4, 19, 9, 12, 31)
    assert (summary["time_precision"], summary["hadm_id"], summary["flags"]) == ("day", SEPSIS_HADM, set())
    assert summary["attributes"] == {"note_id": f"{SEPSIS}-DS-4", "author": "___"}


def test_a_summary_stored_before_its_day_is_available_at_the_end_of_that_day(trajectories: Any) -> None:
    addendum = trajectories.one(SEPSIS, "DISCHARGE_NOTE//AD")
    assert addendum["time"] == addendum["available_time"] == DISCHARGED
    assert addendum["flags"] == {"available_before_time"}


def test_an_addendum_has_the_link_of_its_note(trajectories: Any) -> None:
    for event_type, note, addendum in (("DISCHARGE_NOTE", "DS-4", "AD-5"), ("RADIOLOGY_NOTE", "RR-7", "AR-8")):
        first = trajectories.one(SEPSIS, f"{event_type}//{note[:2]}")
        second = trajectories.one(SEPSIS, f"{event_type}//{addendum[:2]}")
        assert first["source_key"] == first["link_id"] == second["link_id"] == number(f"{SEPSIS}-{note}")
        assert second["source_key"] == number(f"{SEPSIS}-{addendum}")
        # The fields of both notes have the same link.
        detail = event_type.replace("NOTE", "DETAIL")
        fields = {e["code"]: e["link_id"] for e in trajectories.of(SEPSIS) if e["code"].startswith(detail)}
        assert set(fields.values()) == {first["link_id"]}
        assert {f"{detail}//parent_note_id", f"{detail}//addendum_note_id"} <= set(fields)


def test_a_report_has_its_charttime_and_is_available_at_storetime(trajectories: Any, handmade: ModuleType) -> None:
    report = trajectories.one(SEPSIS, "RADIOLOGY_NOTE//RR")
    assert report["text_value"] == handmade.REPORT
    assert report["time"] == datetime(2153, 4, 12, 4, 10)
    assert report["available_time"] == datetime(2153, 4, 12, 6, 45)
    assert report["attributes"] == {"note_id": f"{SEPSIS}-RR-7", "author": "attending"}
    other = trajectories.one(VISIT, "RADIOLOGY_NOTE//RR")
    assert other["hadm_id"] is None
    assert other["available_time"] == other["time"] == datetime(2145, 9, 2, 20, 31)
    assert other["flags"] == {"available_assumed"}


def test_examinations_are_events_by_code_and_name(trajectories: Any, built: Path) -> None:
    details = [e for e in trajectories.of(SEPSIS) if e["source_table"] == "note/radiology_detail"]
    assert {e["code"]: e["text_value"] for e in details} == {
        "RADIOLOGY_DETAIL//exam_code//C11": None,
        "RADIOLOGY_DETAIL//exam_name//CHEST (PORTABLE AP)": None,
        "RADIOLOGY_DETAIL//cpt_code//71045": None,
        "RADIOLOGY_DETAIL//author": "attending",
        "RADIOLOGY_DETAIL//addendum_note_id": f"{SEPSIS}-AR-8",
        "RADIOLOGY_DETAIL//parent_note_id": f"{SEPSIS}-RR-7",
    }
    of_report = [e for e in details if e["attributes"]["note_id"].endswith("RR-7")]
    assert {e["available_time"] for e in of_report} == {datetime(2153, 4, 12, 6, 45)}
    codes = duckdb.sql(f"SELECT code, description FROM '{built / 'metadata' / 'codes.parquet'}'").fetchall()
    assert dict(codes)["RADIOLOGY_DETAIL//exam_code//C11"] == "CHEST (PORTABLE AP)"
    assert dict(codes)["DISCHARGE_NOTE//DS"] == "Discharge summary"


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(1, 89_999_999), st.text("ABDMRSXZ", min_size=2, max_size=2), st.integers(0, 99_999)),
        min_size=2,
        max_size=20,
        unique=True,
    )
)
def test_each_note_has_a_unique_number(notes: list[tuple[int, str, int]]) -> None:
    numbers = [number(f"{subject}-{kind}-{seq}") for subject, kind, seq in notes]
    assert None not in numbers
    assert len(set(numbers)) == len(notes)
    assert max(numbers) < 2**53


@pytest.mark.parametrize(
    "note_id",
    ["", "10000032", "10000032-ds-21", "10000032-DS-", "x-DS-1", "10000032-DSX-1", "100000032-DS-1", "90000032-DS-1"],
)
def test_a_note_id_of_another_form_has_no_number(note_id: str) -> None:
    assert number(note_id) is None


# Byte for byte ------------------------------------------------------------------------------------------------

HARD = [
    'said "no"\n\n"quoted at the start of a line",\n1,2,3\n',
    '"',
    '""',
    "\n\n\n",
    "   ___ \t \r\n___\r",
    "\N{LATIN SMALL LETTER U WITH DIAERESIS} \N{MICRO SIGN}g \N{GREEK SMALL LETTER BETA} \U0001f9ea\n",
    ",,,\n,",
    'a line\n10000032-DS-9,10000032,1,DS,9,2150-01-01 00:00:00,,"fake row"\n',
]


def write_notes(folder: Path, texts: list[str]) -> None:
    """Write a release of radiology only, with one note and one patient for each text."""
    lines = ["note_id,subject_id,hadm_id,note_type,note_seq,charttime,storetime,text\n"]
    for i, text in enumerate(texts, start=1):
        quoted = text.replace('"', '""')
        lines.append(f'{i}-RR-1,{i},,RR,1,2150-01-01 10:00:00,2150-01-01 11:00:00,"{quoted}"\n')
    (folder / "note").mkdir(parents=True, exist_ok=True)
    (folder / "note" / "radiology.csv.gz").write_bytes(gzip.compress("".join(lines).encode(), 1))


def texts_of(dataset: Path) -> dict[int, str]:
    events = pa.concat_tables([pq.read_table(p) for p in sorted((dataset / "data").rglob("*.parquet"))])
    events = join_notes(dataset, events).to_pylist()
    return {e["subject_id"]: e["text_value"] for e in events if e["source_table"] == "note/radiology"}


@pytest.mark.parametrize("where", ["inline", "separate"])
def test_texts_survive_byte_for_byte(tmp_path: Path, where: str) -> None:
    megabyte = "".join(f'{i} "___",\n' for i in range(100_000))
    texts = [*HARD, megabyte, *HARD]
    write_notes(tmp_path / "release", texts)
    result = ehrtraj.build(tmp_path / "release", tmp_path / "out", "v1", max_cpus=1, notes=where, allow_incomplete=True)
    assert texts_of(result.path) == dict(enumerate(texts, start=1))
    assert result.ledger["note/radiology"].became_events == len(texts)


@settings(deadline=None, max_examples=8)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), min_size=3))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("any")
    write_notes(folder / "release", texts)
    result = ehrtraj.build(folder / "release", folder / "out", "v1", max_cpus=1, allow_incomplete=True)
    assert texts_of(result.path) == dict(enumerate(texts, start=1))


def test_a_note_with_an_extra_field_is_rejected_completely(tmp_path: Path) -> None:
    write_notes(tmp_path / "release", ["first\n", "second\n"])
    path = tmp_path / "release" / "note" / "radiology.csv.gz"
    bad = '9-RR-1,9,,RR,1,2150-01-01 10:00:00,,"a note\nof three\nlines",and more\n'
    rows = gzip.decompress(path.read_bytes())
    path.write_bytes(
        gzip.compress(rows + bad.encode() + rows.splitlines(keepends=True)[1].replace(b"1", b"7", 2) + b'"\n')
    )
    result = ehrtraj.build(tmp_path / "release", tmp_path / "out", "v1", max_cpus=1, allow_incomplete=True)
    assert result.ledger["note/radiology"].read == 4
    rejects = pq.read_table(result.path / "rejected" / "radiology.parquet").to_pylist()
    assert [(r["reason"], r["row_text"]) for r in rejects] == [("wrong_number_of_fields", bad.rstrip("\n"))]


# In separate files, or left out -------------------------------------------------------------------------------


def test_separate_texts_equal_inline_texts(
    separate: Path, built: Path, read_events: Callable[[Path], pa.Table]
) -> None:
    beside, within = read_events(separate), read_events(built)
    flags = json.loads((separate / "metadata" / "flags.json").read_text())
    bit = flags["text_separate"]["value"]
    notes = [e for e in beside.to_pylist() if e["source_table"] in ("note/discharge", "note/radiology")]
    assert len(notes) == 5
    assert all(e["text_value"] is None and e["flags"] & bit for e in notes)
    assert not [e for e in beside.to_pylist() if e["flags"] & bit and e not in notes]
    whole = join_notes(separate, beside)
    for name in beside.column_names:
        if name == "flags":
            plain = [f & ~bit for f in whole["flags"].to_pylist()]
            assert plain == within["flags"].to_pylist()
        else:
            assert whole[name].to_pylist() == within[name].to_pylist(), name
    assert join_notes(built, within).equals(within)


def test_a_trajectory_loads_its_notes_on_request(separate: Path, built: Path, handmade: ModuleType) -> None:
    beside, within = ehrtraj.open(separate)[SEPSIS], ehrtraj.open(built)[SEPSIS]
    assert beside.codes("DISCHARGE_NOTE//DS").events["text_value"].to_list() == [None]
    whole = beside.with_notes()
    assert whole.codes("DISCHARGE_NOTE//DS").events["text_value"].to_list() == [handmade.SUMMARY]
    assert whole.events.drop("flags").equals(within.events.drop("flags"))
    assert within.with_notes() is within
    cut = beside.as_of("2153-04-12 07:00").with_notes().codes("RADIOLOGY_NOTE//*", "DISCHARGE_NOTE//*")
    assert cut.events["text_value"].to_list() == [handmade.REPORT], "facts that become available later must stay hidden"


def test_note_files_are_stored_by_split_and_can_be_read_by_patient(separate: Path, handmade: ModuleType) -> None:
    everything = read_notes(separate)
    assert everything.num_rows == 5
    assert read_notes(separate, [VISIT])["text"].to_pylist() == ["No fracture.\n"]
    texts = read_notes(separate, [SEPSIS])["text"].to_pylist()
    assert set(texts) == {handmade.SUMMARY, handmade.REPORT, handmade.ADDENDUM}
    listed = pq.read_table(separate / "metadata" / "subject_splits.parquet").to_pylist()
    splits = {row["subject_id"]: row["split"] for row in listed}
    for path in (separate / "notes").rglob("*.parquet"):
        assert {splits[s] for s in pq.read_table(path)["subject_id"].to_pylist()} == {path.parent.name}
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_without_notes_the_note_module_is_not_read(release: Path, tmp_path: Path) -> None:
    result = ehrtraj.build(release, tmp_path, "v1", max_cpus=1, notes="none")
    assert not [name for name in result.ledger if name.startswith("note/")]
    assert any("note/discharge" in note and "left out, as requested" in note for note in result.notes)
    assert not (result.path / "notes").exists()
    codes = pq.read_table(result.path / "metadata" / "codes.parquet")["source_table"].to_pylist()
    assert not [table for table in codes if table.startswith("note/")]


def test_a_different_place_for_notes_is_a_different_build(release: Path, tmp_path: Path) -> None:
    ehrtraj.build(release, tmp_path, "v1", max_cpus=1, notes="none", tables="edstays")
    with pytest.raises(OutputError, match="settings"):
        ehrtraj.build(release, tmp_path, "v1", max_cpus=1, tables="edstays")
    with pytest.raises(SettingsError, match="note/radiology"):
        ehrtraj.build(release, tmp_path, "v2", notes="none", tables="edstays,radiology")


def test_an_unknown_place_for_notes_is_named(release: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'inline', 'separate' or 'none'"):
        ehrtraj.build(release, tmp_path, "v1", notes="elsewhere")  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="is not a dataset"):
        read_notes(tmp_path)


def test_notes_count_by_their_bytes_when_patients_are_divided_into_shards() -> None:
    patients = np.arange(1, 2001, dtype=np.int64)
    people, admissions = Entries(patients, 30), Entries(patients, 700)
    plans = [plan_shards(people, admissions, [], None, 100_000, note_bytes=size) for size in (0, 10**8, 10**9)]
    # A patient has 730 rows. 100 MB of notes are 50 kB per patient, which count as 333 rows. The last shard is halved.
    assert [plan.count for plan in plans] == [15 + 1, 22 + 1, 82 + 1]
    # With notes only, the rows identify the patients.
    repeated, none = Entries(np.repeat(patients, 3), 30), Entries(patients[:0], 700)
    alone = plan_shards(repeated, none, [], None, 100_000, note_bytes=10**9)
    assert alone.count > 50


def test_a_release_of_notes_only_is_divided_into_shards(
    tmp_path: Path, build_sized: Callable[..., ehrtraj.BuildResult]
) -> None:
    write_notes(tmp_path / "release", [f"note {i}\n" for i in range(12)])
    sizes, given = Sizes(shard_rows=100), {"max_cpus": 1, "notes": "separate", "allow_incomplete": True}
    result = build_sized(sizes, tmp_path / "release", tmp_path / "out", "v1", **given)
    assert json.loads((result.path / "manifest.json").read_text())["shards"] > 1
    assert texts_of(result.path) == {i + 1: f"note {i}\n" for i in range(12)}
