"""Events that no code of a dataset shows, worked out by SQL: a source's `derived.csv` lists the file of each code."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import polars as pl

from ehrtraj.dataset.dataset import Dataset
from ehrtraj.dataset.layout import DataFile
from ehrtraj.dataset.query import run_sql
from ehrtraj.errors import RecipeError, SettingsError
from ehrtraj.labels.errors import TaskError
from ehrtraj.release.history import read_lines
from ehrtraj.sources.source import Source, source_of

PREFIX = "DERIVED//"
_LIST = "derived.csv"
SCHEMA: dict[str, Any] = {
    "subject_id": pl.Int64,
    "time": pl.Datetime("us"),
    "code": pl.String,
    "numeric_value": pl.Float32,
}


def recipes(source: Source) -> dict[str, str]:
    """For each derived code, the SQL file that gives it.

    Args:
        source: in whose folder of tasks the files are.
    """
    return {line["code"]: line["recipe"] for line in read_lines(source.tasks / _LIST)}


def derivable(dataset: Dataset) -> tuple[str, ...]:
    """The codes that can be derived from a dataset's events.

    There are none where it was built with a source of the user's own whose folder is not there any more.
    """
    try:
        return tuple(recipes(source_of(dataset.layout.manifest)))
    except SettingsError:
        return ()


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
    source = source_of(dataset.layout.manifest)
    known = recipes(source)
    unknown = sorted(set(codes) - known.keys())
    if unknown:
        raise TaskError(f"there is no derived code {', '.join(unknown)}: there are {', '.join(known)}")
    names = sorted({known[code] for code in codes})
    parts = [_run(name, source, dataset, file) for name in names]
    found = pl.concat([pl.DataFrame(schema=SCHEMA), *parts])
    return found.filter(pl.col("code").is_in(list(codes))).sort("subject_id", "time", "code")


def _run(name: str, source: Source, dataset: Dataset, file: DataFile) -> pl.DataFrame:
    listed = {path.stem: path for path in source.tasks.glob("*.csv") if path.name != _LIST}
    tables = {table: pl.DataFrame(read_lines(path)) for table, path in sorted(listed.items())}
    sql = (source.tasks / name).read_text(encoding="utf-8")
    found = run_sql(sql, [file.path], {"subjects": dataset.patients_of(file), **tables}, None, chosen=True)
    if not set(SCHEMA) <= set(found.columns):
        raise RecipeError(f"tasks/{name} gives {', '.join(found.columns)}: it must give {', '.join(SCHEMA)}")
    return found.select(pl.col(column).cast(kind) for column, kind in SCHEMA.items())
