"""Label a dataset by a task: from its files to a file of labels."""

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
from ehrtraj.labels.windows import PATIENTS_AT_ONCE, Axis, Found, settle
from ehrtraj.paths import check_target
from ehrtraj.sources.source import source_of
from ehrtraj.storage.files import private_files
from ehrtraj.storage.safe import refuse_link

_SCHEMA: dict[str, Any] = {"subject_id": pl.Int64, "prediction_time": pl.Datetime("us"), "boolean_value": pl.Boolean}


@dataclass(frozen=True)
class Labels:
    """Labels of one task.

    Attributes:
        task: what was asked.
        table: a row for each prediction, by patient and time: `subject_id`, `prediction_time`, `boolean_value`.
        splits: for each split its `labels`, `positives` and `patients` (with a label).
        unseen: predicates of the task that name no code of the dataset.
        early: labels whose window begins before the prediction time: what they count may be known by then.
    """

    task: Task
    table: pl.DataFrame
    splits: pl.DataFrame
    unseen: tuple[str, ...]
    early: int

    def write(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write the table as Parquet in MEDS' LabelSchema, readable by the user alone.

        Raises:
            OutputError: if the file is there already, or cannot be written.
        """
        path = Path(path).expanduser()
        check_output(path, overwrite=overwrite)
        table = meds.LabelSchema.align(self.table.to_arrow())
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            # It takes less than a second, and Ctrl-C waits: pyarrow would leave what it has begun.
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
        OutputError: if it is there already, unless labels are in it and it shall be replaced; if it is a link, or in a
            dataset; or if its folder cannot be written to.
    """
    check_target(path, overwrite=overwrite)
    refuse_link(path)
    refuse_in_dataset(path)
    if path.exists() and not _holds_labels(path):
        raise OutputError(f"{path} is not a file of labels, so --overwrite does not replace it: give another --output")


def _holds_labels(path: Path) -> bool:
    """Whether a file is Parquet with the columns of MEDS' LabelSchema that labels of ours have."""
    try:
        return set(_SCHEMA) <= set(pq.read_schema(path).names)
    except (OSError, pa.ArrowException):
        return False


def label(
    dataset: Dataset, task: str | Path | Task, *, progress: Callable[[int, int], None] = lambda done, of: None
) -> Labels:
    """Label the patients of a dataset.

    A label says what happened after `prediction_time`. What may be used to predict it is what was known then:
    `dataset[subject_id].as_of(prediction_time)`, whatever the task's windows say.

    Args:
        dataset: all of one, or what `filter` and `sample` choose of it.
        task: name of a ready task, a .yaml file in ACES' language, or a task that was read already.
        progress: is told the number of files done, and of all.

    Raises:
        TaskError: if the task cannot be read.
        DatasetError: if a data file cannot be read.
    """
    asked = task if isinstance(task, Task) else find_task(task, partial(source_of, dataset.layout.manifest))
    predicates = Predicates(asked, dataset.codes["code"], derivable(dataset))
    files, parts, early = dataset.files, [pl.DataFrame(schema=_SCHEMA)], 0
    progress(0, len(files))
    for done, file in enumerate(files, start=1):
        bounds = _bounds(dataset.patients_of(file))
        for found in _settled(asked, predicates.count(predicates.read(dataset, file)), bounds):
            parts.append(_frame(found))
            early += int((found.label_starts < found.prediction_times).sum())
        progress(done, len(files))
    table = pl.concat(parts).sort("subject_id", "prediction_time", maintain_order=True)
    return Labels(asked, table, _by_split(dataset, table), tuple(predicates.unseen), early)


def _bounds(patients: pl.DataFrame) -> pl.DataFrame:
    """First and last time of each patient's record, microseconds."""
    times = (pl.col(f"{name}_time").dt.epoch("us").fill_null(0).alias(name) for name in ("first", "last"))
    return patients.select("subject_id", *times).sort("subject_id")


def _settled(task: Task, counts: pl.DataFrame, bounds: pl.DataFrame) -> Iterator[Found]:
    for at in range(0, bounds.height, PATIENTS_AT_ONCE):
        some = bounds.slice(at, PATIENTS_AT_ONCE)
        rows = counts.join(some, on="subject_id", how="semi", maintain_order="left")
        yield settle(task, Axis(rows, some))


def _frame(found: Found) -> pl.DataFrame:
    columns = {
        "subject_id": found.subject_ids,
        "prediction_time": found.prediction_times,
        "boolean_value": found.counts > 0,
    }
    return pl.DataFrame(columns).with_columns(pl.col("prediction_time").cast(pl.Datetime("us")))


def _by_split(dataset: Dataset, table: pl.DataFrame) -> pl.DataFrame:
    counted = table.join(dataset.subjects.select("subject_id", "split"), on="subject_id", how="left")
    return (
        counted.group_by("split")
        .agg(
            labels=pl.len(),
            positives=pl.col("boolean_value").sum(),
            patients=pl.col("subject_id").n_unique(),
        )
        .sort(pl.col("split").replace_strict({"train": 0, "tuning": 1, "held_out": 2}))
    )
