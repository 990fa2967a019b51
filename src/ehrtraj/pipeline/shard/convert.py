"""Convert the result of a recipe's statement to events."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from json.encoder import encode_basestring
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj import rules
from ehrtraj.errors import RecipeError
from ehrtraj.format.arrays import NULL, Bools, Floats, Int64s, Texts, one_array, to_int64
from ehrtraj.format.events import INT_COLUMNS, TEXT_COLUMNS
from ehrtraj.pipeline.shard.code_facts import facts_of
from ehrtraj.pipeline.shard.codes import Codes
from ehrtraj.pipeline.shard.events import EventBuffer
from ehrtraj.pipeline.shard.standardise import Standardiser
from ehrtraj.recipes import Statement

EVENT_CASTS = {
    "subject_id": "BIGINT",
    "time": "TIMESTAMP",
    "numeric_value": "DOUBLE",
    "time_precision": "time_precision",
    "code_description": "VARCHAR",
    "code_parent": "VARCHAR",
    "code_drug": "VARCHAR",
    "code_ingredient": "VARCHAR",
    "available_time": "TIMESTAMP",
    **dict.fromkeys(("hadm_id", "stay_id", "flags", "source_key", "link_id"), "BIGINT"),
    **dict.fromkeys(("text_value", "unit", "raw_value", "raw_unit"), "VARCHAR"),
}
"""Columns that a statement may select, and their types in DuckDB."""

EVENT_COLUMNS = {*EVENT_CASTS, "item", "event_type"}
_ITEM_TYPES = re.compile(r"VARCHAR|U?(TINY|SMALL|BIG)?INT(EGER)?")
_ATTRIBUTE_TYPES = re.compile(rf"{_ITEM_TYPES.pattern}|BOOLEAN|FLOAT|DOUBLE|DECIMAL\(.*\)|TIMESTAMP|\"NULL\"|HUGEINT")
_STORED = "storetime"
"""Attribute with the source's time of storage where available_time was raised to the event's time."""
_MAX_FLOAT = float(np.finfo(np.float32).max)


def type_problem(column: str, kind: str) -> str | None:
    """Return the problem with the type of a column that a statement selects, or None."""
    if column in EVENT_CASTS or column == "event_type":
        return None
    allowed = _ITEM_TYPES if column == "item" else _ATTRIBUTE_TYPES
    return None if allowed.fullmatch(kind) else f"{column} has the type {kind}: cast it to VARCHAR"


def append_events(
    buffer: EventBuffer,
    codes: Codes,
    table: int,
    statement: Statement,
    result: pa.Table,
    standardiser: Standardiser | None = None,
    known: Mapping[str, pa.Array] | None = None,
    *,
    trim: bool = True,
) -> None:
    """Add the result of a statement to the events of a part.

    Args:
        buffer: receives the events.
        codes: receives the codes that are new.
        table: position of the source table among the build's tables.
        statement: statement of a recipe.
        result: columns listed in `docs/reference/recipes.md`, without `event_type`. Other columns become attributes.
        standardiser: applies the rule tables of numbers; None leaves numbers and units unchanged.
        known: items in the dictionaries, by event type. Other items of these event types are flagged.
        trim: whether to remove white space around text_value. Notes are kept as they are: positions in them may be
            annotated.

    Raises:
        RecipeError: if an event without a time is not static, an item is null, or flags are null.
    """
    columns = result.column_names
    rows = buffer.extend(result.num_rows)
    rows["table"].fill(table)
    rows["subject"][:] = to_int64(result["subject_id"])
    rows["time"][:] = to_int64(result["time"])
    if not statement.static and (nulls := int((rows["time"] == NULL).sum())):
        raise RecipeError(
            f"'{statement.about}' yields {nulls:,} events without a time: reject these rows "
            "(-- rejected: no_time | ...)"
        )
    for name in INT_COLUMNS:
        if name in columns:
            rows[name][:] = to_int64(result[name])
        else:
            rows[name].fill(0 if name == "flags" else NULL)
    if (rows["flags"] == NULL).any():
        raise RecipeError(f"'{statement.about}' yields null flags: use ELSE 0 or coalesce(..., 0)")
    early = _settle_available_time(rows, selected="available_time" in columns)
    items = _items(statement, result)
    rows["linked"].fill("hadm_id" in columns)
    rows["precision"].fill(0)
    if "time_precision" in columns:
        rows["precision"][:] = one_array(result["time_precision"]).indices.to_numpy(zero_copy_only=False)
    texts = {name: Texts.encode(result[name]) for name in TEXT_COLUMNS if name in columns}
    texts = {name: column.trimmed() if trim or name != "text_value" else column for name, column in texts.items()}
    numbers = _numbers(result)
    not_finite = _not_finite(result)
    attributes = result.select([c for c in columns if c not in EVENT_COLUMNS])
    if early is not None and _STORED not in columns:
        attributes = attributes.append_column(_STORED, early)
    if standardiser is not None and numbers is not None and standardiser.has_rules(statement.event_type):
        numbers, from_texts = _standardise(
            standardiser, statement.event_type, items, result, numbers, rows, texts, codes
        )
        for name, column in from_texts.items():
            attributes = attributes.append_column(name, column)
    else:
        rows["code"][:] = _code(statement.event_type, items, result, codes)
        if standardiser is not None and numbers is not None:
            numbers = _null(numbers, standardiser.user_sentinels(numbers), "sentinel_value", rows, texts)
    _flag_codes(statement.event_type, rows, codes, known or {}, standardiser)
    if attributes.num_columns:
        texts["attributes"] = _attributes(attributes)
    _put_numbers(rows, numbers, not_finite, texts)
    for name in TEXT_COLUMNS:
        buffer.put_texts(name, rows, texts.get(name))


def _items(statement: Statement, result: pa.Table) -> Texts | None:
    """Return the item of each row; None if the statement selects no items."""
    if "item" not in result.column_names:
        return None
    items = Texts.encode(result["item"]).collapsed()
    if nulls := int((items.positions < 0).sum()):
        raise RecipeError(
            f"'{statement.about}' yields {nulls:,} events without an item and thus without a code: reject these rows "
            "(-- rejected: no_code | ...)"
        )
    return items


def _code(event_type: str, items: Texts | None, result: pa.Table, codes: Codes) -> npt.NDArray[np.int32]:
    rank = codes.event_types[event_type].rank
    if items is None:
        return np.full(result.num_rows, codes.add(event_type, rank), np.int32)
    code = codes.add_all([f"{event_type}//{item}" for item in items.values.to_pylist()], rank).take(items.positions)
    codes.facts.extend(facts_of(result, code))
    return code


def _flag_codes(
    event_type: str,
    rows: dict[str, npt.NDArray[Any]],
    codes: Codes,
    known: Mapping[str, pa.Array],
    standardiser: Standardiser | None,
) -> None:
    """Set the flags that events have because of their code alone.

    Args:
        event_type: event type of the events.
        rows: the events, with their codes.
        codes: codes of the part.
        known: items in the dictionaries, by event type.
        standardiser: applies the rule tables of numbers, if they are applied.
    """
    used = np.flatnonzero(np.bincount(rows["code"])).tolist()
    new = [at for at in used if codes.flags[at] < 0]
    if new:
        with_unit = standardiser is not None and standardiser.has_rules(event_type)
        unknown = _unknown_codes(event_type, new, codes, known[event_type], with_unit) if event_type in known else ()
        for at in new:
            codes.flags[at] = rules.flags()["code_unknown"] if at in unknown else 0
            if standardiser is not None and event_type in standardiser.items.event_types:
                codes.flags[at] |= standardiser.items.of(event_type, codes.names[at].partition("//")[2] or None)
    bits = [codes.flags[at] for at in used]
    if any(bits):
        of_code = np.zeros(len(codes.names), np.int64)
        of_code[used] = bits
        rows["flags"] |= of_code.take(rows["code"])


def _unknown_codes(event_type: str, new: list[int], codes: Codes, known: pa.Array, with_unit: bool) -> set[int]:
    """Return the codes whose item is missing in their dictionary.

    The hash table contains the codes, not the dictionary, which is much larger.

    Args:
        event_type: event type of the codes.
        new: positions of the codes.
        codes: codes of the part.
        known: items in the dictionary.
        with_unit: whether a unit may follow the item in a code.
    """
    candidates = {at: _items_of(codes.names[at].removeprefix(f"{event_type}//"), with_unit=with_unit) for at in new}
    distinct = pa.array(sorted({item for items in candidates.values() for item in items}), pa.string())
    found = set(distinct.take(pc.index_in(known, value_set=distinct).drop_null().unique()).to_pylist())
    return {at for at, items in candidates.items() if found.isdisjoint(items)}


def _items_of(rest: str, *, with_unit: bool) -> list[str]:
    """Return the possible items in a code without its event type: with a unit, each beginning of it."""
    parts = rest.split("//")
    return ["//".join(parts[:n]) for n in range(1, len(parts) + 1)] if with_unit else [rest]


def _numbers(result: pa.Table) -> Floats | None:
    """Return the numbers as float64, NaN for null, NaN and infinity; None if the statement selects no numbers."""
    if "numeric_value" not in result.column_names:
        return None
    column = result["numeric_value"]
    wide: Floats = (pc.fill_null(column, np.nan) if column.null_count else column).to_numpy()
    infinite = np.isinf(wide)
    return np.where(infinite, np.nan, wide) if infinite.any() else wide


def _not_finite(result: pa.Table) -> Texts | None:
    """Return the source's word of each row where it is NaN or infinity instead of a number; None without such rows."""
    if "numeric_value" not in result.column_names:
        return None
    finite = pc.is_finite(result["numeric_value"])
    if pc.all(finite).as_py() is not False:
        return None
    return Texts.encode(pc.if_else(finite, None, result["numeric_value"].cast(pa.string())))


