"""The data files of releases, where modules are found, and the same patients in two releases."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import ehrtraj
from ehrtraj.errors import ReleaseError
from ehrtraj.release.detect import detect
from ehrtraj.release.history import ReleaseShape, version_key
from ehrtraj.sources.source import packaged
from ehrtraj.synth.run import synth

MIMIC = packaged("mimiciv")

NEWEST = "3.1"
MODULES = ("hosp", "icu", "ed", "note")
DATA = MIMIC.folder


# The data files -----------------------------------------------------------------------------------------------


def test_every_line_of_the_releases_has_a_source() -> None:
    lines = 0
    for project in MIMIC.projects:
        for file in (DATA / "releases" / project).iterdir():
            for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
                assert row["source"].strip(), (file.name, row)
                lines += 1
    for name in ("row_counts", "projects", "belongs"):
        for row in csv.DictReader((DATA / f"{name}.csv").read_text(encoding="utf-8").splitlines()):
            assert row["source"].strip(), (name, row)
    assert lines > 400


def test_all_published_releases_are_known_in_order() -> None:
    shapes = {project: [shape.release for shape in listed] for project, listed in MIMIC.history.shapes.items()}
    assert shapes == {
        "mimiciv": ["1.0", "2.0", "2.1", "2.2", "3.0", "3.1"],
        "mimic-iv-ed": ["1.0", "2.0", "2.2"],
        "mimic-iv-note": ["2.2"],
    }
    for listed in shapes.values():
        assert listed == sorted(listed, key=version_key)
    for project, release in MIMIC.partners:
        assert release in shapes[project]
        assert MIMIC.partners[project, release] <= set(shapes["mimiciv"])


def test_a_release_results_from_all_changes_up_to_it() -> None:
    first, *_, last = MIMIC.history.shapes["mimiciv"]
    assert first.modules["hosp/patients"] == "core"
    assert last.modules["hosp/patients"] == "hosp"
    assert "ethnicity" in first.columns["hosp/admissions"]
    assert "race" in last.columns["hosp/admissions"]
    assert "hosp/omr" not in first.columns
    assert "cancelreason" in first.columns["icu/inputevents"] - last.columns["icu/inputevents"]
    assert MIMIC.history.tables["hosp/admissions"].names["race"] == ("race", "ethnicity")


def test_the_headers_of_synthetic_releases_are_those_of_the_data(synthetic: Callable[[str], Path]) -> None:
    """Two descriptions of the releases, written for different purposes, agree."""
    shapes = {shape.release: shape for shape in MIMIC.history.shapes["mimiciv"]}
    for release in ("1.0", "2.2", "3.0", "3.1"):
        found = detect(synthetic(release))
        for name, file in found.files.items():
            if name.split("/")[0] in ("hosp", "icu"):
                assert {h.lower() for h in file.header} == shapes[release].columns[name], (release, name)
                assert file.folder == shapes[release].modules[name]
        expected = {n for n in shapes[release].columns if found.files.get(n) or "provider" in n or "caregiver" in n}
        assert expected == set(shapes[release].columns)


# Versions -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """Function that returns a synthetic release of 60 patients. Do not change it."""
    folder, made = tmp_path_factory.mktemp("synthetic"), {}

    def make(release: str) -> Path:
        if release not in made:
            made[release] = synth(folder / release, patients=60, release=release, max_cpus=1).path
        return made[release]

    yield make


def alike(release: str, module: str = "") -> tuple[str, ...]:
    """Return the releases with the same columns as another, in all of its tables or in those of a module."""

    def columns(shape: ReleaseShape) -> dict[str, frozenset[str]]:
        return {name: names for name, names in shape.columns.items() if shape.modules[name].startswith(module)}

    shapes = {shape.release: columns(shape) for shape in MIMIC.history.shapes["mimiciv"]}
    return tuple(other for other in shapes if shapes[other] == shapes[release])


# Two releases that can be distinguished only by their folders.
ALIKE = next(pair for pair in (("3.1", "3.0"), ("3.0", "2.2")) if pair[1] in alike(pair[0]))


def real(release: Path, to: Path) -> Path:
    """Copy a synthetic release without its marker, so that it looks like a real one."""
    shutil.copytree(release, to)
    (to / "ehrtraj-synth.json").unlink()
    return to


@pytest.mark.parametrize(
    ("made_as", "folder", "version"),
    [
        ("1.0", "mimic", "1.0"),
        ("1.0", "mimiciv/1.0", "1.0"),
        # The columns take precedence over the folder's name.
        ("1.0", "mimiciv/3.1", "1.0"),
        (ALIKE[0], f"mimiciv/{ALIKE[1]}", ALIKE[1]),
        ("2.2", "mimic-iv-2.2", "2.2"),
        (ALIKE[0], "somewhere", "unknown"),
    ],
)
def test_the_version_is_found_by_columns_and_path(
    synthetic: Callable[[str], Path], tmp_path: Path, made_as: str, folder: str, version: str
) -> None:
    found = detect(real(synthetic(made_as), tmp_path / folder))
    assert found.version == version
    contradictions = [note for note in found.notes if "the folder is named" in note]
    assert bool(contradictions) == (folder == "mimiciv/3.1" and made_as == "1.0")
    if version == "unknown":
        assert found.versions["mimiciv"].candidates == alike(ALIKE[0])
        assert len(alike(ALIKE[0])) > 1


def test_the_laboratory_items_of_3_0_give_a_warning(synthetic: Callable[[str], Path], tmp_path: Path) -> None:
    result = ehrtraj.build(synthetic("3.0"), tmp_path, "v1", max_cpus=1, tables="labevents,patients")
    assert [w for w in result.warnings if "3.0" in w and "hosp/labevents" in w and "itemid" in w]
    manifest = json.loads((result.path / "manifest.json").read_text())
    assert manifest["warnings"] == list(result.warnings)
    assert detect(synthetic("3.1")).warnings == detect(synthetic("2.2")).warnings == ()


def test_known_errata_of_1_0_are_noted(synthetic: Callable[[str], Path]) -> None:
    notes = " ".join(detect(synthetic("1.0")).notes)
    assert "is known only for deaths in hospital" in notes
    assert "hosp/admissions.admit_provider_id" in notes, "one note lists all columns that the release never had"
    assert notes.count("null in this build") == 1


def test_a_release_newer_than_all_known_ones_builds_with_a_warning(
    synthetic: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = real(synthetic(NEWEST), tmp_path / "mimiciv" / "4.0")
    path = folder / "hosp" / "omr.csv.gz"
    header, _, rows = gzip.decompress(path.read_bytes()).partition(b"\n")
    rows = b"\n".join(line + b",new" for line in rows.splitlines())
    path.write_bytes(gzip.compress(header + b",brand_new\n" + rows + b"\n"))
    result = ehrtraj.build(folder, tmp_path / "out", "v1", max_cpus=1, tables="omr,patients", standardise=False)
    assert result.release == "4.0"
    (warning,) = result.warnings
    assert "4.0" in warning
    assert "3.1" in warning
    assert any("brand_new" in note for note in result.notes)


def only(folder: Path, *modules: str) -> Path:
    for module in folder.iterdir():
        if module.is_dir() and module.name not in modules:
            shutil.rmtree(module)
    return folder


def test_modules_of_different_releases_are_named(synthetic: Callable[[str], Path], tmp_path: Path) -> None:
    old = only(real(synthetic("1.0"), tmp_path / "mimiciv" / "1.0"), "core", "hosp", "icu")
    new = only(real(synthetic(NEWEST), tmp_path / "mimic-iv-ed" / "2.2"), "ed")
    (warning,) = detect(old, modules={"ed": new}).warnings
    assert "MIMIC-IV-ED 2.2" in warning
    assert "MIMIC-IV 1.0" in warning
    assert "do not belong together" in warning
    shutil.rmtree(old / "icu")
    shutil.copytree(synthetic(NEWEST) / "icu", old / "icu")
    (warning,) = detect(old).warnings
    assert "are from different releases: " in warning
    assert "hosp has the columns of 1.0" in warning
    *others, last = alike(NEWEST, "icu")
    assert f"icu has the columns of {' or '.join(filter(None, [', '.join(others), last]))}" in warning


def test_the_emergency_department_of_1_0_lacks_columns(synthetic: Callable[[str], Path], tmp_path: Path) -> None:
    folder = real(synthetic("1.0"), tmp_path / "mimiciv" / "1.0")
    shutil.rmtree(folder / "note")
    path = folder / "ed" / "edstays.csv.gz"
    stays = pl.read_csv(path).drop("gender", "race", "arrival_transport", "disposition")
    path.write_bytes(gzip.compress(stays.write_csv().encode()))
    found = detect(folder)
    assert found.versions["mimic-iv-ed"].text == "1.0"
    assert found.warnings == ()
    assert "ed/edstays.disposition" in " ".join(found.notes)
    result = ehrtraj.build(folder, tmp_path / "out", "v1", max_cpus=1, tables="edstays,triage,patients")
    events = pl.read_parquet(result.path / "data" / "**" / "*.parquet").filter(source_table="ed/edstays")
    assert set(events["code"]) == {"ED_ARRIVAL//UNKNOWN", "ED_DEPARTURE//UNKNOWN"}
    assert result.ledger["ed/edstays"].became_events == stays.height


# Where the modules are ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def downloads(synthetic: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules as `wget -r` stores them, each in a separate download. Do not change them."""
    root = tmp_path_factory.mktemp("downloads") / "physionet.org"
    places = {"hosp": "mimiciv/3.1", "icu": "mimiciv/3.1", "ed": "mimic-iv-ed/2.2", "note": "mimic-iv-note/2.2"}
    for module, place in places.items():
        shutil.copytree(synthetic(NEWEST) / module, root / "files" / place / module)
        (root / "files" / place / "index.html").write_text("<html>")
    return root


