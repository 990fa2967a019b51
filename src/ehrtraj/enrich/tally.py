"""Count the events of one data file while concepts are merged into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from ehrtraj.enrich.merge import Merged, starts_of_patients
from ehrtraj.format.arrays import NULL, Int64s, to_int64
from ehrtraj.format.tallies import number_bin

_DAY = 86_400_000_000
# Days 32,768 and later are counted together.
_LAST_DAYS = 15


class MergeTally:
    """Adds up the counts of one data file.

    Attributes:
        events: number of all events so far.
    """

    def __init__(self, subjects: pl.DataFrame) -> None:
        """Start with zero counts.

        Args:
            subjects: rows of subjects.parquet of the patients of the original file.
        """
        self._first = subjects.select("subject_id", since=pl.col("first_time").dt.epoch("us"))
        self.events = 0
        self._subjects: list[list[int | None]] = []
        self._codes: Counter[tuple[str, str]] = Counter()
        self._patients: Counter[str] = Counter()
        self._used: Counter[str] = Counter()
        self._numbers: Counter[tuple[str, int]] = Counter()
        self._times: Counter[int] = Counter()

    def add(self, merged: Merged) -> None:
        """Add some complete patients."""
        self._count_patients(merged.rows)
        added = merged.added
        for table, code, events, patients in (
            added.group_by("source_table", "code").agg(events=pl.len(), patients=pl.col("subject_id").n_unique()).rows()
        ):
            self._codes[table, code] += events
            self._patients[code] += patients
        rows = added.select("source_table", "subject_id", "source_key").unique()
        self._used.update(dict(rows.group_by("source_table").len().rows()))
        self._count_numbers(added)
        self._count_times(added)

    def _count_patients(self, rows: pa.Table) -> None:
        starts = starts_of_patients(rows)
        time = to_int64(rows["time"])
        last = time[starts[1:] - 1]
        # Events without a time come first.
        known = np.where(time == NULL, np.iinfo(np.int64).max, time)
        first = np.where(last == NULL, NULL, np.minimum.reduceat(known, starts[:-1]))
        subject = to_int64(rows["subject_id"])[starts[:-1]]
        columns = (subject, starts[:-1] + self.events, np.diff(starts), first, last)
        lines = zip(*(column.tolist() for column in columns), strict=True)
        self._subjects += [[None if value == NULL else value for value in line] for line in lines]
        self.events += rows.num_rows

    def _count_numbers(self, added: pl.DataFrame) -> None:
        numbers = added.filter(pl.col("numeric_value").is_not_null())
        bins = pl.Series("bin", number_bin(numbers["numeric_value"].to_numpy()))
        for code, number, count in numbers.select("code", bins).group_by("code", "bin").len().rows():
            self._numbers[code, number] += count

    def _count_times(self, added: pl.DataFrame) -> None:
        since = added.join(self._first, on="subject_id", maintain_order="left")["since"].to_numpy()
        days = np.maximum((to_int64(pa.chunked_array([added["time"].to_arrow()])) - since) // _DAY, 0)
        self._times.update(
            dict(zip(*(one.tolist() for one in np.unique(_bins(days), return_counts=True)), strict=True))
        )

    def record(self, rows: Mapping[str, int]) -> dict[str, Any]:
        """Return all counts for the marker of the file.

        Args:
            rows: number of rows of each concept, by table.
        """
        events: Counter[str] = Counter()
        for (table, _), count in self._codes.items():
            events[table] += count
        return {
            "events": self.events,
            "subjects": self._subjects,
            "codes": [[table, code, count, self._patients[code]] for (table, code), count in self._codes.items()],
            "tables": {name: [count, self._used[name], events[name]] for name, count in rows.items()},
            "numbers": [[code, number, count] for (code, number), count in self._numbers.items()],
            "times": [[day, count] for day, count in self._times.items()],
        }


def _bins(days: Int64s) -> Int64s:
    """Return the bin of each number of days: 0 for day 0, 1 for day 1, 2 for days 2 to 3, 3 for days 4 to 7, ..."""
    return np.searchsorted(1 << np.arange(_LAST_DAYS + 1, dtype=np.int64), days, side="right").astype(np.int64)
