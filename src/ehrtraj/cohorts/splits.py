"""Splits of a cohort by choice: shares, a file of patients, or time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from ehrtraj.cohorts.patients import Patients
from ehrtraj.dataset.layout import READ_ERRORS
from ehrtraj.errors import DatasetError, SettingsError
from ehrtraj.format.split_file import read_split_file
from ehrtraj.format.splits import SPLITS, by_period, parse_splits, split_of
from ehrtraj.sources.source import source_of


def splits_of(patients: Patients, subjects: pl.Series, by: str | Path | Sequence[float], seed: int) -> pl.DataFrame:
    """Return the split of patients: `subject_id` and `split`; see `Cohort.split`.

    Raises:
        SettingsError: if the method is invalid, or does not assign a split to each patient.
        DatasetError: if a data file cannot be read.
    """
    method = parse_splits(by if isinstance(by, str | Path) else ",".join(map(str, by)))
    found = subjects.unique().sort().to_frame("subject_id")
    if method.upper is not None:
        index = pl.Series("split", split_of(found["subject_id"].to_numpy(), seed, method.upper))
        return found.with_columns(index.replace_strict(dict(enumerate(SPLITS)), return_dtype=pl.String))
    if method.file is not None:
        return _from_file(found, method.file)
    return _by_time(patients, found)


def _from_file(found: pl.DataFrame, file: Path) -> pl.DataFrame:
    listed = read_split_file(file)
    joined = found.join(listed, on="subject_id", how="left", maintain_order="left")
    if missing := joined["split"].null_count():
        first = joined.filter(pl.col("split").is_null())["subject_id"][0]
        raise SettingsError(f"{file} has no split for {missing:,} of {found.height:,} patients, such as {first}")
    return joined


def _by_time(patients: Patients, found: pl.DataFrame) -> pl.DataFrame:
    event_type = source_of(patients.layout.manifest).declared.period_event_type
    if event_type is None:
        raise SettingsError(f"the source of {patients.layout.root} does not state when patients were treated")
    codes = patients.layout.codes.filter(event_type=event_type)["code"].to_list()
    try:
        events = patients.scan().filter(pl.col("code").is_in(codes)).select("subject_id", "code").collect()
    except READ_ERRORS as error:
        raise DatasetError(f"{patients.layout.root} cannot be read: {error}") from None
    period = pl.col("code").str.split("//").list.get(1)
    known = found.join(
        events.select("subject_id", period=period).unique("subject_id", keep="first"), on="subject_id", how="left"
    )
    splits = by_period(known["period"].drop_nulls())
    # A patient of an unknown period cannot be used to test how a model does later.
    split = pl.col("period").replace_strict(splits, default=SPLITS[0], return_dtype=pl.String)
    return known.select("subject_id", split=split)
