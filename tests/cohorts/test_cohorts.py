"""Stays of a dataset, cohorts with their flow, and trajectories as of a time of each stay."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import ehrtraj
from ehrtraj.cohorts.cohort import Cohort
from ehrtraj.cohorts.windows import duration_of, time_of
from ehrtraj.errors import MissingExtraError, SettingsError
from ehrtraj.format.splits import SPLITS, by_period
from ehrtraj.labels import label

ADULT = pl.col("age") >= 18


@pytest.fixture(scope="module")
def ds(built: Path) -> ehrtraj.Dataset:
    return ehrtraj.open(built)


# Stays ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "stays"), [("icu", "icu_stays"), ("admission", "admissions"), ("ed", "ed_stays")])
def test_stays_are_those_of_all_trajectories(ds: ehrtraj.Dataset, kind: str, stays: str) -> None:
    columns = ["subject_id", "hadm_id", "stay_id", "start", "end"]
    expected = pl.concat(getattr(trajectory, stays).select(columns) for trajectory in ds.trajectories())
    found = ds.stays(kind).select(columns)
    assert found.rows() == expected.sort("subject_id", "start").rows()
    assert found.height > 1


def test_a_stay_has_facts_about_the_patient_and_the_admission(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    died = ds.stays("icu").filter(subject_id=handmade.DIED).row(0, named=True)
    assert (died["age"], died["sex"], died["seq"], died["died"], died["hospital_died"]) == (78, "M", 1, True, True)
    assert died["first_careunit"] == "Coronary Care Unit (CCU)"
    assert died["hospital_start"] == datetime(2139, 11, 5, 6, 20)
    day = timedelta(days=1)
    assert died["los"] == pytest.approx((died["end"] - died["start"]) / day)
    assert died["hospital_los"] == pytest.approx((died["hospital_end"] - died["hospital_start"]) / day)
    assert died["split"] == ds[handmade.DIED].split


def test_admissions_that_overlap_are_in_order(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    overlap = ds.stays("admissions").filter(subject_id=handmade.OVERLAP)
    assert overlap["seq"].to_list() == [1, 2]
    assert overlap["hadm_id"].to_list() == [handmade.OVERLAP_OUTER, handmade.OVERLAP_INNER]
    assert overlap["hospital_los"].to_list() == overlap["los"].to_list()


def test_a_visit_without_an_admission_has_no_facts_about_one(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    visit = ds.stays("ed").filter(subject_id=handmade.VISIT).row(0, named=True)
    assert (visit["hadm_id"], visit["hospital_start"], visit["hospital_died"]) == (None, None, None)
    assert visit["disposition"] == "HOME"


def test_an_end_before_the_start_is_null(build_rows, handmade: ModuleType) -> None:
    stay = {"subject_id": 5, "hadm_id": 51}
    tables = {
        "hosp/patients": [{"subject_id": 5, "gender": "F", "anchor_age": 40, "anchor_year": 2150}],
        "hosp/admissions": [stay | {"admittime": "2150-03-01 08:00", "dischtime": "2150-03-05 12:00"}],
        "icu/icustays": [stay | {"stay_id": 52, "intime": "2150-03-02 10:00", "outtime": "2150-03-01 09:00"}],
    }
    found = ehrtraj.open(build_rows(tables).dataset).stays("icu")
    assert found.select("stay_id", "start", "end", "los").rows() == [(52, datetime(2150, 3, 2, 10), None, None)]


def test_selected_patients_have_their_stays_only(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    chosen = ds.filter(pl.col("subject_id") == handmade.DIED)
    assert_frame_equal(chosen.stays("icu"), ds.stays("icu").filter(subject_id=handmade.DIED))
    assert ds.filter(pl.lit(value=False)).stays("icu").height == 0


def test_stays_do_not_depend_on_the_clock(ds: ehrtraj.Dataset, release: Path, tmp_path: Path) -> None:
    other = ehrtraj.open(ehrtraj.build(release, tmp_path, "v1", max_cpus=1, clock="available").path)
    for kind in ("icu", "admission", "ed"):
        assert_frame_equal(other.stays(kind), ds.stays(kind))


def test_an_unknown_kind_of_stays_is_refused(ds: ehrtraj.Dataset) -> None:
    with pytest.raises(SettingsError, match=r"there are no stays 'icuu': use admission, icu, ed. Did you mean icu"):
        ds.stays("icuu")


def test_stays_of_the_demo_are_those_of_the_view(demo_built: Path) -> None:
    """`stays` reads only events whose type the view names, which must be all that the view uses."""
    ds = ehrtraj.open(demo_built)
    for kind in ("icu", "admission", "ed"):
        view = ds.sql("FROM stays WHERE kind = ? ORDER BY subject_id, start_time, seq", [kind])
        found = ds.stays(kind)
        assert found["stay_id"].to_list() == view["stay_id"].to_list()
        assert found["died"].to_list() == view["died"].to_list()
        assert found.height > 50
    first = ds.cohort("icu").include("adults", ADULT).first()
    assert (len(first), first.frame["hospital_died"].sum()) == (100, 11)


# Cohorts -------------------------------------------------------------------------------------------------------------


def test_the_flow_counts_what_each_step_excludes(ds: ehrtraj.Dataset) -> None:
    everyone = ds.cohort("admission")
    cohort = everyone.include("over 50", pl.col("age") > 50).exclude("died", pl.col("died")).first("subject_id")
    assert everyone.flow.rows() == [("admissions", "start", 7, 6, 0)]
    assert cohort.flow.rows() == [
        ("admissions", "start", 7, 6, 0),
        ("over 50", "include", 5, 5, 2),
        ("died", "exclude", 4, 4, 1),
        ("first of each subject_id", "first", 4, 4, 0),
    ]
    assert isinstance(cohort.flow, pl.DataFrame)
    assert repr(cohort.flow).splitlines() == [
        "admissions                                      7 stays of 6 patients",
        "  2 excluded: not over 50                       5 stays of 5 patients",
        "  1 excluded: died                              4 stays of 4 patients",
        "  0 excluded: not the first of each subject_id  4 stays of 4 patients",
    ]
    assert "shape: (4, 2)" in repr(cohort.flow.select("step", "stays"))


@given(st.lists(st.tuples(st.sampled_from(["include", "exclude", "first"]), st.integers(0, 100)), max_size=6))
@settings(deadline=None, max_examples=50)
def test_stays_in_a_flow_add_up(built: Path, steps: list[tuple[str, int]]) -> None:
    cohort = ehrtraj.open(built).cohort("admission")
    for kind, age in steps:
        step = pl.col("age") > age
        cohort = cohort.first() if kind == "first" else getattr(cohort, kind)(f"over {age}", step)
    flow = cohort.flow
    assert flow["stays"].to_list()[1:] == [
        before - removed for before, removed in zip(flow["stays"], flow["excluded"][1:], strict=False)
    ]
    assert flow["stays"][-1] == len(cohort)
    assert flow["subjects"][-1] == cohort.frame["subject_id"].n_unique()


def test_a_null_condition_excludes_when_including_and_keeps_when_excluding(ds: ehrtraj.Dataset) -> None:
    visits = ds.cohort("ed")
    unknown = visits.frame["hospital_died"].null_count()
    assert unknown > 0
    assert len(visits.include("survived", ~pl.col("hospital_died"))) + unknown == len(
        visits.exclude("died", pl.col("hospital_died"))
    )


def test_the_first_stay_is_the_first_of_those_that_are_left(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    later = ds.cohort("admission").include("not the first", pl.col("seq") > 1).first()
    assert later.frame["hadm_id"].to_list() == [handmade.OVERLAP_INNER]


@pytest.mark.parametrize("form", ["polars", "lazy", "pandas"])
def test_a_filtered_frame_is_a_cohort_with_one_step(ds: ehrtraj.Dataset, form: str) -> None:
    frame = ds.stays("icu").filter(pl.col("died"))
    given = {"polars": lambda: frame, "lazy": frame.lazy}.get(form, lambda: _pandas(frame))()
    cohort = ds.cohort(given)
    assert cohort.frame.equals(frame)
    assert cohort.flow.rows() == [("stays", "start", 1, 1, 0)]
    assert repr(cohort) == "Cohort(1 stay of 1 patient)"


def _pandas(frame: pl.DataFrame) -> object:
    pytest.importorskip("pandas")
    return frame.to_pandas()


def test_numbers_of_a_pandas_frame_may_be_floats(ds: ehrtraj.Dataset) -> None:
    pytest.importorskip("pandas")
    visits = ds.stays("ed")
    assert visits["hadm_id"].null_count() > 0
    cohort = ds.cohort(visits.with_columns(pl.col("hadm_id", "subject_id").cast(pl.Float64)).to_pandas())
    assert_frame_equal(cohort.frame, visits)
    found = cohort.features(("start", "24h"), "heart_rate", "count")
    assert_frame_equal(found, ds.cohort("ed").features(("start", "24h"), "heart_rate", "count"))


def test_frames_that_are_no_stays_are_refused(ds: ehrtraj.Dataset) -> None:
    with pytest.raises(SettingsError, match="integer column subject_id"):
        ds.cohort(pl.DataFrame({"subject": [1]}))
    with pytest.raises(SettingsError, match=r"2 patients of the frame are not among the 8 of .*, such as 7"):
        ds.cohort(pl.DataFrame({"subject_id": [10900116, 7, 8, 7]}))
    with pytest.raises(SettingsError, match="cannot be made of list"):
        ds.cohort([1])
    with pytest.raises(SettingsError, match="there are no stays 'icus'"):
        ds.cohort("icus")


def test_conditions_that_cannot_be_used_are_refused(ds: ehrtraj.Dataset) -> None:
    cohort = ds.cohort("icu")
    with pytest.raises(SettingsError, match=r"stays have no column 'agee': use one of .*Did you mean age\?"):
        cohort.include("adults", pl.col("agee") >= 18)
    with pytest.raises(SettingsError, match="a step needs a name and a condition"):
        cohort.include(ADULT)
    with pytest.raises(SettingsError, match="a step needs a name and a condition"):
        cohort.exclude("adults")
    with pytest.raises(SettingsError, match="stays have no column 'patient'"):
        cohort.first("patient")


def test_a_condition_without_columns_applies_to_all(ds: ehrtraj.Dataset) -> None:
    assert len(ds.cohort("icu").include("none", pl.lit(value=False))) == 0
    assert len(ds.cohort("icu").exclude("none", pl.lit(value=False))) == 2
    assert ds.cohort("icu").include("none", pl.lit(value=False)).include("adults", ADULT).first().flow["stays"][-1] == 0


# Times of stays ------------------------------------------------------------------------------------------------------

FRAME = pl.DataFrame({"start": [datetime(2150, 1, 1)], "end": [datetime(2150, 1, 3)], "age": [40]})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("start", datetime(2150, 1, 1)),
        ("24h", datetime(2150, 1, 2)),
        ("-6h", datetime(2149, 12, 31, 18)),
        ("end-12h", datetime(2150, 1, 2, 12)),
        ("start + 1d12h30m", datetime(2150, 1, 2, 12, 30)),
        ("1.5h", datetime(2150, 1, 1, 1, 30)),
        ("0h", datetime(2150, 1, 1)),
    ],
)
def test_a_time_of_a_stay_is_a_column_an_offset_or_both(text: str, expected: datetime) -> None:
    assert FRAME.select(time_of(text, FRAME)).item() == expected


@pytest.mark.parametrize("text", ["", "24", "24 hours", "ends", "end 12h", "end-", "-", "start--1h", None, 24])
def test_other_times_are_refused(text: object) -> None:
    with pytest.raises(SettingsError, match=r"is not a time of a stay: write a column \(start, end\)"):
        time_of(text, FRAME)  # type: ignore[arg-type]


def test_a_column_without_times_is_refused() -> None:
    with pytest.raises(SettingsError, match="the column age contains Int64, not times"):
        time_of("age", FRAME)


@pytest.mark.parametrize("text", ["0h", "-1h", "1y", "hour", "", None, 3])
def test_lengths_that_are_not_durations_are_refused(text: object) -> None:
    with pytest.raises(SettingsError, match="is not a valid duration: write it as 24h"):
        duration_of(text)  # type: ignore[arg-type]


# As of ---------------------------------------------------------------------------------------------------------------


def test_each_row_is_cut_at_its_own_time(ds: ehrtraj.Dataset) -> None:
    cohort = ds.cohort("admission")
    cut = list(cohort.as_of("24h"))
    assert [t.subject_id for t in cut] == cohort.frame["subject_id"].to_list()
    assert [t.known_until for t in cut] == [start + timedelta(hours=24) for start in cohort.frame["start"]]
    for trajectory in cut:
        expected = ds[trajectory.subject_id].as_of(trajectory.known_until)
        assert trajectory.events.equals(expected.events)


def test_a_row_without_the_time_is_refused(ds: ehrtraj.Dataset) -> None:
    visits = ds.cohort("ed")
    with pytest.raises(SettingsError, match="1 of 4 stays have no hospital_start: exclude them first"):
        visits.as_of("hospital_start")
    assert len(list(visits.include("admitted", pl.col("hadm_id").is_not_null()).as_of("hospital_start"))) == 3


# Splits --------------------------------------------------------------------------------------------------------------


def splits_by_subject(cohort: Cohort) -> dict[int, str]:
    return dict(cohort.frame.select("subject_id", "split").rows())


def test_default_splits_are_those_of_the_dataset(demo_built: Path) -> None:
    cohort = ehrtraj.open(demo_built).cohort("admission")
    assert_frame_equal(cohort.split().frame, cohort.frame)
    assert cohort.split(seed=1).frame["split"].to_list() != cohort.frame["split"].to_list()


def test_shares_are_met_and_a_patient_is_in_one_split(demo_built: Path) -> None:
    cohort = ehrtraj.open(demo_built).cohort("admission").split((0.5, 0.2, 0.3))
    assert cohort.frame.group_by("subject_id").agg(pl.col("split").n_unique())["split"].max() == 1
    counts = Counter(splits_by_subject(cohort).values())
    assert all(abs(counts[name] - share) < 15 for name, share in zip(SPLITS, (50, 20, 30), strict=True))
    some = ehrtraj.open(demo_built).sample(40).cohort("admission").split((0.5, 0.2, 0.3))
    everyone = splits_by_subject(cohort)
    assert all(everyone[who] == split for who, split in splits_by_subject(some).items())
    assert set(splits_by_subject(cohort.split("0,0,1")).values()) == {"held_out"}


def test_splits_by_time_put_the_latest_patients_last(demo_built: Path) -> None:
    ds = ehrtraj.open(demo_built)
    cohort = ds.cohort("admission").split("temporal")
    groups = dict(
        ds.scan()
        .filter(pl.col("code").str.starts_with("ANCHOR_YEAR_GROUP"))
        .select("subject_id", "code")
        .collect()
        .rows()
    )
    expected = {"ANCHOR_YEAR_GROUP//2011 - 2013": "train", "ANCHOR_YEAR_GROUP//2014 - 2016": "held_out"}
    assert splits_by_subject(cohort) == {who: expected[group] for who, group in groups.items()}


def test_periods_are_train_until_the_last_two() -> None:
    assert by_period(["2017", "2011", "2014", "2008", "2011"]) == {
        "2008": "train", "2011": "train", "2014": "tuning", "2017": "held_out",
    }  # fmt: skip
    assert by_period(["2017", "2011"]) == {"2011": "train", "2017": "held_out"}
    with pytest.raises(SettingsError, match="at least two periods, but there is only 2017"):
        by_period(["2017"])


def test_a_patient_of_an_unknown_period_is_in_train(build_rows) -> None:
    groups = {1: "2008 - 2010", 2: "2011 - 2013", 3: "2014 - 2016", 4: None}
    stay = {"admittime": "2150-03-01 08:00", "dischtime": "2150-03-05 12:00"}
    tables = {
        "hosp/patients": [
            {"subject_id": who, "gender": "F", "anchor_year_group": group} for who, group in groups.items()
        ],
        "hosp/admissions": [{"subject_id": who, "hadm_id": who} | stay for who in groups],
    }
    cohort = ehrtraj.open(build_rows(tables).dataset).cohort("admission").split("temporal")
    assert splits_by_subject(cohort) == {1: "train", 2: "tuning", 3: "held_out", 4: "train"}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_assigns_patients_to_splits(ds: ehrtraj.Dataset, tmp_path: Path, suffix: str) -> None:
    who = ds.stays("icu")["subject_id"].to_list()
    listed = pl.DataFrame({"subject_id": [*who, 7], "split": ["tuning", "held_out", "train"]})
    file = tmp_path / f"splits{suffix}"
    # With a blank line at the end.
    file.write_text(listed.write_csv() + "\n") if suffix == ".csv" else listed.write_parquet(file)
    assert splits_by_subject(ds.cohort("icu").split(file)) == dict(zip(who, ["tuning", "held_out"], strict=True))
    with pytest.raises(SettingsError, match="has no split for 4 of 6 patients, such as 10900352"):
        ds.cohort("admission").split(str(file))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("subject_id,split\n1,test\n", "contains the split 'test': use train, tuning, held_out"),
        ("subject_id,split\n1,\n", "contains the split 'None'"),
        ("subject_id,split\n,train\n", "has a line without a subject_id"),
        ("subject_id,split\n1,train\n1,tuning\n", "has patient 1 in more than one split"),
        ("patient,split\n1,train\n", "cannot be used for splits: .* It must be a CSV or Parquet file"),
        ("subject_id,split\nx,train\n", "cannot be used for splits"),
        ("", "cannot be used for splits"),
    ],
)
def test_files_that_are_no_splits_are_refused(ds: ehrtraj.Dataset, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "splits.csv").write_text(content)
    with pytest.raises(SettingsError, match=message):
        ds.cohort("icu").split(tmp_path / "splits.csv")


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("0.8,0.1", "the shares of train, tuning, held_out must be 0 or more, and add up to 1"),
        ((0.8, 0.1, 0.2), "must be 0 or more, and add up to 1"),
        ((1.2, -0.1, -0.1), "must be 0 or more, and add up to 1"),
        ("nan,0,1", "must be 0 or more, and add up to 1"),
        ("time", r"splits is 'time', which is not an existing file: write three shares \(0.8,0.1,0.1\)"),
    ],
)
def test_other_methods_of_splitting_are_refused(ds: ehrtraj.Dataset, by: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ds.cohort("icu").split(by)


# Labels and table one ------------------------------------------------------------------------------------------------


def test_labels_are_joined_by_the_stay(ds: ehrtraj.Dataset, handmade: ModuleType) -> None:
    found = label(ds, "icu_mortality").with_stays
    labelled = ds.cohort("icu").with_labels(found)
    assert labelled.frame.select("subject_id", "boolean_value").rows() == [
        (handmade.SEPSIS, False),
        (handmade.DIED, True),
    ]
    assert [t.known_until for t in labelled.as_of("prediction_time")] == found["prediction_time"].to_list()
    by_admission = ds.cohort("admission").with_labels(label(ds, "in_hospital_mortality").with_stays).frame
    assert by_admission.filter(pl.col("boolean_value"))["hadm_id"].to_list() == [handmade.DIED_HADM]
    assert by_admission.filter(pl.col("boolean_value").is_null())["hadm_id"].to_list() == [handmade.OVERLAP_INNER]
    assert ds.cohort("icu").with_labels(found).with_labels(found).frame.columns == labelled.frame.columns


def test_labels_that_do_not_belong_to_one_stay_each_are_refused(ds: ehrtraj.Dataset) -> None:
    found = label(ds, "icu_mortality").with_stays
    with pytest.raises(SettingsError, match="stay_id 39000116 has several labels"):
        ds.cohort("icu").with_labels(pl.concat([found, found.head(1)]))
    with pytest.raises(SettingsError, match="stays and labels have neither stay_id nor hadm_id in common"):
        ds.cohort("icu").with_labels(found.drop("hadm_id", "stay_id"))
    with pytest.raises(
        SettingsError, match=r"the labels have no column prediction_time: pass label\(ds, task\).with_stays"
    ):
        ds.cohort("icu").with_labels(found.drop("prediction_time"))


def test_table_one_describes_the_cohort(demo_built: Path) -> None:
    pytest.importorskip("tableone", reason="tableone is in the extra [cohorts]")
    cohort = ehrtraj.open(demo_built).cohort("icu").first()
    table = cohort.table_one(groupby="hospital_died", pval=True).tableone
    assert table.columns.get_level_values(1).tolist() == ["Missing", "Overall", "no", "yes", "P-Value"]
    overall = table[("Grouped by hospital_died", "Overall")]
    assert str(overall[("n", "")]) == "100"
    ages = cohort.frame["age"]
    assert overall[("age, mean (SD)", "")] == f"{ages.mean():.1f} ({ages.std():.1f})"
    women = cohort.frame.filter(sex="F").height
    assert overall[("sex, n (%)", "F")] == f"{women} ({women}.0)"
    assert not {"subject_id", "split", "hospital_died"} & {name.partition(",")[0] for name, _ in table.index}
    some = cohort.table_one(["age", "sex"]).tableone
    assert {name for name, _ in some.index} == {"n", "age, mean (SD)", "sex, n (%)"}
    with pytest.raises(SettingsError, match=r"stays have no column 'gender'"):
        cohort.table_one(["age", "gender"])


def test_without_tableone_the_extra_is_named(ds: ehrtraj.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tableone", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'ehrtraj\[cohorts\]'"):
        ds.cohort("icu").table_one()
