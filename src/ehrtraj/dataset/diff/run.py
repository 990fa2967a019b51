"""One comparison of two datasets, from their folders to the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ehrtraj.config import usable_cpus
from ehrtraj.dataset.dataset import Dataset, open_dataset
from ehrtraj.dataset.diff.events import EventsDiff, Span, diff_spans
from ehrtraj.dataset.layout import READ_ERRORS, DataFile, broken
from ehrtraj.engines.local import run_tasks

# Events of A that are compared at once, unless a patient has more.
CHUNK_EVENTS = 1 << 18
# Starting a process costs half a second; so many events are compared in that time.
_WORTH_PROCESSES = 2_000_000

_BUILT_BY = ("ehrtraj", "recipes", "rules")
_DESCRIBES = ("description", "parent_codes", "unit")

Progress = Callable[[int, int], None]
"""Is told of events compared and of all events of A."""

Work = tuple[list[Span], list[Span]]


@dataclass(frozen=True)
class DiffReport:
    """What differs between two datasets.

    Attributes:
        a: one dataset.
        b: the other.
        settings: what they were built from or with that differs, as texts of A and B; says why, and is no difference.
        columns_a: columns of events that A alone has.
        columns_b: columns of events that B alone has.
        patients_a: patients that A alone has.
        patients_b: patients that B alone has.
        moved: patients of both who are in another split.
        codes: codes that differ: `code`, `event_count` in A and B (null where it is not there), and
            `described_otherwise`.
        events: what differs between the events of the patients of both.
        seconds: wall time.
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

    @property
    def same(self) -> bool:
        """Whether both hold the same patients, splits, codes and events."""
        lone = (self.columns_a, self.columns_b, self.patients_a, self.patients_b, self.moved)
        return not any(lone) and not self.codes.height and self.events.same

    def to_json(self) -> dict[str, Any]:
        """The report for programs."""
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


def diff(
    a: str | Path | Dataset,
    b: str | Path | Dataset,
    *,
    max_cpus: int | None = None,
    progress: Progress | None = None,
) -> DiffReport:
    """Compare two datasets: patients, splits, codes and events. The same as `ehrtraj diff`.

    Read piece by piece; how the datasets are divided into shards does not matter.

    Args:
        a: folder of a dataset, or one that is open.
        b: the other.
        max_cpus: most processes at work at once; all usable processors by default.
        progress: is told of events compared and of all events.

    Raises:
        DatasetError: if one of them is no dataset, not whole, or damaged.
    """
    begun = time.monotonic()
    one, other = (d if isinstance(d, Dataset) else open_dataset(d) for d in (a, b))
    names_a, names_b = _columns(one), _columns(other)
    both = one.subjects.join(other.subjects, on="subject_id", how="inner", suffix="_b", maintain_order="left")
    return DiffReport(
        a=one.path,
        b=other.path,
        settings=_settings(one, other),
        columns_a=tuple(n for n in names_a if n not in names_b),
        columns_b=tuple(n for n in names_b if n not in names_a),
        patients_a=_alone(one, other),
        patients_b=_alone(other, one),
        moved=tuple(both.filter(pl.col("split") != pl.col("split_b"))["subject_id"]),
        codes=_codes(one.codes, other.codes),
        events=_events(one, other, both, [n for n in names_a if n in names_b], max_cpus or usable_cpus(), progress),
        seconds=time.monotonic() - begun,
    )


def _columns(dataset: Dataset) -> list[str]:
    path = dataset.files[0].path
    try:
        return pl.scan_parquet(path, glob=False).collect_schema().names()
    except READ_ERRORS as error:
        raise broken(path, error) from None


def _alone(one: Dataset, other: Dataset) -> tuple[int, ...]:
    return tuple(one.subjects.join(other.subjects, on="subject_id", how="anti", maintain_order="left")["subject_id"])


def _settings(one: Dataset, other: Dataset) -> dict[str, tuple[str, str]]:
    """What decided the datasets that is not the same."""

    def said(dataset: Dataset) -> dict[str, str]:
        manifest = dataset.layout.manifest
        fingerprint = manifest.get("fingerprint", {})
        about = {"release": manifest.get("release", {}).get("version")}
        about |= {name: fingerprint.get(name) for name in _BUILT_BY} | fingerprint.get("settings", {})
        return {name: str(value) for name, value in about.items()}

    a, b = said(one), said(other)
    return {n: (a.get(n, ""), b.get(n, "")) for n in {**a, **b} if a.get(n) != b.get(n)}


def _codes(a: pl.DataFrame, b: pl.DataFrame) -> pl.DataFrame:
    columns = ["code", "event_count", *(c for c in _DESCRIBES if c in a.columns and c in b.columns)]
    both = a.select(columns).join(b.select(columns), on="code", how="full", coalesce=True, suffix="_b")
    described = pl.any_horizontal(pl.lit(value=False), *(pl.col(c).ne_missing(pl.col(f"{c}_b")) for c in columns[2:]))
    there = pl.col("event_count").is_not_null() & pl.col("event_count_b").is_not_null()
    return (
        both.select(
            "code",
            event_count_a="event_count",
            event_count_b="event_count_b",
            described_otherwise=described & there,
        )
        .filter(pl.col("event_count_a").ne_missing(pl.col("event_count_b")) | pl.col("described_otherwise"))
        .sort("code")
    )


def _events(
    one: Dataset, other: Dataset, both: pl.DataFrame, columns: list[str], cpus: int, progress: Progress | None
) -> EventsDiff:
    total, done = int(both["event_count"].sum()), 0
    works = list(_works(one, other, both))
    # Found in whatever order, added up in that of the files, so that the examples are the same each time.
    parts: dict[int, EventsDiff] = {}
    tasks = {number: (*work, columns) for number, work in enumerate(works)}
    for number, part in run_tasks(diff_spans, tasks, cpus if total > _WORTH_PROCESSES else 1):
        parts[number] = part
        done += part.compared
        if progress is not None:
            progress(done, total)
    found = EventsDiff()
    for number in sorted(parts):
        found.add(parts[number])
    return found


def _works(one: Dataset, other: Dataset, both: pl.DataFrame) -> Iterator[Work]:
    """Patients of both, in the order of A's files, a few hundred thousand events at a time."""
    place = ("split", "shard", "position", "event_count")
    ordered = both.sort("split", "shard", "position").select(*place, *(f"{name}_b" for name in place))
    a: list[Span] = []
    b: list[Span] = []
    events = 0
    for row in ordered.iter_rows():
        if a and events + row[3] > CHUNK_EVENTS:
            yield a, b
            a, b, events = [], [], 0
        _extend(a, one, *row[:4])
        _extend(b, other, *row[4:])
        events += row[3]
    if a:
        yield a, b


def _extend(spans: list[Span], dataset: Dataset, split: str, shard: str, position: int, count: int) -> None:
    """Add a patient's events, to the span before where they follow it in the same file."""
    if spans:
        file, start, length = spans[-1]
        if (file.split, file.shard, start + length) == (split, shard, position):
            spans[-1] = (file, start, length + count)
            return
    spans.append((DataFile(split, shard, dataset.layout.data_path(split, shard)), position, count))
