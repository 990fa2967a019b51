"""The standard views of `Dataset.sql`: rows, values, times and flags, and their documentation."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

import ehrtraj
from ehrtraj.concepts.views import standard_views
from ehrtraj.errors import SettingsError
from ehrtraj.sources.source import packaged

ROOT = Path(__file__).resolve().parents[2]
MIMIC = packaged("mimiciv")
VIEWS = tuple(MIMIC.standard_views)
PAGE = (ROOT / "docs" / "reference" / "views.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def built_standardised(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the hand-made release, standardised."""
    return ehrtraj.build(release, tmp_path_factory.mktemp("views"), "v1", max_cpus=1, standardise=True).path


@pytest.fixture(scope="module")
def ds(built_standardised: Path) -> ehrtraj.Dataset:
    return ehrtraj.open(built_standardised)


def count(ds: ehrtraj.Dataset, *event_types: str) -> int:
    names = pl.col("code").str.split("//").list.first()
    return ds.scan().filter(names.is_in(event_types)).collect().height


def test_the_views_are_those_of_the_documentation(ds: ehrtraj.Dataset) -> None:
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
    assert set(VIEWS) == set(sections)
    for view, section in sections.items():
        cells = re.findall(r"^\| (`.*?) \|", section, re.M)
        documented = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
        assert sorted(documented) == sorted(ds.sql(f"FROM {view} LIMIT 0").columns), view


def test_each_event_of_a_view_is_in_one_row(ds: ehrtraj.Dataset) -> None:
    rows = {view: ds.sql(f"SELECT count(*) FROM {view}").item() for view in VIEWS}
    assert rows["labs"] == count(ds, "LAB")
    assert rows["inputs"] == count(ds, "INPUT_START")
    assert rows["outputs"] == count(ds, "OUTPUT")
    assert rows["orders"] == count(ds, "DRUG_ORDER_START")
    assert rows["order_details"] == count(ds, "ORDER_DETAIL") > 0
    assert rows["patients"] == len(ds)
    assert rows["cultures"] == count(ds, "MICRO")
    assert rows["diagnoses"] == count(ds, "DIAGNOSIS", "ED_DIAGNOSIS")
    assert rows["procedures"] == count(ds, "ICU_PROCEDURE_START", "PROCEDURE", "HCPCS")
    assert rows["services"] == count(ds, "SERVICE") > 0
    assert rows["notes"] == count(ds, "DISCHARGE_NOTE", "RADIOLOGY_NOTE") > 0
    assert rows["drugs_given"] >= count(ds, "EMAR") > 0
    assert ds.sql("SELECT count(DISTINCT (subject_id, entry_id)) FROM drugs_given").item() == count(ds, "EMAR")
    assert 0 < rows["vitals"] < count(ds, "CHART", "ED_VITAL")
    kinds = dict(ds.sql("SELECT kind, count(*) FROM stays GROUP BY kind").iter_rows())
    assert (kinds["admission"], kinds["icu"]) == (count(ds, "ADMISSION"), count(ds, "ICU_START"))


def test_a_visit_in_two_tables_is_one_stay(ds: ehrtraj.Dataset) -> None:
    visits = ds.sql("SELECT stay_id, hadm_id, end_time FROM stays WHERE kind = 'ed'")
    assert visits["stay_id"].drop_nulls().is_unique().all()
    assert visits["stay_id"].count() == count(ds, "ED_ARRIVAL") > 0
    assert visits["end_time"].null_count() == 0
    registered = set(ds.scan().filter(code="ED_REGISTRATION").collect()["hadm_id"])
    assert registered & set(visits["hadm_id"]), "a visit in both tables"


def test_a_visit_outside_the_module_of_the_department_is_a_stay(demo_built: Path) -> None:
    ds = ehrtraj.open(demo_built)
    visits = ds.sql("SELECT hadm_id, end_time FROM stays WHERE kind = 'ed'")
    assert visits["hadm_id"].n_unique() == visits["end_time"].count() == count(ds, "ED_REGISTRATION") > 0


def test_joined_rows_are_those_of_intervals(ds: ehrtraj.Dataset) -> None:
    """Starts and ends are joined as `Trajectory.intervals` joins them."""
    for view, interval in (("inputs", "input"), ("orders", "drug_order")):
        found = ds.sql(f"SELECT subject_id, start_time, end_time FROM {view}")
        expected = [
            (trajectory.subject_id, *times)
            for trajectory in ds.trajectories()
            for times in trajectory.intervals(interval).select("start", "end").iter_rows()
        ]
        assert sorted(found.iter_rows(), key=str) == sorted(expected, key=str), view
        assert found["end_time"].count() > 0


