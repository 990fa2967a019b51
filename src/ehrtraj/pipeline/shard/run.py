"""The step of a build that builds all shards: create the tasks, run them, and commit their results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ehrtraj.engines.base import Need
from ehrtraj.pipeline.job import BuildJob
from ehrtraj.pipeline.layout import SHARDS
from ehrtraj.pipeline.plan.run import Inputs
from ehrtraj.pipeline.plan.shards import ShardPlan
from ehrtraj.pipeline.shard.commit import commit, free_inputs, shard_is_there
from ehrtraj.pipeline.shard.task import ShardJob, ShardTask
from ehrtraj.pipeline.shard.worker import ShardWork
from ehrtraj.pipeline.stage.staged import StagedFile, StagedTable, inputs_of
from ehrtraj.storage.base import Storage
from ehrtraj.storage.documents import read_document

# Memory of a worker with a part of 2 million rows, in addition to that of every process: measured at 0.55 GB.
WORKER_BYTES = 800 * 10**6


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
    plan: ShardPlan,
    staged: Mapping[str, StagedTable],
    done: Mapping[int, dict[str, Any]],
) -> list[dict[str, Any]]:
    """Build the shards that are not finished yet.

    Args:
        job: the build.
        inputs: inputs of the build.
        storage: the working folder.
        plan: the shards.
        staged: record of each staged table.
        done: records of the finished shards.

    Returns:
        The records of all shards, in order.

    Raises:
        EhrtrajError: if a recipe breaks its contract, or a file of the working folder is missing.
    """
    tasks, shared = _tasks(inputs, plan, staged), job.source.roles.of_all_shards
    need = Need(WORKER_BYTES)
    workers, cpus = job.engine.at_once(need), job.settings.max_cpus
    if workers < cpus:
        job.reporter.note(f"using {workers} of {cpus} CPU cores for shards: more would exceed the --memory-limit")
    for shard in set(done) & set(tasks):
        # These remain if an earlier run was killed after it wrote a shard's marker.
        free_inputs(storage, tasks[shard], kept=shared)
    # The largest shards come first, so that no large shard is left running alone at the end.
    todo = sorted((t for s, t in tasks.items() if s not in done), key=lambda t: (-t.rows, t.shard))
    job.reporter.extracting(len(todo), sum(task.rows for task in todo))
    records = dict(done)
    for result in job.engine.map(ShardWork(shard_job(job, inputs, storage, staged)), todo, need):
        record = records[result.record["shard"]] = commit(storage, result)
        task = tasks[record["shard"]]
        free_inputs(storage, task, kept=shared)
        job.reporter.extracted(task.rows, sum(t["events"] for t in record["tables"].values()))
    return [records[s] for s in sorted(records)]


def _tasks(inputs: Inputs, plan: ShardPlan, staged: Mapping[str, StagedTable]) -> dict[int, ShardTask]:
    """Return a task for every shard with rows, by its number."""
    files: dict[int, dict[str, tuple[StagedFile, ...]]] = {shard: {} for shard in range(plan.count)}
    rows = dict.fromkeys(range(plan.count), 0)
    for name in inputs.patient_tables:
        for shard, count in staged[name].shards.items():
            rows[shard] += count
            files[shard][name] = inputs_of(staged[name], shard)
    return {shard: ShardTask(shard, count, files[shard]) for shard, count in rows.items() if count}


def dictionary_files(inputs: Inputs, staged: Mapping[str, StagedTable]) -> dict[str, tuple[StagedFile, ...]]:
    """Return the staged files of each dictionary, by full name."""
    return {name: inputs_of(staged[name]) for name in inputs.selection.dictionaries}


def shard_job(job: BuildJob, inputs: Inputs, storage: Storage, staged: Mapping[str, StagedTable]) -> ShardJob:
    """Return the data that all shards of a build share."""
    settings = job.settings
    return ShardJob(
        source=job.source,
        storage=storage,
        event_tables=inputs.selection.event_tables,
        staged=tuple(inputs.patient_tables),
        clock=settings.clock,
        seed=settings.seed,
        memory=WORKER_BYTES,
        part_rows=job.sizes.part_rows,
        of_all={n: inputs_of(staged[n]) for n in sorted(job.source.roles.of_all_shards & set(inputs.patient_tables))},
        dictionaries=dictionary_files(inputs, staged),
        standardise=settings.standardise,
        notes=settings.notes,
    )
