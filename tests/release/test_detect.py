"""Detection of the release in a folder from the files themselves."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from ehrtraj.errors import ReleaseError
from ehrtraj.release.detect import detect
from ehrtraj.release.versions import version_by_counts
from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")

READ = [name for name, table in MIMIC.tables.items() if table.kind != "no_patients"]


@pytest.fixture
def copy(release: Path, tmp_path: Path) -> Path:
    """A copy of the hand-made release that a test may change."""
    return Path(shutil.copytree(release, tmp_path / "mine"))


def change_header(folder: Path, table: str, old: str, new: str) -> Path:
    """Replace a column's name in the first line of a table."""
    path = folder / f"{table}.csv.gz"
    header, line_end, rows = gzip.decompress(path.read_bytes()).partition(b"\n")
    columns = header.decode().split(",")
    assert old in columns
    columns[columns.index(old)] = new
    path.write_bytes(gzip.compress(",".join(columns).encode() + line_end + rows))
    return path


# Where the release is ---------------------------------------------------------------------------------------


def test_the_release_is_found_in_its_folder(release: Path) -> None:
    found = detect(release)
    assert found.root == release
    assert found.source == MIMIC
    assert sorted(found.files) == sorted(READ)
    assert found.missing == ()
    assert found.notes == ()
    for name, file in found.files.items():
        assert file.path == release / f"{name}.csv.gz"
        assert file.size == file.path.stat().st_size
        assert list(file.header) == list(file.table.columns)
        assert file.present == {c: c for c in file.table.columns}


def test_the_release_is_found_from_folders_above_and_from_its_modules(release: Path) -> None:
    for folder in (release.parent, release.parent.parent, release / "hosp", release / "icu"):
        found = detect(folder)
        assert found.root == release
        assert len(found.files) == len(READ)


def test_hidden_folders_are_not_a_second_release(copy: Path) -> None:
    shutil.copytree(copy / "hosp", copy.parent / ".trash" / "hosp")
    assert detect(copy.parent).root == copy


