"""The settings of an export, which all its files share and all workers receive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ehrtraj.dataset.layout import DataFile
from ehrtraj.runtime.sizes import DEFAULT, Sizes

Per = Literal["patient", "admission", "icustay", "shard"]

OUTSIDE = "outside"
"""Name of the file with a patient's events outside of any admission or ICU stay."""


@dataclass(frozen=True)
class ExportJob:
    """Settings that all files of an export share.

    Attributes:
        output: folder for the files.
        per: unit that has a file.
        format: name of the file format.
        history: include in each file the events known before the admission or stay began.
        outside: write the events outside of any admission or stay, to one file per patient.
        flags: value of each flag by name.
        icu_modules: modules of the source whose rows refer to ICU stays.
        excel: in CSV, put an apostrophe before texts that a spreadsheet would treat as a formula.
        sizes: batch sizes.
    """

    output: Path
    per: Per
    format: str
    history: bool
    outside: bool
    flags: dict[str, int]
    icu_modules: tuple[str, ...] = ()
    excel: bool = False
    sizes: Sizes = DEFAULT


@dataclass(frozen=True)
class PatientGroup:
    """Patients of one data file, which one worker exports.

    Attributes:
        file: data file that contains them.
        rows: subject_id, position of the first event and number of events of each patient, in the order of the file.
    """

    file: DataFile
    rows: tuple[tuple[int, int, int], ...]

    @property
    def name(self) -> str:
        """Name in messages and markers, such as `train-00007`."""
        return f"{self.file.split}-{self.file.shard}"

    @property
    def events(self) -> int:
        """Number of events."""
        return sum(count for _, _, count in self.rows)
