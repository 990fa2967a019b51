"""JSON: one document per file, with a list of events, one event per line."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pyarrow as pa

from ehrtraj.exports.job import ExportJob
from ehrtraj.exports.lines import json_lines
from ehrtraj.exports.parse import events_of_objects
from ehrtraj.exports.text import TextFormat
from ehrtraj.exports.units import Unit


def _lines(rows: pa.Table, job: ExportJob) -> pa.Array:
    return json_lines(rows, job.flags, ",\n")


def _opening(_names: list[str], unit: Unit | None) -> bytes:
    if unit is None:
        return b'{"events": [\n'
    ids = {"subject_id": unit.subject_id, "hadm_id": unit.hadm_id, "stay_id": unit.stay_id}
    about = json.dumps({name: value for name, value in ids.items() if value is not None})
    return f'{about[:-1]}, "events": [\n'.encode()


def _read(file: Path) -> pl.DataFrame:
    head, *lines, tail = file.read_text(encoding="utf-8").rstrip("\n").split("\n")
    if not head.endswith('"events": [') or tail != "]}":
        raise ValueError("it does not contain a list of events with one event per line")
    return events_of_objects([line.removesuffix(",") for line in lines])


FORMAT = TextFormat(
    title="JSON", ending="json", lines=_lines, opening=_opening, separator=b",\n", closing=b"\n]}\n", read=_read
)
