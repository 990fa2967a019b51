"""Label a dataset for a task, from its data files to a file of labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import meds
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj import interrupt
from ehrtraj.dataset.dataset import Dataset
from ehrtraj.errors import OutputError
from ehrtraj.format.manifest import refuse_in_dataset
from ehrtraj.labels.derive import derivable
from ehrtraj.labels.predicates import Predicates
from ehrtraj.labels.ready import find_task
from ehrtraj.labels.task import Task
from ehrtraj.labels.windows import PATIENTS_AT_ONCE, Axis, Predictions, evaluate_task
from ehrtraj.paths import check_target
from ehrtraj.sources.source import source_of
from ehrtraj.storage.files import private_files
from ehrtraj.storage.safe import refuse_link

_SCHEMA: dict[str, Any] = {"subject_id": pl.Int64, "prediction_time": pl.Datetime("us"), "boolean_value": pl.Boolean}


@dataclass(frozen=True)
class Labels:
    """Labels of one task.

    Attributes:
        task: the task.
        table: one row per prediction, sorted by patient and time: `subject_id`, `prediction_time`, `boolean_value`.
        splits: for each split, its number of `labels`, `positives` and `patients` (with a label).
        unseen: predicates of the task that match no code in the dataset.
        early: number of labels whose window begins before the prediction time, so that the events that decide them may
            already be known at that time.
    """

    task: Task
    table: pl.DataFrame
    splits: pl.DataFrame
    unseen: tuple[str, ...]
    early: int

    def write(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the table as Parquet in MEDS' LabelSchema. Only the user can read the file.

        Raises:
            OutputError: if the file exists and `overwrite` is False, or it cannot be written.
        """
        path = Path(path).expanduser()
        check_output(path, overwrite=overwrite)
        table = meds.LabelSchema.align(self.table.to_arrow())
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            # Ctrl-C waits less than a second until the file is written: pyarrow would leave a partial file.
            with private_files(), interrupt.held():
                path.parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(table, temporary, compression="zstd")
                temporary.replace(path)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from None
        finally:
            temporary.unlink(missing_ok=True)
        return path


def check_output(path: Path, *, overwrite: bool) -> None:
    """Check that labels may be written to a file.

    Raises:
        OutputError: if the file exists, unless it contains labels and `overwrite` is True; if it is a link, or inside a
            dataset; or if its folder cannot be written to.
    """
    check_target(path, overwrite=overwrite)
    refuse_link(path)
    refuse_in_dataset(path)
    if path.exists() and not _contains_labels(path):
        raise OutputError(f"{path} is not a file of labels, so --overwrite does not replace it: give another --output")


def _contains_labels(path: Path) -> bool:
    """Whether a file is Parquet with those columns of MEDS' LabelSchema that `Labels.write` writes."""
    try:
        return set(_SCHEMA) <= set(pq.read_schema(path).names)
    except (OSError, pa.ArrowException):
        return False


def label(
    dataset: Dataset, task: str | Path | Task, *, progress: Callable[[int, int], None] = lambda done, of: None
) -> Labels:
    """Label the patients of a dataset for a prediction task.

    A label records what happened after `prediction_time`. To predict it without leakage, use only what was known at
    that time, `dataset[subject_id].as_of(prediction_time)`, regardless of the windows of the task.

    Args:
        dataset: a dataset, or a selection of its patients with `filter` or `sample`.
        task: name of a predefined task, a .yaml file in the ACES task language, or a parsed task.
        progress: receives the number of files processed, and the number of all files.

    Raises:
        TaskError: if the task cannot be read.
        DatasetError: if a data file cannot be read.
    """
    parsed = task if isinstance(task, Task) else find_task(task, partial(source_of, dataset.layout.manifest))
    predicates = Predicates(parsed, dataset.codes["code"], derivable(dataset))
    files, parts, early = dataset.files, [pl.DataFrame(schema=_SCHEMA)], 0
    progress(0, len(files))
    for done, file in enumerate(files, start=1):
        bounds = _bounds(dataset.patients_of(file))
        for predictions in _evaluate_batches(parsed, predicates.count(predicates.read(dataset, file)), bounds):
            parts.append(_frame(predictions))
            early += int((predictions.label_starts < predictions.prediction_times).sum())
        progress(done, len(files))
    table = pl.concat(parts).sort("subject_id", "prediction_time", maintain_order=True)
    return Labels(parsed, table, _by_split(dataset, table), tuple(predicates.unseen), early)


def _bounds(patients: pl.DataFrame) -> pl.DataFrame:
    """Return the first and last time of each patient's record, in microseconds."""
    times = (pl.col(f"{name}_time").dt.epoch("us").fill_null(0).alias(name) for name in ("first", "last"))
    return patients.select("subject_id", *times).sort("subject_id")


def _evaluate_batches(task: Task, counts: pl.DataFrame, bounds: pl.DataFrame) -> Iterator[Predictions]:
    for at in range(0, bounds.height, PATIENTS_AT_ONCE):
        batch = bounds.slice(at, PATIENTS_AT_ONCE)
        rows = counts.join(batch, on="subject_id", how="semi", maintain_order="left")
        yield evaluate_task(task, Axis(rows, batch))


def _frame(predictions: Predictions) -> pl.DataFrame:
    columns = {
        "subject_id": predictions.subject_ids,
        "prediction_time": predictions.prediction_times,
        "boolean_value": predictions.counts > 0,
    }
    return pl.DataFrame(columns).with_columns(pl.col("prediction_time").cast(pl.Datetime("us")))


def _by_split(dataset: Dataset, table: pl.DataFrame) -> pl.DataFrame:
    labels = table.join(dataset.subjects.select("subject_id", "split"), on="subject_id", how="left")
    return (
        labels.group_by("split")
        .agg(
            labels=pl.len(),
            positives=pl.col("boolean_value").sum(),
            patients=pl.col("subject_id").n_unique(),
        )
        .sort(pl.col("split").replace_strict({"train": 0, "tuning": 1, "held_out": 2}))
    )
