"""Checks of every packaged recipe, rule table and data file: any change to one is tested here."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from ehrtraj import rules
from ehrtraj.errors import RecipeError
from ehrtraj.recipes import Statement, parse_recipe
from ehrtraj.recipes.columns import problem_of_columns
from ehrtraj.release import schema
from ehrtraj.sources.source import packaged

MIMIC = packaged("mimiciv")

TABLES = MIMIC.tables
PATIENT_TABLES = [name for name, table in TABLES.items() if table.kind == "patient"]
RECIPES = MIMIC.recipes
STATEMENTS = [
    pytest.param(name, statement, id=f"{name}-{statement.event_type}")
    for name, recipe in RECIPES.items()
    for statement in recipe.statements
]
RULE_TABLES = ["about", *(line["table"] for line in rules.read_general("about"))]
MOST_FLAGS = 62  # bits that stay positive in an int64, one to spare
# Attributes that come from another table than the row's table.
OF_OTHER_TABLES = {
    "hosp/patients": {"dod"},
    "hosp/admissions": {"transfer_id"},
    "icu/ingredientevents": {"patientweight"},
    "note/discharge": {"author"},
    "note/radiology": {"author"},
}
PRECISIONS = {"second", "minute", "day", "year"}
EVENT_TYPES = {
    "subject_id": {"BIGINT"},
    "time": {"TIMESTAMP"},
    "item": {"VARCHAR", "BIGINT", "INTEGER"},
    "numeric_value": {"DOUBLE"},
    "text_value": {"VARCHAR"},
    "unit": {"VARCHAR"},
    "available_time": {"TIMESTAMP"},
    "time_precision": {"VARCHAR"},
    "hadm_id": {"BIGINT"},
    "stay_id": {"BIGINT"},
    "raw_value": {"VARCHAR"},
    "raw_unit": {"VARCHAR"},
    "flags": {"BIGINT", "INTEGER"},
    "source_key": {"BIGINT", "INTEGER"},
    "link_id": {"BIGINT"},
    "code_description": {"VARCHAR"},
    "code_parent": {"VARCHAR"},
    "code_drug": {"VARCHAR"},
    "code_ingredient": {"VARCHAR"},
}
# Attributes that are not columns of their table, but are derived from the row.
NOT_COLUMNS = {"dod", "ndc_written", "status"}


def data_rows(name: str) -> list[dict[str, str]]:
    with (MIMIC.folder / f"{name}.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture(scope="module")
def empty() -> Iterator[duckdb.DuckDBPyConnection]:
    """A session for recipes: the macros, `flag`, and all patient tables by bare name, in which no table has a row."""
    connection = duckdb.connect(config={"threads": 1})
    values = " ".join(f"WHEN '{name}' THEN {value}" for name, value in rules.flags().items())
    connection.execute(f"CREATE MACRO flag(name) AS CASE name {values} ELSE error('unknown flag') END::BIGINT")
    connection.execute(MIMIC.helper("macros"))
    for name in PATIENT_TABLES:
        connection.register(TABLES[name].name, TABLES[name].schema.empty_table())
    for view, sql in MIMIC.views.items():
        connection.execute(f"CREATE VIEW {view} AS {sql}")
    yield connection
    connection.close()


# Recipes ----------------------------------------------------------------------------------------------------


def test_every_patient_table_has_a_recipe_and_every_recipe_a_patient_table() -> None:
    assert sorted(RECIPES) == sorted(PATIENT_TABLES)


def test_every_recipe_describes_its_rows_and_events() -> None:
    for name, recipe in RECIPES.items():
        assert re.match(rf"{re.escape(name)}: \w+", recipe.about), f"{name}: the first line is '{recipe.about}'"
        for statement in recipe.statements:
            assert statement.about, f"{name}: a statement has no description of its event"


@pytest.mark.parametrize("name", PATIENT_TABLES)
def test_every_column_is_used_or_left_out_with_a_reason(name: str) -> None:
    assert problem_of_columns(RECIPES[name], TABLES[name].columns) is None


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("seq_num, result_value", "seq_num", "neither uses nor leaves out result_value: select it, or add a line"),
        ("seq_num, result_value", "seq_num, result_value, subject_id", "leaves out subject_id, but uses it"),
        ("seq_num, result_value", "seq_num, result_value, weight", "leaves out weight, which is not a column"),
        ("| only for this test", "| no", "the reason why seq_num, result_value is left out is too short"),
        ("AS event_type FROM omr;", "AS event_type FROM omr; -- seq_num", None),
    ],
)
def test_a_recipe_that_forgets_a_column_is_named(old: str, new: str, problem: str | None) -> None:
    columns = ["subject_id", "chartdate", "seq_num", "result_value"]
    assert problem_of_columns(parse_recipe("hosp/omr", GOOD), columns) is None
    found = problem_of_columns(parse_recipe("hosp/omr", GOOD.replace(old, new)), columns)
    assert found is None if problem is None else problem in str(found)


@pytest.mark.parametrize("name", PATIENT_TABLES)
def test_conditions_of_rejected_rows_bind(name: str, empty: duckdb.DuckDBPyConnection) -> None:
    for reason, condition in RECIPES[name].rejected:
        relation = empty.sql(f'SELECT ({condition}) AS held FROM "{TABLES[name].name}"')
        assert [str(t) for t in relation.types] == ["BOOLEAN"], reason


@pytest.mark.parametrize(("name", "statement"), STATEMENTS)
def test_statements_bind_and_yield_the_columns_of_an_event(
    name: str, statement: Statement, empty: duckdb.DuckDBPyConnection
) -> None:
    relation = empty.sql(statement.sql)
    kinds = dict(zip(relation.columns, map(str, relation.types), strict=True))
    assert {"subject_id", "time", "event_type"} <= set(kinds)
    assert len(kinds) == len(relation.columns), "two columns have the same name"
    for column, allowed in EVENT_TYPES.items():
        if column in kinds and kinds[column] != "NULL":
            assert kinds[column] in allowed, f"{column} is {kinds[column]}"
    # Columns that are not columns of an event become attributes, named after columns of the source.
    attributes = set(kinds) - set(EVENT_TYPES) - {"event_type"}
    allowed = set(TABLES[name].columns) | NOT_COLUMNS | OF_OTHER_TABLES.get(name, set())
    assert attributes <= allowed, f"not a column of {name}: {attributes - allowed}"


@pytest.mark.parametrize(("name", "statement"), STATEMENTS)
def test_statements_name_known_event_types_flags_and_precisions(name: str, statement: Statement) -> None:
    assert statement.event_type in MIMIC.event_types
    named = set(re.findall(r"\bflag\(\s*'([^']*)'\s*\)", statement.sql))
    assert len(re.findall(r"\bflag\(", statement.sql)) == len(re.findall(r"\bflag\(\s*'", statement.sql))
    assert named <= set(rules.flags()), f"{name} names flags that are not in flags.csv"
    for precision in re.findall(r"'(\w+)'\s+AS\s+time_precision", statement.sql):
        assert precision in PRECISIONS


def test_every_event_type_is_made_by_a_recipe() -> None:
    made = {statement.event_type for recipe in RECIPES.values() for statement in recipe.statements}
    assert made == set(MIMIC.event_types)


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("encounters", ["subject_id", "start", "stop", "hadm_id"]),
        ("subjects", ["subject_id", "sex", "birth_year", "age_top_coded", "death_time", "followup_end"]),
        ("codes", ["code", "description"]),
        ("dictionaries", ["event_type", "item"]),
    ],
)
def test_helpers_bind(name: str, columns: list[str], empty: duckdb.DuckDBPyConnection) -> None:
    for table in TABLES.values():
        if table.kind == "dictionary":
            empty.register(table.name, table.schema.empty_table())
    assert empty.sql(MIMIC.helper(name)).columns == columns


# The contract of a recipe -----------------------------------------------------------------------------------

GOOD = """-- hosp/omr: measurements.
-- left out: seq_num, result_value | only for this test
-- rejected: no_time | chartdate IS NULL

