"""Adding a table and a limit, in a copy of the source's folder: each needs changes in at most three files.

A patient table needs

1. its columns, in the file of the first release that contains it;
2. its recipe, whose header declares the key columns and new event types;
3. its example beside the recipe, with rows that use each of its columns: `test_contributing.py` builds it.

A limit needs a line with its citation in `rules/limits.csv` and, if the item has none yet, its unit in `units.csv` and
its concept in `concepts.csv`. An export format needs one file, see `test_export_formats.py`. `make docs` then writes
the generated pages.
"""

from __future__ import annotations

import filecmp
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow.parquet as pq
import pytest

import ehrtraj
from ehrtraj.errors import RecipeError
from ehrtraj.recipes.columns import problem_of_columns
from ehrtraj.rules.figures import problem_of_limits
from ehrtraj.sources.source import Source, find_source, packaged

MIMIC = packaged("mimiciv")
SEPSIS, SEPSIS_HADM = 10900116, 29000116
MOST_FILES = 3

COLUMNS = """\
column,hosp/allergies,subject_id,bigint,,invented
column,hosp/allergies,allergy_id,bigint,,invented
column,hosp/allergies,recorded_time,timestamp,,invented
column,hosp/allergies,substance,string,,invented
column,hosp/allergies,typed_by,string,,invented
"""
RECIPE = """\
-- hosp/allergies: a substance to which the patient is allergic, one per row.
-- keys: subject_id allergy_id recorded_time | allergy_id
-- event type: ALLERGY | 235 | Allergy, when it was recorded | invented
-- left out: typed_by | who typed it, not what happened to the patient
-- rejected: no_code | nullif(trim(substance), '') IS NULL
-- rejected: no_time | recorded_time IS NULL

-- [every row] the allergy
SELECT
  subject_id,
  recorded_time    AS time,
  'ALLERGY'        AS event_type,
  name_or_unknown(substance) AS item,
  NULL::BIGINT     AS hadm_id,
  allergy_id       AS source_key
FROM allergies;
"""
EXAMPLE = f"""\
subject_id,allergy_id,recorded_time,substance,typed_by
{SEPSIS},71,2153-04-12 09:00:00,penicillin,a
{SEPSIS},72,,latex,a
{SEPSIS},73,2153-04-12 09:00:00,,a
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the source's folder for a test to change."""
    return Path(shutil.copytree(MIMIC.folder, tmp_path / "mimiciv"))


def changed_files(folder: Path) -> list[str]:
    """Return the files of the copy that are new or differ from those of the source."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    _, differ, new = filecmp.cmpfiles(MIMIC.folder, folder, names, shallow=False)
    return sorted(differ + new)


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def add_table(folder: Path) -> None:
    append(folder / "releases" / "mimiciv" / "3.1.csv", COLUMNS)
    (folder / "recipes" / "hosp" / "allergies.sql").write_text(RECIPE, encoding="utf-8")


# A table --------------------------------------------------------------------------------------------------------------


def test_a_table_needs_its_columns_its_recipe_and_its_example(
    folder: Path, release: Path, tmp_path: Path, trajectories_of: Callable[[Path], Any]
) -> None:
    add_table(folder)
    example = "recipes/hosp/allergies.example.yaml"
    (folder / example).write_text("- shows: an example, which no build reads\n", encoding="utf-8")
    assert changed_files(folder) == [example, "recipes/hosp/allergies.sql", "releases/mimiciv/3.1.csv"]
    assert len(changed_files(folder)) <= MOST_FILES
    data = Path(shutil.copytree(release, tmp_path / "mimic" / "3.1"))
    (data / "hosp" / "allergies.csv.gz").write_bytes(gzip.compress(EXAMPLE.encode()))

    result = ehrtraj.build(data, tmp_path / "out", "v1", source=folder, max_cpus=1)
    found = trajectories_of(result.path)
    allergy = found.one(SEPSIS, "ALLERGY//")
    assert (allergy["code"], allergy["source_table"], allergy["source_key"]) == (
        "ALLERGY//penicillin", "hosp/allergies", 71,
    )  # fmt: skip
    assert (allergy["hadm_id"], allergy["flags"]) == (SEPSIS_HADM, {"hadm_inferred"})
    entry = result.ledger["hosp/allergies"]
    assert (entry.read, entry.became_events, dict(entry.rejected)) == (3, 1, {"no_time": 1, "no_code": 1})
    event_types = json.loads((result.path / "metadata" / "event_types.json").read_text())
    assert event_types["ALLERGY"] == {"rank": 235, "meaning": "Allergy, when it was recorded"}
    codes = {row["code"]: row for row in pq.read_table(result.path / "metadata" / "codes.parquet").to_pylist()}
    assert codes["ALLERGY//penicillin"]["n_events"] == 1
    assert ehrtraj.check(result.path, max_cpus=1).broken == []


def test_the_rest_of_the_dataset_is_unchanged(
    folder: Path, release: Path, tmp_path: Path, built: Path, read_events: Callable[[Path], Any]
) -> None:
    """A table that is not in a release changes none of the release's events."""
    add_table(folder)
    again = ehrtraj.build(release, tmp_path / "out", "v1", source=folder, max_cpus=1).path
    assert read_events(again).equals(read_events(built))


