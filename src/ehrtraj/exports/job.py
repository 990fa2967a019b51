"""What an export is about: shared by all its files, and sent to every worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ehrtraj.dataset.layout import DataFile

Per = Literal["patient", "admission", "icustay", "shard"]

OUTSIDE = "outside"
"""Name of the file of a patient's events that belong to no admission, or to no ICU stay."""


@dataclass(frozen=True)
class ExportJob:
    """What all files of an export have in common.

    Attributes:
        output: folder that receives them.
        per: what has a file.
        format: of the files, by name.
        history: put what was known before an admission or stay began into its file.
        outside: write events outside of any admission or stay, to a file of their own for each patient.
        flags: value of each flag by name.
        icu_modules: modules of the source whose rows name an ICU stay.
        excel: in CSV, put an apostrophe before texts that a spreadsheet would take for a formula.
    """

    output: Path
    per: Per
    format: str
    history: bool
    outside: bool
    flags: dict[str, int]
    icu_modules: tuple[str, ...] = ()
    excel: bool = False


@dataclass(frozen=True)
class PatientGroup:
    """Patients of one data file, to be exported by one worker.

    Attributes:
        file: that holds them.
        rows: subject_id, position of the first event and number of events of each, in the order of the file.
    """

    file: DataFile
    rows: tuple[tuple[int, int, int], ...]

    @property
    def name(self) -> str:
        """As in messages and markers, `train-00007`."""
        return f"{self.file.split}-{self.file.shard}"

    @property
    def events(self) -> int:
        """Number of events."""
        return sum(count for _, _, count in self.rows)
