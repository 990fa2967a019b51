"""Lists of patients in files of the user: cohorts and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ehrtraj.errors import SettingsError

_VALUES = ("boolean_value", "integer_value", "float_value", "categorical_value")
_TIME = "prediction_time"


@dataclass(frozen=True)
class PatientList:
    """Patients in a file.

    Attributes:
        name: name of the list, from the name of the file.
        rows: rows of the file: `subject_id`, and of labels `prediction_time` and `value` (as text).
    """

    name: str
    rows: pl.DataFrame


def read_lists(files: Sequence[Path], *, labels: bool) -> dict[str, PatientList]:
    """Read files, Parquet or CSV with the column `subject_id`, in their order.

    Args:
        files: paths of the files.
        labels: whether they contain labels: also `prediction_time` and a column with values, as `ehrtraj label` writes.

    Raises:
        SettingsError: if a file cannot be read, or lacks a column.
    """
    found: dict[str, PatientList] = {}
    for file in files:
        name, number = file.stem, 1
        while name in found:
            number += 1
            name = f"{file.stem}-{number}"
        found[name] = PatientList(name, _read(file, labels=labels))
    return found


def _read(file: Path, *, labels: bool) -> pl.DataFrame:
    try:
        rows = pl.read_parquet(file, glob=False) if file.suffix == ".parquet" else pl.read_csv(file, glob=False)
        columns = [pl.col("subject_id").cast(pl.Int64)]
        if labels:
            time = pl.col(_TIME)
            columns += [time.str.to_datetime() if rows.schema.get(_TIME) == pl.String else time.cast(pl.Datetime("us"))]
            columns += [pl.coalesce(pl.col(name).cast(pl.String) for name in _values(rows)).alias("value")]
        return rows.select(columns).drop_nulls("subject_id")
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        needed = "subject_id, prediction_time and boolean_value" if labels else "subject_id"
        # Some reasons of polars end with the path.
        reason = str(error).partition("\n")[0].removesuffix(f": {file}")
        raise SettingsError(
            f"{file} cannot be read: {reason}. It must be a CSV or Parquet file with {needed}"
        ) from None


def _values(rows: pl.DataFrame) -> list[str]:
    found = [name for name in _VALUES if name in rows.columns]
    if not found:
        raise ValueError(f"there is no column {' or '.join(_VALUES)}")
    return found
