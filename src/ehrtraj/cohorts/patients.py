"""What cohorts need of a dataset. A `Dataset` has all of it, and imports cohorts itself."""

from __future__ import annotations

from typing import Protocol

import polars as pl

from ehrtraj.dataset.layout import DataFile, DatasetLayout
from ehrtraj.dataset.trajectory import Trajectory


class Patients(Protocol):
    """The patients of a dataset, or some of them."""

    layout: DatasetLayout
    subjects: pl.DataFrame

    @property
    def files(self) -> tuple[DataFile, ...]:
        """Data files that contain these patients."""

    def __getitem__(self, subject_id: int) -> Trajectory:
        """Return the trajectory of one patient."""

    def scan(self) -> pl.LazyFrame:
        """Return all events."""
