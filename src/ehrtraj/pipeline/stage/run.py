"""The staging step of a build: run the tasks and commit the files that they wrote."""

from __future__ import annotations

from collections.abc import Collection

from ehrtraj.engines.base import Need
from ehrtraj.pipeline.job import BuildJob
from ehrtraj.pipeline.layout import UNPARSED, rejected_piece, staged_folder, staged_marker
from ehrtraj.pipeline.plan.run import Inputs
from ehrtraj.pipeline.plan.shards import ShardPlan
from ehrtraj.pipeline.shard.commit import delete_shards
from ehrtraj.pipeline.stage.staged import StagedTable, finished
from ehrtraj.pipeline.stage.table import StagedAttempt, StageProgress, StageWork, groups
from ehrtraj.storage.base import Storage
from ehrtraj.storage.documents import write_document


def stage(
    job: BuildJob, inputs: Inputs, storage: Storage, plan: ShardPlan, sliced: Collection[str], done: set[int]
) -> dict[str, StagedTable]:
    """Stage the tables of a build that are not staged yet.

    Args:
        job: the build.
        inputs: inputs of the build.
        storage: the working folder.
        plan: the shards.
        sliced: full names of the tables that are cut into slices instead.
        done: finished shards, whose staged rows may be deleted. The set is emptied if everything must start over.

    Returns:
        The record of each staged table by full name, in the order of the release.

    Raises:
        ReleaseError: if a file is damaged or changed while it was read.
    """
    names = [name for name in inputs.selection.staged if name not in sliced]
    shared = job.source.roles.of_all_shards
    staged = _find(storage, names, done, shared)
    if done and len(staged) < len(names):
        # A staged table was lost after shards were built from it. Their input is deleted, so everything starts over.
        delete_shards(storage)
        done.clear()
        staged = _find(storage, names, done, shared)
    files = [inputs.release.files[name] for name in names if name not in staged]
    job.reporter.staging(sum(file.size for file in files))
    reached: dict[str, tuple[int, int]] = {}
    memory, threads = job.settings.memory_limit, job.settings.max_cpus
    work = StageWork(storage, plan, threads, min(job.sizes.round_bytes, memory // 16), job.sizes.block_bytes)

    def report(progress: StageProgress) -> None:
        if progress.table in staged:  # a late report
            return
        # An attempt that is behind another one changes nothing.
        consumed, rows = reached.get(progress.table, (0, 0))
        reached[progress.table] = max(consumed, progress.consumed), max(rows, progress.rows)
        job.reporter.staged(progress.table, reached[progress.table][0] - consumed, reached[progress.table][1] - rows)

    for group in job.engine.map(work, groups(files, work.block_bytes), Need(memory, cores=None), report):
        for attempt in group.attempts:
            table = commit_table(storage, attempt)
            staged[table.table] = table
        if group.error is not None:
            raise group.error
    return {name: staged[name] for name in names}


def _find(
    storage: Storage, names: Collection[str], done: Collection[int], shared: Collection[str]
) -> dict[str, StagedTable]:
    """Return the tables that are completely staged."""
    tables = {name: finished(storage, name, () if name in shared else done) for name in names}
    return {name: table for name, table in tables.items() if table is not None}


def commit_table(storage: Storage, attempt: StagedAttempt) -> StagedTable:
    """Commit an attempt at staging a table. The first attempt counts; later attempts are discarded.

    Args:
        storage: the working folder.
        attempt: result of a task.

    Returns:
        The record of the staged table.
    """
    table = attempt.table
    if (committed := finished(storage, table.table)) is not None:
        storage.delete(attempt.folder)
        return committed
    folder, rejected = staged_folder(table.table), rejected_piece(table.table, UNPARSED)
    for name in (staged_marker(table.table), folder, rejected):
        storage.delete(name)
    for name, exists in ((folder, bool(table.files)), (rejected, bool(table.rejected_bytes))):
        if exists:
            storage.move(f"{attempt.folder}/{name}", name)
    write_document(storage, staged_marker(table.table), table.to_json())
    storage.delete(attempt.folder)
    return table
