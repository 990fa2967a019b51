"""Read the split of each patient from a user's file."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ehrtraj.errors import SettingsError
from ehrtraj.format.splits import SPLITS
from ehrtraj.suggestions import did_you_mean


def read_split_file(file: Path) -> pl.DataFrame:
    """Read a CSV or Parquet file with the columns `subject_id` and `split`, sorted by subject_id.

    Raises:
        SettingsError: if the file cannot be read, lacks a column, has another split, or a patient in two splits.
    """
    try:
        rows = pl.read_parquet(file, glob=False) if file.suffix == ".parquet" else pl.read_csv(file, glob=False)
        listed = rows.select(pl.col("subject_id").cast(pl.Int64), pl.col("split").cast(pl.String)).unique()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SettingsError(
            f"{file} cannot be used for splits: {str(error).splitlines()[0]}. It must be a CSV or Parquet file with "
            "the columns subject_id and split"
        ) from None
    # A blank line at the end of a CSV file is a row of nulls.
    listed = listed.filter(pl.any_horizontal(pl.all().is_not_null()))
    known = pl.col("split").is_in(SPLITS).fill_null(value=False)
    if unknown := listed.filter(~known)["split"].to_list():
        near = did_you_mean(str(unknown[0]), SPLITS)
        raise SettingsError(f"{file} contains the split '{unknown[0]}'{near}: use {', '.join(SPLITS)}")
    if listed["subject_id"].null_count():
        raise SettingsError(f"{file} has a line without a subject_id")
    if twice := listed.filter(pl.col("subject_id").is_duplicated())["subject_id"].to_list():
        raise SettingsError(f"{file} has patient {min(twice)} in more than one split")
    return listed.sort("subject_id")
