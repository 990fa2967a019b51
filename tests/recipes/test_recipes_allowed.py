"""A user's recipes may only read the tables of the build. Everything else is an error that names the file and line."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ehrtraj
from ehrtraj.errors import RecipeError
from ehrtraj.pipeline.plan.overlay import check_overlay_recipes
from ehrtraj.pipeline.shard import extract
from ehrtraj.recipes import parse_recipe
from ehrtraj.sources.source import find_source, packaged

RECIPE = """-- hosp/services: the service that cares for the patient from this time on.
-- left out: prev_service | it is the service of the change before
-- rejected: no_time | transfertime IS NULL

-- [every row] a service takes over
SELECT
  subject_id,
  transfertime  AS time,
  'SERVICE'     AS event_type,
  curr_service  AS item,
  hadm_id
FROM services;
"""
NOT_ACCESSIBLE = "a recipe cannot use files, the network, extensions or settings"
ONE_SELECT = "may only read the tables of the build, in one SELECT that writes nothing"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one recipe, next to a file that no recipe may read or replace."""
    recipes = tmp_path / "overlay" / "recipes"
    (recipes / "hosp").mkdir(parents=True)
    (recipes / "views").mkdir()
    (recipes / "hosp" / "services.sql").write_text(RECIPE)
    (tmp_path / "overlay" / "secret.csv").write_text("a\n1\n")
    return recipes


def check(folder: Path) -> None:
    """Check a folder of recipes in the same way as a build."""
    source = find_source(overlay=folder.parent)
    assert source.overlay_recipes is not None
    check_overlay_recipes(source, source.overlay_recipes)


def error_of(folder: Path) -> str:
    """Return the error of a folder of recipes."""
    with pytest.raises(RecipeError) as raised:
        check(folder)
    assert raised.value.exit_code == 5
    assert {path.name for path in folder.parent.iterdir()} == {"recipes", "secret.csv"}
    assert (folder.parent / "secret.csv").read_text() == "a\n1\n"
    return str(raised.value)


def test_a_recipe_that_follows_the_contract_is_accepted(folder: Path) -> None:
    check(folder)
    (folder / "hosp" / "services.sql").write_bytes(RECIPE.replace("\n", "\r\n").encode("utf-8-sig"))
    check(folder)


# Replacements of `FROM services`, which is in line 12 of the file; the SELECT begins in line 6.
ESCAPES = {
    "FROM services, read_csv('{secret}')": (12, NOT_ACCESSIBLE),
    "FROM services, '{secret}'": (6, NOT_ACCESSIBLE),
    "FROM services, glob('/etc/*')": (12, NOT_ACCESSIBLE),
    "FROM services, read_text('/etc/hostname')": (12, NOT_ACCESSIBLE),
    "FROM services, read_parquet('http://127.0.0.1:9/x')": (12, NOT_ACCESSIBLE),
    "FROM services, query('FROM read_text(''/etc/hostname'')')": (12, NOT_ACCESSIBLE),
    "FROM services, enable_logging(storage = 'file', storage_path = '{secret}')": (12, NOT_ACCESSIBLE),
    "FROM services, folder": (12, "DuckDB reports: Catalog Error"),
    "FROM services; COPY (SELECT 1) TO '{secret}'": (6, ONE_SELECT),
    "FROM services; ATTACH '{secret}.db'": (6, ONE_SELECT),
    "FROM services; SET threads = 2": (6, ONE_SELECT),
    "FROM services; INSTALL httpfs": (6, ONE_SELECT),
    "FROM services; DROP VIEW services": (6, ONE_SELECT),
    "FROM services WHERE nothing": (12, "DuckDB reports: Binder Error"),
    "FROM services WHERE\n\n)": (14, "DuckDB reports: Parser Error"),
    "FROM services WHERE (" + "(" * 300 + "1" + ")" * 301: (1, "nested more than 200 deep"),
    "FROM services WHERE '": (12, "DuckDB reports: Parser Error"),
}


