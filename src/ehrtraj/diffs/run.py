"""Compare two datasets and return the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj.arguments import checked
from ehrtraj.dataset.database import Database, open_database
from ehrtraj.dataset.dataset import Dataset
from ehrtraj.dataset.layout import READ_ERRORS, DataFile, DatasetLayout, broken, find_layout
from ehrtraj.diffs.events import EventsDiff, Span, diff_spans
from ehrtraj.format.names import DATA, SUBJECTS
from ehrtraj.runtime.limits import ResourceLimits, find_limits
from ehrtraj.runtime.processes import stream_tasks
from ehrtraj.runtime.progress import Share, TaskTally
from ehrtraj.storage.files import temporary_folder

# Events of each dataset that are compared at a time, unless a patient has more. It does not depend on the limits,
# because the first examples of each chunk are shown.
CHUNK_EVENTS = 1 << 18
# Starting a process takes half a second; this number of events is compared in that time.
_WORTH_PROCESSES = 2_000_000

# Maximum memory of a worker process and of this process in bytes; the latter includes the database.
_WORKER_BYTES = 700_000_000
_BASE_BYTES = 500_000_000
_DATABASE_BYTES = 250_000_000

_PLACE = ("split", "shard", "position", "n_events")
_BUILT_BY = ("ehrtraj", "recipes", "rules")
_DESCRIBES = ("description", "parent_codes", "unit")

Progress = Callable[[int, int], None]
"""A function that receives the number of events compared and of all events of A."""

Work = tuple[list[Span], list[Span]]


@dataclass(frozen=True)
class DiffReport:
    """Differences between two datasets.

    Attributes:
        a: one dataset.
        b: the other.
        settings: differing inputs and settings of the builds, as texts of A and B; they explain differences.
        columns_a: columns of events that only A has.
        columns_b: columns of events that only B has.
        patients_a: patients that only A has.
        patients_b: patients that only B has.
        moved: patients of both who are in different splits.
        codes: codes that differ: `code`, `n_events` in A and B (null if the code is missing), and
            `described_otherwise`.
        events: differences between the events of the patients of both.
        seconds: wall time in seconds.
        notes: limits that differ from the requested ones, and why.
    """

    a: Path
    b: Path
    settings: dict[str, tuple[str, str]]
    columns_a: tuple[str, ...]
    columns_b: tuple[str, ...]
    patients_a: tuple[int, ...]
    patients_b: tuple[int, ...]
    moved: tuple[int, ...]
    codes: pl.DataFrame
    events: EventsDiff
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether both contain the same patients, splits, codes and events."""
        only_in_one = (self.columns_a, self.columns_b, self.patients_a, self.patients_b, self.moved)
        return not any(only_in_one) and not self.codes.height and self.events.same

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        events = self.events
        columns: dict[str, dict[str, int]] = {}
        for (table, column), count in events.columns.items():
            columns.setdefault(table, {})[column] = count
        return {
            "a": str(self.a),
            "b": str(self.b),
            "same": self.same,
            "settings": self.settings,
            "columns": {"only_a": self.columns_a, "only_b": self.columns_b},
            "patients": {"only_a": self.patients_a, "only_b": self.patients_b, "other_split": self.moved},
            "codes": self.codes.rows(named=True),
            "events": {
                "compared": events.compared,
                "only_a": dict(events.only_a),
                "only_b": dict(events.only_b),
                "changed": dict(events.changed),
                "columns": columns,
                "patients": events.patients,
                "reordered": events.reordered,
                "first": [vars(example) for example in events.examples],
            },
        }


