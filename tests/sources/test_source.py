"""A source is data files only: a toy source of three tables with other names and text keys works like MIMIC-IV."""

from __future__ import annotations

import ast
import json
import pickle
import re
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import ehrtraj
from ehrtraj.cli import app
from ehrtraj.errors import RecipeError, ReleaseError, SettingsError
from ehrtraj.format import keys
from ehrtraj.labels import label, ready_tasks
from ehrtraj.release.detect import detect, which_source
from ehrtraj.runtime.sizes import Sizes
from ehrtraj.sources.source import find_source, packaged, packaged_names

ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / "tests" / "sources" / "toy_source"
PERSONS = 40
START = datetime(2150, 1, 1, 8)


def person(number: int) -> str:
    return f"P/{number:03d}-ä"


def visit(number: int) -> str:
    return f"{person(number)}/visit"


def rows_of(name: str) -> list[str]:
    """Return the lines of one table: those of `PERSONS` people, and a few that cannot become events."""
    lines = []
    for n in range(PERSONS):
        day = START + timedelta(days=n)
        died = f"{day + timedelta(days=2):%Y-%m-%d %H:%M:%S}" if n % 5 == 0 else ""
        if name == "person":
            lines.append(f"{person(n)},{'FM'[n % 2]},{1950 + n},{died}")
        elif name == "visit":
            lines.append(f"{person(n)},{visit(n)},walk-in,{day},{day + timedelta(hours=9)},HOME")
        else:
            lines += [f"{person(n)},{visit(n)},pulse,{60 + n},/min,{day + timedelta(hours=1)}"]
            # The visit is not named: it is inferred from the time.
            lines += [f"{person(n)},,weight,{50 + n},kg,{day + timedelta(hours=2)}"]
    if name == "measurement":
        lines += [f"{person(0)},{visit(0)},pulse,70,/min,", f",{visit(0)},pulse,70,/min,{START}"]
        lines += [f"{person(0)},{visit(0)},pulse,fast,/min,{START}", f"nobody,,pulse,70,/min,{START}"]
        # A visit of another person, and an impossible number.
        lines += [f"{person(1)},{visit(2)},pulse,999,/min,{START + timedelta(days=1, minutes=5)}"]
    return lines


