"""The interface of the file formats of exports."""

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
    """A file format: how its files are written and read back.

    Attributes:
        title: name in messages, such as `Parquet`.
        ending: ending of its file names, without the leading dot.
        read: function that returns the events of a file, equal to those of the dataset. It raises `ValueError`,
            `KeyError`, or an error of polars or pyarrow if the file was changed.
        dictionaries: whether the format receives texts as Arrow dictionaries.
        single: whether it supports one file with all events of a dataset, `--single`.
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
        """Write a file for each unit, `<job.output>/<unit.path>.<ending>`. The folder exists already.

        Args:
            job: settings of the export.
            rows: events of the chunk, to which the positions in the units refer.
            units: units of one chunk.

        Returns:
            Size of each file in bytes.
        """

    @abstractmethod
    def write_tables(self, job: ExportJob, tables: Iterable[pa.Table], path: Path) -> None:
        """Write the events of several tables into one file, in order.

        Args:
            job: settings of the export.
            tables: tables of events, each small enough for memory.
            path: path of the file.
        """
