"""Count rows by table, codes, patients and the effects of rules while a shard is built."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrtraj.format.arrays import NULL, Int64s, masked
from ehrtraj.format.splits import SPLITS
from ehrtraj.format.tallies import all_numbers, all_times
from ehrtraj.pipeline.shard.applied import all_applied, count_applied
from ehrtraj.pipeline.shard.assemble import OrderedEvents
from ehrtraj.pipeline.shard.convert import Codes
from ehrtraj.pipeline.shard.drugs import NamedDrug, drug_rows
from ehrtraj.pipeline.shard.extract import TableCount
from ehrtraj.pipeline.shard.tallies import count_numbers, count_times

_CODES_SCHEMA = pa.schema(
    [
        pa.field("code", pa.string()),
        pa.field("source_table", pa.string()),
        pa.field("n_events", pa.int64()),
        pa.field("n_subjects", pa.int64()),
    ]
)
"""Counts of the events of each code."""


def _units_of_codes(part: OrderedEvents, pairs: Int64s) -> dict[str, set[str]]:
    """Return the units that occur with each code.

    Args:
        part: assembled events.
        pairs: the code and the unit of some of its events, as `_pairs` numbers them.
    """
    values = part.events.texts["unit"].values.to_pylist()
    seen = np.zeros((len(part.codes), len(values) + 1), np.bool_)
    seen.reshape(-1)[pairs] = True
    units: dict[str, set[str]] = {}
    for code, unit in zip(*(a.tolist() for a in np.nonzero(seen[:, :-1])), strict=True):
        units.setdefault(part.codes[code], set()).add(values[unit])
    return units


def _pairs(part: OrderedEvents) -> Int64s:
    """Return the position of each event in a table of codes by units, whose last column is for events without unit."""
    unit = part.events.texts["unit"]
    # Null, -1, becomes the last column of the previous code, or of the last one.
    return part.events.code * np.int64(len(unit.values) + 1) + unit.positions


def _add(texts: dict[str, set[str]], more: Mapping[str, set[str]]) -> None:
    for code, of_code in more.items():
        texts.setdefault(code, set()).update(of_code)


def _lists(codes: Iterable[str], of_code: Mapping[str, set[str]]) -> pa.Array:
    """Return the sorted texts of each code as a list in JSON. Most codes have none, and thousands share a few lists."""
    as_json = cache(json.dumps)
    lists = {code: as_json(tuple(sorted(texts))) for code, texts in of_code.items()}
    return pa.array([lists.get(code, "[]") for code in codes], pa.string())


class ShardTally:
    """Adds up the counts of all parts of one shard."""

    def __init__(self, shard: int, event_tables: Sequence[str]) -> None:
        """Start with zero counts.

        Args:
            shard: number of the shard.
            event_tables: full names of the tables that become events; `Events.table` is a position in them.
        """
        self._shard = shard
        self._event_tables = event_tables
        self._counts: dict[str, TableCount] = {}
        self._codes: list[pa.Table] = []
        self._units: dict[str, set[str]] = {}
        self._number_units: dict[str, set[str]] = {}
        self._descriptions: dict[str, str] = {}
        self._parents: dict[str, set[str]] = {}
        self._drugs: dict[str, set[NamedDrug]] = {}
        self._subjects: list[pa.Table] = []
        self._applied: list[pa.Table] = []
        self._numbers: list[pa.Table] = []
        self._times: list[pa.Table] = []

    def add_rows(self, counts: Mapping[str, TableCount], codes: Codes) -> None:
        """Add the counts of rows and the codes of a part.

        Args:
            counts: rows and events by table.
            codes: the codes of the part.
        """
        for name, count in counts.items():
            self._counts.setdefault(name, TableCount()).add(count)
        self._descriptions |= codes.descriptions
        _add(self._parents, codes.parents)
        for code, drugs in codes.drugs.items():
            self._drugs.setdefault(code, set()).update(drugs)

    def add_events(self, part: OrderedEvents, about: pa.Table, positions: Int64s) -> None:
        """Add the events of a part.

        Args:
            part: assembled events.
            about: facts about each patient.
            positions: position of each patient's first event in its file.
        """
        self._count_codes(part)
        self._applied.append(count_applied(part, self._event_tables))
        self._numbers.append(count_numbers(part))
        time = part.events.time[part.order]
        self._times.append(count_times(part, time))
        self._subjects.append(self._subject_rows(part, time, about, positions))

    def tables(self) -> dict[str, dict[str, Any]]:
        """Return the numbers of rows, rejected rows and events of each table."""
        return {
            name: {"rows": c.rows, "rejected": dict(c.rejected), "events": c.events} for name, c in self._counts.items()
        }

    def pieces(self) -> Iterator[tuple[str, pa.Table]]:
        """Yield the kind and rows of each table that the publishing step combines from all shards."""
        yield "codes", self._code_rows()
        yield "drugs", drug_rows(self._drugs)
        if self._subjects:
            yield "subjects", pa.concat_tables(self._subjects)
        yield "applied", all_applied(self._applied)
        yield "numbers", all_numbers(self._numbers)
        yield "times", all_times(self._times)

    def _count_codes(self, part: OrderedEvents) -> None:
        # A code may come from several tables: it is counted for the table whose name comes first.
        tables = self._event_tables
        by_name = np.argsort(np.array(tables))
        rank = np.argsort(by_name)
        pair = part.events.code.astype(np.int64) * len(tables) + rank[part.events.table]
        seen = np.bincount(pair, minlength=len(part.codes) * len(tables)).reshape(-1, len(tables)) > 0
        first = by_name[seen.argmax(axis=1)]
        counts = np.bincount(part.events.code, minlength=len(part.codes))
        columns = [part.codes, pa.array(self._event_tables).take(pa.array(first)), counts, part.code_patients]
        self._codes.append(pa.table(columns, schema=_CODES_SCHEMA))
        pairs = _pairs(part)
        _add(self._units, _units_of_codes(part, pairs))
        _add(self._number_units, _units_of_codes(part, pairs[~np.isnan(part.events.number)]))

    def _subject_rows(
        self, part: OrderedEvents, time: Int64s, about: pa.Table, positions: npt.NDArray[np.int64]
    ) -> pa.Table:
        last = time[part.starts[1:] - 1]
        # Static facts come first: the first time is that of the first event after them.
        after = np.add.reduceat(time == NULL, part.starts[:-1]) + part.starts[:-1]
        first = time[np.minimum(after, part.starts[1:] - 1)]
        table = pa.table(
            {
                "subject_id": pa.array(part.subjects),
                "split": pa.array(np.array(SPLITS)[part.splits]),
                "shard": pa.array([f"{self._shard:05d}"] * len(part.subjects)),
                "position": pa.array(positions, pa.int64()),
                "n_events": pa.array(np.diff(part.starts), pa.int64()),
                "first_time": masked(first, pa.timestamp("us")),
                "last_time": masked(last, pa.timestamp("us")),
            }
        )
        about = about.group_by("subject_id").aggregate([(c, "min") for c in about.column_names if c != "subject_id"])
        about = about.rename_columns([c.removesuffix("_min") for c in about.column_names])
        return table.join(about, "subject_id", join_type="left outer").sort_by("subject_id")

    def _code_rows(self) -> pa.Table:
        by_code = pa.concat_tables([_CODES_SCHEMA.empty_table(), *self._codes]).group_by(
            _CODES_SCHEMA.names[:2], use_threads=False
        )
        counted = by_code.aggregate([("n_events", "sum"), ("n_subjects", "sum")]).rename_columns(_CODES_SCHEMA.names)
        counted = counted.sort_by([("code", "ascending"), ("source_table", "ascending")])
        codes = counted["code"].to_pylist()
        described = pa.array([self._descriptions.get(code) for code in codes], pa.string())
        return (
            counted.append_column("units", _lists(codes, self._units))
            .append_column("number_units", _lists(codes, self._number_units))
            .append_column("described", described)
            .append_column("parents", _lists(codes, self._parents))
        )
