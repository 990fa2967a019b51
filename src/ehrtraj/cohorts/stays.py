"""Stays of all patients as one frame: admissions, stays in intensive care, visits to the emergency department."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import polars as pl

from ehrtraj.cohorts.nearest import did_you_mean
from ehrtraj.cohorts.patients import Patients
from ehrtraj.concepts.views import StandardViews, standard_views
from ehrtraj.dataset.layout import READ_ERRORS, DatasetLayout
from ehrtraj.dataset.query import run_sql
from ehrtraj.errors import DatasetError, SettingsError
from ehrtraj.sources.source import source_of

# Name of each kind of stays in the rule table `intervals`, and for people. The view `stays` names them without `_stay`.
_INTERVALS = {"admission": "admissions", "icu_stay": "ICU stays", "ed_stay": "ED visits"}
_KINDS = {interval.removesuffix("_stay"): interval for interval in _INTERVALS}
_OTHER_NAMES = {"admissions": "admission", "hospital": "admission"}
_SIDES = ("start", "end")
_VIEW = "stays"
_QUERY = f"""
SELECT s.*, a.start_time AS hospital_start, a.end_time AS hospital_end, a.died AS hospital_died
FROM (FROM {_VIEW} WHERE kind = $kind) AS s
LEFT JOIN (
    SELECT subject_id, hadm_id, min(start_time) AS start_time, max(end_time) AS end_time, bool_or(died) AS died
    FROM {_VIEW} WHERE kind = 'admission' GROUP BY subject_id, hadm_id
) AS a USING (subject_id, hadm_id)
ORDER BY subject_id, s.start_time, s.seq
"""


def kind_of(name: str) -> str:
    """Return the kind of stays that a user names: `admission`, `icu` or `ed`.

    Raises:
        SettingsError: if there is no such kind.
    """
    kind = _OTHER_NAMES.get(name, name)
    if kind not in _KINDS:
        raise SettingsError(f"there are no stays '{name}': use {', '.join(_KINDS)}{did_you_mean(name, _KINDS)}")
    return kind


def title_of(kind: str) -> str:
    """Return what stays of a kind are called, such as `ICU stays`."""
    return _INTERVALS[_KINDS[kind]]


def read_stays(patients: Patients, name: str) -> pl.DataFrame:
    """Read all stays of one kind; see `Dataset.stays`.

    Raises:
        SettingsError: if the kind does not exist, or the source of the dataset has no view of stays.
        DatasetError: if a data file cannot be read.
    """
    kind = kind_of(name)
    layout = patients.layout
    views = standard_views(layout.manifest, layout.flags, layout.clock)
    if _VIEW not in views.sql:
        raise SettingsError(f"{layout.root} has no stays: its source has no view {_VIEW}.sql, or no longer exists")
    found = _run(patients, kind, views)
    return _arranged(found, patients.subjects, _item_names(layout.source.intervals, kind))


def _run(patients: Patients, kind: str, views: StandardViews) -> pl.DataFrame:
    layout, subjects = patients.layout, patients.subjects
    values = {"kind": kind}
    if not source_of(layout.manifest).is_packaged:
        paths = [file.path for file in patients.files]
        chosen = subjects.height < layout.subjects.height
        return run_sql(_QUERY, paths, {"subjects": subjects}, values, chosen=chosen, views=views)
    try:
        events = patients.scan().filter(pl.col("code").is_in(_codes_read(layout, views))).collect()
    except READ_ERRORS as error:
        raise DatasetError(f"{layout.root} cannot be read: {error}") from None
    return run_sql(_QUERY, (), {"events": events, "subjects": subjects}, values, chosen=False, views=views)


def _codes_read(layout: DatasetLayout, views: StandardViews) -> list[str]:
    """Return the codes of the event types that the view names. It reads no other events.

    polars finds these few events among 46 million in 1 s; DuckDB reads all for each part of the view, which takes 4 s.
    """
    literals = re.findall(r"'(\w+)", views.sql[_VIEW])
    return layout.codes.filter(pl.col("event_type").is_in(literals))["code"].to_list()


def _item_names(intervals: Sequence[Mapping[str, str]], kind: str) -> dict[str, str]:
    """Return the names of the items of starts and ends, such as `first_careunit`, from the rule table `intervals`."""
    lines = [line for line in intervals if line["interval"] == _KINDS[kind]]
    columns = [f"{side}_item" for side in _SIDES]
    named = {column: next((line[column] for line in lines if line[column]), "") for column in columns}
    return {column: name if name and name not in _FIXED else column for column, name in named.items()}


_BEFORE = (
    "kind", "subject_id", "hadm_id", "stay_id", "start", "end", "available_time", "end_available_time", "age",
    "age_top_coded", "sex", "seq",
)  # fmt: skip
_AFTER = ("los", "died", "hospital_start", "hospital_end", "hospital_los", "hospital_died", "split")
_FIXED = (*_BEFORE, *_AFTER)


def _arranged(found: pl.DataFrame, subjects: pl.DataFrame, items: dict[str, str]) -> pl.DataFrame:
    """Return the columns of `Dataset.stays`, with facts about the patient."""
    stays = found.rename({"start_time": "start", "end_time": "end"}).with_columns(pl.col("age", "seq").cast(pl.Int32))
    for start, end, length in (("start", "end", "los"), ("hospital_start", "hospital_end", "hospital_los")):
        stays = stays.with_columns(pl.when(pl.col(end) >= pl.col(start)).then(end).alias(end))
        days = (pl.col(end) - pl.col(start)).dt.total_microseconds() / 86_400_000_000
        stays = stays.with_columns(days.alias(length))
    of_patient = subjects.select("subject_id", "sex", "split")
    joined = stays.join(of_patient, on="subject_id", how="left", maintain_order="left")
    return joined.select(*_BEFORE, *(pl.col(column).alias(name) for column, name in items.items()), *_AFTER)
