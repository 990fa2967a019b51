"""`--subjects`: a number of patients to sample, or a file of subject IDs, and the report of which were found."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

import ehrtraj
from ehrtraj.errors import EhrtrajError, ReleaseError, SettingsError
from ehrtraj.release.asked import number_or_file
from ehrtraj.release.subjects import read_subject_file


@pytest.mark.parametrize(
    ("text", "subjects"),
    [
        ("1\n2\n3\n", [1, 2, 3]),
        ("subject_id\n1\n2\n", [1, 2]),
        ("hadm_id,SUBJECT_ID\n9,1\n8,2\n", [1, 2]),
        ("\ufeffsubject_id\r\n1\r\n\r\n2", [1, 2]),
        ("\ufeff10000032\n", [10000032]),
        ("patient\n7\n", [7]),
        ("10000032.0\n10000048.\n", [10000032, 10000048]),
        (",subject_id\n0,10000032\n1,10000048.0\n", [10000032, 10000048]),
        ('"subject_id"\n"1"\n" 2 "\n', [1, 2]),
        ("hadm_id;subject_id\n9;1\n", [1]),
        ("hadm_id\tsubject_id\n9\t1\n", [1]),
        ("2\n\n  \n1\n2\n", [2, 1, 2]),
        ("1, \n2, \n", None),
        ("", []),
        ("subject_id\n", []),
        ("\u0661\n1\n", [1]),
    ],
)
def test_subjects_are_read_from_a_file(tmp_path: Path, text: str, subjects: list[int] | None) -> None:
    path = tmp_path / "subjects.csv"
    path.write_bytes(text.encode())
    if subjects is None:
        with pytest.raises(ReleaseError, match="none of the 2 columns is named subject_id"):
            read_subject_file(path)
    else:
        assert read_subject_file(path) == subjects


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"1\ntwo\n", 2),
        (b"hadm_id,subject_id\n1\n", 2),
        (b"subject_id,x\n,1\n", 2),
        (b"1\n\n2.5\n", 3),
        (b"10000032 # first\n10000048\n", 1),
        (b"10000032\n10000048 # second\n", 2),
        (b"0,10000032\n1,10000048\n", 1),
        (b"hadm_id,stay_id\n1,2\n", 1),
        (b"-5\n", 1),
        (b"1\n99999999999999999999\n", 2),
        (b"1e7\n", 1),
        (b"\xff\xfe1\n", None),
    ],
)
def test_a_line_without_a_subject_id_is_named(tmp_path: Path, content: bytes, line: int | None) -> None:
    path = tmp_path / "subjects.csv"
    path.write_bytes(content)
    with pytest.raises(ReleaseError) as raised:
        read_subject_file(path)
    assert str(path) in str(raised.value)
    assert line is None or f"line {line}:" in str(raised.value)


@pytest.mark.parametrize("text", ["0", "-1", "+0", "00"])
def test_a_number_below_1_names_the_valid_values(text: str) -> None:
    with pytest.raises(SettingsError, match="1 or more"):
        number_or_file(text)


def test_a_digit_of_another_script_is_not_a_number() -> None:
    with pytest.raises(SettingsError, match="neither a number nor an existing file"):
        number_or_file("\u00b2")


def build(release: Path, out: Path, subjects: object, **settings: object) -> ehrtraj.BuildResult:
    given = {"tables": "patients", "max_cpus": 1, "standardise": False} | settings
    return ehrtraj.build(release, out, "v", subjects=subjects, **given)


def about_subjects(result: ehrtraj.BuildResult) -> list[str]:
    """Return the warnings about subjects, without the one about the few rows of the hand-made release."""
    return [w for w in result.warnings if "subject" in w]


def test_a_build_reports_who_was_not_found(release: Path, handmade: ModuleType, tmp_path: Path) -> None:
    existing = [row["subject_id"] for row in handmade.release_rows()["hosp/patients"]][:2]
    path = tmp_path / "cohort.csv"
    path.write_text("\n".join(map(str, [*existing, *range(1, 13), existing[0]])))
    result = build(release, tmp_path / "out", path)
    assert result.patients == 2
    found = result.requested
    assert (found.requested, found.found, found.missing, found.repeated) == (14, 2, tuple(range(1, 11)), 1)
    (warning,) = about_subjects(result)
    for words in (
        "cohort.csv: 2 of 14 subject IDs are in this release",
        "missing: 1, 2, 3",
        "10, ...",
        "repeated lines: 1",
    ):
        assert words in warning
    manifest = json.loads((result.path / "manifest.json").read_text())
    assert manifest["subjects"]["requested"] == 14
    assert manifest["subjects"]["missing"] == list(range(1, 11))
    assert manifest["warnings"] == list(result.warnings)

    exported = ehrtraj.export(result.path, tmp_path / "files", subjects=path)
    assert (exported.requested.requested, exported.requested.found) == (14, 2)
    assert [note for note in exported.notes if "missing: 1, 2, 3" in note]
    assert json.loads((tmp_path / "files" / "export.json").read_text())["subjects"]["found"] == 2


def test_a_file_whose_patients_all_exist_gives_a_note(release: Path, handmade: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "cohort.csv"
    path.write_text(f"subject_id\n{handmade.release_rows()['hosp/patients'][0]['subject_id']}\n")
    result = build(release, tmp_path / "out", path)
    assert about_subjects(result) == []
    assert [note for note in result.notes if "1 of 1 subject IDs" in note]


def test_requesting_more_patients_than_exist_gives_a_warning(
    release: Path, handmade: ModuleType, tmp_path: Path
) -> None:
    everyone = len(handmade.release_rows()["hosp/patients"])
    result = build(release, tmp_path / "out", 500)
    assert (result.requested.requested, result.requested.found) == (500, result.patients)
    assert result.patients >= everyone
    (warning,) = about_subjects(result)
    assert "requests 500 patients, but" in warning
    exported = ehrtraj.export(result.path, tmp_path / "files", subjects=500)
    assert exported.requested.found == result.patients
    assert [note for note in exported.notes if "requests 500 patients, but" in note]
    assert about_subjects(build(release, tmp_path / "few", 1)) == []


def test_patients_excluded_by_icu_only_are_counted(release: Path, handmade: ModuleType, tmp_path: Path) -> None:
    rows = handmade.release_rows()
    everyone = {row["subject_id"] for row in rows["hosp/patients"]}
    stays = {row["subject_id"] for row in rows["icu/icustays"]}
    path = tmp_path / "cohort.csv"
    path.write_text("\n".join(map(str, sorted(everyone))))
    result = build(release, tmp_path / "out", path, icu_only=True)
    assert result.patients == len(stays & everyone)
    assert result.requested.left_out == len(everyone - stays)
    assert [note for note in result.notes if f"excluded by --icu-only: {len(everyone - stays)}" in note]


@pytest.mark.parametrize(
    ("text", "words"), [("", "contains no subject IDs"), ("1\n2\n", "contains 2 subject IDs, but none of them is in")]
)
def test_a_file_without_existing_patients_is_refused(
    release: Path, built: Path, tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "cohort.csv"
    path.write_text(text)
    for attempt in (
        lambda: build(release, tmp_path / "out", path),
        lambda: ehrtraj.export(built, tmp_path / "files", subjects=path),
    ):
        with pytest.raises(EhrtrajError, match=words) as raised:
            attempt()
        assert str(path) in str(raised.value)


def test_0_patients_are_refused_by_export_too(built: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="1 or more"):
        ehrtraj.export(built, tmp_path / "files", subjects=0)