def counts(folder: Path, output: Path, **settings: Any) -> dict[str, tuple[int, int]]:
    result = ehrtraj.build(folder, output, "v1", max_cpus=1, **settings)
    for entry in result.ledger.values():
        assert entry.missing() == 0
    return {name: (entry.read, entry.events) for name, entry in result.ledger.items()}


def test_a_parent_folder_of_all_downloads(downloads: Path, synthetic: Callable[[str], Path], tmp_path: Path) -> None:
    found = detect(downloads)
    assert found.root == downloads / "files" / "mimiciv" / "3.1"
    assert {p: v.text for p, v in found.versions.items()} == {
        "mimiciv": "3.1",
        "mimic-iv-ed": "2.2",
        "mimic-iv-note": "2.2",
    }
    assert found.absent_modules == found.warnings == ()
    assert counts(downloads, tmp_path / "a") == counts(synthetic(NEWEST), tmp_path / "b")


def test_each_module_in_a_folder_named_by_the_user(
    downloads: Path, synthetic: Callable[[str], Path], tmp_path: Path
) -> None:
    main, ed, note = (downloads / "files" / name for name in ("mimiciv", "mimic-iv-ed", "mimic-iv-note"))
    expected = counts(synthetic(NEWEST), tmp_path / "a", tables="edstays,discharge,patients")
    for i, (e, n) in enumerate(((ed, note), (ed / "2.2" / "ed", note / "2.2" / "note"), (ed / "2.2", note / "2.2"))):
        assert counts(main, tmp_path / str(i), ed=e, note=n, tables="edstays,discharge,patients") == expected
    result = ehrtraj.build(main, tmp_path / "manifest", "v1", max_cpus=1, ed=ed, tables="edstays,patients")
    manifest = json.loads((result.path / "manifest.json").read_text())
    assert manifest["files"]["ed/edstays"]["path"] == "ed/edstays.csv.gz"
    assert manifest["release"]["downloads"] == {"mimiciv": "3.1", "mimic-iv-ed": "2.2"}


