"""Search for patients by ID, sex, age, code, concept, cohort and labels."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Self

import polars as pl

from ehrtraj.dataset.dataset import Dataset
from ehrtraj.errors import SettingsError
from ehrtraj.suggestions import did_you_mean
from ehrtraj.view.lists import PatientList

# Results that stay in memory. Each is a frame with a row for each patient that was found.
_KEPT = 16


@dataclass(frozen=True)
class Filters:
    """What patients must have; an empty text means anything.

    Attributes:
        id: first digits of the subject_id.
        sex: `F` or `M`.
        age_from: lowest age at the last event.
        age_to: highest age at the last event.
        code: code or pattern of codes, of which the patient has an event.
        concept: name of a stored concept, of which the patient has a row.
        cohort: name of a cohort file.
        labels: name of a file with labels.
        value: a label's value.
    """

    id: str = ""
    sex: str = ""
    age_from: str = ""
    age_to: str = ""
    code: str = ""
    concept: str = ""
    cohort: str = ""
    labels: str = ""
    value: str = ""

    @classmethod
    def read(cls, parameters: Mapping[str, str]) -> Self:
        """Return the filters among the parameters of an address."""
        return cls(**{field.name: parameters.get(field.name, "").strip() for field in fields(cls)})

    @property
    def given(self) -> dict[str, str]:
        """The filters that are not empty."""
        return {name: value for name, value in asdict(self).items() if value}


class PatientSearch:
    """Finds patients. Results are kept, because the next and the previous patient of a list are looked up in them."""

    def __init__(self, dataset: Dataset, cohorts: Mapping[str, PatientList], labels: Mapping[str, PatientList]) -> None:
        """Prepare the search.

        Args:
            dataset: dataset in which patients are searched.
            cohorts: lists of patients by name.
            labels: lists of patients with labels by name.
        """
        self._dataset = dataset
        self.cohorts = cohorts
        self.labels = labels
        age = pl.col("last_time").dt.year() - pl.col("birth_year")
        self._subjects = dataset.subjects.with_columns(age=age)
        self.find = lru_cache(_KEPT)(self._find)

    def _find(self, filters: Filters) -> pl.DataFrame:
        """Return the rows of `Dataset.subjects` with `age`, and for labels `label` and `label_time` (the first one).

        Raises:
            SettingsError: if a filter is not valid.
        """
        rows = self._subjects
        if filters.id:
            _whole_number("the patient ID", filters.id)
            rows = rows.filter(pl.col("subject_id").cast(pl.String).str.starts_with(filters.id))
        if filters.sex:
            rows = rows.filter(sex=filters.sex)
        if filters.age_from:
            rows = rows.filter(pl.col("age") >= _whole_number("the lowest age", filters.age_from))
        if filters.age_to:
            rows = rows.filter(pl.col("age") <= _whole_number("the highest age", filters.age_to))
        if filters.cohort:
            rows = _among(rows, _named(self.cohorts, filters.cohort, "cohort").rows)
        if filters.labels:
            rows = _labelled(rows, _named(self.labels, filters.labels, "labels").rows, filters.value)
        if filters.concept:
            rows = _among(rows, self._dataset.concept(filters.concept).select("subject_id").unique().collect())
        if filters.code:
            chosen = Dataset(self._dataset.layout, self._dataset.subjects.join(rows, on="subject_id", how="semi"))
            rows = _among(rows, chosen.filter(having=filters.code).subjects)
        return rows

    def neighbours(self, filters: Filters, subject_id: int) -> tuple[int | None, int | None]:
        """Return the patients before and after a patient in a list."""
        ids = self.find(filters)["subject_id"]
        before, after = bisect_left(ids, subject_id) - 1, bisect_right(ids, subject_id)
        return (ids[before] if before >= 0 else None), (ids[after] if after < len(ids) else None)

    def any_of(self, filters: Filters, other_than: int | None = None) -> int:
        """Return a random patient of a list, another one if there is any.

        Raises:
            SettingsError: if there is none.
        """
        ids = self.find(filters)["subject_id"]
        if ids.is_empty():
            raise SettingsError("no patient matches the search")
        others = ids.filter(ids.cast(pl.String) != str(other_than))
        ids = ids if others.is_empty() else others
        return int(ids[random.randrange(len(ids))])  # noqa: S311  # not a secret


def _whole_number(what: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise SettingsError(f"{what} is '{text}', but must be a number")
    return int(text)


def _named(lists: Mapping[str, PatientList], name: str, option: str) -> PatientList:
    if name not in lists:
        near = did_you_mean(name, lists)
        raise SettingsError(f"there is no list '{name}'{near}: name its file when you start `ehrtraj view --{option}`")
    return lists[name]


def _among(rows: pl.DataFrame, patients: pl.DataFrame) -> pl.DataFrame:
    return rows.join(patients.select("subject_id"), on="subject_id", how="semi", maintain_order="left")


def _labelled(rows: pl.DataFrame, labels: pl.DataFrame, value: str) -> pl.DataFrame:
    if value:
        labels = labels.filter(value=value)
    first = labels.sort("prediction_time").group_by("subject_id", maintain_order=True).first()
    first = first.rename({"value": "label", "prediction_time": "label_time"})
    return rows.join(first, on="subject_id", how="inner", maintain_order="left")
