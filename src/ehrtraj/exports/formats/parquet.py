"""Parquet: the unchanged columns of the dataset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ehrtraj.exports.format import Format
from ehrtraj.exports.job import ExportJob
from ehrtraj.exports.units import Unit


class _Parquet(Format):
    def write_units(self, job: ExportJob, rows: pa.Table, units: Sequence[Unit]) -> list[int]:
        return [_write(rows.take(pa.array(unit.rows)), job.output / f"{unit.path}.{self.ending}") for unit in units]

    def write_tables(self, job: ExportJob, tables: Iterable[pa.Table], path: Path) -> None:
        """Write one row group per table."""
        writer: pq.ParquetWriter | None = None
        try:
            for rows in tables:
                if writer is None:
                    writer = pq.ParquetWriter(path, rows.schema, compression="zstd", compression_level=1)
                writer.write_table(rows)
        finally:
            if writer is not None:
                writer.close()


def _write(rows: pa.Table, path: Path) -> int:
    pq.write_table(rows, path, compression="zstd", compression_level=1, write_statistics=["subject_id", "time"])
    return path.stat().st_size


def _read(file: Path) -> pl.DataFrame:
    return pl.read_parquet(file, glob=False)


FORMAT = _Parquet(title="Parquet", ending="parquet", read=_read, single=True)
