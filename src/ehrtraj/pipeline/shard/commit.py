"""What the driver does with a shard that a worker has built: give its files their names, and free what it read."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from typing import Any

from ehrtraj.errors import OutputError
from ehrtraj.pipeline.shard.task import ShardResult, ShardTask
from ehrtraj.pipeline.workspace import Workspace
from ehrtraj.storage.files import read_json, size_of, write_json


def commit(space: Workspace, result: ShardResult) -> dict[str, Any]:
    """Make an attempt at a shard the shard. Of several attempts the first counts; later ones are discarded.

    All of its files are renamed in one go, then the marker is written: until it exists, the shard is not done.

    Args:
        space: of the build.
        result: what a worker returned.

    Returns:
        The account of the shard.

    Raises:
        OutputError: if a file of the attempt is missing or incomplete.
    """
    account = result.account
    marker = space.shard_marker(account["shard"])
    before = read_json(marker)
    if before is not None and shard_is_there(space, before):
        shutil.rmtree(result.folder, ignore_errors=True)
        return before
    for name, size in account["files"].items():
        if size_of(result.folder / name) != size:
            raise OutputError(
                f"{result.folder / name} is missing or incomplete: something changed the working folder while the "
                "build was running. Run the same command again"
            )
    for name in account["files"]:
        target = space.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (result.folder / name).replace(target)
    write_json(marker, account)
    shutil.rmtree(result.folder)
    return account


def shard_is_there(space: Workspace, account: Mapping[str, Any]) -> bool:
    """Whether all files of a finished shard are there in their size."""
    return all(size_of(space.root / name) == size for name, size in account["files"].items())


def free_inputs(task: ShardTask, kept: Collection[str]) -> None:
    """Delete the staged rows of a shard that is done.

    Args:
        task: of the shard.
        kept: full names of tables that every shard reads.
    """
    for name, files in task.inputs.items():
        if name not in kept:
            for file in files:
                file.path.unlink(missing_ok=True)
