"""What is known of a source's tables, read from the data files beside this module."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import pyarrow as pa

Kind = Literal["patient", "dictionary", "no_patients"]

ARROW_TYPES: dict[str, pa.DataType] = {
    "bigint": pa.int64(),
    "integer": pa.int32(),
    "double": pa.float64(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us"),
}


@dataclass(frozen=True)
class Table:
    """One table of a source.

    Attributes:
        module: folder it lies in.
        name: file name without ending.
        kind: `patient` tables become events, `dictionary` tables describe codes, `no_patients` tables are not read.
        columns: column names and Arrow types, in the order of the newest release.
        key_columns: columns without which the table cannot be used.
        duplicate_columns: columns in which rows must agree to be suspected of being exact duplicates.
    """

    module: str
    name: str
    kind: Kind
    columns: dict[str, pa.DataType]
    key_columns: tuple[str, ...]
    duplicate_columns: tuple[str, ...]

    @property
    def full_name(self) -> str:
        """`module/name`, as in `source_table` of an event."""
        return f"{self.module}/{self.name}"

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the staged table."""
        return pa.schema(list(self.columns.items()))


def _read(source: str, file: str) -> list[dict[str, str]]:
    with (files("ehrtraj.release") / source / file).open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@cache
def tables(source: str = "mimiciv") -> dict[str, Table]:
    """All tables of a source by full name, in the order of its data file."""
    columns: dict[str, dict[str, pa.DataType]] = {}
    for row in _read(source, "columns.csv"):
        columns.setdefault(f"{row['module']}/{row['table']}", {})[row["column"]] = ARROW_TYPES[row["type"]]
    return {
        f"{row['module']}/{row['table']}": Table(
            module=row["module"],
            name=row["table"],
            kind=row["kind"],  # type: ignore[arg-type]  # checked by the test that walks the data files
            columns=columns[f"{row['module']}/{row['table']}"],
            key_columns=tuple(row["key_columns"].split()),
            duplicate_columns=tuple(row["duplicate_columns"].split()),
        )
        for row in _read(source, "tables.csv")
    }


@cache
def published_row_counts(source: str = "mimiciv") -> dict[str, dict[str, int]]:
    """Rows of each table (bare name) as published, by release."""
    counts: dict[str, dict[str, int]] = {}
    for row in _read(source, "row_counts.csv"):
        counts.setdefault(row["release"], {})[row["table"]] = int(row["rows"])
    return counts
