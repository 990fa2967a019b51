"""What is known of one patient: the part of a trajectory that texts, pictures and cards share."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from ehrtraj.format.source import SourceFacts

if TYPE_CHECKING:
    import polars as pl


class KnownPatient(Protocol):
    """A patient as of a time, or as of the end of the record."""

    subject_id: int
    events: pl.DataFrame
    known_until: datetime | None

    @property
    def sex(self) -> str | None:
        """`F` or `M`."""

    @property
    def death_time(self) -> datetime | None:
        """Time of death, if it is known."""

    @property
    def admissions(self) -> pl.DataFrame:
        """A row for each admission."""


class PatientWithStays(KnownPatient, Protocol):
    """A patient with the stays within and before admissions."""

    @property
    def icu_stays(self) -> pl.DataFrame:
        """A row for each ICU stay."""

    @property
    def ed_stays(self) -> pl.DataFrame:
        """A row for each stay in the emergency department."""


class DescribedPatient(KnownPatient, Protocol):
    """A patient with what the dataset stores about codes, flags and its source."""

    @property
    def descriptions(self) -> dict[str, str]:
        """Description of each code."""

    @property
    def flags(self) -> dict[str, int]:
        """Bit of each flag."""

    @property
    def source(self) -> SourceFacts:
        """Facts about the source that are stored in the dataset."""
