"""JSON lines: one object per event."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa

from ehrtraj.exports.job import ExportJob
from ehrtraj.exports.lines import json_lines
from ehrtraj.exports.parse import events_of_objects
from ehrtraj.exports.text import TextFormat


def _lines(rows: pa.Table, job: ExportJob) -> pa.Array:
    return json_lines(rows, job.flags, "\n")


def _read(file: Path) -> pl.DataFrame:
    # splitlines() would also split at other line separators within texts.
    return events_of_objects(file.read_text(encoding="utf-8").split("\n")[:-1])


FORMAT = TextFormat(title="JSON lines", ending="jsonl", lines=_lines, read=_read)