@dataclass(frozen=True)
class _Side:
    """One of the two datasets.

    Attributes:
        layout: files of the dataset.
        chosen: rows of its subjects.parquet, if it is an open and possibly filtered dataset; None for all.
    """

    layout: DatasetLayout
    chosen: pl.DataFrame | None

    @classmethod
    def of(cls, dataset: str | Path | Dataset) -> _Side:
        """Find a dataset without reading its list of patients."""
        if isinstance(dataset, Dataset):
            return cls(dataset.layout, dataset.subjects)
        return cls(find_layout(dataset), None)

    def columns(self) -> list[str]:
        """Return the columns of its events."""
        path = self.layout.root / min(name for name in self.layout.manifest["contents"] if name.startswith(f"{DATA}/"))
        try:
            return pl.scan_parquet(path, glob=False).collect_schema().names()
        except READ_ERRORS as error:
            raise broken(path, error) from None


@checked
def diff(
    a: str | Path | Dataset,
    b: str | Path | Dataset,
    *,
    max_cpus: int | None = None,
    memory_limit: str | int | None = None,
    progress: Progress | None = None,
) -> DiffReport:
    """Compare two datasets: patients, splits, codes and events. The same as `ehrtraj diff`.

    The datasets are read in chunks; their shards do not matter. Data that does not fit in memory is temporarily stored
    in a private folder (`TMPDIR`).

    Args:
        a: folder of a dataset, or an open dataset.
        b: the other dataset.
        max_cpus: maximum number of CPU cores; all usable cores by default, and never more.
        memory_limit: maximum memory of all processes, such as `4GB`, the default; at least `1GB`.
        progress: receives the number of events compared and of all events.

    Raises:
        DatasetError: if one of them is not a dataset, is incomplete, or damaged.
        SettingsError: if a limit cannot be used.
        OutputError: if the temporary folder is full.
    """
    begun = time.monotonic()
    limits = find_limits(max_cpus, memory_limit)
    one, other = _Side.of(a), _Side.of(b)
    names_a, names_b = one.columns(), other.columns()
    both = [n for n in names_a if n in names_b]
    with (
        temporary_folder("ehrtraj-diff-") as folder,
        open_database(folder, _DATABASE_BYTES, limits.cpus) as database,
    ):
        for name, side in (("a", one), ("b", other)):
            _load_subjects(database, name, side)
        return DiffReport(
            a=one.layout.root,
            b=other.layout.root,
            settings=_settings(one.layout, other.layout),
            columns_a=tuple(n for n in names_a if n not in names_b),
            columns_b=tuple(n for n in names_b if n not in names_a),
            patients_a=_patients(database, "FROM a ANTI JOIN b USING (subject_id)"),
            patients_b=_patients(database, "FROM b ANTI JOIN a USING (subject_id)"),
            moved=_patients(database, "FROM a JOIN b USING (subject_id) WHERE a.split <> b.split"),
            codes=_codes(one.layout.codes, other.layout.codes),
            events=_events(database, (one.layout, other.layout), both, limits, folder, progress),
            seconds=time.monotonic() - begun,
            notes=limits.notes,
        )


def _load_subjects(database: Database, name: str, side: _Side) -> None:
    """Create a table with the location of each patient's events."""
    path = side.layout.root / SUBJECTS
    columns = ["subject_id", *_PLACE]
    select = f"SELECT {', '.join(columns)} FROM piece"
    if side.chosen is not None:
        database.insert(f"CREATE TABLE {name} AS {select}", side.chosen.select(columns).to_arrow())
        return
    try:
        with pq.ParquetFile(path) as file:
            database.insert(f"CREATE TABLE {name} AS {select}", file.schema_arrow.empty_table())
            for batch in file.iter_batches(columns=columns, use_threads=False):
                database.insert(f"INSERT INTO {name} {select}", pa.Table.from_batches([batch]))
    except (pa.ArrowInvalid, OSError, duckdb.BinderException) as error:
        raise broken(path, error) from None


def _patients(database: Database, source: str) -> tuple[int, ...]:
    return tuple(who for (who,) in database.rows(f"SELECT subject_id {source} ORDER BY subject_id"))


