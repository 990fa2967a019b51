"""Read the small files of a dataset from which a report is made."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj.format.names import (
    APPLIED,
    CODES,
    DATASET_JSON,
    EVENT_TYPES,
    FLAGS,
    LEDGER,
    MANIFEST,
    SOURCE,
    SUBJECTS,
)
from ehrtraj.format.tallies import NUMBERS, TIMES


@dataclass(frozen=True)
class DatasetFiles:
    """The files of a complete dataset, read when they are used.

    Attributes:
        root: folder of the dataset.
    """

    root: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """Content of manifest.json."""
        return self._json(MANIFEST)

    @cached_property
    def about(self) -> dict[str, Any]:
        """Content of metadata/dataset.json."""
        return self._json(DATASET_JSON)

    @cached_property
    def source(self) -> dict[str, Any]:
        """Content of metadata/source.json."""
        return self._json(SOURCE)

    @cached_property
    def meanings_of_flags(self) -> dict[str, str]:
        """Meaning of each flag."""
        return {name: str(flag["meaning"]) for name, flag in self._json(FLAGS).items()}

    @cached_property
    def meanings_of_event_types(self) -> dict[str, str]:
        """Meaning of each event type, in the order of their rank."""
        return {name: str(entry["meaning"]) for name, entry in self._json(EVENT_TYPES).items()}

    @cached_property
    def ledger(self) -> list[dict[str, Any]]:
        """Rows of ledger.parquet."""
        rows: list[dict[str, Any]] = self._table(LEDGER).to_pylist()
        return rows

    @cached_property
    def codes(self) -> pa.Table:
        """Content of metadata/codes.parquet."""
        names = ["code", "description", "parent_codes", "unit", "event_type", "n_events", "n_subjects"]
        return self._table(CODES, names)

    @cached_property
    def subjects(self) -> pa.Table:
        """Patients with their split and number of events."""
        return self._table(SUBJECTS, ["split", "n_events"])

    @cached_property
    def applied(self) -> pa.Table:
        """Content of rules_applied.parquet."""
        return self._table(APPLIED)

    @cached_property
    def numbers(self) -> pa.Table:
        """Content of tallies/numbers.parquet."""
        return self._table(NUMBERS)

    @cached_property
    def times(self) -> pa.Table:
        """Content of tallies/times.parquet."""
        return self._table(TIMES)

    def _json(self, name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.root / name).read_text(encoding="utf-8"))
        return content

    def _table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        # Starting the threads takes longer than reading files of this size.
        with pq.ParquetFile(self.root / name) as file:
            return file.read(columns=columns, use_threads=False)


def counts_by(rows: pa.Table, by: Sequence[str], column: str) -> Mapping[Any, int]:
    """Return the sum of a column for each value of one column, or each tuple of values of several columns."""
    added = rows.group_by(list(by), use_threads=False).aggregate([(column, "sum")])
    keys = [added[name].to_pylist() for name in by]
    return dict(
        zip(keys[0] if len(by) == 1 else zip(*keys, strict=True), added[f"{column}_sum"].to_pylist(), strict=True)
    )
