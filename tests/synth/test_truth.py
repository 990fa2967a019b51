"""The truth of a synthetic release: consistent, independent of concepts, and the cause of what is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import HOUR, NONE
from ehrtraj.synth.failures.courses import Courses
from ehrtraj.synth.failures.draws import failure_names
from ehrtraj.synth.failures.effects import read_effects, signal_shifts
from ehrtraj.synth.failures.truth import conditions, truth_of
from ehrtraj.synth.life import draw_block
from ehrtraj.synth.run import synth

PATIENTS = 2000
CREATININE, LACTATE, PLATELETS = "50912", "50813", "51265"
VASOPRESSORS = ["221906", "221289", "221749", "222315", "221662"]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synth(tmp_path_factory.mktemp("truth") / "release", patients=PATIENTS, max_cpus=2).path


@pytest.fixture(scope="module")
def stays(release: Path) -> pl.DataFrame:
    return pl.read_csv(release / "icu" / "icustays.csv.gz", try_parse_dates=True)


@pytest.fixture(scope="module")
def rows(release: Path) -> pl.DataFrame:
    return pl.read_csv(release / "truth.csv", try_parse_dates=True)


@pytest.fixture(scope="module")
def labs(release: Path, stays: pl.DataFrame) -> pl.DataFrame:
    """Return the results within ICU stays."""
    results = pl.scan_csv(release / "hosp" / "labevents.csv.gz", infer_schema=False).filter(
        pl.col("itemid").is_in([CREATININE, LACTATE, PLATELETS])
    )
    results = results.select(
        pl.col("subject_id").cast(pl.Int64),
        "itemid",
        pl.col("charttime").str.to_datetime(),
        pl.col("valuenum").cast(pl.Float64),
    )
    return results.collect().join(stays, on="subject_id").filter(pl.col("charttime").is_between("intime", "outtime"))


def median_by_severity(labs: pl.DataFrame, rows: pl.DataFrame, condition: str, value: pl.Expr) -> list[float]:
    """Return the median of a value per stay: without the condition, and with a severity under 1 and from 1 on."""
    severity = rows.filter(condition=condition).select("stay_id", "severity")
    per_stay = labs.group_by("stay_id").agg(value.alias("value")).join(severity, on="stay_id", how="left")
    bands = [pl.col("severity").is_null(), pl.col("severity") < 1, pl.col("severity") >= 1]
    return [float(per_stay.filter(band)["value"].median()) for band in bands]


def test_rows_belong_to_stays_and_overlap_them(rows: pl.DataFrame, stays: pl.DataFrame) -> None:
    joined = rows.join(stays, on=["subject_id", "hadm_id", "stay_id"], validate="m:1")
    assert joined.height == rows.height > 500
    assert (joined["start"] < joined["end"]).all()
    assert ((joined["start"] < joined["outtime"]) & (joined["end"] > joined["intime"])).all()
    assert set(rows["condition"]) == set(conditions())
    assert rows.filter(pl.col("severity").is_null())["condition"].unique().sort().to_list() == [
        "dialysis", "invasive_ventilation", "vasopressor",
    ]  # fmt: skip


def test_sepsis_is_an_infection_with_a_failure(rows: pl.DataFrame) -> None:
    septic = rows.filter(condition="sepsis")
    infections = rows.filter(condition="infection")
    failures = rows.filter(pl.col("condition").is_in(failure_names()[1:]))
    assert septic.height > 40
    assert septic["stay_id"].is_unique().all()
    assert septic.join(infections, on="stay_id", how="anti").is_empty()
    same_start = septic.join(failures, on=["stay_id", "start"], how="anti")
    assert same_start.is_empty()
    first = septic.join(infections.select("stay_id", infection="start"), on="stay_id")
    too_early = first["start"] < first["infection"]
    assert too_early.mean() < 0.1, "a failure follows the infection that causes it, except near the ends of a stay"


def test_many_infections_do_not_lead_to_sepsis(rows: pl.DataFrame) -> None:
    infected, septic = (set(rows.filter(condition=name)["stay_id"]) for name in ("infection", "sepsis"))
    assert 0.3 < len(septic) / len(infected) < 0.95


def test_the_truth_does_not_depend_on_the_number_of_patients(rows: pl.DataFrame, tmp_path: Path) -> None:
    few = synth(tmp_path / "few", patients=200, max_cpus=1).path
    patients = pl.read_csv(few / "hosp" / "patients.csv.gz")["subject_id"]
    part = pl.read_csv(few / "truth.csv", try_parse_dates=True)
    assert part.height
    assert part.equals(rows.filter(pl.col("subject_id").is_in(patients.implode())))


def test_older_releases_have_the_truth_of_their_patients(tmp_path: Path) -> None:
    old = synth(tmp_path / "old", patients=200, release="2.2", max_cpus=1).path
    truth = pl.read_csv(old / "truth.csv")
    stays = pl.read_csv(old / "icu" / "icustays.csv.gz")
    assert truth.height
    assert truth.join(stays, on=["subject_id", "stay_id"], how="anti").is_empty()


@pytest.mark.parametrize(
    ("item", "condition", "value"),
    [
        (CREATININE, "acute_kidney_injury", pl.col("valuenum").max() / pl.col("valuenum").min()),
        (LACTATE, "cardiovascular_failure", pl.col("valuenum").max()),
        (PLATELETS, "coagulation_failure", -pl.col("valuenum").min()),
    ],
)
def test_failures_change_results(
    labs: pl.DataFrame, rows: pl.DataFrame, item: str, condition: str, value: pl.Expr
) -> None:
    none, mild, severe = median_by_severity(labs.filter(itemid=item), rows, condition, value)
    assert none < mild < severe


def test_vasopressors_run_in_stays_that_need_them(release: Path, rows: pl.DataFrame) -> None:
    inputs = pl.read_csv(release / "icu" / "inputevents.csv.gz", infer_schema=False)
    given = set(inputs.filter(pl.col("itemid").is_in(VASOPRESSORS))["stay_id"].cast(pl.Int64))
    needed = set(rows.filter(condition="vasopressor")["stay_id"])
    assert given <= needed
    assert len(given) > 0.8 * len(needed)


def test_urine_falls_with_kidney_injury(release: Path, rows: pl.DataFrame, stays: pl.DataFrame) -> None:
    outputs = pl.read_csv(release / "icu" / "outputevents.csv.gz", infer_schema=False).filter(itemid="226559")
    flow = outputs.select(pl.col("stay_id").cast(pl.Int64), pl.col("value").cast(pl.Float64)).join(stays, on="stay_id")
    none, mild, severe = median_by_severity(
        flow, rows, "acute_kidney_injury", pl.col("value").sum() / pl.col("los").first()
    )
    assert none > mild > severe


def test_patients_with_worse_failures_die_more_often(
    release: Path, rows: pl.DataFrame, stays: pl.DataFrame, labs: pl.DataFrame
) -> None:
    admissions = pl.read_csv(release / "hosp" / "admissions.csv.gz", infer_schema_length=None)
    first = stays.sort("intime").unique("hadm_id", keep="first", maintain_order=True)
    first = first.join(admissions.select("hadm_id", died="hospital_expire_flag"), on="hadm_id")
    load = rows.filter(pl.col("condition").is_in(failure_names()[1:])).group_by("stay_id").agg(pl.col("severity").sum())
    early = labs.filter(pl.col("itemid") == LACTATE, pl.col("charttime") < pl.col("intime") + pl.duration(hours=24))
    lactate = early.group_by("stay_id").agg(lactate=pl.col("valuenum").max())
    frame = first.join(load, on="stay_id", how="left").join(lactate, on="stay_id", how="left")
    assert auroc(frame["severity"].fill_null(0.0), frame["died"]) > 0.65
    assert auroc(frame["lactate"].fill_null(frame["lactate"].median()), frame["died"]) > 0.58


def auroc(score: pl.Series, outcome: pl.Series) -> float:
    positive = int(outcome.sum())
    ranks = score.rank().filter(outcome == 1).sum()
    return float((ranks - positive * (positive + 1) / 2) / (positive * (len(outcome) - positive)))


# ---- courses --------------------------------------------------------------------------------------------------------
@pytest.fixture
def course() -> Courses:
    """Return one AKI of severity 2: from hour 0, at its peak from hour 10 to hour 20, over at hour 40."""
    number = np.full((len(failure_names()), 2, 2), -1)
    number[failure_names().index("acute_kidney_injury"), 0, 0] = 0
    hours = [np.array([hour * HOUR]) for hour in (0, 10, 20, 40)]
    failure = np.array([failure_names().index("acute_kidney_injury")])
    return Courses(np.array([0]), failure, np.array([2.0]), np.array([False]), *hours, number)


def test_the_level_rises_stays_and_falls(course: Courses) -> None:
    hours = np.array([-5, 0, 5, 10, 15, 20, 30, 40, 90])
    level = course.level(np.zeros(len(hours), dtype=np.int64), hours * HOUR)
    assert level == pytest.approx([0, 0, 1, 2, 2, 2, 1, 0, 0], abs=1e-3)


def test_a_lagging_measurement_follows_the_level(course: Courses) -> None:
    hours = np.array([0, 5, 10, 20, 40, 60])
    level = course.level(np.zeros(len(hours), dtype=np.int64), hours * HOUR, 10.0)
    # A ramp of 0.2 an hour, with a time constant of 10 hours, is 0.2 (t - 10 (1 - exp(-t / 10))).
    assert level[:3] == pytest.approx([0, 1 - 2 * (1 - np.exp(-0.5)), 2 * np.exp(-1)], abs=1e-3)
    assert level[2] < level[3] < 2
    assert 0 < level[5] < level[4]


def test_a_course_falls_below_a_level_after_its_peak(course: Courses) -> None:
    index = np.array([0])
    assert course.until_level(index, 1.0) == [30 * HOUR]
    assert course.until_level(index, 0.0) == [40 * HOUR]
    assert course.until_level(index, 2.5) == [0], "the level is never reached"


def test_shifts_concern_the_signals_of_the_failure_in_its_admission(course: Courses) -> None:
    creatinine, height = (catalog.signal_numbers()[name] for name in ("lab_creatinine", "height"))
    signal, time = np.array([creatinine, height, creatinine, creatinine]), np.full(4, 300 * HOUR // 10)
    shifts = signal_shifts(course, signal, np.array([0, 0, 1, -1]), time)
    assert shifts[0] > 0
    assert list(shifts[1:]) == [0, 0, 0]


# ---- the catalog ----------------------------------------------------------------------------------------------------
def test_every_illness_has_chances_of_all_failures() -> None:
    table = catalog.read("failure_chances.csv")
    assert sorted(table["illness"]) == sorted(catalog.illnesses())
    for name in failure_names():
        assert table[name].is_between(0, 1).all(), name


def test_every_failure_changes_signals() -> None:
    effects = read_effects()
    assert (effects.shift != 0).any(axis=1).all()
    assert (effects.lag >= 0).all()


def test_failures_occur_only_in_intensive_care() -> None:
    block = draw_block(3, 1)
    in_icu = set(np.flatnonzero(block.admissions.icu))
    assert {int(block.icu.admission[stay]) for stay in block.courses.stay} <= in_icu
    died = block.admissions.death[block.icu.admission]
    ends = truth_of(block).join(
        pl.DataFrame({"stay_id": block.icu.stay_id, "death": np.where(died == NONE, 1 << 40, died)}), on="stay_id"
    )
    assert (ends["end"].dt.epoch("s") <= ends["death"]).all()
