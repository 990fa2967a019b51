"""The step that builds all shards: makes the tasks, runs them, and commits what they wrote."""

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

# Of a worker that has a part of PART_ROWS rows, beside what every process takes: measured at 0.55 GB.
WORKER_BYTES = 800 * 10**6


def finished_shards(storage: Storage) -> dict[int, dict[str, Any]]:
    """The accounts of the shards that an earlier run built, by their number.

    Args:
        storage: the working folder.
    """
    found = {}
    for name in storage.files(SHARDS):
        if name.endswith(".json"):
            account = read_document(storage, name)
            if account is not None and shard_is_there(storage, account):
                found[int(account["shard"])] = account
    return found


def build_shards(
    job: BuildJob,
    inputs: Inputs,
    storage: Storage,
    plan: ShardPlan,
    staged: Mapping[str, StagedTable],
    done: Mapping[int, dict[str, Any]],
) -> list[dict[str, Any]]:
    """Build the shards that are not built yet.

    Args:
        job: the build.
        inputs: that it reads.
        storage: the working folder.
        plan: the shards.
        staged: the account of each staged table.
        done: the accounts of shards that are built.

    Returns:
        The accounts of all shards, in their order.

    Raises:
        EhrtrajError: if a recipe breaks its contract, or a file of the working folder is missing.
    """
    tasks, shared = _tasks(inputs, plan, staged), job.source.roles.of_all_shards
    need = Need(WORKER_BYTES)
    workers, cpus = job.engine.at_once(need), job.settings.max_cpus
    if workers < cpus:
        job.reporter.note(
            f"{workers} of {cpus} processors at work on shards: more would not fit into the --memory-limit"
        )
    for shard in set(done) & set(tasks):
        # Killed between a shard's marker and this step, an earlier run left them.
        free_inputs(storage, tasks[shard], kept=shared)
    # The largest first, so that none is left alone at the end.
    todo = sorted((t for s, t in tasks.items() if s not in done), key=lambda t: (-t.rows, t.shard))
    job.reporter.extracting(len(todo), sum(task.rows for task in todo))
    accounts = dict(done)
    for result in job.engine.map(ShardWork(shard_job(job, inputs, storage, staged)), todo, need):
        account = accounts[result.account["shard"]] = commit(storage, result)
        task = tasks[account["shard"]]
        free_inputs(storage, task, kept=shared)
        job.reporter.extracted(task.rows, sum(t["events"] for t in account["tables"].values()))
    return [accounts[s] for s in sorted(accounts)]


def _tasks(inputs: Inputs, plan: ShardPlan, staged: Mapping[str, StagedTable]) -> dict[int, ShardTask]:
    """Every shard that has rows, with its staged files."""
    files: dict[int, dict[str, tuple[StagedFile, ...]]] = {shard: {} for shard in range(plan.count)}
    rows = dict.fromkeys(range(plan.count), 0)
    for name in inputs.patient_tables:
        for shard, count in staged[name].shards.items():
            rows[shard] += count
            files[shard][name] = inputs_of(staged[name], shard)
    return {shard: ShardTask(shard, count, files[shard]) for shard, count in rows.items() if count}


def dictionary_files(inputs: Inputs, staged: Mapping[str, StagedTable]) -> dict[str, tuple[StagedFile, ...]]:
    """The staged files of each dictionary, by full name."""
    return {name: inputs_of(staged[name]) for name in inputs.selection.dictionaries}


def shard_job(job: BuildJob, inputs: Inputs, storage: Storage, staged: Mapping[str, StagedTable]) -> ShardJob:
    """What all shards of a build have in common."""
    settings = job.settings
    return ShardJob(
        source=job.source,
        storage=storage,
        wanted=inputs.selection.wanted,
        staged=tuple(inputs.patient_tables),
        clock=settings.clock,
        seed=settings.seed,
        memory=WORKER_BYTES,
        of_all={n: inputs_of(staged[n]) for n in sorted(job.source.roles.of_all_shards & set(inputs.patient_tables))},
        dictionaries=dictionary_files(inputs, staged),
        standardise=settings.standardise,
        notes=settings.notes,
    )
