"""Count rows by table, codes, patients and the effects of rules while a shard is built."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrtraj.format.arrays import NULL, Bools, Int64s, masked
from ehrtraj.format.splits import SPLITS
from ehrtraj.format.tallies import all_numbers, all_times
from ehrtraj.pipeline.shard.applied import all_applied, count_applied
from ehrtraj.pipeline.shard.assemble import OrderedEvents
from ehrtraj.pipeline.shard.convert import Codes
from ehrtraj.pipeline.shard.drugs import NamedDrug, drug_rows
from ehrtraj.pipeline.shard.extract import TableCount
from ehrtraj.pipeline.shard.tallies import count_numbers, count_times


@cache
def _as_json(texts: tuple[str, ...]) -> str:
    """Return a list as JSON. The result is cached because thousands of codes share a few lists of units."""
    return json.dumps(texts)


def _add_units(units: dict[str, set[str]], part: OrderedEvents, rows: Bools | slice) -> None:
    """Add the units of these rows of a part to those of their codes."""
    unit = part.events.texts["unit"]
    pairs = np.zeros((len(part.codes), len(unit.values) + 1), np.bool_)
    pairs[part.events.code[rows], unit.positions[rows]] = True
    values = unit.values.to_pylist()
    for code, position in zip(*(a.tolist() for a in np.nonzero(pairs[:, :-1])), strict=True):
        units.setdefault(part.codes[code], set()).add(values[position])


def _unit_lists(keys: Sequence[tuple[str, str]], units: Mapping[str, set[str]]) -> pa.Array:
    of_codes = (units.get(code) for code, _ in keys)
    return pa.array([_as_json(tuple(sorted(of_code))) if of_code else "[]" for of_code in of_codes], pa.string())


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
        self._codes: Counter[tuple[str, str]] = Counter()
        self._patients: Counter[tuple[str, str]] = Counter()
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
            total = self._counts.setdefault(name, TableCount())
            total.rows += count.rows
            total.rejected += count.rejected
            total.events += count.events
        self._descriptions |= codes.descriptions
        for code, parents in codes.parents.items():
            self._parents.setdefault(code, set()).update(parents)
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
        tables = np.array(self._event_tables)
        by_name = np.argsort(tables)
        rank = np.argsort(by_name)
        pair = part.events.code.astype(np.int64) * len(tables) + rank[part.events.table]
        seen = np.bincount(pair, minlength=len(part.codes) * len(tables)).reshape(-1, len(tables)) > 0
        first = by_name[seen.argmax(axis=1)]
        counts = np.bincount(part.events.code, minlength=len(part.codes))
        for code, table, count, people in zip(
            part.codes, tables[first].tolist(), counts.tolist(), part.code_patients.tolist(), strict=True
        ):
            self._codes[code, table] += count
            self._patients[code, table] += people
        _add_units(self._units, part, slice(None))
        _add_units(self._number_units, part, ~np.isnan(part.events.number))

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
        keys = sorted(self._codes)
        parents = {code: _as_json(tuple(sorted(codes))) for code, codes in self._parents.items()}
        return pa.table(
            {
                "code": pa.array([code for code, _ in keys], pa.string()),
                "source_table": pa.array([table for _, table in keys], pa.string()),
                "n_events": pa.array([self._codes[k] for k in keys], pa.int64()),
                "n_subjects": pa.array([self._patients[k] for k in keys], pa.int64()),
                "units": _unit_lists(keys, self._units),
                "number_units": _unit_lists(keys, self._number_units),
                "described": pa.array([self._descriptions.get(code) for code, _ in keys], pa.string()),
                "parents": pa.array([parents.get(code, "[]") for code, _ in keys], pa.string()),
            }
        )
