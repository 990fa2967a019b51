"""The step that stages the tables of a build: runs the tasks, and commits what they wrote."""

from __future__ import annotations

from collections.abc import Collection

from ehrtraj.engines.base import Need
from ehrtraj.pipeline.job import BuildJob
from ehrtraj.pipeline.layout import DATASET, SHARDS, rejected_piece, staged_folder, staged_marker
from ehrtraj.pipeline.plan.run import Inputs
from ehrtraj.pipeline.plan.shards import ShardPlan
from ehrtraj.pipeline.stage.staged import STAGED, StagedTable, finished
from ehrtraj.pipeline.stage.table import StagedAttempt, StageProgress, StageWork
from ehrtraj.storage.base import Storage
from ehrtraj.storage.documents import write_document

_MOST_ROUND_BYTES = 128 << 20


def stage(job: BuildJob, inputs: Inputs, storage: Storage, plan: ShardPlan, done: set[int]) -> dict[str, StagedTable]:
    """Stage the tables of a build that are not staged yet.

    Args:
        job: the build.
        inputs: that it reads.
        storage: the working folder.
        plan: the shards.
        done: shards that are built, whose staged rows may be gone. Emptied if everything must start over.

    Returns:
        The account of each table, by full name, in the order of the release.

    Raises:
        ReleaseError: if a file is damaged or changed while it was read.
    """
    names, shared = inputs.selection.staged, job.source.roles.of_all_shards
    staged = _find(storage, names, done, shared)
    if done and len(staged) < len(names):
        # A staged table was lost after shards were made of it: shards delete what they have used, so start over.
        storage.delete(SHARDS)
        storage.delete(DATASET)
        done.clear()
        staged = _find(storage, names, done, shared)
    files = [inputs.release.files[name] for name in names if name not in staged]
    job.reporter.staging(sum(file.size for file in files))
    memory, threads = job.settings.memory_limit, job.settings.max_cpus
    work = StageWork(storage, plan, threads, min(_MOST_ROUND_BYTES, memory // 16))

    def report(progress: StageProgress) -> None:
        job.reporter.staged(progress.table, progress.consumed, progress.rows)

    for attempt in job.engine.map(work, files, Need(memory, cores=None), report):
        account = commit_table(storage, attempt)
        staged[account.table] = account
    return {name: staged[name] for name in names}


def _find(
    storage: Storage, names: Collection[str], done: Collection[int], shared: Collection[str]
) -> dict[str, StagedTable]:
    """The tables that are staged to their end."""
    found = {name: finished(storage, name, () if name in shared else done) for name in names}
    return {name: account for name, account in found.items() if account is not None}


def commit_table(storage: Storage, attempt: StagedAttempt) -> StagedTable:
    """Make an attempt at a table the staged table. Of several attempts the first counts; later ones are discarded.

    Args:
        storage: the working folder.
        attempt: what a task returned.

    Returns:
        The account of the table.
    """
    account = attempt.table
    if (before := finished(storage, account.table)) is not None:
        storage.delete(attempt.folder)
        return before
    folder, rejected = staged_folder(account.table), rejected_piece(account.table, STAGED)
    for name in (staged_marker(account.table), folder, rejected):
        storage.delete(name)
    for name, there in ((folder, bool(account.files)), (rejected, bool(account.rejected_bytes))):
        if there:
            storage.move(f"{attempt.folder}/{name}", name)
    write_document(storage, staged_marker(account.table), account.to_json())
    storage.delete(attempt.folder)
    return account
