"""Turn the result of a recipe's statement into events."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
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
from ehrtraj.format.event_types import EventType
from ehrtraj.format.events import INT_COLUMNS, TEXT_COLUMNS
from ehrtraj.pipeline.shard.events import EventBuffer
from ehrtraj.pipeline.shard.standardise import Standardiser
from ehrtraj.recipes import Statement
from ehrtraj.rules.measures import Rule

EVENT_CASTS = {
    "subject_id": "BIGINT",
    "time": "TIMESTAMP",
    "numeric_value": "DOUBLE",
    "time_precision": "time_precision",
    "code_description": "VARCHAR",
    "code_parent": "VARCHAR",
    "available_time": "TIMESTAMP",
    **dict.fromkeys(("hadm_id", "stay_id", "flags", "source_key", "link_id"), "BIGINT"),
    **dict.fromkeys(("text_value", "unit", "raw_value", "raw_unit"), "VARCHAR"),
}
"""Columns that a statement may select, and their types in DuckDB."""

EVENT_COLUMNS = {*EVENT_CASTS, "item", "event_type"}
_ITEM_TYPES = re.compile(r"VARCHAR|U?(TINY|SMALL|BIG)?INT(EGER)?")
_ATTRIBUTE_TYPES = re.compile(rf"{_ITEM_TYPES.pattern}|BOOLEAN|FLOAT|DOUBLE|DECIMAL\(.*\)|TIMESTAMP|\"NULL\"|HUGEINT")
_LARGEST_FLOAT = float(np.finfo(np.float32).max)


def type_problem(column: str, kind: str) -> str | None:
    """What is wrong with the type of a column that a statement selects; None where nothing is."""
    if column in EVENT_CASTS or column == "event_type":
        return None
    allowed = _ITEM_TYPES if column == "item" else _ATTRIBUTE_TYPES
    return None if allowed.fullmatch(kind) else f"{column} is of the type {kind}: cast it to VARCHAR"


@dataclass
class Codes:
    """Codes met in a part, and how to spell them.

    Attributes:
        event_types: kinds of events, a user's own among them.
        names: each code.
        ranks: the rank of each code's event type.
        descriptions: what the source's rows call a code.
        parents: codes of other systems that the source's rows give for a code.
    """

    event_types: Mapping[str, EventType]
    names: list[str] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)
    descriptions: dict[str, str] = field(default_factory=dict)
    parents: dict[str, set[str]] = field(default_factory=dict)
    _positions: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, rank: int) -> int:
        """Position of a code, which is added where it is new."""
        position = self._positions.setdefault(name, len(self.names))
        if position == len(self.names):
            self.names.append(name)
            self.ranks.append(rank)
        return position


def append_events(
    buffer: EventBuffer,
    codes: Codes,
    table: int,
    statement: Statement,
    result: pa.Table,
    standardiser: Standardiser | None = None,
    known: Mapping[str, pa.Array] | None = None,
) -> None:
    """Add the result of a statement to the events of a part.

    Args:
        buffer: receives the events.
        codes: receives the codes that are new.
        table: position of the source table among the build's tables.
        statement: of a recipe.
        result: its columns as `docs/reference/recipes.md` lists them, without `event_type`; others are attributes.
        standardiser: applies the rule tables of numbers; None leaves numbers and units as they are.
        known: items that a dictionary has, by event type: others of that event type are flagged.

    Raises:
        RecipeError: if an event lacks a time that needs one, or flags are null.
    """
    columns = result.column_names
    rows = buffer.extend(result.num_rows)
    rows["table"].fill(table)
    rows["subject"][:] = to_int64(result["subject_id"])
    rows["time"][:] = to_int64(result["time"])
    if not statement.static and (nulls := int((rows["time"] == NULL).sum())):
        raise RecipeError(
            f"'{statement.about}' yields {nulls:,} events without a time: set such rows aside "
            "(-- rejected: no_time | ...)"
        )
    for name in INT_COLUMNS:
        if name in columns:
            rows[name][:] = to_int64(result[name])
        else:
            rows[name].fill(0 if name == "flags" else NULL)
    if (rows["flags"] == NULL).any():
        raise RecipeError(f"'{statement.about}' yields null flags: use ELSE 0 or coalesce(..., 0)")
    _settle_available_time(rows, selected="available_time" in columns)
    if "item" in columns and (nulls := result["item"].null_count):
        raise RecipeError(
            f"'{statement.about}' yields {nulls:,} events without an item, which nothing names: set such rows aside "
            "(-- rejected: no_code | ...)"
        )
    rows["linked"].fill("hadm_id" in columns)
    rows["precision"].fill(0)
    if "time_precision" in columns:
        rows["precision"][:] = one_array(result["time_precision"]).indices.to_numpy(zero_copy_only=False)
    texts = {name: Texts.encode(result[name]) for name in TEXT_COLUMNS if name in columns}
    numbers = _numbers(result)
    attributes = result.select([c for c in columns if c not in EVENT_COLUMNS])
    if standardiser is not None and numbers is not None and standardiser.has_rules(statement.event_type):
        numbers, read = _standardise(standardiser, statement.event_type, result, numbers, rows, texts, codes)
        for name, column in read.items():
            attributes = attributes.append_column(name, column)
    else:
        rows["code"][:] = _code(statement.event_type, result, codes)
    if known and statement.event_type in known:
        with_unit = standardiser is not None and standardiser.has_rules(statement.event_type)
        _flag_unknown(statement.event_type, known[statement.event_type], rows, codes, with_unit=with_unit)
    if standardiser is not None and statement.event_type in standardiser.items.event_types:
        _flag_items(standardiser, statement.event_type, rows, codes)
    if attributes.num_columns:
        texts["attributes"] = _attributes(attributes)
    _put_numbers(rows, numbers, texts)
    for name in TEXT_COLUMNS:
        buffer.put_texts(name, rows, texts.get(name))


def _code(event_type: str, result: pa.Table, codes: Codes) -> npt.NDArray[np.int32]:
    rank = codes.event_types[event_type].rank
    bare = codes.add(event_type, rank) if "item" not in result.column_names else None
    if bare is not None:
        return np.full(result.num_rows, bare, np.int32)
    items = Texts.encode(result["item"])
    spelled = [codes.add(f"{event_type}//{item}", rank) for item in items.values.to_pylist()]
    code = np.array(spelled, np.int32)[items.positions]
    _describe(result, code, codes)
    return code


def _flag_items(standardiser: Standardiser, event_type: str, rows: dict[str, npt.NDArray[Any]], codes: Codes) -> None:
    """Give events the flags that their code has by itself."""
    used = np.flatnonzero(np.bincount(rows["code"]))
    bits = {at: standardiser.items.of(event_type, codes.names[at].partition("//")[2] or None) for at in used.tolist()}
    if any(bits.values()):
        of_code = np.zeros(len(codes.names), np.int64)
        of_code[list(bits)] = list(bits.values())
        rows["flags"] |= of_code[rows["code"]]


def _flag_unknown(
    event_type: str, known: pa.Array, rows: dict[str, npt.NDArray[Any]], codes: Codes, *, with_unit: bool
) -> None:
    """Flag events whose item their dictionary does not have.

    Only the distinct codes are looked at, and they are hashed, not the dictionary, which is larger by far.

    Args:
        event_type: of the events.
        known: items that the dictionary has.
        rows: the events, with their codes.
        codes: of the part.
        with_unit: whether a unit may stand behind the item in a code.
    """
    used = np.flatnonzero(np.bincount(rows["code"])).tolist()
    spelled = {at: _items_of(codes.names[at].removeprefix(f"{event_type}//"), with_unit=with_unit) for at in used}
    asked = pa.array(sorted({item for items in spelled.values() for item in items}), pa.string())
    found = set(asked.take(pc.index_in(known, value_set=asked).drop_null().unique()).to_pylist())
    unknown = [at for at, items in spelled.items() if found.isdisjoint(items)]
    if unknown:
        of_code = np.zeros(len(codes.names), np.int64)
        of_code[unknown] = rules.flags()["code_unknown"]
        rows["flags"] |= of_code[rows["code"]]


def _items_of(rest: str, *, with_unit: bool) -> list[str]:
    """What may be the item of a code without its event type."""
    parts = rest.split("//")
    return ["//".join(parts[:n]) for n in range(1, len(parts) + 1)] if with_unit else [rest]


def _describe(result: pa.Table, code: npt.NDArray[np.int32], codes: Codes) -> None:
    """Note what the rows call their code, and which codes of other systems they give for it."""
    if "code_parent" in result.column_names:
        pairs = pa.table({"code": pa.array(code), "parent": result["code_parent"]}).group_by(["code", "parent"])
        for row in pairs.aggregate([]).to_pylist():
            if row["parent"] is not None:
                codes.parents.setdefault(codes.names[row["code"]], set()).add(row["parent"])
    if "code_description" not in result.column_names:
        return
    pairs = pa.table({"code": pa.array(code), "text": result["code_description"]}).group_by("code")
    for row in pairs.aggregate([("text", "min")]).to_pylist():
        if row["text_min"] is not None:
            name = codes.names[row["code"]]
            codes.descriptions[name] = min(row["text_min"], codes.descriptions.get(name, row["text_min"]))


def _numbers(result: pa.Table) -> Floats | None:
    """The numbers as float64, NaN for null; None for a statement that has none."""
    if "numeric_value" not in result.column_names:
        return None
    column = result["numeric_value"]
    wide: Floats = (pc.fill_null(column, np.nan) if column.null_count else column).to_numpy()
    return wide


def _standardise(
    standardiser: Standardiser,
    event_type: str,
    result: pa.Table,
    numbers: Floats,
    rows: dict[str, npt.NDArray[Any]],
    texts: dict[str, Texts],
    codes: Codes,
) -> tuple[Floats, dict[str, pa.Array]]:
    """Apply the rule tables: sets code, flags and texts of the rows, returns the numbers and new attributes."""
    count = result.num_rows
    numbers, bounds, read = _read_texts(standardiser, event_type, result, numbers, rows, texts)
    items = Texts.encode(result["item"]) if "item" in result.column_names else _same("", count)
    units = texts.get("unit", Texts(np.full(count, -1, np.int32), pa.array([], pa.string())))
    weights = None
    if standardiser.weight in result.column_names:
        weights = pc.fill_null(result[standardiser.weight], np.nan).to_numpy()
    found = standardiser.apply(event_type, items, units, numbers, weights, bounds)
    spelled = [codes.add(_spell(event_type, rule), codes.event_types[event_type].rank) for rule in found.rules]
    rows["code"][:] = np.array(spelled, np.int32)[found.rule_of]
    _describe(result, rows["code"], codes)
    rows["flags"] |= found.flags
    texts["unit"], texts["raw_unit"] = found.texts("unit"), found.texts("written")
    if found.raw_value is not None:
        texts["raw_value"] = _first_of(texts.get("raw_value"), found.raw_value)
    if bounds is None:
        return found.numbers, read
    read["bound"] = pa.array(np.where(bounds, found.numbers, np.nan), from_pandas=True)
    return np.where(bounds, np.nan, found.numbers), read


def _read_texts(
    standardiser: Standardiser,
    event_type: str,
    result: pa.Table,
    numbers: Floats,
    rows: dict[str, npt.NDArray[Any]],
    texts: dict[str, Texts],
) -> tuple[Floats, Bools | None, dict[str, pa.Array]]:
    """Read texts beside numbers: sets flags and texts, returns numbers, which are bounds, and new attributes."""
    if not standardiser.texts.reads(event_type):
        return numbers, None, {}
    name = standardiser.comments
    comments = Texts.encode(result[name]) if name in result.column_names else None
    said = standardiser.texts.read(event_type, numbers, texts.get("text_value"), comments)
    if said is None:
        return numbers, None, {}
    rows["flags"] |= said.flags
    texts["text_value"] = said.text
    if (said.raw.positions >= 0).any():
        texts["raw_value"] = _first_of(texts.get("raw_value"), said.raw)
    return said.numbers, said.bounds if said.bounds.any() else None, said.attributes()


def _first_of(recipe: Texts | None, rule: Texts) -> Texts:
    """The raw values that the recipe took from the source, and where it has none those that a rule kept."""
    if recipe is None:
        return rule
    later = np.where(rule.positions >= 0, rule.positions + len(recipe.values), -1)
    positions = np.where(recipe.positions >= 0, recipe.positions, later).astype(np.int32)
    return Texts(positions, pa.concat_arrays([recipe.values.cast(pa.string()), rule.values.cast(pa.string())]))


def _same(text: str, count: int) -> Texts:
    return Texts(np.zeros(count, np.int32), pa.array([text]))


def _spell(event_type: str, rule: Rule) -> str:
    return "//".join(filter(None, (event_type, rule.item, rule.suffix)))


def _put_numbers(rows: dict[str, npt.NDArray[Any]], wide: Floats | None, texts: dict[str, Texts]) -> None:
    if wide is None:
        rows["number"].fill(np.nan)
        return
    large = np.flatnonzero(np.abs(wide) > _LARGEST_FLOAT)
    if len(large):
        rows["flags"][large] |= rules.flags()["number_out_of_range"]
        texts["raw_value"] = _with_raw(texts.get("raw_value"), wide, large)
        wide = wide.copy()
        wide[large] = np.nan
    rows["number"][:] = wide


def _with_raw(known: Texts | None, wide: Floats, at: Int64s) -> Texts:
    """The raw values, with these numbers' own where none is there yet."""
    spelled: list[str | None] = [None] * len(wide) if known is None else known.take()
    for row, number in zip(at.tolist(), pa.array(wide[at]).cast(pa.string()).to_pylist(), strict=True):
        spelled[row] = spelled[row] or number
    return Texts.encode(pa.chunked_array([pa.array(spelled, pa.string())]))


