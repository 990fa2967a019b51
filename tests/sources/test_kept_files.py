"""A build reads the user's recipes and rules once: later changes in their folders do not affect it."""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ehrtraj
from ehrtraj.errors import OutputError, RecipeError
from ehrtraj.pipeline.plan import patients
from ehrtraj.runtime.sizes import Sizes
from ehrtraj.sources.source import find_source, packaged

MIMIC = packaged("mimiciv").folder
RECIPE = "recipes/hosp/services.sql"
LIMITS = "event_type,item,low,high,suspicious_low,suspicious_high,figures,source\nLAB,50912,0,1.5,,,0-1.5,me\n"

Change = Callable[[Path], object]
Folders = dict[str, Path]


def edited(folder: Path) -> None:
    """Change the recipe of services so that its codes differ."""
    text = (folder / RECIPE).read_text()
    (folder / RECIPE).write_text(
        text.replace("name_or_unknown(curr_service)", "name_or_unknown(left('X' || curr_service, 1))")
    )
    assert (folder / RECIPE).read_text() != text


CHANGES: dict[str, Change] = {"removed": shutil.rmtree, "edited": edited}


@pytest.fixture
def overlay(tmp_path: Path) -> Folders:
    """An overlay with a recipe, a macro, a view and a rule table."""
    folder = tmp_path / "overlay"
    for name in (RECIPE, "recipes/encounters.sql"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(MIMIC / name), folder / name)
    (folder / "recipes" / "views").mkdir()
    (folder / "recipes" / "views" / "moves.sql").write_text("SELECT * FROM services")
    (folder / "recipes" / "macros.sql").write_text("CREATE MACRO mine(a) AS upper(a);\n")
    recipe = (folder / RECIPE).read_text().replace("FROM services", "FROM moves")
    (folder / RECIPE).write_text(recipe.replace("name_or_unknown(curr_service)", "mine(name_or_unknown(curr_service))"))
    (folder / "rules").mkdir()
    (folder / "rules" / "limits.csv").write_text(LIMITS)
    return {"overlay": folder}


@pytest.fixture
def source(tmp_path: Path) -> Folders:
    """A custom source: a copy of the packaged one under another name."""
    return {"source": Path(shutil.copytree(str(MIMIC), tmp_path / "mine"))}


@pytest.fixture(params=["overlay", "source"])
def folders(request: pytest.FixtureRequest) -> Folders:
    found: Folders = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def build(
    release: Path, tmp_path: Path, build_sized: Callable[..., ehrtraj.BuildResult]
) -> Callable[..., ehrtraj.BuildResult]:
    def build(name: str, **settings: Any) -> ehrtraj.BuildResult:
        tables = ["patients", "admissions", "services", "labevents"]
        arguments = {"max_cpus": 1, "tables": tables} | settings
        return build_sized(Sizes(shard_rows=1500), release, tmp_path / "out", name, **arguments)

    return build


def contents(dataset: Path) -> dict[str, str]:
    return {
        path.relative_to(dataset).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(dataset.rglob("*.parquet"))
    }


@pytest.mark.parametrize(("change", "cpus"), [("removed", 1), ("removed", 2), ("edited", 1)])
def test_a_build_uses_the_files_as_they_were_when_it_was_planned(
    build: Callable[..., ehrtraj.BuildResult],
    folders: Folders,
    change: str,
    cpus: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan_build = patients.plan_build

    def planned(*args: Any) -> Any:
        plan = plan_build(*args)
        for folder in folders.values():
            CHANGES[change](folder)
        return plan

    expected = contents(build("unchanged", **folders).path)
    assert len([name for name in expected if name.startswith("data/")]) > 2, "two processes work on several shards"
    monkeypatch.setattr("ehrtraj.pipeline.plan.run.plan_build", planned)
    built = build("changed", **folders, max_cpus=cpus).path
    assert contents(built) == expected
    assert ehrtraj.check(built, max_cpus=1).broken == []


def test_a_process_without_the_folders_has_the_same_source(overlay: Folders, source: Folders) -> None:
    folders = overlay | source
    found = find_source(str(source["source"]), overlay["overlay"])
    sent = pickle.dumps(found)
    digests = f"{found.recipes_digest()} {found.rules_digest()}"
    for folder in folders.values():
        shutil.rmtree(folder)
    code = "import pickle, sys; s = pickle.load(sys.stdin.buffer); print(s.recipes_digest(), s.rules_digest())"
    run = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True)
    assert run.stdout.decode().strip() == digests


def test_the_next_build_in_a_process_detects_edited_files(
    build: Callable[..., ehrtraj.BuildResult], folders: Folders
) -> None:
    first = build("v1", **folders)
    assert build("v1", **folders).already_there
    for folder in folders.values():
        edited(folder)
    with pytest.raises(OutputError, match="differ"):
        build("v1", **folders)
    second = build("v1", **folders, overwrite=True)
    assert not second.already_there
    codes = ehrtraj.open(first.path).scan().collect()["code"]
    assert {code for code in codes if code.startswith("SERVICE")} == {"SERVICE//X"}


@pytest.mark.parametrize("name", [RECIPE, "rules/limits.csv"])
def test_an_error_names_the_path_and_line_in_the_users_folder(
    build: Callable[..., ehrtraj.BuildResult], overlay: Folders, name: str
) -> None:
    path = overlay["overlay"] / name
    path.write_bytes(path.read_bytes() + b"\n\xe9\n")
    line = path.read_bytes().count(b"\n")
    with pytest.raises(RecipeError, match=f"{path}, line {line}: not UTF-8"):
        build("v1", **overlay)
    path.unlink()
    path.symlink_to("missing")
    with pytest.raises(RecipeError, match=f"{path} cannot be read: it is a link to missing, which does not exist"):
        build("v1", **overlay)


def test_only_files_that_a_build_reads_are_kept(overlay: Folders, source: Folders) -> None:
    for folder in (overlay | source).values():
        (folder / "recipes" / "notes.txt").write_bytes(os.urandom(1 << 16))
        (folder / "recipes" / ".hidden.sql").write_bytes(os.urandom(1 << 16))
        (folder / "data").mkdir()
        (folder / "data" / "rows.csv").write_bytes(os.urandom(1 << 16))
    found = find_source(overlay=overlay["overlay"])
    kept = len(pickle.dumps(find_source(str(source["source"]), overlay["overlay"])))
    files = [path for folder in (overlay | source).values() for path in folder.rglob("*.*")]
    assert kept < sum(path.stat().st_size for path in files if path.suffix in (".csv", ".sql", ".toml"))
    assert found.recipes