def test_a_stay_has_age_order_and_outcome(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    query = "SELECT * FROM stays WHERE subject_id = ? AND kind = ? ORDER BY start_time"
    stay = ds.sql(query, [handmade.SEPSIS, "icu"]).row(0, named=True)
    trajectory = ds[handmade.SEPSIS]
    assert stay["stay_id"] == handmade.SEPSIS_STAY
    assert (stay["age"], stay["seq"], stay["died"]) == (67, 1, False)
    assert stay["end_time"] == trajectory.intervals("icu_stay")["end"].item()
    died = ds.sql(query, [handmade.DIED, "admission"])
    assert died["died"].to_list() == [True]
    overlap = ds.sql(query, [handmade.OVERLAP, "admission"])
    assert overlap["seq"].to_list() == list(range(1, overlap.height + 1))
    assert overlap.height > 1


def test_values_are_the_decimals_that_floats_stand_for(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    query = "SELECT value FROM labs WHERE concept = 'creatinine' AND subject_id = ? AND value = 1.9"
    assert ds.sql(query, [handmade.SEPSIS])["value"].to_list() == [Decimal("1.9")]
    assert ds.sql(query.replace("1.9", "$2"), [handmade.SEPSIS, 1.9]).height == 1, "a Python float"
    in_float = "SELECT count(*) FROM events WHERE code = 'LAB//50912' AND CAST(numeric_value AS DOUBLE) = 1.9"
    assert ds.sql(in_float).item() == 0, "the float is not 1.9"
    extremes = (
        "SELECT decimal_value(CAST(x AS FLOAT)) AS d FROM (VALUES (0.000000123), (-1e18), (1e30), (NULL)) AS t (x)"
    )
    assert ds.sql(extremes)["d"].to_list() == [Decimal("1.23E-7"), Decimal(-(10**18)), None, None]


def test_every_number_keeps_its_digits(ds: ehrtraj.Dataset) -> None:
    for view, column in (("labs", "value"), ("vitals", "value"), ("inputs", "rate"), ("inputs", "amount")):
        values = ds.sql(f"SELECT CAST({column} AS FLOAT) AS x FROM {view} WHERE {column} IS NOT NULL")["x"]
        assert len(values) > 0, (view, column)
        assert values.is_in(ds.scan().select("numeric_value").collect()["numeric_value"].implode()).all(), view


def test_a_bound_has_an_operator(ds: ehrtraj.Dataset) -> None:
    rows = ds.sql("SELECT operator, bound, value FROM labs WHERE operator IS NOT NULL").rows()
    assert rows
    assert all(bound is not None and value is None for _, bound, value in rows)


def test_an_inferred_admission_is_marked(ds: ehrtraj.Dataset) -> None:
    query = "SELECT count(*) FROM {} WHERE {}"
    marked = ds.sql(query.format("labs", "hadm_inferred")).item()
    assert marked == ds.sql(query.format("events", "code LIKE 'LAB//%' AND has_flag(flags, 'hadm_inferred')")).item()
    assert marked > 0
    with pytest.raises(SettingsError, match="there is no flag 'hadm_guessed'"):
        ds.sql("SELECT has_flag(flags, 'hadm_guessed') FROM events")


def test_time_is_when_it_happened_with_either_clock(ds: ehrtraj.Dataset, release: Path, tmp_path: Path) -> None:
    built = ehrtraj.build(release, tmp_path, "v1", max_cpus=1, standardise=True, clock="available").path
    available = ehrtraj.open(built)
    for view in VIEWS:
        one, other = (each.sql(f"FROM {view} ORDER BY ALL") for each in (ds, available))
        assert one.equals(other), view


def test_views_contain_only_chosen_patients(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    chosen = ds.filter(pl.col("subject_id") == handmade.SEPSIS)
    for view in VIEWS:
        assert set(chosen.sql(f"SELECT DISTINCT subject_id FROM {view}")["subject_id"]) <= {handmade.SEPSIS}, view
    assert chosen.sql("SELECT count(*) FROM labs").item() > 0


def test_names_of_views_are_free_in_a_query(ds: ehrtraj.Dataset) -> None:
    assert ds.sql("WITH labs AS (SELECT 1 AS x) SELECT x FROM labs").item() == 1
    assert ds.sql("SELECT '--' AS labs, count(*) AS n FROM LABS").row(0)[1] == count(ds, "LAB")


def test_a_dataset_of_a_source_that_is_missing_has_no_views(ds: ehrtraj.Dataset, tmp_path: Path) -> None:
    release = ds.layout.manifest["release"] | {"source_folder": str(tmp_path / "missing")}
    layout = replace(ds.layout, manifest=ds.layout.manifest | {"release": release})
    assert standard_views(layout.manifest, layout.flags, layout.clock).sql == {}
    missing = ehrtraj.Dataset(layout, ds.subjects)
    assert missing.sql("SELECT count(*) FROM events").item() > 0
    with pytest.raises(SettingsError, match="labs does not exist"):
        missing.sql("FROM labs")


def test_lists_of_concepts_are_consistent() -> None:
    items = MIMIC.concept_lists["concept_items"]
    assert len({(line["event_type"], line["item"]) for line in items}) == len(items), "an item has one concept"
    for line in items:
        assert line["event_type"] in MIMIC.event_types
        assert line["source"], line
        assert re.fullmatch(r"[a-z][a-z0-9_]*", line["concept"]), line
        assert re.fullmatch(r"[a-z_]*", line["method"]), line
    drugs = MIMIC.concept_lists["concept_drugs"]
    parts = [(line["concept"], line["name_part"]) for line in drugs]
    assert parts == sorted({(concept, part.lower()) for concept, part in parts})
    assert all(line["source"] for line in drugs)
    within = [(a, b) for one, a in parts for other, b in parts if one == other and a != b and a in b]
    assert within == [], "a longer part adds nothing"


def test_every_listed_item_is_in_the_dictionary_of_the_demo(demo: Path) -> None:
    names = {"LAB": "hosp/d_labitems", "CHART": "icu/d_items", "OUTPUT": "icu/d_items", "INPUT_START": "icu/d_items"}
    for line in MIMIC.concept_lists["concept_items"]:
        if line["event_type"] in names:
            path = demo / f"{names[line['event_type']]}.csv.gz"
            known = pl.read_csv(path, columns=["itemid"])["itemid"]
            assert int(line["item"]) in known, line