-- [every row] the measurement
SELECT subject_id, chartdate AS time, 'OMR' AS event_type FROM omr;

-- [also] something else
SELECT subject_id, chartdate AS time, 'LAB' AS event_type FROM omr;
"""


def test_a_recipe_is_parsed() -> None:
    recipe = parse_recipe("hosp/omr", GOOD)
    assert recipe.about == "hosp/omr: measurements."
    assert recipe.left_out == {"seq_num": "only for this test", "result_value": "only for this test"}
    assert recipe.rejected == (("no_time", "chartdate IS NULL"),)
    assert [(s.every_row, s.about, s.event_type) for s in recipe.statements] == [
        (True, "the measurement", "OMR"),
        (False, "something else", "LAB"),
    ]
    assert recipe.mentions(["omr", "labevents"]) == {"omr"}


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("-- [every row] the measurement", "", "the first statement, and only the first"),
        ("-- [also] something else", "-- [every row] something else", "the first statement, and only the first"),
        ("AS event_type FROM omr;\n\n", "AS event_type FROM omr\n\n", "does not end with a semicolon"),
        ("'OMR' AS event_type", "result_name AS event_type", "must contain exactly one event type"),
        ("'OMR' AS event_type", "'OMR' AS event_type, 'LAB' AS event_type", "must contain exactly one event type"),
    ],
)
def test_a_recipe_that_breaks_the_contract_is_refused(old: str, new: str, complaint: str) -> None:
    assert old in GOOD
    with pytest.raises(RecipeError, match=complaint):
        parse_recipe("hosp/omr", GOOD.replace(old, new))


def test_a_recipe_without_statements_is_refused() -> None:
    with pytest.raises(RecipeError, match="no statement"):
        parse_recipe("hosp/omr", "-- hosp/omr: nothing\nSELECT 1;\n")


# Rules ------------------------------------------------------------------------------------------------------


def test_there_are_rule_tables() -> None:
    assert {"event_types", "flags"} <= set(RULE_TABLES)


@pytest.mark.parametrize("name", RULE_TABLES)
def test_every_line_of_a_rule_table_is_complete_and_has_a_source(name: str) -> None:
    rows = MIMIC.rules(name)
    assert rows
    for row in rows:
        assert None not in row, f"a line has too many fields: {row}"
        assert None not in row.values(), f"a line has too few fields: {row}"
        assert (row["source"] or "").strip(), f"no source: {row}"


def test_event_types_have_unique_names_and_ranks_and_a_meaning() -> None:
    rows = MIMIC.rules("event_types")
    assert len({r["event_type"] for r in rows}) == len(rows)
    assert len({int(r["rank"]) for r in rows}) == len(rows)
    assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", r["event_type"]) and r["meaning"].strip() for r in rows)


def test_events_of_one_time_are_in_the_order_of_cause_and_effect() -> None:
    order = list(MIMIC.event_types)
    assert order[-1] == "MEDS_DEATH"
    assert order.index("DISCHARGE") < order.index("HOSPITAL_DEATH")
    static = {
        statement.event_type
        for recipe in RECIPES.values()
        for statement in recipe.statements
        if re.search(r"NULL(::TIMESTAMP)?\s+AS\s+time\b", statement.sql)
    }
    assert set(order[: order.index("MEDS_BIRTH")]) == static, "only events without a time are before the birth"
    for first, second in [
        ("ED_REGISTRATION", "ADMISSION"),
        ("ADMISSION", "TRANSFER"),
        ("ICU_START", "ICU_END"),
        ("INPUT_START", "INPUT_END"),
        ("DRUG_ORDER_START", "EMAR"),
        ("MICRO_SPECIMEN", "MICRO"),
        ("LAB", "DISCHARGE"),
        ("DIAGNOSIS", "DISCHARGE"),
    ]:
        assert order.index(first) < order.index(second), f"{first} before {second}"


def test_flags_have_unique_names_and_bits_that_fit_an_int64() -> None:
    rows = rules.read_general("flags")
    bits = [int(r["bit"]) for r in rows]
    assert len(set(bits)) == len(bits)
    assert all(0 <= bit < MOST_FLAGS for bit in bits)
    assert len({r["flag"] for r in rows}) == len(rows)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", r["flag"]) and r["meaning"].strip() for r in rows)
    assert rules.flags() == {r["flag"]: 2 ** int(r["bit"]) for r in rows}


def test_every_flag_is_set_by_a_recipe_the_build_or_a_rule() -> None:
    root = Path(str(files("ehrtraj")))
    texts = " ".join(f.read_text(encoding="utf-8") for f in [*root.rglob("*.sql"), *root.rglob("*.py")])
    given = {line["flag"] for line in MIMIC.rules("item_flags")}
    assert [
        name for name in rules.flags() if f"'{name}'" not in texts and f'"{name}"' not in texts and name not in given
    ] == []


# Data files of the release ----------------------------------------------------------------------------------


def test_tables_and_columns_of_the_releases_are_complete_and_of_known_types() -> None:
    listed = {f"{r['module']}/{r['table']}" for r in data_rows("tables")}
    listed |= {name for name, recipe in RECIPES.items() if recipe.keys is not None}
    known = MIMIC.history.tables
    assert set(known) == listed == set(TABLES)
    assert {kind for table in known.values() for kind in table.columns.values()} <= set(schema.ARROW_TYPES)


def test_tables_are_of_known_kinds_with_unique_names() -> None:
    assert {table.kind for table in TABLES.values()} == {"patient", "dictionary", "no_patients"}
    # Recipes join tables by their bare names.
    assert len({table.name for table in TABLES.values()}) == len(TABLES)


@pytest.mark.parametrize("name", list(TABLES))
def test_key_and_duplicate_columns_are_columns(name: str) -> None:
    table = TABLES[name]
    assert table.key_columns
    assert set(table.key_columns) <= set(table.columns)
    assert set(table.duplicate_columns) <= set(table.columns)
    if table.kind == "patient":
        assert table.key_columns[0] == "subject_id"
        assert table.columns["subject_id"] == pa.int64()
        assert table.duplicate_columns, "exact duplicates would never be found"


def test_published_row_counts_are_of_known_tables() -> None:
    counts = MIMIC.published_row_counts("mimiciv")
    assert "3.1" in counts
    assert "2.2" in counts
    names = {table.name for table in TABLES.values()}
    for release, rows in counts.items():
        assert set(rows) & names, f"no table of {release} is known"
        assert all(n >= 0 for n in rows.values())
