"""What the driver does with a shard that a task has built: give its files their names, and free what it read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ehrtraj.errors import OutputError
from ehrtraj.pipeline.layout import shard_marker
from ehrtraj.pipeline.shard.task import ShardResult, ShardTask
from ehrtraj.storage.base import Storage
from ehrtraj.storage.documents import as_json, read_document


def commit(storage: Storage, result: ShardResult) -> dict[str, Any]:
    """Make an attempt at a shard the shard. Of several attempts the first counts; later ones are discarded.

    All of its files are renamed in one go, then the marker is written: until it exists, the shard is not done.

    Args:
        storage: the working folder.
        result: what a task returned.

    Returns:
        The account of the shard.

    Raises:
        OutputError: if a file of the attempt is missing or incomplete.
    """
    account = result.account
    marker = shard_marker(account["shard"])
    before = read_document(storage, marker)
    if before is not None and shard_is_there(storage, before):
        storage.delete(result.folder)
        return before
    for name, size in account["files"].items():
        if storage.size(f"{result.folder}/{name}") != size:
            raise OutputError(
                f"{storage.where(f'{result.folder}/{name}')} is missing or incomplete: something changed the working "
                "folder while the build was running. Run the same command again"
            )
    storage.delete(marker)
    for name in account["files"]:
        storage.move(f"{result.folder}/{name}", name)
    if not storage.put_if_absent(marker, as_json(account)):
        raise OutputError(
            f"{storage.where(marker)} was written by another build at the same time. Run the same command again"
        )
    storage.delete(result.folder)
    return account


def shard_is_there(storage: Storage, account: Mapping[str, Any]) -> bool:
    """Whether all files of a finished shard are there in their size."""
    return all(storage.size(name) == size for name, size in account["files"].items())


def free_inputs(storage: Storage, task: ShardTask, kept: Collection[str]) -> None:
    """Delete the staged rows of a shard that is done.

    Args:
        storage: the working folder.
        task: of the shard.
        kept: full names of tables that every shard reads.
    """
    for name, files in task.inputs.items():
        if name not in kept:
            for file in files:
                storage.delete(file.name)