HEADERS = {
    "person": "person_id,sex,born,died",
    "visit": "person_id,visit_id,kind,arrived,left_at,went_to",
    "measurement": "person_id,visit_id,test,result,unit,taken",
}


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of the toy source. Do not change it."""
    folder = tmp_path_factory.mktemp("clinic") / "toy-1.0"
    (folder / "clinic").mkdir(parents=True)
    for name, header in HEADERS.items():
        (folder / "clinic" / f"{name}.csv").write_text("\n".join([header, *rows_of(name)]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def built(
    clinic: Path, tmp_path_factory: pytest.TempPathFactory, build_sized: Callable[..., ehrtraj.BuildResult]
) -> dict[tuple[int, str], Path]:
    """Its datasets by number of processes and clock, in several shards. Do not change them."""
    output = tmp_path_factory.mktemp("toy")
    given = {"source": TOY}
    return {
        (cpus, clock): build_sized(
            Sizes(shard_rows=200), clinic, output, f"{clock}-{cpus}", max_cpus=cpus, clock=clock, **given
        ).path
        for cpus in (1, 2)
        for clock in ("event", "available")
    }


@pytest.fixture
def toy(built: dict[tuple[int, str], Path]) -> Path:
    return built[1, "event"]


@pytest.mark.parametrize("clock", ["event", "available"])
@pytest.mark.parametrize("cpus", [1, 2])
def test_a_toy_source_builds_and_passes_all_checks(built: dict[tuple[int, str], Path], cpus: int, clock: str) -> None:
    report = ehrtraj.check(built[cpus, clock], max_cpus=1)
    assert (report.broken, report.patients) == ([], PERSONS + 1)
    assert report.files > 3, "the dataset has several shards"
    files = {cpu: sorted((built[cpu, clock] / "data").rglob("*.parquet")) for cpu in (1, 2)}
    assert [f.read_bytes() for f in files[1]] == [f.read_bytes() for f in files[2]]


def test_events_of_the_toy_source_follow_from_its_rows(toy: Path, trajectories_of: Callable[[Path], Any]) -> None:
    found, subject = trajectories_of(toy), keys.number_of(person(3))
    codes = [event["code"] for event in found.of(subject)]
    assert codes == ["SEX//M", "MEDS_BIRTH", "ARRIVAL//walk-in", "TEST//pulse", "TEST//weight", "LEAVING//HOME"]
    assert found.one(subject, "TEST//pulse")["numeric_value"] == 63
    assert found.one(subject, "ARRIVAL//walk-in")["attributes"] == {"visit_id": visit(3)}
    hadm_id = keys.number_of(visit(3))
    assert {event["hadm_id"] for event in found.of(subject)[2:]} == {hadm_id}
    assert found.one(subject, "TEST//weight")["flags"] == {"hadm_inferred"}
    foreign = found.one(keys.number_of(person(1)), "TEST//pulse", raw_value="999")
    assert foreign["hadm_id"] is None
    assert foreign["flags"] == {"hadm_of_other_patient", "impossible_value"}
    assert found.one(keys.number_of("nobody"), "TEST//pulse")["flags"] == {"subject_unknown"}


def test_the_keys_of_patients_are_kept(toy: Path) -> None:
    subjects = pq.read_table(toy / "metadata" / "subjects.parquet").to_pylist()
    known = {row["subject_key"]: row["subject_id"] for row in subjects}
    assert known.pop(None) == keys.number_of("nobody")
    assert known == {person(n): keys.number_of(person(n)) for n in range(PERSONS)}


def test_the_ledger_accounts_for_every_row(toy: Path) -> None:
    ledger = pl.read_parquet(toy / "ledger.parquet")
    assert set(ledger["outcome"]) <= {"read", "events", "rejected"}
    for outcomes in (["read"], ["events", "rejected"]):
        rows = ledger.filter(pl.col("outcome").is_in(outcomes)).group_by("table").agg(pl.col("rows").sum()).rows()
        assert dict(rows) == {f"clinic/{name}": len(rows_of(name)) for name in HEADERS}
    rejected = ledger.filter(outcome="rejected").select("table", "reason", "rows").rows()
    assert sorted(rejected) == [
        ("clinic/measurement", "no_person_id", 1),
        ("clinic/measurement", "no_time", 1),
        ("clinic/measurement", "not_a_number", 1),
    ]


@pytest.mark.parametrize("per", ["patient", "admission"])
def test_the_toy_source_is_exported(toy: Path, tmp_path: Path, per: Any) -> None:
    result = ehrtraj.export(toy, tmp_path / "files", per=per, format="jsonl", outside=True, max_cpus=1)
    index = pl.read_csv(tmp_path / "files" / "index.csv")
    parts = [ehrtraj.read_export(tmp_path / "files" / name) for name in index["path"]]
    assert sum(part.height for part in parts) == result.events == pl.read_parquet(toy / "data").height
    if per == "admission":
        assert set(index["hadm_id"].drop_nulls()) == {keys.number_of(visit(n)) for n in range(PERSONS)}


def test_the_toy_source_is_labelled(toy: Path, tmp_path: Path) -> None:
    dataset, name = ehrtraj.open(toy), "death_after_visit"
    assert list(ready_tasks(find_source(str(TOY)))) == [name]
    (tmp_path / "mine.yaml").write_text((TOY / "tasks" / f"{name}.yaml").read_text())
    for task in (name, tmp_path / "mine.yaml"):
        labels = label(dataset, task).table
        died = {keys.number_of(person(n)) for n in range(0, PERSONS, 5)}
        assert set(labels.filter(boolean_value=True)["subject_id"]) == died
        assert labels.height == PERSONS


def test_datasets_of_the_toy_source_do_not_depend_on_the_number_of_processes(
    built: dict[tuple[int, str], Path],
) -> None:
    assert ehrtraj.diff(built[1, "event"], built[2, "event"], max_cpus=1).same


def test_the_toy_source_is_shown_and_explained(toy: Path, tmp_path: Path) -> None:
    subject = str(keys.number_of(person(3)))
    shown = CliRunner().invoke(app, ["show", str(toy), subject])
    assert shown.exit_code == 0, shown.output
    assert (
        f"Admission {keys.number_of(visit(3))}, walk-in, 2150-01-04 08:00 to 2150-01-04 17:00, to HOME" in shown.stdout
    )
    assert "TEST" in shown.stdout
    assert "Toy clinic 1.0" in CliRunner().invoke(app, ["info", str(toy)]).stdout
    explained = CliRunner().invoke(app, ["explain", str(toy), subject, "--code", "TEST//pulse"])
    assert explained.exit_code == 0, explained.output
    assert person(3) in explained.stdout


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["tables"], "clinic/measurement 1.0 TEST"),
        (["rules", "list"], "event_types 6 Event types"),
        (["rules", "explain", "pulse"], "unit /min"),
        (["tasks"], "Whether a person dies within 30 days"),
        (["tasks", "death_after_visit"], "label: death"),
    ],
)
def test_commands_show_the_content_of_a_source(command: list[str], expected: str) -> None:
    shown = CliRunner().invoke(app, [*command, "--source", str(TOY)])
    assert shown.exit_code == 0, shown.output
    assert expected in " ".join(shown.stdout.split())


def test_patients_are_chosen_by_their_keys(clinic: Path, tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text(f"person_id\n{person(7)}\n{person(8)}\nX\n", encoding="utf-8")
    result = ehrtraj.build(clinic, tmp_path, "some", source=TOY, subjects=tmp_path / "some.csv", max_cpus=1)
    assert result.patients == 2
    assert any("2 of 3 subject IDs are in this release; missing: X" in warning for warning in result.warnings)
    with pytest.raises(SettingsError, match="Toy clinic has no table of ICU stays"):
        ehrtraj.build(clinic, tmp_path, "icu", source=TOY, icu_only=True)
    with pytest.raises(SettingsError, match="--ed: Toy clinic has no such module"):
        ehrtraj.build(clinic, tmp_path, "ed", source=TOY, ed=clinic)


def test_two_keys_of_the_same_number_are_refused(clinic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number_of = keys.number_of
    monkeypatch.setattr(keys, "number_of", lambda key: 1 if key in (person(1), person(2)) else number_of(key))
    with pytest.raises(ReleaseError, match=f"'{person(1)}' and '{person(2)}' have the same subject_id"):
        ehrtraj.build(clinic, tmp_path, "v", source=TOY, max_cpus=1)


@settings(deadline=None)
@given(st.lists(st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0")), max_size=20))
def test_a_key_has_one_number_in_sql_and_in_python(texts: list[str | None]) -> None:
    with duckdb.connect() as connection:
        connection.execute(keys.MACRO)
        connection.register("texts", pa.table({"txt": pa.array(texts, pa.string())}))
        in_sql = [n for (n,) in connection.execute("SELECT number_of(txt) FROM texts").fetchall()]
    assert keys.numbers_of(pa.chunked_array([pa.array(texts, pa.string())])).to_pylist() == in_sql
    assert all(n is None or 0 <= n < 2**53 for n in in_sql)


# Finding and checking sources -----------------------------------------------------------------------------------------


def test_a_source_is_found_by_its_name_its_folder_or_its_tables(
    clinic: Path, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert which_source(release) == find_source("mimiciv") == packaged("mimiciv")
    assert detect(clinic, find_source(str(TOY))).version == "1.0"
    with pytest.raises(SettingsError, match="no source 'nowhere': use one of mimiciv, or a folder that contains"):
        find_source("nowhere")
    with pytest.raises(ReleaseError, match=r"not a Toy clinic release: .* contain clinic/person.csv.gz or another"):
        detect(release, find_source(str(TOY)))
    # Pretend that the toy source is a packaged one.
    from ehrtraj.release import detect as module
    from ehrtraj.sources import source

    monkeypatch.setattr(source, "_PACKAGED", tmp_path / "sources")
    (tmp_path / "sources").mkdir()
    for folder in (TOY, ROOT / "src" / "ehrtraj" / "sources" / "mimiciv"):
        (tmp_path / "sources" / folder.name).symlink_to(folder)
    assert packaged_names() == ("mimiciv", "toy_source")
    assert module.which_source(clinic).title == "Toy clinic"
    with pytest.raises(ReleaseError, match=r"looked for MIMIC-IV \(hosp/patients, icu/chartevents\), Toy clinic"):
        module.which_source(TOY)


def test_a_source_is_pickled_without_its_cached_properties() -> None:
    for source in (find_source(str(TOY)), find_source(str(TOY), TOY), packaged("mimiciv")):
        size = len(pickle.dumps(source))
        assert source.recipes
        assert len(pickle.dumps(source)) == size
        assert pickle.loads(pickle.dumps(source)) == source
        assert pickle.loads(pickle.dumps(source)).tables.keys() == source.tables.keys()
    # The package exists in every process, so the name is enough.
    assert len(pickle.dumps(packaged("mimiciv"))) < 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = ", "is not a valid TOML file"),
        ('title = "Toy"', "lacks the entry 'roles'"),
        ('title = "Toy"\nabout = {}\n[roles.patients]\ntable = "a/b"', "lacks the entry 'key'"),
        ('title = "Toy"\nversion_in_path = "("\nabout = {}\n[roles.patients]\ntable = "a/b"\nkey = "c"\nrows = 1',
         "cannot be used"),
    ],
)  # fmt: skip
def test_a_declaration_that_cannot_be_used_is_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "source.toml").write_text(text)
    with pytest.raises(RecipeError, match=message):
        find_source(str(tmp_path)).declared  # noqa: B018


Change = Callable[[Path], object]


def edit(name: str, old: str, new: str) -> Change:
    """Return a change of one file of a source."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return change


