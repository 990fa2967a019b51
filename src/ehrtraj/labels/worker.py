"""Label the patients of some data files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ehrtraj.dataset.layout import DataFile
from ehrtraj.labels.concepts import Computable
from ehrtraj.labels.predicates import STAYS, Predicates, stay_column
from ehrtraj.labels.windows import PATIENTS_AT_ONCE, Axis, Predictions, evaluate_task
from ehrtraj.runtime.progress import ShareReport, no_report

LABEL_SCHEMA: dict[str, Any] = {
    "subject_id": pl.Int64,
    "prediction_time": pl.Datetime("us"),
    "boolean_value": pl.Boolean,
    "hadm_id": pl.Int64,
    "stay_id": pl.Int64,
}

# Shares of the time: to read the events, and to count the matches of predicates or compute concepts.
_READ_SHARE, _COUNTED_SHARE = 0.3, 0.6


@dataclass(frozen=True)
class LabelJob:
    """What is the same for all tasks of a process.

    Attributes:
        predicates: the predicates of the task, with the codes that they match.
        concepts: the concepts that can be computed; None if the task needs none of them.
        threads: maximum number of DuckDB's threads in one process.
        spill: private folder for data of DuckDB that does not fit in memory.
    """

    predicates: Predicates
    concepts: Computable | None
    threads: int
    spill: Path


def label_files(
    job: LabelJob, groups: Sequence[tuple[DataFile, pl.DataFrame]], *, report: ShareReport = no_report
) -> tuple[pl.DataFrame, int]:
    """Label patients of some data files.

    Args:
        job: the task.
        groups: the files, each with those rows of subjects.parquet whose patients it contains.
        report: receives how much is done.

    Returns:
        The labels, and the number of them whose window begins before the prediction time.

    Raises:
        TaskError: if the task refers to a column that events do not have.
        DatasetError: if a file cannot be read.
    """
    events = pl.concat(job.predicates.read(file, patients) for file, patients in groups)
    patients = pl.concat(patients for _, patients in groups)
    report(_READ_SHARE)
    if job.concepts is not None:
        files, codes = [file for file, _ in groups], job.predicates.computed
        added = job.concepts.events(files, patients, codes, events.schema, threads=job.threads, spill=job.spill)
        events = pl.concat([events, added])
    parts, early = [pl.DataFrame(schema=LABEL_SCHEMA)], 0
    seen, total = 0, max(patients.height, 1)
    for rows, predictions in _evaluate_batches(job.predicates, job.predicates.count(events), _bounds(patients)):
        parts.append(_frame(rows, predictions))
        seen += PATIENTS_AT_ONCE
        report(_COUNTED_SHARE + min(seen / total, 1.0) * (1 - _COUNTED_SHARE))
        early += int((predictions.label_starts < predictions.prediction_times).sum())
    return pl.concat(parts), early


def _bounds(patients: pl.DataFrame) -> pl.DataFrame:
    """Return the first and last time of each patient's record, in microseconds."""
    times = (pl.col(f"{name}_time").dt.epoch("us").fill_null(0).alias(name) for name in ("first", "last"))
    return patients.select("subject_id", *times).sort("subject_id")


def _evaluate_batches(
    predicates: Predicates, counts: pl.DataFrame, bounds: pl.DataFrame
) -> Iterator[tuple[pl.DataFrame, Predictions]]:
    """Yield rows of some patients, and the predictions for them."""
    for at in range(0, bounds.height, PATIENTS_AT_ONCE):
        batch = bounds.slice(at, PATIENTS_AT_ONCE)
        rows = counts.join(batch, on="subject_id", how="semi", maintain_order="left")
        yield rows, evaluate_task(predicates.task, Axis(rows, batch))


def _frame(rows: pl.DataFrame, predictions: Predictions) -> pl.DataFrame:
    columns = {
        "subject_id": predictions.subject_ids,
        "prediction_time": predictions.prediction_times,
        "boolean_value": predictions.counts > 0,
    }
    triggers = rows[predictions.rows]
    return pl.DataFrame(columns).with_columns(
        pl.col("prediction_time").cast(pl.Datetime("us")),
        *(triggers[stay_column(name)].alias(name) for name in STAYS),
    )
