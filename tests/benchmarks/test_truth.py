"""Comparing concepts with the truth of a synthetic release: recall and precision per ICU stay."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from ehrtraj.synth.failures.truth import conditions

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "truth.py"
NOON, NIGHT, NEXT_DAY = datetime(2150, 1, 1, 12), datetime(2150, 1, 1, 23), datetime(2150, 1, 2, 12)
STAYS = (1, 2, 3, 4)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Return a release of four stays. AKI is in stays 1 (severe), 2 and 3 (mild); stay 1 has a vasopressor."""
    folder = tmp_path / "release"
    (folder / "icu").mkdir(parents=True)
    stays = pl.DataFrame({"stay_id": STAYS, "intime": [NOON] * 4, "outtime": [NEXT_DAY] * 4})
    stays.write_csv(folder / "icu" / "icustays.csv.gz", datetime_format="%Y-%m-%d %H:%M:%S", compression="gzip")
    (folder / "truth.csv").write_text(
        "subject_id,hadm_id,stay_id,condition,start,end,severity\n"
        "7,8,1,acute_kidney_injury,2150-01-01 12:00:00,2150-01-03 12:00:00,1.7\n"
        "7,8,1,vasopressor,2150-01-01 12:00:00,2150-01-01 18:00:00,\n"
        "7,8,2,acute_kidney_injury,2150-01-01 12:00:00,2150-01-03 12:00:00,0.5\n"
        "7,8,3,acute_kidney_injury,2150-01-01 12:00:00,2150-01-03 12:00:00,0.4\n"
    )
    return folder


def write_concept(dataset: Path, name: str, split: str, rows: dict[str, list[object]]) -> None:
    folder = dataset / "concepts" / name / split
    folder.mkdir(parents=True)
    pl.DataFrame(rows).write_parquet(folder / "0.parquet")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Return a dataset with concepts in two splits.

    AKI is found in stays 1 and 4. In stay 2 the stage is 0 within the stay and 2 before it.
    """
    folder = tmp_path / "dataset"
    before = datetime(2149, 12, 31)
    write_concept(
        folder, "kdigo_stages", "train",
        {"stay_id": [1, 1, 2, 2], "time": [NOON, NIGHT, NIGHT, before], "aki_stage": [0, 3, 0, 2]},
    )  # fmt: skip
    write_concept(
        folder, "kdigo_stages", "held_out", {"stay_id": [3, 4, None], "time": [NIGHT] * 3, "aki_stage": [0, 1, 3]}
    )
    agents = {
        "norepinephrine": [0.1, None, None], "epinephrine": [None] * 3, "phenylephrine": [None] * 3,
        "vasopressin": [None] * 3, "dopamine": [None, None, 5.0], "dobutamine": [None, 3.0, None],
    }  # fmt: skip
    write_concept(folder, "vasoactive_agent", "train", {"stay_id": [1, 2, 3], "start": [NOON] * 3, **agents})
    return folder


def row_of(truth: ModuleType, release: Path, dataset: Path, condition: str) -> dict[str, object]:
    return truth.compare(release, dataset, 1.0).row(by_predicate=pl.col("condition") == condition, named=True)


def test_recall_and_precision_count_stays(truth: ModuleType, release: Path, dataset: Path) -> None:
    row = row_of(truth, release, dataset, "AKI")
    assert (row["stays"], row["true"], row["found"], row["both"]) == (4, 3, 2, 1)
    assert row["recall"] == pytest.approx(1 / 3)
    assert row["severe"] == 1.0
    assert row["precision"] == 0.5


def test_a_vasopressor_is_not_an_inotrope(truth: ModuleType, release: Path, dataset: Path) -> None:
    row = row_of(truth, release, dataset, "vasopressor")
    assert (row["true"], row["found"], row["both"]) == (1, 2, 1)
    assert row["severe"] is None, "treatments have no severity"


def test_components_of_sofa_are_compared_one_by_one(truth: ModuleType, release: Path, dataset: Path) -> None:
    scores = {f"{name}_24hours": [0, 0] for name in ("respiration", "coagulation", "liver", "cardiovascular", "cns")}
    write_concept(dataset, "sofa", "train", {"stay_id": [2, 3], **scores, "renal_24hours": [2, 1]})
    assert row_of(truth, release, dataset, "renal")["both"] == 1
    assert row_of(truth, release, dataset, "liver")["found"] == 0
    assert row_of(truth, release, dataset, "liver")["precision"] is None


def test_sepsis_and_ventilation_are_compared(truth: ModuleType, release: Path, dataset: Path) -> None:
    write_concept(dataset, "sepsis3", "train", {"stay_id": [1, 2], "sofa_time": [NOON, None]})
    write_concept(
        dataset, "ventilation", "train", {"stay_id": [1, 2, 3], "ventilation_status": ["InvasiveVent", "HFNC", None]}
    )
    assert row_of(truth, release, dataset, "sepsis")["found"] == 1
    assert row_of(truth, release, dataset, "ventilation")["found"] == 1


def test_every_condition_is_in_the_truth_of_a_release(truth: ModuleType) -> None:
    assert {comparison.condition for comparison in truth.COMPARISONS} <= set(conditions())


def test_the_script_prints_the_comparison_and_names_what_is_missing(release: Path, dataset: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(release), str(dataset)], capture_output=True, text=True, check=True
    )
    assert "kdigo_stages" in done.stdout
    assert "0.333" in done.stdout
    (release / "truth.csv").unlink()
    failed = subprocess.run([sys.executable, str(SCRIPT), str(release), str(dataset)], capture_output=True, text=True)
    assert failed.returncode == 2
    assert "has no truth.csv" in failed.stderr


def test_a_dataset_without_concepts_is_an_error(release: Path, tmp_path: Path) -> None:
    failed = subprocess.run([sys.executable, str(SCRIPT), str(release), str(tmp_path)], capture_output=True, text=True)
    assert failed.returncode == 2
    assert "ehrtraj concepts" in failed.stderr