@pytest.mark.parametrize("replacement", ESCAPES)
def test_a_statement_cannot_access_anything_outside_its_session(replacement: str, folder: Path) -> None:
    path = folder / "hosp" / "services.sql"
    line, message = ESCAPES[replacement]
    path.write_text(RECIPE.replace("FROM services", replacement.format(secret=folder.parent / "secret.csv")))
    error = error_of(folder)
    assert message in error
    place = f"({path}, line {line})"
    # If DuckDB does not report the line, the error names the first line of the statement.
    assert error.startswith("recipe hosp/services") and (place in error or f"({path}, line 6)" in error), error


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("SELECT\n", "WITH w AS (COPY (SELECT 1) TO '{secret}' (USE_TMP_FILE false)) SELECT\n", 6, ONE_SELECT),
        ("SELECT\n", "COPY (SELECT 1) TO '{secret}'; SELECT\n", 6, ONE_SELECT),
        ("transfertime IS NULL", "1) FROM services; COPY (SELECT 1) TO '{secret}'; SELECT (1", 3, ONE_SELECT),
        ("transfertime IS NULL", "EXISTS (FROM read_csv('{secret}'))", 1, NOT_ACCESSIBLE),
        ("transfertime IS NULL", "transfertime IS NULL --", 3, "Parser Error"),
        ("transfertime IS NULL", "nothing IS NULL", 1, "Binder Error"),
        ("-- rejected: no_time |", "-- rejected: No Time |", 3, "is not a valid declaration"),
        ("| it is the service", "it is the service", 2, "is not a valid declaration"),
        ("hadm_id\n", "hadm_id, transfertime::DATE AS day\n", 6, "day has the type DATE: cast it to VARCHAR"),
        ("hadm_id\n", "hadm_id, [1] AS list\n", 6, r"list has the type INTEGER\[\]"),
        ("curr_service  AS item", "1.5::DOUBLE AS item", 6, "item has the type DOUBLE"),
        ("subject_id,\n", "", 6, "does not select subject_id"),
        ("FROM services;", "FROM services", 5, "does not end with a semicolon"),
        (
            "'SERVICE'     AS event_type",
            "'NOTHING' AS event_type",
            6,
            "the event type NOTHING is not in event_types.csv",
        ),
    ],
)
def test_an_error_in_a_recipe_is_named(old: str, new: str, line: int, message: str, folder: Path) -> None:
    path = folder / "hosp" / "services.sql"
    assert old in RECIPE
    path.write_text(RECIPE.replace(old, new.format(secret=folder.parent / "secret.csv")))
    error = error_of(folder)
    assert f"({path}, line {line})" in error
    assert re.search(message, error), error


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("views/mine.sql", "FROM read_csv('{secret}')", NOT_ACCESSIBLE),
        ("views/mine.sql", "SELECT 1 AS a; COPY (SELECT 1) TO '{secret}'", ONE_SELECT),
        ("views/mine.sql", "\n\nSELECT 1 AS", "line 3"),
        ('views/a" AS SELECT 1; --.sql', "SELECT 1 AS a", "the name of a view must consist of letters"),
        ("views/labevents.sql", "SELECT 1 AS a", "a table has the same name"),
        ("macros.sql", "COPY (SELECT 1) TO '{secret}';", "may contain only CREATE MACRO"),
        ("macros.sql", "CREATE TABLE t AS FROM '{secret}';", "may contain only CREATE MACRO"),
        ("macros.sql", "CREATE MACRO m() AS 1;\n-- why\nSET threads = 2;", "may contain only CREATE MACRO"),
        ("macros.sql", "CREATE MACRO m() AS 1;\nCREATE MACRO", "line 2"),
        ("macros.sql", "CREATE OR REPLACE MACRO day_end(d) AS nothing(d);", "DuckDB reports"),
        ("encounters.sql", "COPY (SELECT 1) TO '{secret}'", ONE_SELECT),
        ("encounters.sql", "SELECT 1::BIGINT AS subject_id", "must select"),
        ("dictionaries.sql", "WITH w AS (COPY (SELECT 1) TO '{secret}') SELECT 'a' AS event_type", ONE_SELECT),
        ("dictionaries.sql", "SELECT 'LAB' AS event_type", "must select item as VARCHAR"),
        ("codes.sql", "FROM read_csv('{secret}')", NOT_ACCESSIBLE),
        ("hosp/services.SQL", "SELECT 1", "is not used"),
        ("service.sql", "SELECT 1", "is not used"),
        ("limits.csv", "", "is not used"),
        ("hosp/labevents.sql", b"-- \xe9\n", "line 1: not UTF-8"),
        ("hosp/labevents.sql", "-- \0", "line 1: a NUL"),
        ("hosp/labevents.sql", "-- x\n" * 300_000, "is too large"),
        ("hosp/labevents.sql", "-- left out:" + " " * 100_000 + "\n", "no statement is marked"),
    ],
)
def test_an_error_in_another_file_of_the_folder_is_named(
    name: str, text: str | bytes, message: str, folder: Path
) -> None:
    if isinstance(text, str):
        text = text.replace("{secret}", str(folder.parent / "secret.csv")).encode()
    (folder / name).write_bytes(text)
    error = error_of(folder)
    assert message in error and str(folder / name) in error, error


