"""What a worker is given to build a shard, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ehrtraj.pipeline.stage.staged import StagedFile
from ehrtraj.sources.source import Source
from ehrtraj.storage.base import Storage

# More rows than this at once would not fit beside each other's copies in a worker's memory: 2 million rows take about
# 0.7 GB. Patients are never divided.
PART_ROWS = 2_000_000


@dataclass(frozen=True)
class ShardJob:
    """What every shard of a build has in common; sent to each worker once.

    Attributes:
        source: whose recipes and rules.
        storage: the working folder of the build.
        wanted: full names of the tables that become events.
        staged: full names of all staged patient tables.
        clock: `event` or `available`.
        seed: of the splits.
        memory: bytes for DuckDB.
        of_all: staged files of the tables of encounters and stays that are there, of all shards, by full name.
        dictionaries: staged files of each dictionary, by full name.
        standardise: apply the rule tables of numbers.
        notes: `separate` where the texts of notes lie beside the events.
        part_rows: most rows to work on at once.
    """

    source: Source
    storage: Storage
    wanted: tuple[str, ...]
    staged: tuple[str, ...]
    clock: str
    seed: int
    memory: int
    of_all: Mapping[str, tuple[StagedFile, ...]] = field(default_factory=dict)
    dictionaries: Mapping[str, tuple[StagedFile, ...]] = field(default_factory=dict)
    standardise: bool = True
    notes: str = "inline"
    part_rows: int = PART_ROWS


@dataclass(frozen=True)
class ShardTask:
    """One shard to build, with everything it reads. It may be built more than once, in several places at a time.

    Attributes:
        shard: its number.
        rows: how many are staged in it.
        inputs: its staged files, by the full name of their table.
    """

    shard: int
    rows: int
    inputs: Mapping[str, tuple[StagedFile, ...]]


@dataclass(frozen=True)
class ShardResult:
    """What one attempt at a shard wrote. It counts once the driver has committed it.

    Attributes:
        folder: of this attempt alone, in the working folder.
        account: rows and events by table, and the sizes of `files` relative to the folder; it becomes the marker.
    """

    folder: str
    account: dict[str, Any]