WRONG: dict[str, tuple[Change, str]] = {
    "no helper": (
        lambda folder: (folder / "recipes" / "stays.sql").unlink(),
        "these files are missing: recipes/stays.sql",
    ),
    "no projects": (lambda folder: (folder / "projects.csv").unlink(), "these files are missing: projects.csv"),
    "no recipe": (lambda folder: (folder / "recipes" / "clinic" / "visit.sql").unlink(), "no recipe for clinic/visit"),
    "no columns": (edit("tables.csv", "clinic,visit", "clinic,stay"), "no release has columns of clinic/stay"),
    "a type": (edit("releases/toy/1.0.csv", "double", "float"), "'float' is not a valid type"),
    "a role": (edit("source.toml", "clinic/visit", "clinic/stay"), "clinic/stay is not a table of the kind patient"),
    "a column": (edit("source.toml", '"visit_id"', '"visit"'), "clinic/visit has no column visit"),
    "a key": (edit("tables.csv", "person_id visit_id arrived", "visit_id"), "clinic/visit must begin with person_id"),
    "sql": (
        edit("recipes/clinic/person.sql", "FROM person", "FROM persons"),
        "person.sql, line [0-9]+.*DuckDB reports",
    ),
    "a file": (edit("recipes/stays.sql", "FROM visit", "FROM 'a.csv'"), "stays.* a recipe cannot use files"),
    "an event type": (edit("rules/event_types.csv", "TEST,", "EXAM,"), "the event type TEST is not in event_types.csv"),
}


