"""CSV: a header, then one record per event."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv

from ehrtraj.exports.job import ExportJob
from ehrtraj.exports.lines import csv_header, csv_lines
from ehrtraj.exports.parse import frame_of, schema_of
from ehrtraj.exports.text import TextFormat
from ehrtraj.exports.units import Unit


def _lines(rows: pa.Table, job: ExportJob) -> pa.Array:
    return csv_lines(rows, excel=job.excel)


def _opening(names: list[str], _unit: Unit | None) -> bytes:
    return csv_header(names)


def _read(file: Path) -> pl.DataFrame:
    with file.open(encoding="utf-8") as handle:
        schema = schema_of(has_event_time="event_time" in handle.readline())
    convert = pa_csv.ConvertOptions(
        column_types=schema, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    return frame_of(pa_csv.read_csv(file, parse_options=parse, convert_options=convert).cast(schema))


FORMAT = TextFormat(title="CSV", ending="csv", lines=_lines, opening=_opening, read=_read, spreadsheet=True)