def _standardise(
    standardiser: Standardiser,
    event_type: str,
    items: Texts | None,
    result: pa.Table,
    numbers: Floats,
    rows: dict[str, npt.NDArray[Any]],
    texts: dict[str, Texts],
    codes: Codes,
) -> tuple[Floats, dict[str, pa.Array]]:
    """Apply the rule tables: set codes, flags and texts of the rows, and return the numbers and new attributes."""
    count = result.num_rows
    numbers, bounds, from_texts = _read_texts(standardiser, event_type, result, numbers, rows, texts)
    items = items or _same("", count)
    units = texts.get("unit", Texts(np.full(count, -1, np.int32), pa.array([], pa.string())))
    weights = None
    if standardiser.weight in result.column_names:
        weights = pc.fill_null(result[standardiser.weight], np.nan).to_numpy()
    standardised = standardiser.apply(event_type, items, units, numbers, weights, bounds)
    row_rules = standardised.rules
    rows["code"][:] = codes.of_rules(event_type, row_rules).take(row_rules.rule_of)
    codes.facts.extend(facts_of(result, rows["code"]))
    rows["flags"] |= standardised.flags
    texts["unit"], texts["raw_unit"] = row_rules.texts("unit"), row_rules.texts("written")
    if standardised.raw_value is not None:
        texts["raw_value"] = _first_of(texts.get("raw_value"), standardised.raw_value)
    if bounds is None:
        return standardised.numbers, from_texts
    from_texts["bound"] = pa.array(np.where(bounds, standardised.numbers, np.nan), from_pandas=True)
    return np.where(bounds, np.nan, standardised.numbers), from_texts


