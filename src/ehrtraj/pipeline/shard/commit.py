"""Commit a shard that a task has built, and delete its inputs. Only the main process does this."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ehrtraj.errors import OutputError
from ehrtraj.format.workspace import DATASET
from ehrtraj.pipeline.layout import SHARDS, incomplete_error, shard_marker
from ehrtraj.pipeline.shard.task import ShardResult, ShardTask
from ehrtraj.storage.base import Storage
from ehrtraj.storage.documents import as_json, read_document


def commit(storage: Storage, result: ShardResult) -> dict[str, Any]:
    """Commit an attempt at a shard. The first attempt counts; later attempts are discarded.

    All files are renamed and synced first, then the marker is written: the shard is not finished until the marker
    exists, and a marker that survives a power failure belongs to complete files. Meanwhile the workers build other
    shards.

    Args:
        storage: the working folder.
        result: result of a task.

    Returns:
        The record of the shard.

    Raises:
        OutputError: if a file of the attempt is missing or incomplete.
    """
    record = result.record
    marker = shard_marker(record["shard"])
    committed = read_document(storage, marker)
    if committed is not None and shard_is_there(storage, committed):
        storage.delete(result.folder)
        return committed
    for name, size in record["files"].items():
        if storage.size(f"{result.folder}/{name}") != size:
            raise incomplete_error(storage, f"{result.folder}/{name}")
    storage.delete(marker)
    for name in record["files"]:
        storage.move(f"{result.folder}/{name}", name)
        storage.sync(name)
    if not storage.put_if_absent(marker, as_json(record)):
        raise OutputError(
            f"{storage.where(marker)} was written by another build at the same time. Run the same command again"
        )
    storage.delete(result.folder)
    return record


def delete_shards(storage: Storage) -> None:
    """Delete all shards with every file that their tasks wrote, since they may be built in another way next.

    Args:
        storage: the working folder.
    """
    for marker in storage.files(SHARDS):
        if marker.endswith(".json") and (record := read_document(storage, marker)) is not None:
            for name in record["files"]:
                storage.delete(name)
    # The markers are deleted last: if the build is interrupted here, it knows which files are left.
    storage.delete(SHARDS)
    storage.delete(DATASET)


def shard_is_there(storage: Storage, record: Mapping[str, Any]) -> bool:
    """Return whether all files of a finished shard exist and have their recorded size."""
    return all(storage.size(name) == size for name, size in record["files"].items())


def free_inputs(storage: Storage, task: ShardTask, kept: Collection[str]) -> None:
    """Delete the staged files of a finished shard.

    Args:
        storage: the working folder.
        task: task of the shard.
        kept: full names of the tables to keep, which every shard reads.
    """
    for name, files in task.inputs.items():
        if name not in kept:
            for file in files:
                storage.delete(file.name)