def test_a_folder_of_tables_without_the_module_s_name(downloads: Path, tmp_path: Path) -> None:
    mine = tmp_path / "emergency"
    shutil.copytree(downloads / "files" / "mimic-iv-ed" / "2.2" / "ed", mine)
    found = detect(downloads / "files" / "mimiciv" / "3.1", modules={"ed": mine})
    assert found.files["ed/triage"].path == mine / "triage.csv.gz"


def test_a_named_folder_takes_precedence_over_the_main_folder(
    synthetic: Callable[[str], Path], downloads: Path
) -> None:
    found = detect(synthetic(NEWEST), modules={"ed": downloads / "files" / "mimic-iv-ed"})
    assert found.files["ed/edstays"].path.is_relative_to(downloads)
    assert found.files["note/discharge"].path.is_relative_to(synthetic(NEWEST))


@pytest.mark.parametrize("has_icu", [True, False])
def test_a_named_folder_is_read_although_the_main_folder_has_the_other_modules(
    synthetic: Callable[[str], Path], tmp_path: Path, has_icu: bool
) -> None:
    main = only(real(synthetic(NEWEST), tmp_path / "mimiciv" / NEWEST), "hosp", *(["icu"] if has_icu else []))
    mine = tmp_path / "elsewhere" / "intensive"
    shutil.copytree(synthetic(NEWEST) / "icu", mine)
    for data_dir in (main, main / "hosp", tmp_path / "mimiciv"):
        found = detect(data_dir, modules={"icu": mine})
        assert found.root == main
        assert found.files["icu/icustays"].path.parent == mine
        assert found.files["hosp/admissions"].path.parent == main / "hosp"
        assert found.absent_modules == ("ed", "note")


def test_a_named_folder_without_the_module_is_an_error(downloads: Path, tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="--ed: neither"):
        detect(downloads, modules={"ed": downloads / "files" / "mimiciv"})
    with pytest.raises(ReleaseError, match=r"--note: the folder .* does not exist"):
        detect(downloads, modules={"note": tmp_path / "nowhere"})


