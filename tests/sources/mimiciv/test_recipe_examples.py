"""Each recipe has an example beside it that shows every part of it.

`recipe_examples.py` in this folder writes the events of an example. docs/reference/recipes.md describes its form.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from duckdb import DuckDBPyConnection

from ehrtraj.recipes.allowed import check_allowed
from ehrtraj.sources.source import find_source, packaged


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


examples = _load("recipe_examples")
mutations = _load("recipe_mutations")

MIMIC = packaged("mimiciv")
TABLES = MIMIC.tables
CASES = {table: examples.read_cases(MIMIC, table) for table in examples.tables_with_examples(MIMIC)}
ALL = [case for cases in CASES.values() for case in cases]

WITHOUT_EFFECT = {
    # A code that a bill has once is its own first. 1.2 million rows of hosp take 0.38 s with it and 0.50 s without.
    "hosp/diagnoses_icd": ["DIAGNOSIS: HAVING in 'HAVING count(*) > 1'"],
    "ed/diagnosis": ["ED_DIAGNOSIS: HAVING in 'HAVING count(*) > 1'"],
    # A row of inputevents needs both, or its recipe rejects it. The columns of ingredientevents have the same names.
    "icu/ingredientevents": ["the column icu/inputevents.starttime", "the column icu/inputevents.itemid"],
}
"""Parts of recipes and examples that change no result."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One build of all examples."""
    return examples.Built(MIMIC, ALL, tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="module")
def session() -> Iterator[DuckDBPyConnection]:
    """The session that a build runs recipes in."""
    with mutations.session(MIMIC) as connection:
        yield connection


def without_effect(table: str, cases: list[Any], session: DuckDBPyConnection) -> list[str]:
    """What of a recipe its example does not show."""
    rows = {name: mutations.typed(TABLES[name], of) for name, of in examples.rows_of(cases, TABLES).items()}
    return list(mutations.Mutator(MIMIC, session, MIMIC.recipes[table], rows).without_effect())


def test_every_recipe_has_an_example_and_every_example_a_recipe() -> None:
    assert set(CASES) == set(MIMIC.recipes)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_the_build_makes_what_the_example_shows(case: Any, built: Any) -> None:
    assert built.outcome(case) == case.expected


@pytest.mark.parametrize("table", CASES)
def test_every_part_of_the_recipe_is_shown(table: str, session: DuckDBPyConnection) -> None:
    assert without_effect(table, CASES[table], session) == WITHOUT_EFFECT.get(table, [])


def test_what_an_example_does_not_show_is_named(session: DuckDBPyConnection) -> None:
    """Without a comment, a time of storage alone, and a rejected row."""
    first, second, _ = CASES["hosp/labevents"]
    rows = [{name: value for name, value in row.items() if name != "comments"} for row in first.given["hosp/labevents"]]
    lacking = [replace(first, given={"hosp/labevents": rows}), replace(second, given={"hosp/labevents": rows[:1]})]
    assert without_effect("hosp/labevents", lacking, session) == [
        "rejected: no_code",
        "rejected: no_time",
        "the column hosp/labevents.comments",
        "LAB: selected comments in 'comments'",
        "LAB: argument of coalesce in 'coalesce(charttime, storetime) AS time,'",
    ]


@pytest.mark.parametrize("table", CASES)
def test_an_example_is_written_as_the_script_writes_it(table: str) -> None:
    text = examples.path_of(MIMIC, table).read_text("utf-8")
    assert examples.with_outcome(text, [case.expected for case in CASES[table]]) == text
    assert [line for line in text.splitlines() if len(line) > examples.WIDTH] == []


def test_the_reference_of_recipes_shows_an_example_as_it_is() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "recipes.md"
    (shown,) = re.findall(r"^```yaml\n(- shows: .*?)^```$", page.read_text("utf-8"), re.M | re.S)
    assert shown in examples.path_of(MIMIC, "hosp/services").read_text("utf-8")


def test_cases_do_not_disturb_each_other() -> None:
    """All are in one build: each has a patient of its own, and none a dictionary, which would be that of all."""
    assert [subject for subject, n in Counter(case.subject for case in ALL).items() if n > 1] == []
    for case in ALL:
        assert {TABLES[name].kind for name in case.given} == {"patient"}, case
        rows = [row for of_table in case.rows(TABLES).values() for row in of_table]
        assert {row["subject_id"] for row in rows} == {case.each_row["subject_id"]}, case


def test_an_example_changes_no_fingerprint_and_is_no_recipe(tmp_path: Path) -> None:
    """Neither in the folder of a source nor in an overlay."""
    without = Path(shutil.copytree(MIMIC.folder, tmp_path / "mimiciv", ignore=shutil.ignore_patterns("*.yaml")))
    assert find_source(str(without)).recipes_digest() == MIMIC.recipes_digest()

    recipes = tmp_path / "mine" / "recipes" / "hosp"
    recipes.mkdir(parents=True)
    shutil.copy(MIMIC.folder / "recipes" / "hosp" / "labevents.sql", recipes)
    before = find_source(overlay=tmp_path / "mine").recipes_digest()
    shutil.copy(examples.path_of(MIMIC, "hosp/labevents"), recipes)
    source = find_source(overlay=tmp_path / "mine")
    check_allowed(source.overlay_recipes, source.recipes.values())
    assert (source.recipes_digest(), set(source.recipes)) == (before, set(MIMIC.recipes))
