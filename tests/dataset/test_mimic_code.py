"""Tables of mimic-code, computed from the dataset of the demo through the standard views.

`mimic_code/<table>.sql` computes a table as it should be. Every difference from mimic-code's own result on the same
demo is in `mimic_code/differences.csv`, with its reason and the number of rows. `mimic_code/as_mimic_code/<table>/`
contains mimic-code's way for each of these reasons: a relation that replaces the view, or the step, of that name. With
it, the table must be equal to theirs in every row.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import polars.selectors as cs
import pytest

import ehrtraj

ANSWERS = Path(__file__).resolve().parents[3] / "shared" / "answers" / "mimic_code_demo"
FOLDER = Path(__file__).parent / "mimic_code"
_NEEDS = re.compile(r"^-- needs: (.*)$", re.MULTILINE)
_DOSE = ("stay_id", "linkorderid", "starttime", "endtime")
_SPECIMEN = ("specimen_id",)

# Columns that identify a row. Rows that agree in them are compared in the order of their other columns.
KEYS = {
    "age": ("hadm_id",),
    "antibiotic": ("hadm_id", "route", "starttime", "stoptime"),
    "bg": ("subject_id", "charttime", "po2"),
    "blood_differential": _SPECIMEN,
    "cardiac_marker": _SPECIMEN,
    "chemistry": _SPECIMEN,
    "coagulation": _SPECIMEN,
    "complete_blood_count": _SPECIMEN,
    "enzyme": _SPECIMEN,
    "epinephrine": _DOSE,
    "icustay_detail": ("stay_id",),
    "kdigo_creatinine": ("stay_id", "charttime"),
    "norepinephrine": _DOSE,
    "urine_output": ("stay_id", "charttime"),
    "urine_output_rate": ("stay_id", "charttime"),
    "vasopressin": _DOSE,
    "ventilator_setting": ("subject_id", "charttime"),
    "vitalsign": ("stay_id", "charttime"),
    "weight_durations": ("stay_id", "starttime", "endtime", "weight_type"),
}
ROW = "(row)"


@pytest.fixture(scope="module")
def ds(demo_built: Path) -> ehrtraj.Dataset:
    return ehrtraj.open(demo_built)


@pytest.fixture
def theirs(table: str) -> pl.DataFrame:
    path = ANSWERS / f"{table}.parquet"
    if not path.is_file():
        pytest.skip(f"mimic-code's results are not in {ANSWERS}")
    return pl.read_parquet(path)


def query(table: str, replaced: Mapping[str, Path] | None = None) -> str:
    """Return the SQL of a table with the steps that it needs, in order, as common table expressions.

    Args:
        table: name of the table.
        replaced: SQL files of steps or views that are computed differently.
    """
    replaced = replaced or {}
    steps: dict[str, str] = {}

    def add(name: str) -> None:
        if name not in steps:
            sql = replaced.get(name, FOLDER / f"{name}.sql").read_text(encoding="utf-8")
            for needed in _needs(sql):
                add(needed)
            steps[name] = sql

    add(table)
    views = {name: path.read_text(encoding="utf-8") for name, path in replaced.items() if name not in steps}
    # In the expression of its own name, a name is still that of the view.
    expressions = ", ".join(f"{name} AS MATERIALIZED ({sql})" for name, sql in (views | steps).items())
    return f"WITH {expressions} FROM {table}"


def _needs(sql: str) -> list[str]:
    found = _NEEDS.search(sql)
    return found[1].split(", ") if found else []


def replacements(table: str) -> dict[str, Path]:
    """Return the files with mimic-code's way of computing a view or a step."""
    return {path.stem: path for path in (FOLDER / "as_mimic_code" / table).glob("*.sql")}


