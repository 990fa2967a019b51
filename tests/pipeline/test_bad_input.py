"""Broken downloads and rows on the command line give a clear error, or a counted rejected row, and lose nothing."""

from __future__ import annotations

import gzip
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

from ehrtraj import cli


@dataclass
class Outcome:
    """Exit code and output of the command."""

    code: int
    out: str
    err: str
    dataset: Path

    @property
    def published(self) -> bool:
        return self.dataset.exists()

    def rejects(self, table: str) -> list[dict[str, Any]]:
        path = self.dataset / "rejected" / f"{table}.parquet"
        return pq.read_table(path).to_pylist() if path.exists() else []


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs `ehrtraj build FOLDER` like the command line."""

    def run(folder: Path, *options: str) -> Outcome:
        output = tmp_path / "output"
        monkeypatch.setattr(
            sys,
            "argv",
            [
                "ehrtraj",
                "build",
                str(folder),
                "--output",
                str(output),
                "-t",
                "v1",
                "--max-cpus",
                "1",
                *options,
            ],
        )
        with pytest.raises(SystemExit) as raised:
            cli.main()
        out, err = capsys.readouterr()
        return Outcome(raised.value.code or 0, out, err, output / "v1")

    return run


Build = Callable[..., Outcome]


@pytest.fixture
def packed(handmade: ModuleType, tmp_path: Path) -> Path:
    """The hand-made release as .csv.gz, to be broken."""
    handmade.write_release(tmp_path / "mimic")
    return tmp_path / "mimic"


@pytest.fixture
def plain(handmade: ModuleType, tmp_path: Path) -> Path:
    """The hand-made release as .csv, to be broken."""
    handmade.write_release(tmp_path / "mimic", plain=True)
    return tmp_path / "mimic"


def assert_refused(outcome: Outcome, *words: object) -> None:
    """Check for exit code 3, a single message with these words, and no dataset."""
    assert outcome.code == 3, outcome.err
    assert outcome.err.startswith("error: ")
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    for word in words:
        assert str(word) in outcome.err
    assert not outcome.published


# The folder ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nowhere", "my [old] mimic", "mimic [/red]", "[bold]", "mimic [31m]", ":warning:"])
def test_no_such_folder(build: Build, tmp_path: Path, name: str) -> None:
    assert_refused(build(tmp_path / name), "does not exist", tmp_path / name)


def test_a_folder_without_a_release(build: Build, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "beach.jpg").write_bytes(b"\xff\xd8")
    assert_refused(build(folder), folder, "not a MIMIC-IV release", "hosp/patients.csv.gz", "beach.jpg")


def test_a_file_instead_of_a_folder(build: Build, packed: Path) -> None:
    path = packed / "hosp" / "patients.csv.gz"
    assert_refused(build(path), path, "give the folder that contains hosp/ and icu/ instead")


def test_two_releases_in_one_folder(build: Build, packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path / "both" / "2.2")
    shutil.move(packed, tmp_path / "both" / "3.1")
    assert_refused(build(tmp_path / "both"), "several releases", tmp_path / "both" / "2.2", tmp_path / "both" / "3.1")


# The files -----------------------------------------------------------------------------------------------------


def wrong_crc(data: bytes) -> bytes:
    return data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "cut off in the middle": (lambda data: data[: len(data) // 2], "is truncated", "Download it again"),
    "cut off at its end": (lambda data: data[:-4], "is truncated", "Download it again"),
    "wrong checksum": (wrong_crc, "damaged", "download it again"),
    "no gzip at all": (lambda data: gzip.decompress(data), "damaged", "download it again"),
    "of no bytes": (lambda data: b"", "empty", "Download it again"),
}


@pytest.mark.parametrize("table", ["hosp/patients", "icu/d_items"])
@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_file(build: Build, packed: Path, how: str, table: str) -> None:
    damage, complaint, way_out = DAMAGE[how]
    path = packed / f"{table}.csv.gz"
    path.write_bytes(damage(path.read_bytes()))
    assert_refused(build(packed), path, complaint, way_out)


def test_the_same_command_succeeds_after_a_new_download(build: Build, packed: Path, built: Path) -> None:
    path = packed / "icu" / "d_items.csv.gz"
    sound = path.read_bytes()
    path.write_bytes(sound[:-4])
    assert build(packed).code == 3
    path.write_bytes(sound)
    outcome = build(packed)
    assert outcome.code == 0
    assert events_of(outcome.dataset) == events_of(built)


def test_a_plain_file_of_no_bytes(build: Build, plain: Path) -> None:
    path = plain / "icu" / "chartevents.csv"
    path.write_bytes(b"")
    assert_refused(build(plain), path, "empty", "Download it again")


def test_a_header_that_lacks_a_key_column(build: Build, plain: Path) -> None:
    path = plain / "hosp" / "labevents.csv"
    path.write_bytes(path.read_bytes().replace(b"charttime", b"charttme", 1))
    outcome = build(plain)
    assert_refused(outcome, path, "lacks the column charttime", "charttme", "Download the file again, or ")
    # The other suggested solution works too.
    if "--tables" in outcome.err:
        outcome = build(plain, "--tables", "diagnoses_icd,patients")
    else:
        assert "move it elsewhere" in outcome.err
        path.unlink()
        outcome = build(plain)
    assert outcome.code == 0, outcome.err
    assert outcome.published


def test_a_header_that_names_a_column_twice(build: Build, plain: Path) -> None:
    path = plain / "hosp" / "labevents.csv"
    path.write_bytes(path.read_bytes().replace(b"flag", b"value", 1))
    assert_refused(build(plain), path, "value more than once")


def test_a_file_without_read_permission(build: Build, plain: Path) -> None:
    path = plain / "hosp" / "omr.csv"
    path.unlink()
    path.symlink_to("/proc/self/mem")  # nobody can read it from the start, not even root
    outcome = build(plain)
    assert outcome.code == 3
    assert str(path) in outcome.err
    assert not outcome.published


# The rows ------------------------------------------------------------------------------------------------------


def broken(record: bytes, column: int, value: bytes) -> bytes:
    fields = record.rstrip(b"\n").split(b",")
    fields[column] = value
    return b",".join(fields) + b"\n"


# In icu/outputevents: subject_id, hadm_id, stay_id, caregiver_id, charttime, storetime, itemid, value, valueuom
ROWS: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "too many fields": (lambda r: r.rstrip(b"\n") + b",1,2\n", "wrong_number_of_fields", "11 fields"),
    "too few fields": (lambda r: b",".join(r.split(b",")[:4]) + b"\n", "wrong_number_of_fields", "4 fields"),
    "a letter in a number": (lambda r: broken(r, 7, b"2O0"), "not_a_number", "column value"),
    "an impossible date": (lambda r: broken(r, 4, b"2153-02-30 10:00:00"), "not_a_time", "column charttime"),
    "a broken quote": (lambda r: broken(r, 8, b'"mL'), "broken_quote", "quote"),
    "a byte of value 0": (lambda r: broken(r, 8, b"m\0L"), "nul_byte", "0"),
    "bytes that are no UTF-8": (lambda r: broken(r, 8, b"\xb5L"), "not_utf8", "utf-8"),
    "no patient": (lambda r: broken(r, 0, b""), "no_subject_id", "subject_id"),
}


@pytest.mark.parametrize("place", ["first", "last"])
def test_bad_rows_are_counted_and_kept_and_affect_no_other_rows(
    build: Build, plain: Path, built: Path, place: str
) -> None:
    path = plain / "icu" / "outputevents.csv"
    header, *records = path.read_bytes().splitlines(keepends=True)
    sound = len(records)
    bad = [breaks(records[1]) for breaks, _, _ in ROWS.values()]
    assert not set(bad) & set(records)
    records = bad + records if place == "first" else records + bad
    path.write_bytes(b"".join([header, *records]))

    outcome = build(plain)
    assert outcome.code == 0, outcome.err
    start = 2 if place == "first" else sound + 2
    expected = [
        (number, reason, record.rstrip(b"\n").decode("utf-8", errors="backslashreplace"))
        for number, (record, (_, reason, _)) in enumerate(zip(bad, ROWS.values(), strict=True), start)
    ]
    rejects = outcome.rejects("outputevents")
    assert [(row["line"], row["reason"], row["text"]) for row in rejects] == expected
    for row, (_, _, detail) in zip(rejects, ROWS.values(), strict=True):
        assert detail in row["detail"]
    counts = Counter(reason for _, reason, _ in ROWS.values())
    for reason, count in counts.items():
        assert re.search(rf"icu/outputevents +{reason} +{count}\b", outcome.out)
    assert events_of(outcome.dataset) == events_of(built)
    lines = [
        r for r in pq.read_table(outcome.dataset / "ledger.parquet").to_pylist() if r["table"] == "icu/outputevents"
    ]
    assert {(r["outcome"], r["reason"]): r["rows"] for r in lines} == {
        ("read", None): sound + len(bad),
        ("events", None): sound,
        **{("rejected", reason): count for reason, count in counts.items()},
    }


def test_a_quote_left_open_in_the_last_row(build: Build, plain: Path, built: Path) -> None:
    path = plain / "icu" / "outputevents.csv"
    sound = path.read_bytes()
    bad = ROWS["a broken quote"][0](sound.splitlines(keepends=True)[2])
    path.write_bytes(sound + bad)
    outcome = build(plain)
    assert [(r["reason"], r["text"]) for r in outcome.rejects("outputevents")] == [
        ("broken_quote", bad.decode().rstrip())
    ]
    assert events_of(outcome.dataset) == events_of(built)


def events_of(dataset: Path) -> Counter[Any]:
    """Return all events."""
    return Counter(
        tuple(event.values())
        for path in (dataset / "data").rglob("*.parquet")
        for event in pq.read_table(path).to_pylist()
    )


def test_lines_with_windows_line_ends(build: Build, plain: Path, built: Path) -> None:
    for path in plain.rglob("*.csv"):
        # Line ends inside quotes are part of a value and are kept.
        out, quoted = bytearray(), False
        for byte in path.read_bytes():
            quoted ^= byte == ord('"')
            out += b"\r\n" if byte == ord("\n") and not quoted else bytes([byte])
        assert b"\r\n" in out
        path.write_bytes(out)
    outcome = build(plain)
    assert outcome.code == 0, outcome.err
    assert events_of(outcome.dataset) == events_of(built)


def test_a_table_without_rows(build: Build, plain: Path, built: Path) -> None:
    path = plain / "icu" / "outputevents.csv"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    outcome = build(plain)
    assert outcome.code == 0, outcome.err
    assert re.search(r"icu/outputevents +0 +0 +0 +0 +0\b", outcome.out)
    source = list(pq.read_schema(next((built / "data").rglob("*.parquet"))).names).index("source_table")
    assert events_of(outcome.dataset) == Counter(
        {e: n for e, n in events_of(built).items() if e[source] != "icu/outputevents"}
    )


def test_no_table_with_rows(build: Build, plain: Path) -> None:
    for path in plain.rglob("*.csv"):
        path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    outcome = build(plain)
    assert outcome.code not in (0, None)
    assert "error: " in outcome.err
    assert "Traceback" not in outcome.err
    assert not outcome.published


def test_a_patient_who_is_missing_in_the_table_of_patients(
    build: Build, handmade: ModuleType, plain: Path, trajectories_of: Any, trajectories: Any
) -> None:
    path = plain / "hosp" / "patients.csv"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if not line.startswith(str(handmade.DIED).encode())))
    outcome = build(plain)
    assert outcome.code == 0, outcome.err
    found = trajectories_of(outcome.dataset)
    theirs = found.of(handmade.DIED)
    kept = [e for e in trajectories.of(handmade.DIED) if e["source_table"] != "hosp/patients"]
    assert Counter(e["code"] for e in theirs) == Counter(e["code"] for e in kept)
    assert all("subject_unknown" in e["flags"] for e in theirs)
    assert not any("subject_unknown" in e["flags"] for e in found.events if e["subject_id"] != handmade.DIED)


def test_a_table_that_is_missing_is_a_warning(build: Build, plain: Path, built: Path) -> None:
    (plain / "icu" / "chartevents.csv").unlink()
    (plain / "hosp" / "d_hcpcs.csv").unlink()
    outcome = build(plain)
    assert outcome.code == 0, outcome.err
    (warning,) = [line for line in outcome.err.splitlines() if "left out" in line]
    assert warning.startswith("WARNING: the release is incomplete")
    assert "icu/chartevents" in warning
    assert "hosp/d_hcpcs" in warning
    assert not [line for line in outcome.out.splitlines() if line.startswith("icu/chartevents")]
    assert outcome.out.splitlines()[-1] == warning


def test_a_module_that_is_missing_is_a_warning(build: Build, plain: Path) -> None:
    shutil.rmtree(plain / "icu")
    outcome = build(plain)
    assert outcome.code == 0, outcome.err
    assert "WARNING: missing modules: icu" in outcome.err
    assert outcome.out.splitlines()[-1].startswith("WARNING: missing modules: icu")
    assert outcome.published


def test_a_column_that_is_missing_is_noted_and_null(
    build: Build, handmade: ModuleType, plain: Path, trajectories_of: Any
) -> None:
    path = plain / "icu" / "outputevents.csv"
    rows = [line.split(",") for line in path.read_text().splitlines()]
    at = rows[0].index("valueuom")
    path.write_text("".join(",".join(r[:at] + r[at + 1 :]) + "\n" for r in rows))
    outcome = build(plain)
    assert outcome.code == 0, outcome.err
    (note,) = [line for line in outcome.err.splitlines() if "icu/outputevents" in line]
    assert note == "note: icu/outputevents lacks the column valueuom: null in this build"
    outputs = [e for e in trajectories_of(outcome.dataset).events if e["source_table"] == "icu/outputevents"]
    assert len(outputs) == len(handmade.release_rows()["icu/outputevents"])
    assert {(e["unit"], e["raw_unit"], "unit_assumed" in e["flags"]) for e in outputs} == {("mL", None, True)}


def test_an_unknown_column_is_noted_and_changes_nothing(build: Build, plain: Path, built: Path) -> None:
    path = plain / "icu" / "outputevents.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header + ",mood", *(row + ",good" for row in rows)]) + "\n")
    outcome = build(plain)
    assert outcome.code == 0, outcome.err
    assert "icu/outputevents has unknown columns, left out: mood" in outcome.err
    assert events_of(outcome.dataset) == events_of(built)
