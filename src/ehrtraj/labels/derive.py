"""Events that no code of a dataset says, worked out by SQL: `tasks/derived.csv` says which file gives which code."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import polars as pl

from ehrtraj.dataset.dataset import Dataset
from ehrtraj.dataset.layout import DataFile
from ehrtraj.dataset.query import run_sql
from ehrtraj.errors import RecipeError
from ehrtraj.labels.errors import TaskError
from ehrtraj.labels.ready import read_lines, read_text

PREFIX = "DERIVED//"
SCHEMA: dict[str, Any] = {
    "subject_id": pl.Int64,
    "time": pl.Datetime("us"),
    "code": pl.String,
    "numeric_value": pl.Float32,
}


def recipes() -> dict[str, str]:
    """For each derived code, the SQL file that gives it."""
    return {line["code"]: line["recipe"] for line in read_lines("derived.csv")}


def derived_events(dataset: Dataset, codes: Collection[str]) -> pl.DataFrame:
    """Events of derived codes, of all patients of a dataset.

    To have ACES itself read a task that uses them, write them to its file of events.

    Args:
        dataset: that they are worked out from.
        codes: such as `DERIVED//KDIGO_AKI`.

    Returns:
        `subject_id`, `time`, `code`, `numeric_value` (float32), by patient and time.

    Raises:
        TaskError: if there is no such code.
    """
    return pl.concat([pl.DataFrame(schema=SCHEMA), *(derive(dataset, file, codes) for file in dataset.files)])


def derive(dataset: Dataset, file: DataFile, codes: Collection[str]) -> pl.DataFrame:
    """Events of derived codes of one file; see `derived_events`."""
    known = recipes()
    unknown = sorted(set(codes) - known.keys())
    if unknown:
        raise TaskError(f"there is no derived code {', '.join(unknown)}: there are {', '.join(known)}")
    names = sorted({known[code] for code in codes})
    parts = [_run(name, dataset, file) for name in names]
    found = pl.concat([pl.DataFrame(schema=SCHEMA), *parts])
    return found.filter(pl.col("code").is_in(list(codes))).sort("subject_id", "time", "code")


def _run(name: str, dataset: Dataset, file: DataFile) -> pl.DataFrame:
    tables = {"subjects": dataset.patients_of(file), "antibiotics": pl.DataFrame(_rows("antibiotics.csv"))}
    found = run_sql(read_text(name), [file.path], tables, None, chosen=True)
    if not set(SCHEMA) <= set(found.columns):
        raise RecipeError(f"tasks/{name} gives {', '.join(found.columns)}: it must give {', '.join(SCHEMA)}")
    return found.select(pl.col(column).cast(kind) for column, kind in SCHEMA.items())


def _rows(name: str) -> Sequence[dict[str, str]]:
    return read_lines(name)
