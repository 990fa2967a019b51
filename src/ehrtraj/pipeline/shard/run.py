"""The step of a build that builds all shards: create the tasks, run them, and commit their results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ehrtraj.engines.base import Need
from ehrtraj.format.splits import Splits
from ehrtraj.pipeline.job import BuildJob
from ehrtraj.pipeline.layout import SHARDS, SLICES, staged_marker
from ehrtraj.pipeline.plan.patients import Patients
from ehrtraj.pipeline.plan.run import Inputs
from ehrtraj.pipeline.plan.shards import ShardPlan
from ehrtraj.pipeline.shard.commit import commit, free_inputs, shard_is_there
from ehrtraj.pipeline.shard.meter import ShardProgress
from ehrtraj.pipeline.shard.task import ShardJob, ShardTask
from ehrtraj.pipeline.shard.worker import ShardWork
from ehrtraj.pipeline.slices.feed import Feeder
from ehrtraj.pipeline.stage.staged import StagedFile, StagedTable, inputs_of, sliced_table
from ehrtraj.runtime.progress import TaskTally
from ehrtraj.storage.base import Storage
from ehrtraj.storage.documents import read_document, write_document

# Memory of a worker with a shard of 1.5 million rows: measured at 0.5 to 0.6 GB. The rows are only estimated.
WORKER_BYTES = 800 * 10**6
SHARD_NEED = Need(WORKER_BYTES)
"""Resources that the task of a shard needs."""
# Shards whose slices wait in the working folder for a free worker.
_READY_SHARDS = 2
# Each part of a shard takes 10 ms for each table that is converted part by part.
_LARGE_SHARE = 0.08


def finished_shards(storage: Storage) -> dict[int, dict[str, Any]]:
    """Return the records of the shards that an earlier run finished, by their number.

    Args:
        storage: the working folder.
    """
    records = {}
    for name in storage.files(SHARDS):
        if name.endswith(".json"):
            record = read_document(storage, name)
            if record is not None and shard_is_there(storage, record):
                records[int(record["shard"])] = record
    return records


def build_shards(
    job: BuildJob,
    inputs: Inputs,
    storage: Storage,
    patients: Patients,
    staged: Mapping[str, StagedTable],
    sliced: Sequence[str],
    done: Mapping[int, dict[str, Any]],
) -> tuple[list[dict[str, Any]], dict[str, StagedTable]]:
    """Build the shards that are not finished yet.

    Args:
        job: the build.
        inputs: inputs of the build.
        storage: the working folder.
        patients: the patients, with their shards and splits.
        staged: record of each staged table.
        sliced: full names of the tables that are cut into slices.
        done: records of the finished shards.

    Returns:
        The records of all shards, in order, and the records of the sliced tables.

    Raises:
        EhrtrajError: if a recipe breaks its contract, or a file of the working folder is missing.
        CannotSliceError: if a table cannot be cut into slices.
    """
    plan = patients.plan
    tasks, shared = _tasks(inputs, plan, staged), job.source.roles.of_all_shards
    workers, cpus = job.engine.at_once(SHARD_NEED), job.settings.max_cpus
    if workers < cpus:
        job.reporter.note(f"using {workers} of {cpus} CPU cores for shards: more would exceed the --memory-limit")
    for shard in set(done) & set(tasks):
        # These remain if an earlier run was killed after it wrote a shard's marker.
        free_inputs(storage, tasks[shard], kept=shared)
    storage.delete(SLICES)
    todo = [task for shard, task in tasks.items() if shard not in done]
    records = dict(done)
    work = ShardWork(shard_job(job, inputs, storage, patients.splits, staged, sliced))
    with _feeder(job, inputs, storage, plan, todo, sliced) as feeder:
        if feeder is None:
            # The largest shards come first, so that no large shard is left running alone at the end.
            todo = sorted((task for task in todo if task.rows), key=lambda task: (-task.rows, task.shard))
        # With slices, the rows of a shard are not known until it is cut; the plan makes shards of similar sizes.
        tally = TaskTally({task.shard: task.rows if feeder is None else 1 for task in todo})

        def report(progress: ShardProgress) -> None:
            tally.reach(progress.shard, progress.share)
            job.reporter.extracting_share(tally.share)

        job.reporter.extracting(len(todo))
        items = todo if feeder is None else _with_slices(todo, feeder)
        for result in job.engine.map(work, items, SHARD_NEED, report):
            again = result.record["shard"] in records
            record = records[result.record["shard"]] = commit(storage, result)
            job.add_cpu(result.cpu)
            free_inputs(storage, tasks[record["shard"]], kept=shared)
            if feeder is not None:
                feeder.finish(record["shard"])
            tally.finish(record["shard"])
            job.reporter.extracting_share(tally.share)
            if not again:
                job.reporter.extracted(sum(t["events"] for t in record["tables"].values()))
        hashes = {} if feeder is None else feeder.sha256()
    ordered = [records[s] for s in sorted(records)]
    read = {name: sliced_table(name, hashes[name], ordered) for name in sliced}
    for name, table in read.items():
        write_document(storage, staged_marker(name), table.to_json())
    return ordered, read


def _tasks(inputs: Inputs, plan: ShardPlan, staged: Mapping[str, StagedTable]) -> dict[int, ShardTask]:
    """Return the task of each shard without its slices, by its number."""
    starts = plan.starts.tolist()
    files: dict[int, dict[str, tuple[StagedFile, ...]]] = {shard: {} for shard in range(plan.count)}
    rows = dict.fromkeys(range(plan.count), 0)
    for name in inputs.patient_tables:
        if name in staged:
            for shard, count in staged[name].shards.items():
                rows[shard] += count
                files[shard][name] = inputs_of(staged[name], shard)
    return {
        shard: ShardTask(
            shard,
            count,
            files[shard],
            starts[shard] if shard else None,
            starts[shard + 1] if shard + 1 < plan.count else None,
        )
        for shard, count in rows.items()
    }


@contextmanager
def _feeder(
    job: BuildJob, inputs: Inputs, storage: Storage, plan: ShardPlan, todo: Sequence[ShardTask], sliced: Sequence[str]
) -> Iterator[Feeder | None]:
    """Cut tables while the context is open. Without tables to cut, there is no feeder."""
    if not sliced:
        yield None
        return
    workers = job.engine.at_once(SHARD_NEED)
    with Feeder(
        storage,
        {name: inputs.release.files[name] for name in sliced},
        plan,
        [task.shard for task in todo],
        ahead=1 if workers == 1 else workers + _READY_SHARDS,
        threads=job.settings.max_cpus,
        block_bytes=job.sizes.slice_block_bytes,
    ) as feeder:
        yield feeder


def _with_slices(todo: Sequence[ShardTask], feeder: Feeder) -> Iterator[ShardTask]:
    """Yield the tasks with their slices, as soon as these are cut. Shards without rows have no task."""
    for task in todo:
        slices = feeder.slices(task.shard)
        rows = task.rows + sum(piece.lines for piece in slices)
        if rows:
            yield replace(task, rows=rows, slices=slices)
        else:
            feeder.finish(task.shard)


def dictionary_files(inputs: Inputs, staged: Mapping[str, StagedTable]) -> dict[str, tuple[StagedFile, ...]]:
    """Return the staged files of each dictionary, by full name."""
    return {name: inputs_of(staged[name]) for name in inputs.selection.dictionaries}


def _large_tables(inputs: Inputs) -> tuple[str, ...]:
    """Return the full names of the tables that have a large share of all bytes of the release."""
    sizes = {name: inputs.release.files[name].size for name in inputs.selection.event_tables}
    least = _LARGE_SHARE * sum(sizes.values())
    return tuple(name for name, size in sizes.items() if size >= least)


def shard_job(
    job: BuildJob,
    inputs: Inputs,
    storage: Storage,
    splits: Splits,
    staged: Mapping[str, StagedTable],
    sliced: Sequence[str],
) -> ShardJob:
    """Return the data that all shards of a build share."""
    settings = job.settings
    return ShardJob(
        source=job.source,
        storage=storage,
        event_tables=inputs.selection.event_tables,
        tables=tuple(inputs.patient_tables),
        clock=settings.clock,
        splits=splits,
        memory=WORKER_BYTES,
        span_rows=job.sizes.span_rows,
        large_rows=job.sizes.large_rows,
        large=_large_tables(inputs),
        of_all={n: inputs_of(staged[n]) for n in sorted(job.source.roles.of_all_shards & set(inputs.patient_tables))},
        dictionaries=dictionary_files(inputs, staged),
        sliced={name: inputs.release.files[name] for name in sliced},
        standardise=settings.standardise,
        notes=settings.notes,
    )
