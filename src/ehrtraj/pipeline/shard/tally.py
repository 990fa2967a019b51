"""Count rows by table, codes, patients and the effects of rules while a shard is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrtraj.format.arrays import NULL, Int64s, masked
from ehrtraj.format.splits import SPLITS
from ehrtraj.format.tallies import all_numbers, all_times
from ehrtraj.pipeline.shard.applied import all_applied, count_applied
from ehrtraj.pipeline.shard.assemble import OrderedEvents
from ehrtraj.pipeline.shard.code_facts import COUNTS_SCHEMA, NUMBER_UNIT, UNIT, Facts, all_counts, all_facts
from ehrtraj.pipeline.shard.codes import Codes
from ehrtraj.pipeline.shard.extract import TableCount
from ehrtraj.pipeline.shard.tallies import count_numbers, count_times


def _units_of_codes(part: OrderedEvents, kind: str, pairs: Int64s) -> pa.Table:
    """Return the units that occur with each code, as a table of `FACTS_SCHEMA`.

    Args:
        part: assembled events.
        kind: kind of the facts.
        pairs: the code and the unit of some of its events, as `_pairs` numbers them.
    """
    values = part.events.texts["unit"].values
    seen = np.zeros((len(part.codes), len(values) + 1), np.bool_)
    seen.reshape(-1)[pairs] = True
    seen[:, -1] = False
    # Ten times as fast as numpy.nonzero of two dimensions.
    codes, units = np.divmod(np.flatnonzero(seen), len(values) + 1)
    texts = values.take(pa.array(units)).cast(pa.string())
    return Facts(kind, pa.array(codes), texts).to_table(part.codes.names)


def _pairs(part: OrderedEvents) -> Int64s:
    """Return the position of each event in a table of codes by units, whose last column is for events without unit."""
    unit = part.events.texts["unit"]
    # Null, -1, becomes the last column of the previous code, or of the last one.
    return part.events.code * np.int64(len(unit.values) + 1) + unit.positions


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
        self._facts: list[pa.Table] = []
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
        names = pa.array(codes.names, pa.string())
        self._facts.extend(facts.to_table(names) for facts in codes.facts)

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
        yield "codes", all_counts(self._codes)
        yield "facts", all_facts(self._facts)
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
        pair = part.events.code.astype(np.int64) * len(tables) + rank.take(part.events.table)
        seen = np.bincount(pair, minlength=len(part.codes) * len(tables)).reshape(-1, len(tables)) > 0
        first = by_name[seen.argmax(axis=1)]
        counts = np.bincount(part.events.code, minlength=len(part.codes))
        columns = [part.codes.names, pa.array(self._event_tables).take(pa.array(first)), counts, part.code_patients]
        self._codes.append(pa.table(columns, schema=COUNTS_SCHEMA))
        pairs = _pairs(part)
        self._facts.append(_units_of_codes(part, UNIT, pairs))
        self._facts.append(_units_of_codes(part, NUMBER_UNIT, pairs[~np.isnan(part.events.number)]))

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
