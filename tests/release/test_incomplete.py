"""A release with missing parts: a build warns about it in its last line, or stops."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ehrtraj
from ehrtraj import cli
from ehrtraj.errors import ReleaseError
from ehrtraj.release.detect import detect


@pytest.fixture
def copy(release: Path, tmp_path: Path) -> Path:
    """A copy of the hand-made release for a test to damage; its folder's name contains no version."""
    shutil.copytree(release, tmp_path / "mine")
    return tmp_path / "mine"


def build(folder: Path, out: Path, **settings: Any) -> ehrtraj.BuildResult:
    return ehrtraj.build(folder, out, "v", **({"max_cpus": 1, "standardise": False} | settings))


@pytest.mark.parametrize("missing", [("patients",), ("admissions",), ("patients", "admissions")])
def test_without_patients_or_admissions_a_build_stops(copy: Path, tmp_path: Path, missing: tuple[str, ...]) -> None:
    for table in missing:
        (copy / "hosp" / f"{table}.csv.gz").unlink()
    for tables in (None, "labevents"):
        with pytest.raises(ReleaseError, match="--allow-incomplete") as raised:
            build(copy, tmp_path / "out", tables=tables)
        assert raised.value.exit_code == 3
        assert all(f"hosp/{table}" in str(raised.value) for table in missing)
        assert not (tmp_path / "out").exists()
    result = build(copy, tmp_path / "out", allow_incomplete=True)
    assert all(f"hosp/{table}" in result.warnings[0] for table in missing)
    assert json.loads((result.path / "manifest.json").read_text())["warnings"] == list(result.warnings)


def test_choosing_tables_of_a_complete_release_gives_no_warning(copy: Path, tmp_path: Path) -> None:
    assert build(copy, tmp_path / "out", tables="labevents").warnings == ()


def test_a_missing_table_that_a_chosen_table_needs_gives_a_warning(copy: Path, tmp_path: Path) -> None:
    (copy / "hosp" / "emar.csv.gz").unlink()
    (copy / "hosp" / "omr.csv.gz").unlink()
    lacking, losses = build(copy, tmp_path / "out", tables="emar_detail,patients").warnings
    assert lacking.endswith("left out: hosp/emar")
    assert re.match(r"hosp/emar_detail: 13 of 13 rows", losses)


def decompress(folder: Path, table: str, keep: Callable[[bytes], bytes]) -> Path:
    packed = folder / f"{table}.csv.gz"
    plain = packed.with_suffix("")
    plain.write_bytes(keep(gzip.decompress(packed.read_bytes())))
    packed.unlink()
    return plain


@pytest.mark.parametrize("table", ["hosp/labevents", "hosp/d_labitems", "note/discharge"])
def test_a_truncated_decompressed_table_gives_a_warning(copy: Path, tmp_path: Path, table: str) -> None:
    path = decompress(copy, table, lambda data: data[:-9])
    warnings = detect(copy).warnings
    assert [str(path) in w and "its last row may be cut off" in w for w in warnings] == [True]
    assert warnings[0] in build(copy, tmp_path / "out", tables="patients,labevents").warnings


def test_a_complete_decompressed_table_gives_no_warning(copy: Path) -> None:
    decompress(copy, "hosp/labevents", lambda data: data)
    assert detect(copy).warnings == ()


LOOK_ALIKES = [
    "icu/chartevents (1).csv.gz",
    "icu/CHARTEVENTS.CSV.GZ",
    "icu/Copy of chartevents.csv",
    "icu/chartevents.csv.gz.part",
    "icu/chartevents.csv.bz2",
    "icu/chartevents.zip",
    "icu/chartevents.parquet",
    "icu/chartevents.csv.gz.1",
    "icu/chartevents",
    "icu/d_items-old.csv.gz",
    "hosp/chartevents.csv.gz",
    "chartevents.csv.gz",
]


@pytest.mark.parametrize("name", LOOK_ALIKES)
@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_that_looks_like_a_table_is_named(copy: Path, name: str, replaced: bool) -> None:
    data = (copy / "icu" / "chartevents.csv.gz").read_bytes()
    if replaced:
        (copy / "icu" / "chartevents.csv.gz").unlink()
    (copy / name).write_bytes(data)
    found = [w for w in detect(copy).warnings if "not read" in w]
    assert [name in w for w in found] == [True]


@pytest.mark.parametrize("name", ["icu/chartevents.csv.gz", "icu/chartevents.csv", "hosp/Labevents.csv.gz"])
def test_a_folder_named_like_a_table_is_named(copy: Path, name: str) -> None:
    (copy / "icu" / "chartevents.csv.gz").unlink()
    (copy / name).mkdir()
    assert [name in w for w in detect(copy).warnings if "not read" in w] == [True]


@pytest.mark.parametrize("name", ["ICU", "icu (1)", "Icu"])
def test_a_misnamed_module_is_named_with_its_tables(copy: Path, name: str) -> None:
    (copy / "icu").rename(copy / name)
    (warning,) = [w for w in detect(copy).warnings if "not read" in w]
    assert f"{name}," in warning
    assert f"{name}/chartevents.csv.gz" in warning


def test_usual_files_next_to_tables_are_not_named(copy: Path) -> None:
    for name in ("icu/index.html", "hosp/patients.md", "SHA256SUMS.txt", "demo_subject_id.csv", "hosp/notes.csv", ".x"):
        (copy / name).write_text("")
    (copy / "hosp" / "diagnosis").mkdir()
    for name in ("hosp/provider.csv.gz", "icu/caregiver.csv.gz"):
        (copy / name).write_bytes(gzip.compress(b"id\n"))
    decompress(copy, "hosp/omr", lambda data: data)
    assert detect(copy).warnings == ()


def test_fewer_rows_than_published_give_a_warning_in_the_last_line(
    handmade: ModuleType,
    copy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "mimiciv" / "3.1"
    folder.parent.mkdir()
    copy.rename(folder)
    argv = ["ehrtraj", "build", str(folder), "-o", str(tmp_path / "out"), "-t", "v", "--max-cpus", "1", "--as-written"]
    for tables, again in (("patients,labevents", False), ("patients,labevents", True)):
        monkeypatch.setattr(sys, "argv", [*argv, "--tables", tables, "--export", "patient:csv"])
        with pytest.raises(SystemExit) as raised:
            cli.main()
        assert not raised.value.code
        out, _ = capsys.readouterr()
        last = out.splitlines()[-1]
        assert re.match(r"WARNING: the release is incomplete: .* 3\.1 has: .*labevents \d+ of 158,374,764", last)
        assert ("already there" in out) is again
    manifest = json.loads((tmp_path / "out" / "v" / "manifest.json").read_text())
    assert [f"WARNING: {w}" for w in manifest["warnings"]] == [last]