@pytest.mark.parametrize("what", WRONG)
def test_an_error_in_a_source_is_named_before_any_table_is_read(what: str, clinic: Path, tmp_path: Path) -> None:
    change, message = WRONG[what]
    folder = Path(shutil.copytree(TOY, tmp_path / "mine"))
    change(folder)
    with pytest.raises(RecipeError, match=message):
        ehrtraj.build(clinic, tmp_path / "out", "v", source=folder)
    assert not (tmp_path / "out").exists()


def test_a_numeric_key_with_another_name_becomes_the_subject_id(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TOY, tmp_path / "mine"))
    edit("releases/toy/1.0.csv", "person_id,string", "person_id,integer")(folder)
    (tmp_path / "data" / "clinic").mkdir(parents=True)
    for name, header in HEADERS.items():
        rows = {"person": "7,F,1950,", "visit": "7,a,walk-in,2150-01-01 08:00:00,2150-01-01 09:00:00,HOME"}
        lines = [header, rows.get(name, "7,a,pulse,60,/min,2150-01-01 08:30:00")]
        (tmp_path / "data" / "clinic" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    built = ehrtraj.build(tmp_path / "data", tmp_path / "out", "v", source=folder, max_cpus=1).path
    assert ehrtraj.check(built, max_cpus=1).broken == []
    assert list(ehrtraj.open(built)) == [7]
    assert "TEST//pulse" in ehrtraj.open(built)[7].events["code"]


def test_an_overlay_works_with_any_source(clinic: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "recipes" / "clinic").mkdir(parents=True)
    (tmp_path / "mine" / "rules").mkdir()
    limits = "event_type,item,low,high,suspicious_low,suspicious_high,figures,source"
    (tmp_path / "mine" / "rules" / "limits.csv").write_text(f"{limits}\nTEST,weight,1,60,,,1-60,me\n")
    recipe = (TOY / "recipes" / "clinic" / "person.sql").read_text().replace("coalesce(sex, 'UNKNOWN')", "'X'")
    (tmp_path / "mine" / "recipes" / "clinic" / "person.sql").write_text(recipe)
    with pytest.raises(RecipeError, match=r"person\.sql.*neither uses nor leaves out sex"):
        ehrtraj.build(clinic, tmp_path, "v", source=TOY, overlay=tmp_path / "mine", max_cpus=1)
    recipe = "-- left out: sex | a constant replaces it\n" + recipe
    (tmp_path / "mine" / "recipes" / "clinic" / "person.sql").write_text(recipe)
    built = ehrtraj.build(clinic, tmp_path, "v", source=TOY, overlay=tmp_path / "mine", max_cpus=1).path
    events = ehrtraj.open(built).scan().collect()
    assert set(events.filter(pl.col("code").str.starts_with("SEX"))["code"]) == {"SEX//X"}
    assert events.filter(pl.col("code") == "TEST//weight")["numeric_value"].max() == 60


def test_a_dataset_can_be_used_without_its_source(clinic: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TOY, tmp_path / "mine"))
    built = ehrtraj.build(clinic, tmp_path / "out", "v", source=folder, max_cpus=1).path
    shutil.copy(folder / "tasks" / "death_after_visit.yaml", tmp_path / "mine.yaml")
    shutil.rmtree(folder)
    assert ehrtraj.check(built, max_cpus=1).broken == []
    dataset = ehrtraj.open(built)
    assert dataset[keys.number_of(person(3))].admissions.height == 1
    assert label(dataset, tmp_path / "mine.yaml").table.height == PERSONS
    with pytest.raises(SettingsError, match="there is no source"):
        label(dataset, "death_after_visit")