@cache
def _text(text: str) -> pa.Scalar:
    """A text as pyarrow takes it: handed a bare one, pyarrow 26 looks for pandas on the disk each time (40 us)."""
    return pa.scalar(text)


def _attributes(columns: pa.Table) -> Texts:
    """One JSON object for each distinct combination of the columns' values, null where all are null."""
    encoded = [Texts.encode(column) for column in columns.columns]
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
    # The empty text at the front keeps rows in which all are null: pyarrow 26 would leave them out.
    joined = pc.binary_join_element_wise(_text(""), *members, _text(","), null_handling="skip")
    objects = pc.binary_join_element_wise(_text("{"), pc.utf8_slice_codeunits(joined, 1), _text("}"), _text(""))
    # The combinations are distinct, so are their objects; one of them may have no value at all.
    empty = pc.equal(joined, _text("")).to_numpy(zero_copy_only=False)
    new = np.where(empty, -1, np.cumsum(~empty) - 1).astype(np.int32)
    return Texts(new[combined.positions], objects.filter(pa.array(~empty)))


def _members(name: str, encoded: Texts) -> pa.Array:
    """`"name":value` for each distinct value of a column, as JSON."""
    values = encoded.values
    if pa.types.is_timestamp(values.type):
        # Fractions of a second only where there are some.
        values = _quoted(pc.replace_substring_regex(values.cast(pa.string()), r"\.000000$", ""))
    elif pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_finite(values), values.cast(pa.string()), "null")
    elif pa.types.is_string(values.type):
        values = _quoted(values)
    return pc.binary_join_element_wise(_text(json.dumps(name)), values.cast(pa.string()), _text(":"))


def _quoted(texts: pa.Array) -> pa.Array:
    if pc.any(pc.match_substring_regex(texts, r'["\\\x00-\x1f]')).as_py():
        return pa.array([encode_basestring(text) for text in texts.to_pylist()], pa.string())
    return pc.binary_join_element_wise(_text('"'), texts, _text('"'), _text(""))


def _settle_available_time(rows: dict[str, npt.NDArray[Any]], *, selected: bool) -> None:
    """Give every event with a time an available_time that is not before it, and say so where the source did not."""
    available, time = rows["available_time"], rows["time"]
    if not selected:
        available[:] = time
        return
    unknown = (available == NULL) & (time != NULL)
    early = ~unknown & (available < time)
    if unknown.any():
        rows["flags"] |= np.where(unknown, rules.flags()["available_assumed"], 0)
    if early.any():
        rows["flags"] |= np.where(early, rules.flags()["available_before_time"], 0)
    np.maximum(available, time, out=available)
