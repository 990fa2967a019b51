"""The synthetic release beside the real demo of 100 patients, where that is at hand: same form, similar proportions.

The demo's patients all have an ICU stay and were first seen from 2011 to 2016, so only such patients are compared.
"""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pytest

from ehrtraj.synth.run import synth

# The demo's copy of chartevents was put together from numbers: its texts, people and times of storing are not real.
MADE_UP_IN_DEMO = {("icu/chartevents", name) for name in ("value", "storetime", "caregiver_id", "warning", "valueuom")}
PATIENT_TABLES = [
    *(f"hosp/{name}" for name in (
        "patients", "admissions", "transfers", "services", "diagnoses_icd", "procedures_icd", "drgcodes", "hcpcsevents",
        "labevents", "microbiologyevents", "omr", "poe", "poe_detail", "pharmacy", "prescriptions", "emar",
        "emar_detail",
    )),
    *(f"icu/{name}" for name in (
        "icustays", "chartevents", "datetimeevents", "inputevents", "ingredientevents", "outputevents",
        "procedureevents",
    )),
]  # fmt: skip
DICTIONARIES = ["hosp/d_labitems", "hosp/d_icd_diagnoses", "hosp/d_icd_procedures", "hosp/d_hcpcs", "icu/d_items"]


@pytest.fixture(scope="session")
def similar(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic release 2.2 of which only patients like the demo's are kept, as Parquet of text."""
    release = synth(tmp_path_factory.mktemp("similar") / "release", patients=1200, release="2.2", max_cpus=2).path
    critical = pl.read_csv(release / "icu/icustays.csv.gz")["subject_id"].unique()
    people = pl.read_csv(release / "hosp/patients.csv.gz", schema_overrides={"subject_id": pl.Int64})
    years = people.filter(pl.col("anchor_year_group").is_in(["2011 - 2013", "2014 - 2016"]))["subject_id"]
    chosen = critical.filter(critical.is_in(years.implode())).cast(pl.String)
    assert chosen.len() > 50
    for table in PATIENT_TABLES:
        rows = pl.read_csv(release / f"{table}.csv.gz", infer_schema=False)
        target = release / f"{table}.parquet"
        rows.filter(pl.col("subject_id").is_in(chosen.implode())).write_parquet(target)
    return release


def real(demo: Path, table: str) -> pl.DataFrame:
    """A table of the demo as text; blanks (all that prescriptions.form_rx mostly holds) are nulls."""
    rows = pl.read_csv(demo / f"{table}.csv.gz", infer_schema=False)
    return rows.with_columns(pl.when(pl.all().str.strip_chars() != "").then(pl.all()))


@pytest.mark.parametrize("table", [*PATIENT_TABLES, *DICTIONARIES, "hosp/provider", "icu/caregiver"])
def test_headers_are_the_demos(similar: Path, demo: Path, table: str) -> None:
    assert pl.read_csv(similar / f"{table}.csv.gz", n_rows=1, infer_schema=False).columns == real(demo, table).columns


@pytest.mark.parametrize("table", PATIENT_TABLES)
def test_types_are_the_demos(similar: Path, demo: Path, table: str) -> None:
    """DuckDB finds the same type in every column that has values in both."""
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")

        def types(folder: Path) -> dict[str, str]:
            source = f"read_csv('{folder / table}.csv.gz', sample_size = -1, quote = '\"', escape = '\"')"
            described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
            return {row[0]: "NUMBER" if row[1] in ("BIGINT", "DOUBLE") else row[1] for row in described}

        ours, theirs = types(similar), types(demo)
    rows, demo_rows = pl.read_parquet(similar / f"{table}.parquet"), real(demo, table)
    for name in demo_rows.columns:
        filled = rows[name].null_count() < rows.height and demo_rows[name].null_count() < demo_rows.height
        if filled and (table, name) not in MADE_UP_IN_DEMO:
            assert ours[name] == theirs[name] or _numbers_with_remarks(demo_rows[name]), name


def _numbers_with_remarks(column: pl.Series) -> bool:
    """Whether a column is text only because of a few entries that are none of the numbers it is for."""
    said = column.drop_nulls()
    return said.cast(pl.Float64, strict=False).null_count() < 0.1 * said.len()


@pytest.mark.parametrize("table", PATIENT_TABLES)
def test_rows_for_each_stay_are_within_a_factor_of_two(similar: Path, demo: Path, table: str) -> None:
    unit = "icu/icustays" if table.startswith("icu/") else "hosp/admissions"
    ours = pl.read_parquet(similar / f"{table}.parquet").height / pl.read_parquet(similar / f"{unit}.parquet").height
    theirs = real(demo, table).height / real(demo, unit).height
    assert 0.5 < ours / theirs < 2


@pytest.mark.parametrize("table", PATIENT_TABLES)
def test_as_much_is_missing_as_in_the_demo(similar: Path, demo: Path, table: str) -> None:
    rows, demo_rows = pl.read_parquet(similar / f"{table}.parquet"), real(demo, table)
    off = {}
    for name in demo_rows.columns:
        ours = rows[name].null_count() / rows.height
        theirs = demo_rows[name].null_count() / demo_rows.height
        if abs(ours - theirs) > 0.15 and (table, name) not in MADE_UP_IN_DEMO:
            off[name] = (round(ours, 2), round(theirs, 2))
    assert not off


@pytest.mark.parametrize(
    ("table", "key", "other"),
    [
        ("hosp/labevents", "itemid", "hosp/d_labitems"),
        ("hosp/labevents", "hadm_id", "hosp/admissions"),
        ("icu/chartevents", "itemid", "icu/d_items"),
        ("icu/chartevents", "stay_id", "icu/icustays"),
        ("hosp/emar_detail", "emar_id", "hosp/emar"),
        ("hosp/emar", "poe_id", "hosp/poe"),
        ("hosp/prescriptions", "pharmacy_id", "hosp/pharmacy"),
    ],
)
def test_keys_that_hold_in_the_demo_hold_here(similar: Path, demo: Path, table: str, key: str, other: str) -> None:
    def found(rows: pl.DataFrame, others: pl.DataFrame) -> float:
        keys = rows.select(key).drop_nulls()
        return keys.join(others.select(key).unique(), on=key, how="semi").height / keys.height

    theirs = found(real(demo, table), real(demo, other))
    other_path = similar / f"{other}.csv.gz"
    ours = found(pl.read_parquet(similar / f"{table}.parquet"), pl.read_csv(other_path, infer_schema=False))
    assert ours >= theirs - 0.01