def test_two_releases_are_both_listed(release: Path, tmp_path: Path) -> None:
    first = Path(shutil.copytree(release, tmp_path / "2.2"))
    second = Path(shutil.copytree(release, tmp_path / "3.1"))
    with pytest.raises(ReleaseError, match="several releases") as raised:
        detect(tmp_path)
    assert str(first) in str(raised.value)
    assert str(second) in str(raised.value)
    assert detect(first).root == first


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="does not exist") as raised:
        detect(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(raised.value)


def test_a_file_instead_of_a_folder_is_named(release: Path) -> None:
    with pytest.raises(ReleaseError, match="is a file") as raised:
        detect(release / "hosp" / "patients.csv.gz")
    assert "patients.csv.gz" in str(raised.value)


def test_another_folder_is_not_read_as_mimic(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    (tmp_path / "hosp").mkdir()
    (tmp_path / "hosp" / "patients.xlsx").write_bytes(b"x")
    with pytest.raises(ReleaseError, match="not a MIMIC-IV release") as raised:
        detect(tmp_path)
    assert "holiday.jpg" in str(raised.value)
    assert str(tmp_path) in str(raised.value)


def test_an_empty_folder_is_not_read_as_mimic(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="not a MIMIC-IV release"):
        detect(tmp_path)


def test_dictionaries_alone_are_not_a_release(release: Path, tmp_path: Path) -> None:
    (tmp_path / "hosp").mkdir()
    shutil.copy(release / "hosp" / "d_labitems.csv.gz", tmp_path / "hosp")
    with pytest.raises(ReleaseError, match="not a MIMIC-IV release"):
        detect(tmp_path)


# Its files --------------------------------------------------------------------------------------------------


def test_uncompressed_and_compressed_files_can_be_mixed(copy: Path) -> None:
    packed = copy / "hosp" / "omr.csv.gz"
    (copy / "hosp" / "omr.csv").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    found = detect(copy)
    assert found.files["hosp/omr"].path == copy / "hosp" / "omr.csv"
    assert found.files["hosp/emar"].path == copy / "hosp" / "emar.csv.gz"
    assert found.notes == ()


def test_the_compressed_file_is_read_if_both_exist(copy: Path) -> None:
    packed = copy / "hosp" / "omr.csv.gz"
    (copy / "hosp" / "omr.csv").write_bytes(gzip.decompress(packed.read_bytes()))
    found = detect(copy)
    assert found.files["hosp/omr"].path == packed
    assert len(found.notes) == 1
    assert "hosp/omr" in found.notes[0]
    assert "the .csv.gz is read" in found.notes[0]


def test_missing_tables_are_listed(copy: Path) -> None:
    (copy / "icu" / "ingredientevents.csv.gz").unlink()
    (copy / "hosp" / "omr.csv.gz").unlink()
    found = detect(copy)
    assert sorted(found.missing) == ["hosp/omr", "icu/ingredientevents"]
    assert "hosp/omr" not in found.files


def test_a_module_alone_is_a_release(copy: Path) -> None:
    for module in ("icu", "ed", "note"):
        shutil.rmtree(copy / module)
    found = detect(copy)
    assert {name.split("/")[0] for name in found.files} == {"hosp"}
    assert found.missing == ()
    assert found.absent_modules == ("icu", "ed", "note")


def test_a_missing_column_is_null_and_noted(copy: Path) -> None:
    change_header(copy, "icu/chartevents", "caregiver_id", "nurse")
    found = detect(copy)
    assert "caregiver_id" not in found.files["icu/chartevents"].present
    lacking = [n for n in found.notes if "icu/chartevents" in n and "caregiver_id" in n]
    unknown = [n for n in found.notes if "icu/chartevents" in n and "nurse" in n]
    assert len(lacking) == len(unknown) == 1
    assert "null" in lacking[0]
    assert "left out" in unknown[0]


def test_columns_in_upper_case_are_the_same_columns(copy: Path) -> None:
    change_header(copy, "icu/procedureevents", "originalamount", "ORIGINALAMOUNT")
    change_header(copy, "icu/procedureevents", "subject_id", "Subject_ID")
    found = detect(copy)
    assert found.notes == ()
    present = found.files["icu/procedureevents"].present
    assert present["originalamount"] == "ORIGINALAMOUNT"
    assert present["subject_id"] == "Subject_ID"


@pytest.mark.parametrize(
    ("table", "column"),
    [("hosp/labevents", "itemid"), ("hosp/patients", "subject_id"), ("icu/d_items", "itemid")],
)
def test_a_missing_key_column_is_named_with_its_file(copy: Path, table: str, column: str) -> None:
    path = change_header(copy, table, column, "something_else")
    with pytest.raises(ReleaseError, match="lacks the column") as raised:
        detect(copy)
    assert str(path) in str(raised.value)
    assert column in str(raised.value)
    assert "something_else" in str(raised.value), "the message lists the columns found"


def test_a_column_named_twice_is_refused(copy: Path) -> None:
    path = change_header(copy, "hosp/omr", "seq_num", "CHARTDATE")
    with pytest.raises(ReleaseError, match="more than once") as raised:
        detect(copy)
    assert str(path) in str(raised.value)
    assert "chartdate" in str(raised.value)


def test_an_empty_file_is_named(copy: Path) -> None:
    path = copy / "hosp" / "emar.csv.gz"
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(ReleaseError, match="empty") as raised:
        detect(copy)
    assert str(path) in str(raised.value)


def test_tables_without_patients_are_not_read(release: Path) -> None:
    assert not {"hosp/provider", "icu/caregiver"} & set(detect(release).files)


# Its version ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folders", "is_demo", "version"),
    [
        ("mimiciv/3.1", False, "3.1"),
        ("physionet.org/files/mimiciv/2.2", False, "2.2"),
        ("mimic-iv", False, "unknown"),
        ("mimic-iv-demo/2.2", True, "demo 2.2"),
        ("demo", True, "demo 2.2"),
    ],
)
def test_the_version_is_read_from_the_path(
    handmade: ModuleType, tmp_path: Path, folders: str, is_demo: bool, version: str
) -> None:
    root = tmp_path / folders
    rows = {"hosp/patients": [{"subject_id": 1, "gender": "F"}]}
    handmade.write_tables(root, rows)
    if is_demo:
        (root / "demo_subject_id.csv").write_text("subject_id\n1\n")
    assert detect(root).version == version


@pytest.mark.parametrize("version", sorted(MIMIC.published_row_counts("mimiciv")))
def test_the_version_is_recognised_by_row_counts(version: str) -> None:
    counts = MIMIC.published_row_counts("mimiciv")[version]
    assert MIMIC.published_row_counts("mimiciv")[version_by_counts(counts, MIMIC, "mimiciv") or ""] == counts
    # A few tables may differ, but not half of them.
    few = dict(list(counts.items())[:2])
    assert (
        version_by_counts({name: rows + (name in few) for name, rows in counts.items()}, MIMIC, "mimiciv") is not None
    )
    assert version_by_counts({name: rows + 1 for name, rows in counts.items()}, MIMIC, "mimiciv") is None


def test_missing_or_unpublished_row_counts_match_no_version() -> None:
    assert version_by_counts({}, MIMIC, "mimiciv") is None
    assert version_by_counts({"patients": 8, "admissions": 7, "labevents": 34}, MIMIC, "mimiciv") is None


def test_the_demo_is_recognised_by_its_files(demo: Path) -> None:
    found = detect(demo)
    assert found.version == "demo 2.2"
    published = next(set(shape.columns) for shape in MIMIC.history.shapes["mimiciv"] if shape.release == "2.2")
    modules = [name for name in READ if name.split("/")[0] in ("hosp", "icu")]
    assert sorted(found.files) == sorted(name for name in modules if name in published)
    assert sorted(found.missing) == sorted(name for name in modules if name not in published)
    assert found.absent_modules == ("ed", "note")
    assert found.files["icu/procedureevents"].present["originalamount"] == "ORIGINALAMOUNT"
