"""Assign the patients of a build to splits, by the setting `splits`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj.config import Settings
from ehrtraj.errors import SettingsError
from ehrtraj.format.arrays import Int64s, to_int64
from ehrtraj.format.splits import SPLITS, HashSplits, ListedSplits, Splits, by_period, parse_splits
from ehrtraj.pipeline.plan.columns import read_columns
from ehrtraj.release.found import Release
from ehrtraj.release.schema import SUBJECT_ID


def plan_splits(release: Release, settings: Settings, subjects: Int64s) -> Splits:
    """Return the splits of a build.

    Args:
        release: release that the build reads.
        settings: settings of the build.
        subjects: patients of the build.

    Raises:
        SettingsError: if the file or the release does not assign splits to the patients.
    """
    method = parse_splits(settings.splits)
    if method.upper is not None:
        return HashSplits(settings.seed, method.upper)
    return _from_file(method.file, subjects) if method.file is not None else _by_time(release, subjects)


def _from_file(file: Path, subjects: Int64s) -> ListedSplits:
    # It imports polars, which takes 0.1 s and which no other step of a build needs.
    from ehrtraj.format.split_file import read_split_file

    listed = read_split_file(file)
    ids = listed["subject_id"].to_numpy()
    missing = np.setdiff1d(subjects, ids)
    if len(missing):
        raise SettingsError(
            f"{file} has no split for {len(missing):,} of {len(subjects):,} patients of the build, such as {missing[0]}"
        )
    numbers = listed["split"].replace_strict({name: number for number, name in enumerate(SPLITS)})
    return ListedSplits(ids, numbers.to_numpy().astype(np.uint8))


def _by_time(release: Release, subjects: Int64s) -> ListedSplits:
    """Return the splits by calendar period. A patient of an unknown period is in train, and never in a later split."""
    period = release.source.declared.period
    file = None if period is None else release.files.get(period[0])
    if period is None or file is None:
        raise SettingsError("splits by time need a table with the period of each patient, which this release lacks")
    rows = read_columns(file, SUBJECT_ID, *(name for name in file.table.columns if name != SUBJECT_ID))
    rows = _smallest_row_of_each(rows.filter(pc.is_in(rows[SUBJECT_ID], pa.array(subjects))))
    rows = pa.table({"who": rows[SUBJECT_ID], "period": pc.utf8_trim_whitespace(rows[period[1]])})
    rows = rows.filter(pc.greater(pc.utf8_length(rows["period"]), 0))
    periods = rows["period"].to_pylist()
    numbers = {name: SPLITS.index(split) for name, split in by_period(periods).items()}
    return ListedSplits(to_int64(rows["who"]), np.array([numbers[name] for name in periods], np.uint8))


def _smallest_row_of_each(rows: pa.Table) -> pa.Table:
    """Return one row of each patient: the one that a recipe keeps, if there are several."""
    rows = rows.sort_by([(name, "ascending") for name in rows.column_names])
    return rows.take(pa.array(np.unique(to_int64(rows[SUBJECT_ID]), return_index=True)[1]))