def _settings(one: DatasetLayout, other: DatasetLayout) -> dict[str, tuple[str, str]]:
    """Return the inputs and settings of the builds that differ."""

    def inputs_of(layout: DatasetLayout) -> dict[str, str]:
        manifest = layout.manifest
        fingerprint = manifest.get("fingerprint", {})
        about = {"release": manifest.get("release", {}).get("version")}
        about |= {name: fingerprint.get(name) for name in _BUILT_BY} | fingerprint.get("settings", {})
        return {name: str(value) for name, value in about.items()}

    a, b = inputs_of(one), inputs_of(other)
    return {n: (a.get(n, ""), b.get(n, "")) for n in {**a, **b} if a.get(n) != b.get(n)}


def _codes(a: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
    columns = ["code", "n_events", *(c for c in _DESCRIBES if c in a.columns and c in b.columns)]
    both = a.select(columns).join(b.select(columns), on="code", how="full", coalesce=True, suffix="_b")
    described = pl.any_horizontal(pl.lit(value=False), *(pl.col(c).ne_missing(pl.col(f"{c}_b")) for c in columns[2:]))
    in_both = pl.col("n_events").is_not_null() & pl.col("n_events_b").is_not_null()
    return (
        both.select(
            "code",
            n_events_a="n_events",
            n_events_b="n_events_b",
            described_otherwise=described & in_both,
        )
        .filter(pl.col("n_events_a").ne_missing(pl.col("n_events_b")) | pl.col("described_otherwise"))
        .sort("code")
    )


def _events(
    database: Database,
    layouts: tuple[DatasetLayout, DatasetLayout],
    columns: list[str],
    limits: ResourceLimits,
    folder: Path,
    progress: Progress | None,
) -> EventsDiff:
    total = database.one("SELECT sum(a.n_events) FROM a JOIN b USING (subject_id)")
    tally = TaskTally({}, total)
    workers = limits.workers(_WORKER_BYTES, _BASE_BYTES) if total > _WORTH_PROCESSES else 1

    def tasks() -> Iterator[tuple[int, tuple[Any, ...]]]:
        for number, work in enumerate(_chunks_of_work(database, *layouts)):
            tally.add(number, sum(length for _, _, length in work[0]))
            yield number, (*work, columns, folder / str(number))

    def show() -> None:
        if progress is not None:
            progress(tally.done_of(total), total)

    def report(number: int, share: Share) -> None:
        tally.reach(number, share)
        show()

    found = EventsDiff()
    # Results arrive in any order but are added in the order of the files, so that the examples are reproducible.
    waiting: dict[int, EventsDiff] = {}
    next_number = 0
    for number, part in stream_tasks(diff_spans, tasks(), workers, report):
        waiting[number] = part
        while next_number in waiting:
            found.add(waiting.pop(next_number))
            next_number += 1
        tally.finish(number)
        show()
    return found


def _chunks_of_work(database: Database, one: DatasetLayout, other: DatasetLayout) -> Iterator[Work]:
    """Yield the patients of both in the order of A's files, a few hundred thousand events at a time."""
    places = ", ".join(f"{side}.{name}" for side in ("a", "b") for name in _PLACE)
    a: list[Span] = []
    b: list[Span] = []
    events = 0
    for row in database.rows(f"SELECT {places} FROM a JOIN b USING (subject_id) ORDER BY a.split, a.shard, a.position"):
        longer = max(row[3], row[7])
        if a and events + longer > CHUNK_EVENTS:
            yield a, b
            a, b, events = [], [], 0
        _extend(a, one, *row[:4])
        _extend(b, other, *row[4:])
        events += longer
    if a:
        yield a, b


def _extend(spans: list[Span], layout: DatasetLayout, split: str, shard: str, position: int, count: int) -> None:
    """Add a patient's events, to the last span if they follow it in the same file."""
    if spans:
        file, start, length = spans[-1]
        if (file.split, file.shard, start + length) == (split, shard, position):
            spans[-1] = (file, start, length + count)
            return
    spans.append((DataFile(split, shard, layout.data_path(split, shard)), position, count))
