"""Derived events, which have no code in a dataset and are computed with SQL.

`derived.csv` of a source lists the SQL file of each derived code.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from ehrtraj.dataset.dataset import Dataset
from ehrtraj.dataset.layout import DataFile
from ehrtraj.dataset.query import run_sql
from ehrtraj.errors import RecipeError, SettingsError
from ehrtraj.labels.errors import TaskError
from ehrtraj.release.history import read_lines
from ehrtraj.sources.source import Source, source_of
from ehrtraj.suggestions import did_you_mean

PREFIX = "DERIVED//"
_LIST = "derived.csv"
SCHEMA: dict[str, Any] = {
    "subject_id": pl.Int64,
    "time": pl.Datetime("us"),
    "code": pl.String,
    "numeric_value": pl.Float32,
    "hadm_id": pl.Int64,
    "stay_id": pl.Int64,
}
_OPTIONAL = ("hadm_id", "stay_id")


def recipes(source: Source) -> dict[str, str]:
    """Return the SQL file of each derived code.

    Args:
        source: source whose folder of tasks contains the files.
    """
    return {line["code"]: line["recipe"] for line in read_lines(source.tasks / _LIST)}


def derivable(dataset: Dataset) -> tuple[str, ...]:
    """Return the codes that can be derived from the events of a dataset.

    There are none if the dataset was built with a custom source whose folder no longer exists.
    """
    try:
        return tuple(recipes(source_of(dataset.layout.manifest)))
    except SettingsError:
        return ()


def derived_events(dataset: Dataset, codes: Collection[str]) -> pl.DataFrame:
    """Compute the events of derived codes for all patients of a dataset.

    To evaluate a task that uses derived codes with ACES itself, add these events to its file of events.

    Args:
        dataset: dataset from whose events they are computed.
        codes: codes such as `DERIVED//KDIGO_AKI`.

    Returns:
        Frame with `subject_id`, `time`, `code`, `numeric_value` (float32), sorted by patient and time.

    Raises:
        TaskError: if there is no such derived code.
    """
    source = source_of(dataset.layout.manifest)
    parts = (derive(source, [file], dataset.patients_of(file), codes) for file in dataset.files)
    return pl.concat([pl.DataFrame(schema=SCHEMA), *parts]).drop(_OPTIONAL)


def derive(
    source: Source,
    files: Sequence[DataFile],
    patients: pl.DataFrame,
    codes: Collection[str],
    *,
    threads: int | None = None,
    spill: Path | None = None,
) -> pl.DataFrame:
    """Compute the events of derived codes for patients of some data files; see `derived_events`.

    Args:
        source: source of the dataset.
        files: files that contain the patients.
        patients: their rows of subjects.parquet.
        codes: derived codes.
        threads: maximum number of DuckDB's threads; all usable cores by default.
        spill: private folder for data that does not fit in memory; by default one in the system's temporary folder.

    Returns:
        Frame with the columns of `SCHEMA`. `hadm_id` and `stay_id` are null if the SQL file has no such column.

    Raises:
        TaskError: if there is no such derived code.
    """
    known = recipes(source)
    unknown = sorted(set(codes) - known.keys())
    if unknown:
        near = did_you_mean(unknown[0], known)
        raise TaskError(
            f"there is no derived code {', '.join(unknown)}{near}: the derived codes are {', '.join(known)}"
        )
    names = sorted({known[code] for code in codes})
    paths = [file.path for file in files]
    tables = {"subjects": patients, **_lists(source)}
    parts = [pl.DataFrame(schema=SCHEMA)]
    for name in names:
        sql = (source.tasks / name).read_text(encoding="utf-8")
        parts.append(_checked(name, run_sql(sql, paths, tables, None, chosen=True, threads=threads, spill=spill)))
    derived = pl.concat(parts)
    return derived.filter(pl.col("code").is_in(list(codes))).sort("subject_id", "time", "code")


def _lists(source: Source) -> dict[str, pl.DataFrame]:
    """Return the lists of codes that the SQL of a source reads."""
    lists = {path.stem: path for path in source.tasks.glob("*.csv") if path.name != _LIST}
    return {table: pl.DataFrame(read_lines(path)) for table, path in sorted(lists.items())}


def _checked(name: str, result: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of `SCHEMA` of what an SQL file returned; columns of stays are null if it has none."""
    required = [column for column in SCHEMA if column not in _OPTIONAL]
    if not set(required) <= set(result.columns):
        raise RecipeError(f"tasks/{name} returns {', '.join(result.columns)}: it must return {', '.join(required)}")
    missing = {column: None for column in _OPTIONAL if column not in result.columns}
    return result.with_columns(**missing).select(pl.col(column).cast(kind) for column, kind in SCHEMA.items())
