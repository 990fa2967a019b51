"""Choose the tables that are cut into slices."""

from __future__ import annotations

import pyarrow as pa

from ehrtraj.pipeline.job import BuildJob
from ehrtraj.pipeline.layout import SLICED
from ehrtraj.pipeline.plan.run import Inputs
from ehrtraj.pipeline.plan.shards import ShardPlan
from ehrtraj.pipeline.shard.commit import delete_shards
from ehrtraj.pipeline.shard.run import SHARD_NEED, finished_shards
from ehrtraj.pipeline.slices.cut import looks_ordered
from ehrtraj.pipeline.stage.staged import finished
from ehrtraj.release.schema import SUBJECT_ID
from ehrtraj.release.table_file import TableFile
from ehrtraj.storage.base import Storage
from ehrtraj.storage.documents import read_document, write_document

# With fewer shards than this for each worker, workers would wait for each other: staging uses all cores.
_SHARDS_OF_A_WORKER = 2


def choose_sliced(job: BuildJob, inputs: Inputs, storage: Storage, plan: ShardPlan) -> list[str]:
    """Return the full names of the tables to cut into slices; the same as in an interrupted run of this build.

    Args:
        job: the build.
        inputs: inputs of the build.
        storage: the working folder.
        plan: the shards.

    Raises:
        ReleaseError: if a file cannot be read.
    """
    content = read_document(storage, SLICED)
    if content is None:
        content = {"tables": _suitable(job, inputs, plan)}
        write_document(storage, SLICED, content)
    done = set(finished_shards(storage))
    return [name for name in content["tables"] if finished(storage, name, done) is None]


def _suitable(job: BuildJob, inputs: Inputs, plan: ShardPlan) -> list[str]:
    if plan.selected is not None or plan.count < max(2, _SHARDS_OF_A_WORKER * job.engine.at_once(SHARD_NEED)):
        return []
    candidates = set(inputs.selection.event_tables) - job.source.roles.of_all_shards
    return [
        name
        for name in inputs.patient_tables
        if name in candidates and _is_suitable(inputs.release.files[name], job.sizes.sliced_bytes)
    ]


def _is_suitable(file: TableFile, least: int) -> bool:
    key = file.table.key
    return (
        key == SUBJECT_ID
        and SUBJECT_ID in file.present
        and pa.types.is_integer(file.table.columns[key])
        and file.size >= least
        and looks_ordered(file)
    )


def stage_instead(storage: Storage, table: str) -> None:
    """Record that a table cannot be cut into slices, and delete all shards, since some may lack rows of it.

    Args:
        storage: the working folder.
        table: full name of the table.
    """
    content = read_document(storage, SLICED) or {"tables": []}
    # The shards are deleted first: if the build is interrupted here, it tries to cut the table again.
    delete_shards(storage)
    write_document(storage, SLICED, {"tables": [name for name in content["tables"] if name != table]})
