"""The task of building a shard, and its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ehrtraj.format.splits import Splits
from ehrtraj.pipeline.slices.slice import Slice
from ehrtraj.pipeline.stage.staged import StagedFile
from ehrtraj.release.table_file import TableFile
from ehrtraj.runtime.profile import Seconds
from ehrtraj.sources.source import Source
from ehrtraj.storage.base import Storage


@dataclass(frozen=True)
class ShardJob:
    """Data that all shards of a build share; sent to each worker once.

    Attributes:
        source: source with the recipes and rules.
        storage: the working folder of the build.
        event_tables: full names of the tables that become events.
        tables: full names of all patient tables that are read.
        clock: `event` or `available`.
        splits: splits of the patients.
        memory: bytes that DuckDB may use.
        of_all: staged files of all shards of the tables of encounters and stays, by full name.
        dictionaries: staged files of each dictionary, by full name.
        sliced: files of the tables that are cut into slices, by full name.
        standardise: whether to apply the rule tables of numbers.
        notes: `separate` if the texts of notes are stored in separate files.
        span_rows: maximum number of rows of a span of patients.
        large: full names of the tables that have a large share of the bytes of the release.
        large_rows: rows of these tables from which the patients of a span are divided into parts.
    """

    source: Source
    storage: Storage
    event_tables: tuple[str, ...]
    tables: tuple[str, ...]
    clock: str
    splits: Splits
    memory: int
    span_rows: int
    large_rows: int
    large: tuple[str, ...] = ()
    of_all: Mapping[str, tuple[StagedFile, ...]] = field(default_factory=dict)
    dictionaries: Mapping[str, tuple[StagedFile, ...]] = field(default_factory=dict)
    sliced: Mapping[str, TableFile] = field(default_factory=dict)
    standardise: bool = True
    notes: str = "inline"


@dataclass(frozen=True)
class ShardTask:
    """One shard to build, with all its inputs. It may be built more than once, in several places at the same time.

    Attributes:
        shard: number of the shard.
        rows: number of rows. In a slice, a row may consist of several lines, each of which counts.
        inputs: staged files, by the full name of their table.
        first_subject: smallest subject_id that may be in a slice; None for the first shard.
        next_subject: first subject_id of the next shard; None for the last shard.
        slices: slice of each table that is cut and has rows in this shard.
    """

    shard: int
    rows: int
    inputs: Mapping[str, tuple[StagedFile, ...]]
    first_subject: int | None = None
    next_subject: int | None = None
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True)
class ShardResult:
    """The result of one attempt at a shard. It takes effect when the main process commits it.

    Attributes:
        folder: folder of this attempt in the working folder.
        record: numbers of rows and events by table, and sizes of `files` relative to the folder. It becomes the marker.
        cpu: CPU time of the task.
    """

    folder: str
    record: dict[str, Any]
    cpu: Seconds = field(default_factory=dict, compare=False)