def _read_texts(
    standardiser: Standardiser,
    event_type: str,
    result: pa.Table,
    numbers: Floats,
    rows: dict[str, npt.NDArray[Any]],
    texts: dict[str, Texts],
) -> tuple[Floats, Bools | None, dict[str, pa.Array]]:
    """Read numbers from texts: set flags and texts, and return the numbers, which are bounds, and new attributes."""
    if not standardiser.texts.reads(event_type):
        return numbers, None, {}
    name = standardiser.comments
    comments = Texts.encode(result[name]).trimmed() if name in result.column_names else None
    readings = standardiser.texts.read(event_type, numbers, texts.get("text_value"), comments, texts.get("unit"))
    if readings is None:
        return numbers, None, {}
    rows["flags"] |= readings.flags
    texts["text_value"] = readings.text
    if (readings.raw.positions >= 0).any():
        texts["raw_value"] = _first_of(texts.get("raw_value"), readings.raw)
    if readings.units is not None:
        texts["unit"] = _first_of(texts.get("unit"), readings.units)
    return readings.numbers, readings.bounds if readings.bounds.any() else None, readings.attributes()


def _first_of(recipe: Texts | None, rule: Texts) -> Texts:
    """Return the texts from the recipe, and where they are null, those from the rule."""
    if recipe is None:
        return rule
    later = np.where(rule.positions >= 0, rule.positions + len(recipe.values), -1)
    positions = np.where(recipe.positions >= 0, recipe.positions, later).astype(np.int32)
    return Texts(positions, pa.concat_arrays([recipe.values.cast(pa.string()), rule.values.cast(pa.string())]))


def _same(text: str, count: int) -> Texts:
    return Texts(np.zeros(count, np.int32), pa.array([text]))


def _put_numbers(
    rows: dict[str, npt.NDArray[Any]], wide: Floats | None, not_finite: Texts | None, texts: dict[str, Texts]
) -> None:
    if wide is None:
        rows["number"].fill(np.nan)
        return
    if not_finite is not None:
        rows["flags"][(not_finite.positions >= 0) & np.isnan(wide)] |= rules.flags()["number_out_of_range"]
        texts["raw_value"] = _first_of(texts.get("raw_value"), not_finite)
    large = np.flatnonzero(np.abs(wide) > _MAX_FLOAT)
    rows["number"][:] = _null(wide, large, "number_out_of_range", rows, texts)