def test_two_downloads_of_one_module_are_both_listed(downloads: Path, tmp_path: Path) -> None:
    both = Path(shutil.copytree(downloads, tmp_path / "physionet.org"))
    shutil.copytree(both / "files" / "mimic-iv-ed" / "2.2", both / "files" / "mimic-iv-ed" / "2.0")
    with pytest.raises(ReleaseError, match="--ed") as raised:
        detect(both)
    assert "mimic-iv-ed/2.0" in str(raised.value)
    assert "mimic-iv-ed/2.2" in str(raised.value)
    assert detect(both, modules={"ed": both / "files" / "mimic-iv-ed" / "2.0"}).versions["mimic-iv-ed"].text == "2.0"


SOME = [modules for size in (1, 2) for modules in itertools.combinations(MODULES, size)]


@pytest.mark.parametrize("modules", SOME, ids="+".join)
def test_any_modules_build_and_the_ledger_balances(
    synthetic: Callable[[str], Path], tmp_path: Path, modules: tuple[str, ...]
) -> None:
    for module in modules:
        shutil.copytree(synthetic(NEWEST) / module, tmp_path / "mine" / module)
    found = counts(tmp_path / "mine", tmp_path / "out", allow_incomplete=True)
    assert {name.split("/")[0] for name in found} == set(modules)
    assert all(events for name, (read, events) in found.items() if read and "/d_" not in name and name != "ed/triage")


# The same patients in two releases ----------------------------------------------------------------------------

COLUMNS = [
    "subject_id", "time", "code", "numeric_value", "text_value", "unit", "available_time", "time_precision", "hadm_id",
    "stay_id", "raw_value", "raw_unit", "flags", "source_table", "source_key", "link_id", "attributes",
]  # fmt: skip

# For each older release, the events that differ, by table and event type, and the columns in which they differ.
VALUES = {("hosp/admissions", "LANGUAGE"): {"code"}, ("hosp/admissions", "INSURANCE"): {"code"}}
DIFFERENT: dict[str, dict[tuple[str, str], set[str]]] = {
    "3.0": {},
    "2.2": VALUES,
    "1.0": VALUES
    | {
        ("hosp/admissions", "RACE"): {"code"},
        # 1.0 has no formulary_drug_cd.
        ("hosp/prescriptions", "DRUG_ORDER_START"): {"attributes"},
    },
}
# Events of the newest release that an older one lacks.
LACKING: dict[str, set[tuple[str, str]]] = {
    "3.0": set(),
    "2.2": set(),
    "1.0": {
        ("hosp/omr", "OMR"),
        ("icu/ingredientevents", "INGREDIENT_START"),
        ("icu/ingredientevents", "INGREDIENT_END"),
        ("hosp/patients", "MEDS_DEATH"),
    },
}


@pytest.mark.parametrize("older", ["1.0", "2.2", "3.0"])
def test_the_same_patients_have_the_same_trajectories_except_for_known_differences(
    synthetic: Callable[[str], Path], tmp_path: Path, older: str
) -> None:
    patients = {
        release: pl.read_csv(detect(synthetic(release)).files["hosp/patients"].path)["subject_id"].to_list()
        for release in (older, NEWEST)
    }
    both = tmp_path / "both.csv"
    shared = sorted(set(patients[older]) & set(patients[NEWEST]))
    assert len(shared) > 40
    both.write_text("\n".join(map(str, shared)) + "\n")
    events = {}
    for release in (older, NEWEST):
        result = ehrtraj.build(synthetic(release), tmp_path / release, "v1", max_cpus=2, subjects=both)
        frame = pl.read_parquet(result.path / "data" / "**" / "*.parquet")
        events[release] = (
            frame.group_by(COLUMNS).len().with_columns(event_type=pl.col("code").str.split("//").list.first())
        )
    old, new = (
        events[a].join(events[b], on=[*COLUMNS, "len"], how="anti", nulls_equal=True)
        for a, b in ((older, NEWEST), (NEWEST, older))
    )
    of_old, of_new = (set(frame.select("source_table", "event_type").unique().iter_rows()) for frame in (old, new))
    # Every known difference must occur, so that this test has checked it.
    assert of_old == set(DIFFERENT[older])
    assert of_new == set(DIFFERENT[older]) | LACKING[older]
    for (table, event_type), columns in DIFFERENT[older].items():
        same = [c for c in COLUMNS if c not in columns]
        a, b = (f.filter(source_table=table, event_type=event_type).select(same).sort(same) for f in (old, new))
        assert a.equals(b), (table, event_type)