def test_a_packaged_recipe_that_a_users_view_breaks_names_the_folder(folder: Path) -> None:
    (folder / "views" / "ed_stay.sql").write_text("SELECT subject_id FROM edstays")
    assert re.search(rf"recipe views/\w+ \(of the package, over views and macros of {folder}\): ", error_of(folder))


ODD: dict[str, Callable[[Path], object]] = {
    "hosp/labevents.sql": lambda path: path.mkdir(),
    "hosp/omr.sql": lambda path: path.symlink_to("missing.sql"),
    "views/mine.sql": lambda path: os.mkfifo(path),
    "icu": lambda path: path.symlink_to("missing"),
    "macros.sql": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("name", ODD)
def test_a_path_that_is_not_a_regular_file_is_named(name: str, folder: Path) -> None:
    ODD[name](folder / name)
    assert str(folder / name) in error_of(folder)


def test_very_long_header_lines_are_parsed_quickly() -> None:
    marker = "-- [every row] x\nSELECT 'LAB' AS event_type;\n"
    for blanks in (" " * 500_000, " x" * 250_000, "\n" * 500_000):
        for key in ("left out", "rejected", "separate"):
            with pytest.raises(RecipeError, match="is not a valid declaration"):
                parse_recipe("hosp/services", f"-- {key}:{blanks}\n{marker}")


def test_every_packaged_recipe_passes_the_checks_of_users_recipes(tmp_path: Path) -> None:
    shutil.copytree(packaged("mimiciv").folder / "recipes", tmp_path / "recipes")
    check(tmp_path / "recipes")


# In a build -----------------------------------------------------------------------------------------------------------


def test_a_build_refuses_before_it_writes_anything(release: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "hosp" / "services.sql").write_text(RECIPE.replace("FROM services", "FROM read_csv('/etc/hostname')"))
    with pytest.raises(RecipeError, match=NOT_ACCESSIBLE):
        ehrtraj.build(release, tmp_path / "out", "v1", overlay=folder.parent)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("subject", ["1::BIGINT", "NULL::BIGINT", "subject_id + 1"])
def test_an_event_of_another_patient_is_refused(subject: str, build_rows: Callable[..., Any], folder: Path) -> None:
    (folder / "hosp" / "services.sql").write_text(RECIPE.replace("  subject_id,", f"  {subject} AS subject_id,"))
    rows = {
        "hosp/patients": [{"subject_id": 10_000_001, "gender": "F", "anchor_age": 50, "anchor_year": 2150}],
        "hosp/services": [{"subject_id": 10_000_001, "hadm_id": 1, "transfertime": "2150-01-01 00:00:00"}],
    }
    with pytest.raises(RecipeError, match=r"services.sql, line 6.: an event has a subject_id that no row of the table"):
        build_rows(rows, overlay=folder.parent)


def test_a_statement_that_runs_too_long_is_stopped(
    build_rows: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract, "MOST_SECONDS", 1)
    long = "FROM services WHERE 0 < (SELECT sum(hash(a.range + b.range)) FROM range(1000000) a, range(10000000) b)"
    (folder / "hosp" / "services.sql").write_text(RECIPE.replace("FROM services", long))
    rows = {
        "hosp/patients": [{"subject_id": 10_000_001, "gender": "F", "anchor_age": 50, "anchor_year": 2150}],
        "hosp/services": [{"subject_id": 10_000_001, "hadm_id": 1, "transfertime": "2150-01-01 00:00:00"}],
    }
    with pytest.raises(RecipeError, match="maximum execution time"):
        build_rows(rows, overlay=folder.parent)
