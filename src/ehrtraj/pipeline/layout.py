"""Names of the files in a working folder, and in the folder of one attempt at a task."""

from __future__ import annotations

import os
import secrets

DATASET = "dataset"
"""Folder of what becomes the dataset."""
ATTEMPTS = "attempts"
"""Folder in which each attempt at a task has a folder of its own."""
SHARDS = "shards"
"""Folder of the markers of finished shards, and of what the publishing step puts together from all of them."""
PLAN = "plan.json"
"""Patients of the build and their shards."""
STATE = "state.json"
"""Fingerprint of the build."""


def new_attempt(task: str) -> str:
    """Folder for one attempt at a task. No other attempt has the same, in whatever process it runs."""
    return f"{ATTEMPTS}/{task}-{os.getpid()}-{secrets.token_hex(4)}"


def staged_folder(table: str) -> str:
    """Folder of a staged table (full name)."""
    return f"stage/{_flat(table)}"


def staged_marker(table: str) -> str:
    """The file that shows that a table is staged to its end."""
    return f"{staged_folder(table)}.json"


def rejected_folder(table: str) -> str:
    """Folder of a table's rejected rows."""
    return f"rejected/{_flat(table)}"


def rejected_piece(table: str, piece: str) -> str:
    """One file of a table's rejected rows; `piece` names the task that rejected them."""
    return f"{rejected_folder(table)}/{piece}.arrow"


def shard_marker(shard: int) -> str:
    """The file that shows that a shard is done."""
    return f"{SHARDS}/{shard:05d}.json"


def _flat(table: str) -> str:
    return table.replace("/", ".")