def differences(table: str, ours: pl.DataFrame, theirs: pl.DataFrame, *, trim: bool = False) -> Counter[str]:
    """Count the rows that differ, by column. `(row)` counts rows that only one side has.

    Numbers are equal if they agree to six digits: those of the dataset are 32-bit floats. Their order among rows with
    the same key ignores blanks around texts.
    """
    keys = KEYS[table]
    assert sorted(ours.columns) == sorted(theirs.columns)
    sides = [_numbered(_plain(side.select(sorted(ours.columns)), trim=trim), keys) for side in (ours, theirs)]
    on = [*keys, "nth"]
    joined = sides[0].join(sides[1], on=on, how="inner", suffix="_theirs", nulls_equal=True)
    found = Counter({ROW: ours.height + theirs.height - 2 * joined.height})
    for column in set(ours.columns) - set(keys):
        equal = _equal(pl.col(column), pl.col(f"{column}_theirs"), number=ours.schema[column].is_numeric())
        found[column] = joined.filter(~equal).height
    return +found


def _plain(rows: pl.DataFrame, *, trim: bool) -> pl.DataFrame:
    rows = rows.with_columns(cs.numeric().cast(pl.Float64))
    return rows.with_columns(cs.string().str.strip_chars()) if trim else rows


def _numbered(rows: pl.DataFrame, keys: tuple[str, ...]) -> pl.DataFrame:
    columns = [name for name in rows.columns if name not in keys]
    order = [*keys, *(pl.col(name).str.strip_chars() if rows.schema[name] == pl.String else name for name in columns)]
    return rows.sort(order).with_columns(nth=pl.int_range(pl.len()).over(keys))


def _equal(one: pl.Expr, other: pl.Expr, *, number: bool) -> pl.Expr:
    if not number:
        return one.eq_missing(other)
    close = (one - other).abs() <= 1e-6 * pl.max_horizontal(one.abs(), other.abs())
    return close.fill_null(one.is_null() & other.is_null())


def listed(table: str) -> dict[str, int]:
    """Return the number of rows that are listed as different, by column."""
    with (FOLDER / "differences.csv").open(encoding="utf-8", newline="") as file:
        return {line["column"]: int(line["rows"]) for line in csv.DictReader(file) if line["table"] == table}


@pytest.mark.parametrize("table", KEYS)
def test_each_difference_from_mimic_code_is_listed(ds: ehrtraj.Dataset, table: str, theirs: pl.DataFrame) -> None:
    assert differences(table, ds.sql(query(table)), theirs) == listed(table)


@pytest.mark.parametrize("table", KEYS)
def test_computed_as_mimic_code_does_every_row_is_theirs(ds: ehrtraj.Dataset, table: str, theirs: pl.DataFrame) -> None:
    assert differences(table, ds.sql(query(table, replacements(table))), theirs, trim=True) == {}


def test_every_way_of_mimic_code_has_listed_differences() -> None:
    with (FOLDER / "differences.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert all(line["reason"] and line["table"] in KEYS for line in lines)
    replaced = {folder.name for folder in (FOLDER / "as_mimic_code").iterdir()}
    assert replaced <= {line["table"] for line in lines}


def test_differences_are_found() -> None:
    """The comparison distinguishes values, nulls, missing rows and blanks."""
    theirs = pl.DataFrame({"hadm_id": [1, 2, 3], "age": [50, None, 70], "anchor_age": [5.0, 6.0, 7.0]})
    ours = theirs.with_columns(anchor_age=pl.col("anchor_age") * (1 + 1e-8))
    assert differences("age", ours, theirs) == {}
    assert differences("age", ours.with_columns(anchor_age=pl.col("anchor_age") * 1.00001), theirs) == {"anchor_age": 3}
    assert differences("age", ours.with_columns(age=pl.lit(50)), theirs) == {"age": 2}
    assert differences("age", ours.head(2), theirs) == {ROW: 1}
    assert differences("age", ours.with_columns(hadm_id=pl.Series([1, 2, 4])), theirs) == {ROW: 2}
    named = pl.DataFrame({"hadm_id": [1, 1], "age": ["b ", "a"]})
    assert differences("age", named.with_columns(pl.col("age").str.strip_chars()), named) == {"age": 1}
    assert differences("age", named.with_columns(pl.col("age").str.strip_chars()), named, trim=True) == {}
