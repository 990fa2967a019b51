"""Label a dataset for a task, from its data files to a file of labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import meds
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj import interrupt
from ehrtraj.arguments import checked
from ehrtraj.dataset.dataset import Dataset
from ehrtraj.dataset.layout import DataFile
from ehrtraj.errors import OutputError
from ehrtraj.format.manifest import refuse_in_dataset
from ehrtraj.labels.concepts import Computable, computable, names_concepts
from ehrtraj.labels.predicates import STAYS, Predicates
from ehrtraj.labels.ready import find_task
from ehrtraj.labels.task import Task
from ehrtraj.labels.worker import LABEL_SCHEMA, LabelJob, label_files
from ehrtraj.paths import check_target
from ehrtraj.runtime.limits import ResourceLimits, find_limits
from ehrtraj.runtime.processes import stream_tasks
from ehrtraj.runtime.progress import Share, TaskTally
from ehrtraj.sources.source import source_of
from ehrtraj.storage.files import private_files, temporary_folder
from ehrtraj.storage.safe import refuse_link

# Starting a process takes as long as labelling this many events.
_WORTH_PROCESSES = 10_000_000
# Events of small files that are labelled together: each query takes DuckDB 40 ms, however few events there are.
_BATCH_EVENTS = 1_200_000
# Maximum memory of a worker process and of this process in bytes, measured.
_WORKER_BYTES = 450_000_000
_BASE_BYTES = 300_000_000
_MEDS_COLUMNS = ("subject_id", "prediction_time", "boolean_value")


@dataclass(frozen=True)
class Labels:
    """Labels of one task.

    Attributes:
        task: the task.
        table: one row per prediction, sorted by patient and time: `subject_id`, `prediction_time`, `boolean_value`.
        stays: for each row of `table`, `hadm_id` and `stay_id` of the trigger, null if its events name none or several.
        splits: for each split, its number of `labels`, `positives` and `patients` (with a label).
        unseen: predicates of the task that match no code in the dataset.
        early: number of labels whose window begins before the prediction time, so that the events that decide them may
            already be known at that time.
        notes: limits that differ from the requested ones, and why.
        similar: for those unseen predicates that name one code, the end of a sentence that suggests another one.
    """

    task: Task
    table: pl.DataFrame
    stays: pl.DataFrame
    splits: pl.DataFrame
    unseen: tuple[str, ...]
    early: int
    notes: tuple[str, ...] = ()
    similar: Mapping[str, str] = field(default_factory=dict)

    @property
    def with_stays(self) -> pl.DataFrame:
        """The table with `hadm_id` and `stay_id`, which MEDS' LabelSchema does not allow."""
        return self.table.hstack(self.stays)

    @checked
    def write(self, path: str | Path, *, overwrite: bool = False, with_stays: bool = False) -> Path:
        """Write the table as Parquet in MEDS' LabelSchema. Only the user can read the file.

        Args:
            path: file to write.
            overwrite: whether to replace an existing file of labels.
            with_stays: whether to add `hadm_id` and `stay_id`, which MEDS' LabelSchema does not allow.

        Raises:
            OutputError: if the file exists and `overwrite` is False, or it cannot be written.
        """
        path = Path(path).expanduser()
        check_output(path, overwrite=overwrite)
        table = meds.LabelSchema.align(self.table.to_arrow())
        if with_stays:
            for name in STAYS:
                table = table.append_column(name, self.stays[name].to_arrow())
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
        return set(_MEDS_COLUMNS) <= set(pq.read_schema(path).names)
    except (OSError, pa.ArrowException):
        return False


