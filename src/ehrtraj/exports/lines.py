"""Format events as lines of text, JSON objects or CSV records, a complete column at a time.

Each distinct value is formatted only once, because the events of a shard share few distinct times, codes and units. A
null value has no member in a JSON object. Times are in ISO 8601. A number that is not finite (which no dataset should
contain) becomes null.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from json.encoder import encode_basestring
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj.format.arrays import one_array

# Each text passed to pyarrow.compute is converted to a scalar, for which pyarrow searches the disk for pandas: 0.4 ms.
_scalar = cache(pa.scalar)
# Values of these columns rarely repeat: finding the distinct ones costs more time than it saves.
_MOSTLY_DISTINCT = ("source_key",)
_LAST = "attributes"
"""The last member of an object, so that a reader can cut it off unchanged: its value is JSON itself."""


def json_lines(rows: pa.Table, flags: Mapping[str, int], end: str) -> pa.Array:
    """Return one JSON object per event.

    Args:
        rows: events, with texts as dictionaries.
        flags: value of each flag by name. In JSON, flags are a list of names, which is omitted if it is empty.
        end: text to append to each object, such as a line end.

    Returns:
        Array of strings without nulls.
    """
    names = [name for name in rows.column_names if name != _LAST]
    names += [_LAST] if _LAST in rows.column_names else []
    members = [_members(name, one_array(rows[name]), flags) for name in names]
    joined = _join(*members, ",", null_handling="skip")
    return _join("{", joined, f"}}{end}", "")


def _members(name: str, column: pa.Array, flags: Mapping[str, int]) -> pa.Array:
    key = f'"{name}":'

    def format_values(values: pa.Array) -> pa.Array:
        if name == "flags":
            return pa.array([_flag_names(value, flags, key) for value in values.to_pylist()], pa.string())
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            values = values.cast(pa.string())
            values = values if name == _LAST else _quoted(values)
        elif pa.types.is_timestamp(values.type):
            values = _join('"', iso_times(values), '"', "")
        else:
            values = numbers(values)
        return _join(key, values, "")

    return _format_distinct(name, column, format_values)


def _flag_names(value: int, flags: Mapping[str, int], key: str) -> str | None:
    """Return the names of the flags in `value` as a JSON member, or None if no flag is set."""
    names = [name for name, bit in flags.items() if value & bit]
    rest = value & ~sum(bit for bit in flags.values())
    names += [f"bit{bit}" for bit in range(rest.bit_length()) if rest >> bit & 1]
    return key + "[" + ",".join(f'"{name}"' for name in names) + "]" if names else None


def csv_header(names: list[str]) -> bytes:
    """Return the first line of a CSV file."""
    return (",".join(names) + "\n").encode()


def csv_lines(rows: pa.Table, *, excel: bool = False) -> pa.Array:
    """Return one CSV record per event: a null is an empty field, and an empty text is `""`.

    Args:
        rows: events, with texts as dictionaries.
        excel: put an apostrophe before texts that a spreadsheet would treat as a formula.
    """
    format_values = _excel_cell if excel else _cell
    cells = [_format_distinct(name, one_array(rows[name]), format_values) for name in rows.column_names]
    joined = _join(*cells, ",", null_handling="replace", null_replacement="")
    return _join(joined, "\n", "")


# The last four are the full-width forms, which spreadsheets treat like the others.
_FORMULA = "^[=+\\-@\t\r\n＝＋－＠]"
_NUMBER = r"^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


def _excel_cell(values: pa.Array) -> pa.Array:
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        texts = values.cast(pa.string())
        is_formula = pc.and_not(pc.match_substring_regex(texts, _FORMULA), pc.match_substring_regex(texts, _NUMBER))
        values = pc.if_else(is_formula, _join("'", texts, ""), texts)
    return _cell(values)


def _cell(values: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(values.type):
        return iso_times(values)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = values.cast(pa.string())
        special = pc.or_(pc.match_substring_regex(values, r'[",\r\n]'), pc.equal(values, _scalar("")))
        quoted = _join('"', pc.replace_substring(values, '"', '""'), '"', "")
        return pc.if_else(special, quoted, values)
    return numbers(values)


def _format_distinct(name: str, column: pa.Array, format_values: Any) -> pa.Array:  # noqa: ANN401  # from array to array
    """Format each distinct value of a column once, and return the text of each row."""
    if name in _MOSTLY_DISTINCT:
        return format_values(column)
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    indices, values = encoded.indices, encoded.dictionary
    if len(values) > len(indices):
        # A slice with few rows can have a dictionary with many values.
        indices, values = _used_values(indices, values)
    return format_values(values).take(indices)


def _used_values(indices: pa.Array, values: pa.Array) -> tuple[pa.Array, pa.Array]:
    encoded = indices.dictionary_encode()
    return encoded.indices, values.take(encoded.dictionary)


def iso_times(values: pa.Array) -> pa.Array:
    """Format times as `2196-02-24T14:38:00`, with fractions of a second only if they are not zero."""
    texts = pc.replace_substring(values.cast(pa.timestamp("us")).cast(pa.string()), " ", "T")
    return pc.replace_substring_regex(texts, r"\.000000$", "")


def numbers(values: pa.Array) -> pa.Array:
    """Format numbers with as many digits as identify them within their type; numbers that are not finite are null."""
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))
    return values.cast(pa.string())


def _join(*texts: pa.Array | str, **options: str) -> pa.Array:
    """Join texts element by element. The last argument is the separator."""
    scalars = [_scalar(text) if isinstance(text, str) else text for text in texts]
    return pc.binary_join_element_wise(*scalars, **options)


def _quoted(texts: pa.Array) -> pa.Array:
    """Format texts as JSON strings."""
    special = pc.fill_null(pc.match_substring_regex(texts, r'["\\\x00-\x1f]'), _scalar(False))
    quoted = _join('"', texts, '"', "")
    if not pc.any(special).as_py():
        return quoted
    encoded = pa.array([encode_basestring(text) for text in texts.filter(special).to_pylist()], pa.string())
    return pc.replace_with_mask(quoted, special, encoded)


def offsets_of(lines: pa.Array) -> tuple[memoryview, npt.NDArray[np.int64]]:
    """Return the bytes of consecutive texts, and the offsets at which each begins, including the end of the last."""
    _, offsets, data = lines.buffers()
    at = np.frombuffer(offsets, np.int32)[lines.offset : lines.offset + len(lines) + 1].astype(np.int64)
    return memoryview(data) if data is not None else memoryview(b""), at
