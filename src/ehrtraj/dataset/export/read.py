"""Read an exported file back, with the columns and types that the dataset has."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv

from ehrtraj import rules
from ehrtraj.dataset.layout import READ_ERRORS
from ehrtraj.errors import DatasetError
from ehrtraj.format.events import event_schema

_ATTRIBUTES = ',"attributes":'
_LAST_BIT = 62


def read_export(path: str | Path) -> pl.DataFrame:
    """Read a file that `ehrtraj export` wrote: the events as the dataset has them.

    Args:
        path: a `.jsonl`, `.json`, `.csv` or `.parquet` file of an export.

    Returns:
        A row for each event, with the columns and types of `data/`; `event_time` where the dataset has it.

    Raises:
        DatasetError: if it cannot be read, or is no such file.
    """
    file = Path(path).expanduser()
    readers = {".jsonl": _read_jsonl, ".json": _read_json, ".csv": _read_csv, ".parquet": _read_parquet}
    if file.suffix not in readers:
        raise DatasetError(f"{file} is no file of an export: they end in {', '.join(readers)}")
    try:
        return readers[file.suffix](file)
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror or error}") from None
    except (*READ_ERRORS, pa.ArrowInvalid, ValueError, KeyError) as error:
        reason = str(error).partition("\n")[0]
        raise DatasetError(f"{file} is not as `ehrtraj export` writes it ({reason}): export again") from None


def _read_parquet(file: Path) -> pl.DataFrame:
    return pl.read_parquet(file, glob=False)


def _read_jsonl(file: Path) -> pl.DataFrame:
    # Not splitlines(), which also splits at line ends of other kinds within texts.
    return _from_lines(file.read_text(encoding="utf-8").split("\n")[:-1])


def _read_json(file: Path) -> pl.DataFrame:
    head, *lines, tail = file.read_text(encoding="utf-8").rstrip("\n").split("\n")
    if not head.endswith('"events": [') or tail != "]}":
        raise ValueError("no list of events, one a line")
    return _from_lines([line.removesuffix(",") for line in lines])


def _from_lines(lines: list[str]) -> pl.DataFrame:
    """Events from JSON objects. `attributes`, the last member, stays as it is written."""
    events, attributes = [], []
    for line in lines:
        rest, found, text = line.partition(_ATTRIBUTES)
        events.append(json.loads(rest + "}" if found else rest))
        attributes.append(text[:-1] if found else None)
    schema = _schema(has_event_time=any("event_time" in event for event in events))
    bits = {name: 1 << bit for bit, name in ((i, f"bit{i}") for i in range(_LAST_BIT + 1))} | rules.flags()
    for event in events:
        event["flags"] = sum(bits[name] for name in event.get("flags", ()))
    columns = {f.name: _column([e.get(f.name) for e in events], f.type) for f in schema if f.name != "attributes"}
    columns["attributes"] = pa.array(attributes, pa.string())
    return _frame(pa.table([columns[name] for name in schema.names], schema=schema))


def _column(values: list[object], kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.string()).cast(kind)
    if pa.types.is_floating(kind):
        # Written with the digits that tell 32-bit numbers apart.
        return pa.array([None if v is None else float(str(v)) for v in values], pa.float64()).cast(kind)
    return pa.array(values, kind)


def _read_csv(file: Path) -> pl.DataFrame:
    with file.open(encoding="utf-8") as handle:
        schema = _schema(has_event_time="event_time" in handle.readline())
    convert = pa_csv.ConvertOptions(
        column_types=schema, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
    )
    parse = pa_csv.ParseOptions(newlines_in_values=True)
    return _frame(pa_csv.read_csv(file, parse_options=parse, convert_options=convert).cast(schema))


def _schema(*, has_event_time: bool) -> pa.Schema:
    return event_schema("available" if has_event_time else "event")


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame):
        raise TypeError("a table became something else than a frame")
    return frame
