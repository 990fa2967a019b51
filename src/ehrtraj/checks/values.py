"""Check single events: numbers, times, flags, raw values, attributes."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj import rules
from ehrtraj.checks.findings import Findings
from ehrtraj.checks.rows import Bools, EventBatch
from ehrtraj.format.arrays import NULL
from ehrtraj.format.events import PRECISIONS


def check_not_null(rows: EventBatch, findings: Findings) -> None:
    """Check that subject_id and code are not null."""
    for name in ("subject_id", "code"):
        at = rows.new(rows.null(name))
        findings.add("not_null", rows.places(at, f"{name} is null"), len(at))


def check_values(rows: EventBatch, findings: Findings, known_flags: int, clock: str) -> None:
    """Check all invariants of single events.

    Args:
        rows: events with all columns.
        findings: receives the violations.
        known_flags: all bits in flags.json.
        clock: `event` or `available`.
    """
    _check_numbers(rows, findings)
    _check_times(rows, findings, clock)
    _check_flags(rows, findings, known_flags)
    _check_raw(rows, findings)
    _check_attributes(rows, findings)


def with_valid_texts(rows: EventBatch, findings: Findings) -> EventBatch:
    """Return the rows with valid UTF-8 texts. Invalid texts are reported and replaced for the following checks."""
    try:
        rows.table.validate(full=True)
    except pa.ArrowInvalid as error:
        findings.one("text", f"at or after row {rows.start:,}: {error}", rows.file)
    else:
        return rows
    table = rows.table
    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(at, field, pa.chunked_array(map(_with_valid, table[at].chunks), field.type))
    return EventBatch(rows.file, rows.start, rows.before, table)


def _with_valid(column: pa.DictionaryArray) -> pa.DictionaryArray:
    texts = [None if text is None else text.decode(errors="replace") for text in _bytes(column.dictionary)]
    return pa.DictionaryArray.from_arrays(column.indices, pa.array(texts, column.dictionary.type))


def _bytes(texts: pa.Array) -> list[bytes | None]:
    values: list[bytes | None] = texts.cast(pa.large_binary()).to_pylist()
    return values


def _check_numbers(rows: EventBatch, findings: Findings) -> None:
    at = rows.new(~rows.null("numeric_value") & ~np.isfinite(rows.numbers()))
    findings.add("finite", rows.places(at, "numeric_value is {numeric_value}", "numeric_value"), len(at))


def _check_times(rows: EventBatch, findings: Findings, clock: str) -> None:
    time, available = rows.ints("time"), rows.ints("available_time")
    happened = rows.ints("event_time") if clock == "available" else time
    unknown = rows.new((time != NULL) & (available == NULL))
    findings.add("available_time", rows.places(unknown, "available_time is null"), len(unknown))
    early = rows.new((available != NULL) & (available < happened))
    words = "available_time {available_time} is before the event"
    findings.add("available_time", rows.places(early, words, "available_time"), len(early))
    if clock == "available":
        other = rows.new((time != NULL) & (available != NULL) & (time != available))
        words = "time is {time}, but available_time is {available_time}: with this clock, they must be equal"
        findings.add("available_time", rows.places(other, words, "time", "available_time"), len(other))
    precision = rows.texts("time_precision")
    known = np.array([*(value in PRECISIONS for value in precision.values.to_pylist()), False])
    at = rows.new(~known[precision.positions])
    findings.add("time_precision", rows.places(at, "time_precision is {time_precision}", "time_precision"), len(at))


def _check_flags(rows: EventBatch, findings: Findings, known_flags: int) -> None:
    flags = rows.ints("flags")
    at = rows.new((flags == NULL) | (flags & ~np.int64(known_flags) != 0))
    findings.add("flags", rows.places(at, "flags is {flags}, which contains a bit without a name", "flags"), len(at))


def _check_raw(rows: EventBatch, findings: Findings) -> None:
    raw = rows.texts("raw_value")
    present = raw.positions >= 0
    unexplained = rows.new(present & (rows.ints("flags") == 0))
    words = "raw_value is {raw_value}, but no flag explains the change"
    findings.add("raw_value", rows.places(unexplained, words, "raw_value"), len(unexplained))
    written = np.append(_as_numbers(raw.values), np.nan)[raw.positions]
    from_text = rows.ints("flags") & rules.flags()["number_from_text"] != 0
    same = rows.new(present & ~from_text & (written.astype(np.float32) == rows.numbers().astype(np.float32)))
    findings.add("raw_value", rows.places(same, "raw_value {raw_value} equals numeric_value", "raw_value"), len(same))
    at = rows.new(pc.fill_null(pc.equal(*_plain(rows, "raw_unit", "unit")), fill_value=False).to_numpy())
    findings.add("raw_value", rows.places(at, "raw_unit {raw_unit} equals unit", "raw_unit"), len(at))


def _plain(rows: EventBatch, *columns: str) -> list[pa.ChunkedArray]:
    return [rows.table[c].cast(pa.string()) for c in columns]


def _as_numbers(texts: pa.Array) -> npt.NDArray[np.float64]:
    """Return texts as numbers, NaN for texts that are not numbers."""

    def number(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return float("nan")

    return np.array([number(text) for text in texts.to_pylist()], np.float64)


def _check_attributes(rows: EventBatch, findings: Findings) -> None:
    texts = rows.texts("attributes")
    used = np.unique(texts.positions[rows.before :])
    used = used[used >= 0]
    broken: Bools = np.zeros(len(texts.values) + 1, np.bool_)
    for position, text in zip(used.tolist(), texts.values.take(pa.array(used)).to_pylist(), strict=True):
        broken[position] = not _is_object(text)
    at = rows.new(broken[texts.positions])
    findings.add(
        "attributes", rows.places(at, "attributes is not a JSON object: {attributes:.60}", "attributes"), len(at)
    )


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text, parse_constant=_refuse), dict)
    except ValueError:
        return False


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")
