"""What every format of an export's files declares and does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from ehrtraj.exports.job import ExportJob
from ehrtraj.exports.units import Unit


@dataclass(frozen=True, kw_only=True)
class Format(ABC):
    """One format: how files are written, and how they are read back.

    Attributes:
        title: its name in messages, such as `Parquet`.
        ending: how the names of its files end, without the dot before it.
        read: returns the events of a file as the dataset has them. Raises `ValueError`, `KeyError` or an error of
            polars or pyarrow where the file is not as it was written.
        dictionaries: whether texts are handed over as Arrow dictionaries.
        single: whether it serves for one file with all events of a dataset, `--single`.
        spreadsheet: whether its files are opened in spreadsheets, so that `--excel` applies.
    """

    title: str
    ending: str
    read: Callable[[Path], pl.DataFrame]
    dictionaries: bool = False
    single: bool = False
    spreadsheet: bool = False

    @abstractmethod
    def write_units(self, job: ExportJob, rows: pa.Table, units: Sequence[Unit]) -> list[int]:
        """Write a file for each unit, `<job.output>/<unit.path>.<ending>`; its folder is there.

        Args:
            job: about the export.
            rows: that the units' positions are in.
            units: of one chunk.

        Returns:
            Size of each file in bytes.
        """

    @abstractmethod
    def write_tables(self, job: ExportJob, tables: Iterable[pa.Table], path: Path) -> None:
        """Write events into one file, table after table.

        Args:
            job: about the export.
            tables: of events, each small enough to be held in memory.
            path: of the file.
        """
