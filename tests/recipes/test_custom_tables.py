"""Custom tables and recipes: the example of docs/guides/custom-tables.md, and possible errors in one."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import ehrtraj
from ehrtraj.cli import app
from ehrtraj.errors import EhrtrajError, OutputError, RecipeError, ReleaseError, SettingsError
from ehrtraj.release.detect import detect
from ehrtraj.sources.coverage import as_markdown, coverage
from ehrtraj.sources.source import find_source, packaged

MIMIC = packaged("mimiciv")

ROOT = Path(__file__).resolve().parents[2]
SEPSIS, CLINIC = 10900116, 10900598
SEPSIS_HADM = 29000116
_FILE = re.compile(r"^`my-overlay/recipes/([\w./]+)`.*?^```(?:csv|sql)\n(.*?)^```", re.M | re.S)

RECORDS = f"""subject_id,study_id,file_name,ecg_time,path
{SEPSIS},40689238,40689238,2153-04-12 09:41:00,files/p1090/p10900116/s40689238/40689238
{CLINIC},44458630,44458630,2150-06-27 08:12:00,files/p1090/p10900598/s44458630/44458630
{CLINIC},44458631,44458631,,files/p1090/p10900598/s44458631/44458631
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The folder of docs/guides/custom-tables.md as files."""
    files = dict(_FILE.findall((ROOT / "docs" / "guides" / "custom-tables.md").read_text(encoding="utf-8")))
    assert set(files) == {"tables.csv", "columns.csv", "event_types.csv", "ecg/record_list.sql", "hosp/services.sql"}
    for name, text in files.items():
        path = tmp_path / "my-overlay" / "recipes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "my-overlay" / "recipes"


@pytest.fixture
def ecg(tmp_path: Path) -> Path:
    folder = tmp_path / "mimic-iv-ecg" / "1.0"
    folder.mkdir(parents=True)
    (folder / "record_list.csv").write_text(RECORDS)
    return folder


@pytest.fixture
def build(release: Path, tmp_path: Path) -> Callable[..., ehrtraj.BuildResult]:
    def build(recipes: Path, name: str = "v1", **settings: Any) -> ehrtraj.BuildResult:
        settings = {"tables": "record_list,services,patients", "max_cpus": 1} | settings
        return ehrtraj.build(release, tmp_path / "out", name, overlay=recipes.parent, **settings)

    return build


def test_the_example_adds_a_table_and_replaces_a_recipe(
    build: Callable[..., ehrtraj.BuildResult], mine: Path, ecg: Path, trajectories_of: Callable[[Path], Any]
) -> None:
    result = build(mine, modules=f"ecg={ecg.parent}")
    assert result.versions["ecg"] == "1.0"
    found = trajectories_of(result.path)
    recording = found.one(SEPSIS, "ECG")
    assert recording["source_table"] == "ecg/record_list"
    assert recording["source_key"] == 40689238
    assert (recording["hadm_id"], recording["flags"]) == (SEPSIS_HADM, {"hadm_inferred"})
    assert recording["attributes"] == {"path": "files/p1090/p10900116/s40689238/40689238"}
    assert found.one(CLINIC, "ECG")["hadm_id"] is None
    assert {e["code"] for e in found.of(SEPSIS, "SERVICE//")} == {"SERVICE//OTHER"}
    entry = result.ledger["ecg/record_list"]
    assert (entry.read, entry.became_events, dict(entry.rejected)) == (3, 2, {"no_time": 1})
    rejects = pq.read_table(result.path / "rejected" / "record_list.parquet").to_pylist()
    assert [(r["reason"], r["study_id"]) for r in rejects] == [("no_time", 44458631)]
    codes = {row["code"]: row for row in pq.read_table(result.path / "metadata" / "codes.parquet").to_pylist()}
    assert codes["ECG"]["description"] == "Electrocardiogram of twelve leads"


def test_the_header_of_the_recipe_can_declare_the_table(
    build: Callable[..., ehrtraj.BuildResult], mine: Path, ecg: Path, read_events: Callable[[Path], Any]
) -> None:
    listed = build(mine, modules=f"ecg={ecg}")
    page = (ROOT / "docs" / "guides" / "custom-tables.md").read_text(encoding="utf-8")
    (header,) = re.findall(r"^```sql\n(-- keys:.*\n-- event type:.*\n)```", page, re.M)
    recipe = mine / "ecg" / "record_list.sql"
    about, line_end, rest = recipe.read_text().partition("\n")
    recipe.write_text(f"{about}{line_end}{header}{rest}")
    for name in ("tables.csv", "event_types.csv"):
        (mine / name).unlink()
    declared = build(mine, "v2", modules=f"ecg={ecg}")
    assert read_events(declared.path).equals(read_events(listed.path))
    assert declared.ledger == listed.ledger


def test_a_dataset_with_a_custom_table_is_checked_shown_and_compared(
    build: Callable[..., ehrtraj.BuildResult], mine: Path, ecg: Path
) -> None:
    """The dataset lists its event types, so no command needs the recipes it was built with."""
    path = str(build(mine, modules=f"ecg={ecg.parent}").path)
    for arguments in (["check", path], ["show", path, str(SEPSIS)], ["info", path], ["diff", path, path]):
        shown = CliRunner().invoke(app, arguments)
        assert shown.exit_code == 0, shown.output
        assert "ECG" in shown.output or arguments[0] in ("check", "diff")


def test_a_module_next_to_the_others_is_found_by_its_name(release: Path, tmp_path: Path, mine: Path, ecg: Path) -> None:
    data = Path(shutil.copytree(release, tmp_path / "mimic"))
    (data / "ecg").mkdir()
    (data / "ecg" / "record_list.csv.gz").write_bytes(gzip.compress(RECORDS.encode()))
    result = ehrtraj.build(data, tmp_path / "out", "v1", max_cpus=1, overlay=mine.parent, tables="record_list")
    assert result.ledger["ecg/record_list"].became_events == 2


def test_a_misnamed_file_of_a_named_module_is_named_with_the_option(
    build: Callable[..., ehrtraj.BuildResult], mine: Path, ecg: Path
) -> None:
    (ecg / "record_list.csv").rename(ecg / "ecg-record-list.csv")
    with pytest.raises(ReleaseError) as raised:
        build(mine, modules=f"ecg={ecg.parent}")
    assert str(raised.value) == (
        f"--modules ecg=: neither {ecg.parent} nor its subfolders contain record_list.csv.gz "
        f"(CSV files found: {Path('1.0', 'ecg-record-list.csv')}. Rename the file of the table)"
    )
    (ecg / "ecg-record-list.csv").unlink()
    with pytest.raises(ReleaseError, match="there is no CSV file"):
        build(mine, modules=f"ecg={ecg}")
    with pytest.raises(ReleaseError, match=f"--modules ecg=: the folder {re.escape(str(ecg / 'x'))} does not exist"):
        build(mine, modules=f"ecg={ecg / 'x'}")


def test_a_misnamed_file_of_a_module_next_to_the_others_is_named(release: Path, tmp_path: Path, mine: Path) -> None:
    data = Path(shutil.copytree(release, tmp_path / "mimic"))
    (data / "ecg").mkdir()
    (data / "ecg" / "record-list.csv").write_text(RECORDS)
    (warning,) = detect(data, find_source(overlay=mine.parent)).warnings
    assert f"{Path('ecg', 'record-list.csv')}. A table must be named <module>/<table>.csv.gz" in warning


def test_only_folders_that_are_not_read_are_unknown_modules(
    release: Path, tmp_path: Path, mine: Path, ecg: Path
) -> None:
    data = Path(shutil.copytree(release, tmp_path / "mimic"))
    (data / "other").mkdir()
    (data / "other" / "unknown.csv").write_text("a\n")
    (ecg.parent / "0.9").mkdir()
    (ecg.parent / "0.9" / "record_list.csv").write_text(RECORDS)
    found = detect(data, find_source(overlay=mine.parent), modules={"ecg": ecg})
    assert [note for note in found.notes if "unknown modules" in note] == ["unknown modules, left out: other"]


def test_changed_recipes_give_another_dataset(
    build: Callable[..., ehrtraj.BuildResult], mine: Path, ecg: Path, tmp_path: Path
) -> None:
    first = build(mine, modules=f"ecg={ecg}")
    assert build(mine, modules=f"ecg={ecg}").already_there
    other = Path(shutil.copytree(mine, tmp_path / "other" / "recipes"))
    recipe = other / "hosp" / "services.sql"
    recipe.write_text(recipe.read_text().replace("'OTHER'", "'MEDICINE'"))
    with pytest.raises(OutputError, match="source differ"):
        build(other, modules=f"ecg={ecg}")
    hashes = [
        json.loads((r.path / "manifest.json").read_text())["fingerprint"]["source"][1]
        for r in (first, build(other, "v2", modules=f"ecg={ecg}"))
    ]
    assert hashes[0] != hashes[1]


WRONG: list[tuple[str, str, str, type[EhrtrajError], str]] = [
    ("tables.csv", "ecg,record_list,patient", "ecg,record_list,table", RecipeError, "must be patient or dictionary"),
    ("tables.csv", "ecg,record_list", "ecg,services", RecipeError, "a table named services already exists"),
    ("tables.csv", "subject_id study_id ecg_time", "study_id", RecipeError, "must begin with subject_id"),
    ("tables.csv", "subject_id study_id ecg_time", "subject_id when", RecipeError, "lacks the column when"),
    ("tables.csv", "module,table,kind", "table,kind", RecipeError, "its first line must be"),
    ("tables.csv", ",study_id\n", "\n", RecipeError, "line 2: it must have 5 fields"),
    ("columns.csv", "ecg_time,timestamp", "ecg_time,date", RecipeError, "line 5: 'date' is not a valid type"),
    ("event_types.csv", "ECG,515", "ECG,later", RecipeError, "but must be an integer"),
    ("event_types.csv", "ECG,515", "EKG,515", RecipeError, "the event type ECG is not in event_types.csv"),
    ("ecg/record_list.sql", "FROM record_list", "FROM record_lists", RecipeError, "DuckDB reports"),
    ("ecg/record_list.sql", "-- [every row]", "-- every row", RecipeError, "no statement is marked"),
    ("ecg/record_list.sql", "FROM record_list", ", NULL::VARCHAR AS item FROM record_list", RecipeError,
     "2 events without an item"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "error", "message"), WRONG)
def test_an_error_in_an_overlay_is_named(
    build: Callable[..., ehrtraj.BuildResult],
    mine: Path,
    ecg: Path,
    file: str,
    old: str,
    new: str,
    error: type[EhrtrajError],
    message: str,
) -> None:
    text = (mine / file).read_text()
    assert old in text
    (mine / file).write_text(text.replace(old, new))
    with pytest.raises(error, match=message):
        build(mine, modules=f"ecg={ecg}")


def test_a_recipe_without_a_table_and_a_table_without_a_recipe_are_named(
    build: Callable[..., ehrtraj.BuildResult], mine: Path, ecg: Path, tmp_path: Path
) -> None:
    (mine / "ecg" / "waveforms.sql").write_text((mine / "ecg" / "record_list.sql").read_text())
    with pytest.raises(RecipeError, match="ecg/waveforms"):
        build(mine, modules=f"ecg={ecg}")
    shutil.rmtree(mine / "ecg")
    with pytest.raises(RecipeError, match="no recipe for ecg/record_list"):
        build(mine, modules=f"ecg={ecg}")
    with pytest.raises(SettingsError, match="does not exist"):
        build(tmp_path / "nowhere" / "recipes")
    with pytest.raises(SettingsError, match="write a module and its folder"):
        build(mine, modules="ecg")


def test_a_module_without_known_tables_is_named(release: Path, tmp_path: Path, ecg: Path) -> None:
    with pytest.raises(ReleaseError, match="--modules names ecg"):
        ehrtraj.build(release, tmp_path / "out", "v1", modules=f"ecg={ecg}")


def test_views_that_read_each_other_in_a_circle_are_named(
    build: Callable[..., ehrtraj.BuildResult], mine: Path, ecg: Path
) -> None:
    (mine / "views").mkdir()
    (mine / "views" / "one.sql").write_text("SELECT * FROM two")
    (mine / "views" / "two.sql").write_text("SELECT * FROM one")
    with pytest.raises(RecipeError, match="in a circle: one, two"):
        build(mine, modules=f"ecg={ecg}")


# The table of coverage ----------------------------------------------------------------------------------------


def test_the_coverage_names_every_table_and_what_becomes_of_it(mine: Path) -> None:

    entries = {entry.table: entry for entry in coverage(MIMIC)}
    assert list(entries) == list(MIMIC.tables)
    assert all(entry.becomes and entry.since for entry in entries.values())
    assert all(entry.about for name, entry in entries.items() if MIMIC.tables[name].kind == "patient")
    assert entries["note/discharge"].becomes == "`DISCHARGE_NOTE`"
    assert entries["hosp/omr"].since == "2.0"
    assert entries["ed/triage"].since == "ED 1.0"
    assert "codes" in entries["icu/d_items"].becomes
    assert "not read" in entries["hosp/provider"].becomes
    custom = {entry.table: entry for entry in coverage(find_source(overlay=mine.parent))}
    assert (custom["ecg/record_list"].becomes, custom["ecg/record_list"].since) == ("`ECG`", "")


def test_the_command_shows_the_coverage(mine: Path) -> None:
    shown = CliRunner().invoke(app, ["tables", "--overlay", str(mine.parent)])
    assert shown.exit_code == 0
    assert re.search(r"^ecg/record_list +custom +ECG$", shown.stdout, re.M)
    assert CliRunner().invoke(app, ["tables", "--markdown"]).stdout == as_markdown(MIMIC)