def test_a_dataset_stores_what_its_readers_need(toy: Path) -> None:
    listed = json.loads((toy / "metadata" / "event_types.json").read_text())
    assert list(listed) == ["SEX", "MEDS_BIRTH", "ARRIVAL", "TEST", "LEAVING", "MEDS_DEATH"]
    assert ehrtraj.open(toy).layout.source == find_source(str(TOY)).facts


# No code names a source -----------------------------------------------------------------------------------------------

ABOUT_MIMIC = (
    "synth/",
    "download/",
    "cli/commands/download.py",
    "cli/commands/synth.py",
    "cli/demo.py",
    "cli/show/demo.py",
)
"""Modules that may name MIMIC-IV, because they are about it."""
SETTINGS = {"ed", "note"}
"""Names of settings that equal those of modules; messages also begin with `note`."""
WORDS = {"patients", "admissions", "services", "diagnosis", "discharge", "transfers", "provider"}
"""Tables whose bare names are also ordinary words."""
EVENT_COLUMNS = {"subject_id", "hadm_id", "stay_id"}
"""Columns of events with the same names as columns of MIMIC-IV."""


def _is_help(node: ast.AST) -> bool:
    """Return whether texts below a node are only for people: docstrings, and help with its examples."""
    if isinstance(node, ast.Assign):
        return all(isinstance(target, ast.Name) and target.id.endswith("_HELP") for target in node.targets)
    return isinstance(node, ast.Expr) or (isinstance(node, ast.keyword) and node.arg == "help")


def _texts(path: Path) -> list[str]:
    """Return all texts in the code of a file, without help."""
    found, remaining = [], [ast.parse(path.read_text(encoding="utf-8"))]
    while remaining:
        node = remaining.pop()
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
        children = list(ast.iter_child_nodes(node))
        for_people = [c for c in children if _is_help(c) and (isinstance(c, ast.Assign | ast.keyword) or _is_text(c))]
        remaining += [c for c in children if c not in for_people]
    return found


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_no_code_names_a_table_a_column_a_module_or_an_item_of_a_source() -> None:
    mimic = packaged("mimiciv")
    names = {table.name for table in mimic.tables.values()} - WORDS
    names |= {column for table in mimic.tables.values() for column in table.columns if "_" in column} - EVENT_COLUMNS
    names |= {line["item"] for line in mimic.rules("units") if re.fullmatch("[0-9]{5,6}", line["item"])}
    names |= {mimic.name, *mimic.projects}
    modules = {place for table in mimic.tables.values() for place in (table.module, *table.places)}
    full = re.compile(rf"\b(?:{'|'.join(modules)})/(?:\w|$)")
    found = []
    for path in sorted((ROOT / "src" / "ehrtraj").rglob("*.py")):
        name = path.relative_to(ROOT / "src" / "ehrtraj").as_posix()
        for text in () if name.startswith(ABOUT_MIMIC) else _texts(path):
            if set(re.findall(r"[\w-]+", text)) & names or text in modules - SETTINGS or full.search(text):
                found.append(f"{name}: {text[:80]!r}")
    assert found == []