@checked
def label(
    dataset: Dataset,
    task: str | Path | Task,
    *,
    max_cpus: int | None = None,
    memory_limit: str | int | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Labels:
    """Label the patients of a dataset for a prediction task. The same as `ehrtraj label`.

    A label records what happened after `prediction_time`. To predict it without leakage, use only what was known at
    that time, `dataset[subject_id].as_of(prediction_time)`, regardless of the windows of the task.

    Args:
        dataset: a dataset, or a selection of its patients with `filter` or `sample`.
        task: name of a predefined task, a .yaml file in the ACES task language, or a parsed task.
        max_cpus: maximum number of CPU cores; all usable cores by default, and never more.
        memory_limit: maximum memory of all processes, such as `4GB`, the default; at least `1GB`.
        progress: receives the number of events processed, and the number of all events.

    Raises:
        TaskError: if the task cannot be read.
        DatasetError: if a data file cannot be read.
        SettingsError: if a limit cannot be used.
    """
    limits = find_limits(max_cpus, memory_limit)
    parsed = task if isinstance(task, Task) else find_task(task, partial(source_of, dataset.layout.manifest))
    concepts = computable(dataset) if names_concepts(parsed) else None
    predicates = Predicates(parsed, dataset.codes["code"], concepts.codes() if concepts else ())
    if not predicates.computed:
        concepts = None
    # Interrupted worker processes cannot remove their folders.
    with temporary_folder("ehrtraj-label-") as spill:
        parts = _label_files(dataset, predicates, concepts, limits, spill, progress)
    table = pl.concat([pl.DataFrame(schema=LABEL_SCHEMA), *(frame for frame, _ in parts)])
    table = table.sort("subject_id", "prediction_time", maintain_order=True)
    early = sum(count for _, count in parts)
    table, stays = table.drop(STAYS), table.select(STAYS)
    unseen, similar = tuple(predicates.unseen), _similar(predicates, dataset)
    return Labels(parsed, table, stays, _by_split(dataset, table), unseen, early, limits.notes, similar)


def _similar(predicates: Predicates, dataset: Dataset) -> dict[str, str]:
    """Return suggestions for predicates that match no code. A list of codes may well contain only absent ones."""
    single = {predicate.name: predicate.codes[0] for predicate in predicates.plain if len(predicate.codes) == 1}
    known = dataset.layout.known_codes
    return {name: known.suggestion(single[name]) for name in predicates.unseen if name in single}


def _label_files(
    dataset: Dataset,
    predicates: Predicates,
    concepts: Computable | None,
    limits: ResourceLimits,
    spill: Path,
    progress: Callable[[int, int], None],
) -> list[tuple[pl.DataFrame, int]]:
    """Label all data files, several at a time.

    Returns:
        Labels and the number of early ones, in the order of the files.
    """
    batches = _batches(dataset)
    events = [sum(int(patients["n_events"].sum()) for _, patients in batch) for batch in batches]
    workers = limits.workers(_WORKER_BYTES, _BASE_BYTES) if sum(events) > _WORTH_PROCESSES else 1
    workers = max(1, min(workers, len(batches)))
    job = LabelJob(predicates, concepts, limits.cpus // workers, spill)
    # Start with the largest, so that no large one remains at the end.
    order = sorted(range(len(batches)), key=lambda number: -events[number])
    parts: dict[int, tuple[pl.DataFrame, int]] = {}
    tally, total = TaskTally(dict(enumerate(events))), sum(events)
    progress(0, total)

    def report(number: int, share: Share) -> None:
        tally.reach(number, share)
        progress(tally.done_of(total), total)

    tasks = ((number, (job, batches[number])) for number in order)
    for number, part in stream_tasks(label_files, tasks, workers, report):
        parts[number] = part
        tally.finish(number)
        progress(tally.done_of(total), total)
    return [parts[number] for number in range(len(batches))]


def _batches(dataset: Dataset) -> list[list[tuple[DataFile, pl.DataFrame]]]:
    """Return the data files with their patients, in batches of about `_BATCH_EVENTS` events."""
    batches: list[list[tuple[DataFile, pl.DataFrame]]] = []
    room = 0
    for file, group in dataset.patients_by_file():
        events = int(group["n_events"].sum())
        if events > room or not batches:
            batches.append([])
            room = _BATCH_EVENTS
        batches[-1].append((file, group))
        room -= events
    return batches


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
