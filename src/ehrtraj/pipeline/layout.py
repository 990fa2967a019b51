"""Names of files in a working folder and in the folder of an attempt at a task, and the error if one is missing."""

from __future__ import annotations

import os
import secrets

from ehrtraj.errors import OutputError
from ehrtraj.format.workspace import ATTEMPTS
from ehrtraj.storage.base import Storage

SHARDS = "shards"
"""Folder with the markers of finished shards, and with the files of each shard that the publishing step combines."""
SLICES = "slices"
"""Folder with the slices of the shards that are built next."""
SLICED = "sliced.json"
"""Tables that are cut into slices instead of being staged."""
UNPARSED = "unparsed"
"""Start of the names of the pieces of rejected rows that could not be parsed."""
PLAN = "plan.json"
"""Patients of the build and their shards."""


def incomplete_error(storage: Storage, name: str) -> OutputError:
    """Return the error for a file of the working folder that is missing or has another size than recorded."""
    return OutputError(
        f"{storage.where(name)} is missing or incomplete: something changed the working folder while the build was "
        "running. Run the same command again"
    )


def damaged_error(storage: Storage, name: str) -> OutputError:
    """Return the error for a file of the working folder that has its recorded size, but cannot be read."""
    return OutputError(
        f"{storage.where(name)} is damaged, as can happen if the power fails while it is written. Delete "
        f"{storage.where()} and run the same command again"
    )


def new_attempt(task: str) -> str:
    """Return a folder for one attempt at a task. It differs from those of all other attempts, in any process."""
    return f"{ATTEMPTS}/{task}-{os.getpid()}-{secrets.token_hex(4)}"


def staged_folder(table: str) -> str:
    """Return the folder of a staged table (full name)."""
    return f"stage/{_flat(table)}"


def table_of(name: str) -> str:
    """Return the full name of the table to which a file in a staged folder belongs."""
    return name.split("/")[1].replace(".", "/", 1)


def staged_marker(table: str) -> str:
    """Return the name of the file that marks a table as completely staged."""
    return f"{staged_folder(table)}.json"


def slice_name(table: str, shard: int) -> str:
    """Return the name of the slice of a table (full name) for one shard."""
    return f"{SLICES}/{_flat(table)}/{shard:05d}.csv"


def rejected_folder(table: str) -> str:
    """Return the folder of a table's rejected rows."""
    return f"rejected/{_flat(table)}"


def rejected_piece(table: str, piece: str) -> str:
    """Return the name of one file of a table's rejected rows; `piece` names the task that rejected them."""
    return f"{rejected_folder(table)}/{piece}.arrow"


def shard_marker(shard: int) -> str:
    """Return the name of the file that marks a shard as finished."""
    return f"{SHARDS}/{shard:05d}.json"


def _flat(table: str) -> str:
    return table.replace("/", ".")