def test_a_custom_source_can_have_standard_views(clinic: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(TOY, source)
    (source / "views").mkdir()
    (source / "concepts").mkdir()
    (source / "concepts" / "items.csv").write_text("item,concept\npulse,heart_rate\nweight,\n")
    (source / "views" / "pulses.sql").write_text(
        "SELECT e.subject_id, i.concept FROM happened AS e JOIN concept_items AS i ON e.code = 'TEST//' || i.item"
    )
    (source / "views" / "writes.sql").write_text("SELECT 1; COPY (SELECT 2) TO 'written.csv'")
    (source / "views" / "wrong.sql").write_text("SELECT pulse FROM events")
    ds = ehrtraj.open(ehrtraj.build(clinic, tmp_path / "out", "v1", source=source, max_cpus=1).path)
    counted = dict(ds.sql("SELECT concept, count(*) FROM pulses GROUP BY concept").iter_rows())
    assert counted["heart_rate"] == ds.scan().filter(code="TEST//pulse").collect().height > 0
    assert None in counted, "an empty field is null"
    with pytest.raises(RecipeError, match=r"writes\.sql must be a single SELECT"):
        ds.sql("FROM writes")
    with pytest.raises(RecipeError, match=r"rejected the view views/wrong\.sql"):
        ds.sql("FROM wrong")
    with pytest.raises(SettingsError, match="labs does not exist"):
        ds.sql("FROM labs")


STAYS_SQL = """
SELECT
  'admission' AS kind, a.subject_id, a.hadm_id, a.stay_id, a.time AS start_time, l.time AS end_time,
  a.available_time, l.available_time AS end_available_time, NULL AS start_item, NULL AS end_item,
  year(a.time) - p.birth_year AS age, p.age_top_coded,
  row_number() OVER (PARTITION BY a.subject_id ORDER BY a.time) AS seq, false AS died
FROM happened AS a
LEFT JOIN happened AS l ON l.subject_id = a.subject_id AND l.hadm_id = a.hadm_id AND l.code LIKE 'LEAV%'
LEFT JOIN subjects AS p ON p.subject_id = a.subject_id
WHERE a.code LIKE 'ARRIV%'
"""


def test_cohorts_of_a_custom_source_use_its_stays_and_its_concepts(clinic: Path, toy: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(TOY, source)
    (source / "views").mkdir()
    (source / "concepts").mkdir()
    (source / "concepts" / "items.csv").write_text("event_type,item,concept\nTEST,pulse,heart_rate\nTEST,weight,\n")
    (source / "views" / "stays.sql").write_text(STAYS_SQL)
    built = ehrtraj.build(clinic, tmp_path / "out", "v1", source=source, max_cpus=1).path
    cohort = ehrtraj.open(built).cohort("admission")
    arrivals = ehrtraj.open(built).scan().filter(pl.col("code").str.starts_with("ARRIV")).collect()
    assert sorted(cohort.frame["hadm_id"]) == sorted(arrivals["hadm_id"])
    found = cohort.features(("start", "end"), ["heart_rate", "TEST//pulse"], ["max", "count"])
    assert found["heart_rate_count"].sum() > 0
    assert found["heart_rate_max"].equals(found["TEST//pulse_max"])
    with pytest.raises(SettingsError, match="there is no concept 'weight'"):
        cohort.features(("start", "end"), "weight")
    with pytest.raises(SettingsError, match="does not state when patients were treated"):
        cohort.split("temporal")
    with pytest.raises(SettingsError, match=r"has no stays: its source has no view stays.sql"):
        ehrtraj.open(toy).stays("admission")
    shutil.rmtree(source)
    with pytest.raises(SettingsError, match=r"has no stays: .*, or no longer exists"):
        ehrtraj.open(built).stays("admission")
    alone = ehrtraj.open(built).cohort(cohort.frame)
    assert alone.features(("start", "end"), "TEST//pulse", ["max"])["TEST//pulse_max"].equals(found["heart_rate_max"])