def test_a_declared_table_works_like_the_others(folder: Path) -> None:
    add_table(folder)
    source = find_source(str(folder))
    assert list(source.tables) == [*MIMIC.tables, "hosp/allergies"]
    table = source.tables["hosp/allergies"]
    assert (table.kind, table.duplicate_columns) == ("patient", ("allergy_id",))
    assert problem_of_columns(source.recipes["hosp/allergies"], table.columns) is None
    order = list(source.event_types)
    assert order[order.index("SERVICE") + 1 :][:2] == ["ALLERGY", "ED_TRIAGE"]
    assert source.rules("event_types")[-1]["source"] == "invented"
    assert source.recipes_digest() != MIMIC.recipes_digest()


KEYS = "-- keys: subject_id allergy_id recorded_time | allergy_id"
WRONG = {
    "no keys": (KEYS, "--", "contains a recipe for hosp/allergies, which is not a known patient table"),
    "no such key": ("| allergy_id", "| id", "no release has a column id of hosp/allergies"),
    "another key": (KEYS, "-- keys: allergy_id | allergy_id", "must begin with subject_id"),
    "half a line": (" | allergy_id", "", "line 2.* write -- keys: COLUMNS"),
    "two lines": (KEYS, f"{KEYS}\n{KEYS}", "more than one line '-- keys:'"),
    "a rank": ("| 235 |", "| later |", r"line 3.* write -- event type: NAME \| RANK"),
    "a name": ("type: ALLERGY", "type: Allergy", r"line 3.* write -- event type: NAME \| RANK"),
    "no source": (" | invented", "", r"line 3.* write -- event type: NAME \| RANK"),
    "a known event type": ("type: ALLERGY", "type: LAB", "LAB is declared twice"),
    "another event type": ("type: ALLERGY", "type: OTHER", "ALLERGY is not in .* no recipe declares it"),
}


def build_with_recipe(folder: Path, name: str, text: str, release: Path) -> None:
    add_table(folder)
    (folder / "recipes" / f"{name}.sql").write_text(text, encoding="utf-8")
    ehrtraj.build(release, folder.parent / "out", "v1", source=folder, max_cpus=1)


