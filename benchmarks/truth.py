"""Compare concepts with the truth of a synthetic release: recall and precision per ICU stay.

    python benchmarks/truth.py RELEASE DATASET [--severe 1]

RELEASE is a folder of `ehrtraj synth`, whose `truth.csv` was written before any concept was computed. DATASET was built
from it and has concepts: `ehrtraj concepts DATASET`. A stay counts as found if the concept has it at any time of the
stay. `recall` is the share of the stays with the condition that are found, `severe` the same for stays in which its
severity reaches `--severe`, and `precision` the share of the found stays that have the condition. The truth contains
acute failures only: a score also finds chronic disease, which costs precision.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import polars as pl

VASOPRESSORS = ("norepinephrine", "epinephrine", "phenylephrine", "vasopressin", "dopamine")


@dataclass(frozen=True)
class Comparison:
    """A condition of the truth, and the concept that finds it.

    Attributes:
        name: shown in the result.
        condition: value of the column `condition` of truth.csv.
        concept: name of the concept.
        found: which rows of the concept state the condition. Columns are named as in mimic-code.
    """

    name: str
    condition: str
    concept: str
    found: pl.Expr


def _failure(name: str, condition: str, component: str) -> Comparison:
    return Comparison(name, condition, "sofa", pl.col(f"{component}_24hours") >= 2)


COMPARISONS = (
    Comparison("AKI", "acute_kidney_injury", "kdigo_stages", pl.col("aki_stage") >= 1),
    Comparison("sepsis", "sepsis", "sepsis3", pl.col("sofa_time").is_not_null()),
    _failure("respiration", "respiratory_failure", "respiration"),
    _failure("cardiovascular", "cardiovascular_failure", "cardiovascular"),
    _failure("renal", "acute_kidney_injury", "renal"),
    _failure("liver", "hepatic_failure", "liver"),
    _failure("coagulation", "coagulation_failure", "coagulation"),
    _failure("CNS", "neurological_failure", "cns"),
    Comparison(
        "vasopressor",
        "vasopressor",
        "vasoactive_agent",
        pl.any_horizontal(pl.col(name).is_not_null() for name in VASOPRESSORS),
    ),
    Comparison(
        "ventilation", "invasive_ventilation", "ventilation", pl.col("ventilation_status").is_in(["InvasiveVent"])
    ),
)


def read_stays(release: Path) -> pl.DataFrame:
    """Return stay_id, intime and outtime of all ICU stays of a release."""
    stays = pl.read_csv(release / "icu" / "icustays.csv.gz", try_parse_dates=True)
    return stays.select("stay_id", "intime", "outtime")


def found_stays(dataset: Path, comparison: Comparison, stays: pl.DataFrame) -> set[int] | None:
    """Return the stays in which a concept finds the condition; None if the concept was not computed."""
    files = sorted((dataset / "concepts" / comparison.concept).glob("*/*.parquet"))
    if not files:
        return None
    rows = pl.scan_parquet(files).filter(comparison.found).drop_nulls("stay_id")
    inside = rows.join(stays.lazy(), on="stay_id")
    # A concept of points in time may reach back before the stay, for example to a baseline.
    if "time" in rows.collect_schema().names():
        inside = inside.filter(pl.col("time").is_between("intime", "outtime"))
    return set(inside.select("stay_id").unique().collect()["stay_id"])


def compare(release: Path, dataset: Path, severe: float) -> pl.DataFrame:
    """Return one row for each comparison whose concept was computed."""
    stays = read_stays(release)
    truth = pl.read_csv(release / "truth.csv", schema_overrides={"severity": pl.Float64})
    results = []
    for comparison in COMPARISONS:
        found = found_stays(dataset, comparison, stays)
        if found is None:
            continue
        true = truth.filter(condition=comparison.condition)
        true_stays = set(true["stay_id"])
        worst = set(true.filter(pl.col("severity") >= severe)["stay_id"])
        both = true_stays & found
        results.append(
            {
                "condition": comparison.name,
                "concept": comparison.concept,
                "stays": stays.height,
                "true": len(true_stays),
                "found": len(found),
                "both": len(both),
                "recall": _share(both, true_stays),
                "severe": _share(worst & found, worst),
                "precision": _share(both, found),
            }
        )
    return pl.DataFrame(results, infer_schema_length=None)


def _share(part: set[int], of: set[int]) -> float | None:
    return len(part) / len(of) if of else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path, help="folder of `ehrtraj synth`")
    parser.add_argument("dataset", type=Path, help="dataset built from it, with concepts")
    parser.add_argument("--severe", type=float, default=1.0, help="severity from which a failure is severe")
    arguments = parser.parse_args()
    if not (arguments.release / "truth.csv").is_file():
        parser.error(f"{arguments.release} has no truth.csv: draw it with `ehrtraj synth`")
    result = compare(arguments.release, arguments.dataset, arguments.severe)
    if result.is_empty():
        parser.error(f"{arguments.dataset} has none of the concepts: run `ehrtraj concepts {arguments.dataset}` first")
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(result.with_columns(pl.col("recall", "severe", "precision").round(3)))


if __name__ == "__main__":
    main()
