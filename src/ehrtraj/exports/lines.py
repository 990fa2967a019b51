"""Events as lines of text: JSON objects or CSV records, whole columns at a time.

Values are spelled once for each distinct one: of a shard's events few times, codes and units differ. A null has no
member in a JSON object; times are ISO 8601; a number that is none (which no dataset should have) is null.
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

# A text handed to pyarrow.compute becomes a scalar each time, for which pyarrow looks for pandas on the disk: 0.4 ms.
_scalar = cache(pa.scalar)
# Their values hardly repeat: looking for those that do costs more than it saves.
_DISTINCT = ("source_key",)
_LAST = "attributes"
"""The last member of an object, so that a reader can cut it off as it stands: it is JSON itself."""


def json_lines(rows: pa.Table, flags: Mapping[str, int], end: str) -> pa.Array:
    """One JSON object for each event.

    Args:
        rows: events; texts as dictionaries.
        flags: value of each flag by name: in JSON they stand as a list of names, left out where there is none.
        end: what each object ends with, such as a line end.

    Returns:
        Strings, without null.
    """
    names = [name for name in rows.column_names if name != _LAST]
    names += [_LAST] if _LAST in rows.column_names else []
    members = [_members(name, one_array(rows[name]), flags) for name in names]
    joined = _join(*members, ",", null_handling="skip")
    return _join("{", joined, f"}}{end}", "")


def _members(name: str, column: pa.Array, flags: Mapping[str, int]) -> pa.Array:
    key = f'"{name}":'

    def spell(values: pa.Array) -> pa.Array:
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

    return _spelled(name, column, spell)


def _flag_names(value: int, flags: Mapping[str, int], key: str) -> str | None:
    """A list of the names of the bits of `value`, as a member; None where there is none."""
    names = [name for name, bit in flags.items() if value & bit]
    rest = value & ~sum(bit for bit in flags.values())
    names += [f"bit{bit}" for bit in range(rest.bit_length()) if rest >> bit & 1]
    return key + "[" + ",".join(f'"{name}"' for name in names) + "]" if names else None


def csv_header(names: list[str]) -> bytes:
    """The first line of a CSV file."""
    return (",".join(names) + "\n").encode()


def csv_lines(rows: pa.Table, *, excel: bool = False) -> pa.Array:
    """One CSV record for each event: null is an empty field, an empty text is `""`.

    Args:
        rows: events; texts as dictionaries.
        excel: put an apostrophe before texts that a spreadsheet would take for a formula.
    """
    spell = _excel_cell if excel else _cell
    cells = [_spelled(name, one_array(rows[name]), spell) for name in rows.column_names]
    joined = _join(*cells, ",", null_handling="replace", null_replacement="")
    return _join(joined, "\n", "")


# The last four are the wide forms, which spreadsheets take for the same.
_FORMULA = "^[=+\\-@\t\r\n＝＋－＠]"
_NUMBER = r"^[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$"


def _excel_cell(values: pa.Array) -> pa.Array:
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        texts = values.cast(pa.string())
        acts = pc.and_not(pc.match_substring_regex(texts, _FORMULA), pc.match_substring_regex(texts, _NUMBER))
        values = pc.if_else(acts, _join("'", texts, ""), texts)
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


def _spelled(name: str, column: pa.Array, spell: Any) -> pa.Array:  # noqa: ANN401  # a function from array to array
    """Spell each distinct value of a column, and return the text of each row."""
    if name in _DISTINCT:
        return spell(column)
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    indices, values = encoded.indices, encoded.dictionary
    if len(values) > len(indices):
        # A few rows of a dictionary of many.
        indices, values = _used(indices, values)
    return spell(values).take(indices)


def _used(indices: pa.Array, values: pa.Array) -> tuple[pa.Array, pa.Array]:
    encoded = indices.dictionary_encode()
    return encoded.indices, values.take(encoded.dictionary)


def iso_times(values: pa.Array) -> pa.Array:
    """Times as `2196-02-24T14:38:00`, with fractions of a second where there are some."""
    texts = pc.replace_substring(values.cast(pa.timestamp("us")).cast(pa.string()), " ", "T")
    return pc.replace_substring_regex(texts, r"\.000000$", "")


def numbers(values: pa.Array) -> pa.Array:
    """Numbers with as many digits as tell them from others of their type; what is not finite is null."""
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))
    return values.cast(pa.string())


def _join(*texts: pa.Array | str, **options: str) -> pa.Array:
    """Join texts element by element; the last one stands between the others."""
    scalars = [_scalar(text) if isinstance(text, str) else text for text in texts]
    return pc.binary_join_element_wise(*scalars, **options)


def _quoted(texts: pa.Array) -> pa.Array:
    """Texts as JSON strings."""
    special = pc.fill_null(pc.match_substring_regex(texts, r'["\\\x00-\x1f]'), _scalar(False))
    quoted = _join('"', texts, '"', "")
    if not pc.any(special).as_py():
        return quoted
    encoded = pa.array([encode_basestring(text) for text in texts.filter(special).to_pylist()], pa.string())
    return pc.replace_with_mask(quoted, special, encoded)


def offsets_of(lines: pa.Array) -> tuple[memoryview, npt.NDArray[np.int64]]:
    """The bytes of consecutive texts, and where each begins, with the end of the last."""
    _, offsets, data = lines.buffers()
    at = np.frombuffer(offsets, np.int32)[lines.offset : lines.offset + len(lines) + 1].astype(np.int64)
    return memoryview(data) if data is not None else memoryview(b""), at
