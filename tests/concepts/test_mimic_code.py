"""Concepts compared with mimic-code's own results on the same demo.

In the mode `as_mimic_code`, every row must be equal to theirs. Every difference of the default is in
`differences/<table>.csv`, with its reason and the number of rows.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl
import polars.selectors as cs
import pytest

from ehrtraj.concepts.header import AVAILABLE
from ehrtraj.concepts.library import Concept, ConceptLibrary
from ehrtraj.concepts.session import ConceptMode

ANSWERS = Path(__file__).resolve().parents[3] / "shared" / "answers" / "mimic_code_demo"
LISTED = Path(__file__).parent / "differences"
THEIR_WAY = ConceptMode(as_mimic_code=True)
Compute = Callable[..., pl.DataFrame]
# Tables of their results; every one of them is a concept.
TABLES = [
    "age", "antibiotic", "bg", "blood_differential", "cardiac_marker", "charlson", "chemistry", "coagulation",
    "complete_blood_count", "crrt", "enzyme", "epinephrine", "first_day_lab", "first_day_sofa", "first_day_vitalsign",
    "gcs", "height", "icustay_detail", "kdigo_creatinine", "norepinephrine", "oxygen_delivery",
    "suspicion_of_infection", "urine_output", "urine_output_rate", "vasopressin", "ventilation", "ventilator_setting",
    "vitalsign", "weight_durations",
]  # fmt: skip
ROW = "(row)"
MOST_WITHOUT_TEST = 0.01


@pytest.fixture
def theirs(table: str) -> pl.DataFrame:
    path = ANSWERS / f"{table}.parquet"
    if not path.is_file():
        pytest.skip(f"mimic-code's results are not in {ANSWERS}")
    return pl.read_parquet(path)


def renamed(concept: Concept, rows: pl.DataFrame) -> pl.DataFrame:
    """Return a result with mimic-code's columns and names, but with our values."""
    header = concept.header
    hidden = header.without | {AVAILABLE}
    names = [name for name in rows.columns if name not in hidden]
    return rows.select(pl.col(name).alias(header.renamed.get(name, name)) for name in names)


def identity(concept: Concept) -> list[str]:
    """Return the columns that identify a row, under mimic-code's names."""
    header = concept.header
    return [header.renamed.get(name, name) for name in header.row if name not in header.without]


def differences(keys: Sequence[str], ours: pl.DataFrame, theirs: pl.DataFrame, *, trim: bool = False) -> Counter[str]:
    """Count the rows that differ, by column. `(row)` counts rows that only one side has.

    Numbers are equal if they agree to six digits: those of the dataset are 32-bit floats. Their order among rows with
    the same key ignores blanks around texts.
    """
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


def _numbered(rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    columns = [name for name in rows.columns if name not in keys]
    order = [*keys, *(pl.col(name).str.strip_chars() if rows.schema[name] == pl.String else name for name in columns)]
    return rows.sort(order).with_columns(nth=pl.int_range(pl.len()).over(keys))


def _equal(one: pl.Expr, other: pl.Expr, *, number: bool) -> pl.Expr:
    if not number:
        return one.eq_missing(other)
    close = (one - other).abs() <= 1e-6 * pl.max_horizontal(one.abs(), other.abs())
    return close.fill_null(one.is_null() & other.is_null())


def lines(table: str) -> list[dict[str, str]]:
    path = LISTED / f"{table}.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("table", TABLES)
def test_each_difference_from_mimic_code_is_listed(
    demo_concept: Compute, library: ConceptLibrary, table: str, theirs: pl.DataFrame
) -> None:
    concept = library.concepts[table]
    ours = renamed(concept, demo_concept(table))
    listed = {line["column"]: int(line["rows"]) for line in lines(table)}
    assert differences(identity(concept), ours, theirs, trim=True) == listed
    assert not listed or concept.header.differs


@pytest.mark.parametrize("table", TABLES)
def test_computed_as_mimic_code_does_every_row_is_theirs(
    demo_concept: Compute, library: ConceptLibrary, table: str, theirs: pl.DataFrame
) -> None:
    keys = identity(library.concepts[table])
    assert differences(keys, demo_concept(table, THEIR_WAY), theirs, trim=True) == {}


@pytest.mark.parametrize("table", TABLES)
def test_a_difference_in_many_rows_has_a_test(table: str, theirs: pl.DataFrame) -> None:
    """A reason for more than 1 % of the rows has a test with events written by hand."""
    for line in lines(table):
        file, _, name = line["test"].partition("::")
        if int(line["rows"]) > theirs.height * MOST_WITHOUT_TEST:
            assert name, f"{table}, {line['column']}: name a test"
        if name:
            assert f"def {name}(" in (Path(__file__).parent / file).read_text(encoding="utf-8"), name


def test_every_listed_difference_has_a_reason() -> None:
    files = list(LISTED.iterdir())
    assert {file.stem for file in files} <= set(TABLES)
    assert all(line["reason"] and int(line["rows"]) > 0 for file in files for line in lines(file.stem))


def test_differences_are_found() -> None:
    """The comparison distinguishes values, nulls, missing rows and blanks."""
    theirs = pl.DataFrame({"hadm_id": [1, 2, 3], "age": [50, None, 70], "anchor_age": [5.0, 6.0, 7.0]})
    ours = theirs.with_columns(anchor_age=pl.col("anchor_age") * (1 + 1e-8))
    assert differences(["hadm_id"], ours, theirs) == {}
    assert differences(["hadm_id"], ours.with_columns(anchor_age=pl.col("anchor_age") * 1.00001), theirs) == {
        "anchor_age": 3
    }
    assert differences(["hadm_id"], ours.with_columns(age=pl.lit(50)), theirs) == {"age": 2}
    assert differences(["hadm_id"], ours.head(2), theirs) == {ROW: 1}
    assert differences(["hadm_id"], ours.with_columns(hadm_id=pl.Series([1, 2, 4])), theirs) == {ROW: 2}
    named = pl.DataFrame({"hadm_id": [1, 1], "age": ["b ", "a"]})
    assert differences(["hadm_id"], named.with_columns(pl.col("age").str.strip_chars()), named) == {"age": 1}
    assert differences(["hadm_id"], named.with_columns(pl.col("age").str.strip_chars()), named, trim=True) == {}