@pytest.mark.parametrize(("old", "new", "message"), WRONG.values(), ids=WRONG)
def test_an_error_in_a_declaration_is_named(old: str, new: str, message: str, folder: Path, release: Path) -> None:
    assert old in RECIPE
    with pytest.raises(RecipeError, match=message):
        build_with_recipe(folder, "hosp/allergies", RECIPE.replace(old, new), release)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hosp/allergy", "allergy.sql: no release has columns of hosp/allergy"),
        ("hosp/services", "services.sql: hosp/services is already declared"),
    ],
)
def test_a_recipe_that_declares_an_unknown_or_existing_table_is_named(
    name: str, message: str, folder: Path, release: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        build_with_recipe(folder, name, RECIPE, release)


# A table of an overlay ------------------------------------------------------------------------------------------------


def overlay_with_table(overlay: Path) -> Source:
    """Return a source with an overlay that adds the table by its columns and its recipe."""
    (overlay / "recipes" / "hosp").mkdir(parents=True)
    (overlay / "recipes" / "hosp" / "allergies.sql").write_text(RECIPE, encoding="utf-8")
    lines = [line.split(",")[1:4] for line in COLUMNS.splitlines()]
    columns = [f"hosp,allergies,{column},{kind}\n" for _, column, kind in lines]
    (overlay / "recipes" / "columns.csv").write_text("".join(["module,table,column,type\n", *columns]))
    return find_source(overlay=overlay)


def test_a_table_of_an_overlay_needs_its_columns_and_its_recipe(
    release: Path, tmp_path: Path, trajectories_of: Callable[[Path], Any]
) -> None:
    assert overlay_with_table(tmp_path / "mine").tables["hosp/allergies"].kind == "patient"
    data = Path(shutil.copytree(release, tmp_path / "mimic" / "3.1"))
    (data / "hosp" / "allergies.csv.gz").write_bytes(gzip.compress(EXAMPLE.encode()))
    result = ehrtraj.build(data, tmp_path / "out", "v1", overlay=tmp_path / "mine", max_cpus=1)
    assert trajectories_of(result.path).one(SEPSIS, "ALLERGY//")["source_key"] == 71


def test_a_declaration_copied_into_an_overlay_is_accepted(folder: Path, tmp_path: Path) -> None:
    """To change a recipe, users copy it with its header."""
    add_table(folder)
    recipes = tmp_path / "mine" / "recipes"
    (recipes / "hosp").mkdir(parents=True)
    copied = recipes / "hosp" / "allergies.sql"
    copied.write_text(RECIPE.replace("| 235 |", "| 236 |"), encoding="utf-8")
    source = find_source(str(folder), tmp_path / "mine")
    assert list(source.tables) == [*MIMIC.tables, "hosp/allergies"]
    assert source.event_types["ALLERGY"].rank == 236
    copied.write_text(RECIPE.replace("| allergy_id", "| allergy_id substance"), encoding="utf-8")
    with pytest.raises(RecipeError, match="the keys of the source's table hosp/allergies cannot be changed"):
        find_source(str(folder), tmp_path / "mine").tables  # noqa: B018


# A limit --------------------------------------------------------------------------------------------------------------


def test_a_limit_needs_a_line_with_its_citation_and_a_concept(
    folder: Path, handmade: ModuleType, tmp_path: Path, trajectories_of: Callable[[Path], Any]
) -> None:
    known = {line["item"] for name in ("limits", "concepts") for line in MIMIC.rules(name)}
    units = [(u["item"], u["unit"]) for u in MIMIC.rules("units") if u["event_type"] == "LAB"]
    item, unit = next((item, unit) for item, unit in units if unit == "ng/mL" and item not in known)
    append(folder / "rules" / "limits.csv", f'LAB,{item},0-0,0,1000,5,200,C 0-1000; E 5-200,"C, E: invented"\n')
    append(folder / "rules" / "concepts.csv", f"LAB,{item},LOINC/0-0,invented\n")
    assert changed_files(folder) == ["rules/concepts.csv", "rules/limits.csv"]
    assert problem_of_limits(find_source(str(folder)).rules("limits")[-1]) is None

    rows = [
        {"subject_id": 1, "labevent_id": n, "itemid": item, "charttime": "2150-01-01 08:00", "value": value,
         "valuenum": value, "valueuom": unit}
        for n, value in enumerate((100, 300, 2000))
    ]  # fmt: skip
    handmade.write_tables(tmp_path / "rows", {"hosp/patients": [{"subject_id": 1}], "hosp/labevents": rows})
    built = ehrtraj.build(tmp_path / "rows", tmp_path / "out", "v1", source=folder, max_cpus=1, allow_incomplete=True)
    events = sorted(trajectories_of(built.path).of(1, f"LAB//{item}"), key=lambda event: event["source_key"])
    limit_flags = [event["flags"] & {"suspicious_value", "impossible_value"} for event in events]
    assert limit_flags == [set(), {"suspicious_value"}, {"impossible_value"}]
    assert [event["numeric_value"] for event in events] == [100, 300, None]