def _null(numbers: Floats, at: Int64s, flag: str, rows: dict[str, npt.NDArray[Any]], texts: dict[str, Texts]) -> Floats:
    """Return the numbers with null at these positions, which get a flag and the number as raw_value."""
    if not len(at):
        return numbers
    rows["flags"][at] |= rules.flags()[flag]
    texts["raw_value"] = _with_raw(texts.get("raw_value"), numbers, at)
    numbers = numbers.copy()
    numbers[at] = np.nan
    return numbers


def _with_raw(raw: Texts | None, wide: Floats, at: Int64s) -> Texts:
    """Return the raw values, with the numbers at these positions where a raw value is missing."""
    values: list[str | None] = [None] * len(wide) if raw is None else raw.take()
    for row, number in zip(at.tolist(), pa.array(wide[at]).cast(pa.string()).to_pylist(), strict=True):
        values[row] = values[row] or number
    return Texts.encode(pa.chunked_array([pa.array(values, pa.string())]))


@cache
def _text(text: str) -> pa.Scalar:
    """Return a text as a scalar. To infer the type of a string, pyarrow 26 looks for dateutil on the disk (40 us)."""
    return pa.scalar(text, pa.string())


def _attributes(columns: pa.Table) -> Texts:
    """Return the values of the columns as JSON objects, one for each distinct combination, null where all are null."""
    encoded = [_finite(Texts.encode(column).trimmed()) for column in columns.columns]
    key = np.zeros(columns.num_rows, np.int64)
    size = 1
    for column in encoded:
        width = len(column.values) + 1
        if size * width >= 2**62:
            dense = Texts.encode(pa.chunked_array([pa.array(key)]))
            key, size = dense.positions.astype(np.int64), len(dense.values)
        key = key * width + (column.positions + 1)
        size *= width
    combined = Texts.encode(pa.chunked_array([pa.array(key)]))
    first = np.empty(len(combined.values), np.int64)
    first[combined.positions[::-1]] = np.arange(columns.num_rows - 1, -1, -1)
    members = [
        _members(name, e).take(pa.array(e.positions[first], mask=e.positions[first] < 0))
        for name, e in zip(columns.column_names, encoded, strict=True)
    ]
    # The empty text at the front keeps rows in which all values are null, which pyarrow 26 would otherwise drop.
    joined = pc.binary_join_element_wise(_text(""), *members, _text(","), null_handling="skip")
    objects = pc.binary_join_element_wise(_text("{"), pc.utf8_slice_codeunits(joined, 1), _text("}"), _text(""))
    # The combinations are distinct, and so are their objects. One combination may consist of nulls only.
    empty = pc.equal(joined, _text("")).to_numpy(zero_copy_only=False)
    new = np.where(empty, -1, np.cumsum(~empty) - 1).astype(np.int32)
    return Texts(new.take(combined.positions), objects.filter(pa.array(~empty)))


def _members(name: str, encoded: Texts) -> pa.Array:
    """Return `"name":value` in JSON for each distinct value of a column."""
    values = encoded.values
    if pa.types.is_timestamp(values.type):
        # Fractions of a second are written only if they are not zero.
        values = _quoted(pc.replace_substring_regex(values.cast(pa.string()), r"\.000000$", ""))
    elif pa.types.is_string(values.type):
        values = _quoted(values)
    return pc.binary_join_element_wise(_text(json.dumps(name)), values.cast(pa.string()), _text(":"))


def _finite(column: Texts) -> Texts:
    """Return a column with null in place of NaN and infinity, which JSON cannot express."""
    if (
        not pa.types.is_floating(column.values.type)
        or pc.all(finite := pc.is_finite(column.values)).as_py() is not False
    ):
        return column
    return column.replaced(pc.if_else(finite, column.values, None))


def _quoted(texts: pa.Array) -> pa.Array:
    if pc.any(pc.match_substring_regex(texts, r'["\\\x00-\x1f]')).as_py():
        return pa.array([encode_basestring(text) for text in texts.to_pylist()], pa.string())
    return pc.binary_join_element_wise(_text('"'), texts, _text('"'), _text(""))


def _settle_available_time(rows: dict[str, npt.NDArray[Any]], *, selected: bool) -> pa.Array | None:
    """Set available_time of every event with a time to its time or later, and flag values that the source lacks.

    Returns:
        The source's times before that of the event, null in other rows; None if there are none.
    """
    available, time = rows["available_time"], rows["time"]
    if not selected:
        available[:] = time
        return None
    unknown = (available == NULL) & (time != NULL)
    early = ~unknown & (available < time)
    if unknown.any():
        rows["flags"] |= np.where(unknown, rules.flags()["available_assumed"], 0)
    raised = None
    if early.any():
        rows["flags"] |= np.where(early, rules.flags()["available_before_time"], 0)
        raised = pa.array(available.copy(), pa.timestamp("us"), mask=~early)
    np.maximum(available, time, out=available)
    return raised
