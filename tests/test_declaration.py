"""Settings are declared once: the declarations are true, and everything else is derived from them."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import pytest
from typer.testing import CliRunner

import ehrtraj
from ehrtraj.cli import app
from ehrtraj.config import SETTINGS, module_folders, resolve
from ehrtraj.declaration import Setting, setting, settings_of
from ehrtraj.errors import EhrtrajError, SettingsError
from ehrtraj.pipeline.plan.fingerprint import fingerprint_of
from ehrtraj.pipeline.plan.vocabularies import find_vocabularies
from ehrtraj.release.detect import detect, which_source
from ehrtraj.runtime.sizes import DEFAULT, Sizes
from ehrtraj.sources.source import packaged

BY_NAME = {declared.name: declared for declared in SETTINGS}
# Settings that are paths, or name files in another way.
NAMING_FILES = [
    declared.name
    for declared in SETTINGS
    if declared.declared.changes_data and (declared.declared.content_in or Path in get_args(declared.kind.argument))
]
SEPSIS = 10900116
# With these tables, every setting has something to change.
TABLES = "patients,admissions,icustays,services,labevents,diagnoses_icd,procedures_icd,edstays,discharge"

_MAP = "itemid (omop_source_code),label,omop_vocabulary_id,omop_concept_code,sssom_confidence\n"
_FILES = {
    "overlay/rules/concepts.csv": "event_type,item,concept,source\nLAB,50912,LOINC/38483-4,our laboratory\n",
    "gem/2018_I9gem.txt": "4019  I10     00000\n",
    "gem/gem_i9pcs.txt": "7935 0QS604Z 10000\n",
    "concept_maps/d_labitems_to_loinc.csv": _MAP + "50912,Creatinine,LOINC,19991-9,\n",
    "vocabulary/CONCEPT.csv": "concept_id\tconcept_name\tvocabulary_id\tconcept_class_id\tstandard_concept\t"
    "concept_code\tinvalid_reason\n1\tSepsis\tICD10CM\t4-char billing code\t\tA41.9\t\n"
    "2\tSepsis\tSNOMED\tDisorder\tS\t91302008\t\n",
    "vocabulary/CONCEPT_RELATIONSHIP.csv": "concept_id_1\tconcept_id_2\trelationship_id\tinvalid_reason\n"
    "1\t2\tMaps to\t\n",
    "overlay/recipes/hosp/services.sql": "-- hosp/services: the service that cares for the patient from this time on.\n"
    "-- left out: prev_service | it is the service of the change before\n"
    "-- rejected: no_time | transfertime IS NULL\n\n-- [every row] the department takes over\n"
    "SELECT subject_id, transfertime AS time, 'SERVICE' AS event_type, 'ANY' AS item, hadm_id, hadm_id AS link_id,\n"
    "  curr_service\nFROM services;\n",
    "subjects.txt": f"{SEPSIS}\n",
}


@pytest.fixture
def others(handmade: ModuleType, tmp_path: Path) -> dict[str, object]:
    """A value other than the default for each setting for which the type does not suggest one."""
    folder = tmp_path / "others"
    for name, text in _FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    everyone = {row["subject_id"] for row in handmade.release_rows()["hosp/patients"]}
    (folder / "splits.csv").write_text("subject_id,split\n" + "".join(f"{who},tuning\n" for who in sorted(everyone)))
    release = folder / "release"
    handmade.write_tables(release, {name: rows[:-1] for name, rows in handmade.release_rows().items()})
    return {
        "data_dir": release,
        "source": _another_source(folder / "source"),
        "output": tmp_path / "elsewhere",
        "trajectory_version": "other",
        "memory_limit": "1GB",
        "tables": "patients,labevents",
        "subjects": folder / "subjects.txt",
        "splits": folder / "splits.csv",
        "ed": release / "ed",
        "note": release / "note",
        "modules": f"ed={release / 'ed'}",
        "export": "patient:jsonl",
        "concepts": "vitalsign",
        "report": False,
    } | {name: folder / name for name in ("overlay", "gem", "concept_maps", "vocabulary")}


def _another_source(folder: Path) -> Path:
    """Write a custom source: MIMIC-IV with another rank of the event type for services."""
    shutil.copytree(packaged("mimiciv").folder, folder)
    types = folder / "rules" / "event_types.csv"
    types.write_text(types.read_text().replace("SERVICE,220,", "SERVICE,221,"))
    return folder


def other_value(declared: Setting, others: dict[str, object]) -> object:
    """Return a value that differs from the one in `base`; a new setting of another type needs a line in `others`."""
    if declared.name in others:
        return others[declared.name]
    if declared.choices:
        return next(choice for choice in declared.choices if choice != declared.default)
    assert isinstance(declared.default, int), f"{declared.name} has no other value here: add one to `others`"
    return {"standardise": False, "max_cpus": 2}.get(declared.name, type(declared.default)(declared.default + 1))


@pytest.fixture
def base(release: Path, tmp_path: Path) -> dict[str, object]:
    output = tmp_path / "out"
    return {
        "data_dir": release, "output": output, "trajectory_version": "v1", "max_cpus": 1, "standardise": True,
        "tables": TABLES,
    }  # fmt: skip


# Divides the eight patients into two shards, so that smaller shards and parts are possible.
SMALL = Sizes(shard_rows=8000)


@pytest.fixture(scope="module")
def base_built(
    release: Path, tmp_path_factory: pytest.TempPathFactory, build_sized: Callable[..., ehrtraj.BuildResult]
) -> Path:
    output = tmp_path_factory.mktemp("base")
    return build_sized(SMALL, release, output, "v1", max_cpus=1, tables=TABLES).path


def data_of(dataset: Path) -> dict[str, bytes]:
    """Return all files of a dataset except the two that contain its name and the circumstances of the build.

    Computed concepts are not part of the data: they have an index of their own.
    """
    paths = [path for path in dataset.rglob("*") if path.is_file() and "concepts" not in path.parts]
    files = {str(path.relative_to(dataset)): path.read_bytes() for path in paths}
    return {name: data for name, data in files.items() if name not in ("manifest.json", "metadata/dataset.json")}


def manifest_of(dataset: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((dataset / "manifest.json").read_text())
    return content


def fingerprint(given: dict[str, object], sizes: Sizes = DEFAULT) -> dict[str, Any]:
    settings, _ = resolve(given, None, {})
    source = which_source(settings.data_dir, settings.source, settings.overlay)
    release = detect(settings.data_dir, source, modules=module_folders(settings, source))
    return fingerprint_of(settings, release, find_vocabularies(settings, source), sizes)


# The declarations are true -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BY_NAME)
def test_a_setting_is_in_the_fingerprint_if_it_changes_the_data(
    name: str, base: dict[str, object], others: dict[str, object]
) -> None:
    varied = base | {name: other_value(BY_NAME[name], others)}
    assert resolve(varied, None, {})[0] != resolve(base, None, {})[0]
    assert (fingerprint(varied) != fingerprint(base)) is BY_NAME[name].declared.changes_data


@pytest.mark.parametrize("name", BY_NAME)
def test_exactly_the_settings_declared_to_change_the_data_change_it(
    name: str,
    base: dict[str, object],
    others: dict[str, object],
    base_built: Path,
    build_sized: Callable[..., ehrtraj.BuildResult],
) -> None:
    given = base | {name: other_value(BY_NAME[name], others)}
    built = build_sized(SMALL, **given).path
    assert (data_of(built) != data_of(base_built)) is BY_NAME[name].declared.changes_data
    assert len(data_of(built)) > 8


@pytest.mark.parametrize(
    ("size", "changes_data"),
    [
        ({"shard_rows": 2000}, True),
        ({"span_rows": 40}, True),
        ({"large_rows": 2}, True),
        ({"block_bytes": 3000}, False),
        ({"round_bytes": 99}, False),
    ],
)
def test_a_size_is_in_the_fingerprint_if_it_changes_the_files(
    size: dict[str, int],
    changes_data: bool,
    base: dict[str, object],
    base_built: Path,
    build_sized: Callable[..., ehrtraj.BuildResult],
) -> None:
    sizes = replace(SMALL, **size)
    assert (fingerprint(base, sizes) != fingerprint(base, SMALL)) is changes_data
    built = build_sized(sizes, **base).path
    assert (data_of(built) != data_of(base_built)) is changes_data


@pytest.mark.parametrize("name", NAMING_FILES)
def test_files_named_by_a_setting_enter_the_fingerprint_by_content(
    name: str, base: dict[str, object], others: dict[str, object], tmp_path: Path
) -> None:
    before = fingerprint(base | {name: others[name]})
    folder = tmp_path / "others"

    def elsewhere(copy: Path) -> dict[str, object]:
        return base | {name: str(others[name]).replace(str(folder), str(copy))}

    assert fingerprint(elsewhere(shutil.copytree(folder, tmp_path / "moved"))) == before
    changed = shutil.copytree(folder, tmp_path / "changed")
    for path in changed.rglob("*"):
        if path.suffix == ".gz":
            os.utime(path, (0, 0))
        elif path.is_file():
            path.write_text(path.read_text() + "\n")
    assert fingerprint(elsewhere(changed)) != before


def test_a_declaration_must_state_whether_the_setting_changes_the_data() -> None:
    with pytest.raises(TypeError, match="changes_data"):
        setting(help="A new one.")


# Derived properties ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Toy:
    folder: Path = field(metadata=setting(help="A folder.", changes_data=True, unprefixed=True))
    names: tuple[str, ...] = field(default=(), metadata=setting(help="Names.", changes_data=True, default_text="all"))
    colour: Literal["red", "green"] = field(default="red", metadata=setting(help="A colour.", changes_data=True))
    count: int | None = field(default=None, metadata=setting(help="How many.", changes_data=False))
    loud: bool = field(default=True, metadata=setting(help="Loud.", changes_data=False, switch="--loud/--quiet"))


def test_everything_is_derived_from_the_type_and_the_declaration() -> None:
    folder, names, colour, count, loud = settings_of(Toy)
    assert [s.required for s in (folder, names, colour, count, loud)] == [True, False, False, False, False]
    assert folder.variables == ("EHRTRAJ_FOLDER", "FOLDER")
    assert colour.variables == ("EHRTRAJ_COLOUR",)
    parsed = [s.kind.parse(text) for s, text in ((folder, "a"), (names, "b, c"), (count, "3"), (loud, "no"))]
    assert parsed == [Path("a"), ("b", "c"), 3, False]
    assert [s.kind.option for s in (folder, names, colour, count, loud)] == [str, str, str, int, bool]
    assert [s.help for s in (names, colour, count, loud)] == [
        "Names. (default all)",
        "A colour. (default red)",
        "How many.",
        "Loud.",
    ]
    with pytest.raises(SettingsError, match="colour is 'blue': it must be 'red' or 'green'"):
        colour.check("blue")


def test_the_command_line_has_every_setting_with_its_help() -> None:
    shown = CliRunner().invoke(app, ["build", "--help"], env={"COLUMNS": "300", "NO_COLOR": "1"}).stdout
    for declared in SETTINGS:
        names = (
            ["data_dir"] if declared.declared.positional else (declared.declared.switch or declared.option).split("/")
        )
        for name in [*names, declared.declared.short, (declared.declared.shorthand or ("",))[0], declared.help]:
            assert name in shown, name


def test_the_function_has_every_setting_with_its_help() -> None:
    parameters = inspect.signature(ehrtraj.build).parameters
    assert list(parameters) == [*BY_NAME, "config", "reporter"]
    assert [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD] == [
        "data_dir",
        "output",
        "trajectory_version",
    ]
    described = re.sub(r"\s+", " ", inspect.getdoc(ehrtraj.build) or "")
    for declared in SETTINGS:
        assert f"{declared.name}: {declared.help}" in described


NEARLY_NAMES = {
    "tables": ("labevent", "labevents"),
    "clock": ("evnt", "event"),
    "modules": ("icuu={release}", "icu"),
    "notes": ("inlne", "inline"),
    "source": ("mimicv", "mimiciv"),
    "splits": ("temporl", "temporal"),
    "export": ("patien", "patient"),
    "concepts": ("sofaa", "sofa"),
}
"""A typo in each setting that takes one of a set of names, and the name that was meant."""
WITHOUT_NAMES = {
    "data_dir", "output", "trajectory_version", "max_cpus", "memory_limit", "subjects", "icu_only", "standardise",
    "gem", "concept_maps", "vocabulary", "ed", "note", "overlay", "seed", "overwrite", "allow_incomplete", "report",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in BY_NAME if name not in WITHOUT_NAMES])
def test_a_typo_in_a_name_is_an_error_that_suggests_the_name(name: str, release: Path, tmp_path: Path) -> None:
    typo, meant = NEARLY_NAMES[name]
    given: dict[str, Any] = {name: typo.format(release=release)}
    with pytest.raises(EhrtrajError, match=rf"\(did you mean {meant}\?\)"):
        ehrtraj.build(release, tmp_path, "v1", **given)


def test_an_argument_that_is_not_a_setting_raises_typeerror(release: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"build\(\) got an unexpected keyword argument 'sede'"):
        ehrtraj.build(release, tmp_path, "v1", sede=3)
    with pytest.raises(TypeError, match="positional argument"):
        ehrtraj.build(release, tmp_path, "v1", 3)
    with pytest.raises(TypeError, match="data_dir"):
        ehrtraj.build(release, tmp_path, data_dir=release)
    assert not list(tmp_path.iterdir())
