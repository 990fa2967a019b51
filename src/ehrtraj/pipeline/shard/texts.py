"""Interpret texts where a number is expected, and the laboratory's comments on results.

This applies the rule tables of texts to the distinct texts of one statement, in complete columns. A bound ('<0.1') is
first returned as the row's number, so that it is converted like other numbers, and removed afterwards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj import rules
from ehrtraj.format.arrays import Bools, Floats, Int32s, Int64s, Texts, distinct_positions
from ehrtraj.pipeline.shard.text_meaning import (
    BOUND,
    EMPTY,
    NO_RESULT,
    NUMBER,
    RANGE,
    RESULT,
    Interpreter,
    Meaning,
    matches,
)
from ehrtraj.rules.texts import Remark, TextRules

# The laboratory ends each statement of a comment with a full stop, and marks abnormal results with an asterisk: '1+*.'.
_HEAD = r"(?s)^(?P<head>.*?)[* ]*(?:[.]+(?:\s.*)?)?$"


@dataclass
class Readings:
    """The meaning of the texts of a statement's rows.

    Attributes:
        numbers: number of each row, including numbers and bounds from texts; NaN for null.
        bounds: rows whose number is a bound.
        text: new text_value of each row.
        raw: text of the source, if it was read as a number.
        flags: flags to add to each row.
        names: `operator`, `status`, `caveat`, and `value` for a text that is not a result, if any row has them.
        ends: `low` and `high` of ranges, NaN for rows without a range.
    """

    numbers: Floats
    bounds: Bools
    text: Texts
    raw: Texts
    flags: Int64s
    names: dict[str, _Names] = field(default_factory=dict)
    ends: dict[str, Floats] = field(default_factory=dict)
    _units: _Names | None = None

    @property
    def units(self) -> Texts | None:
        """Unit of each row as written in its text; None if no text has one."""
        return self._units.texts() if self._units else None

    def attributes(self) -> dict[str, pa.Array]:
        """Return the attributes of the events, one column for each name."""
        columns = {name: column.array() for name, column in self.names.items()}
        return columns | {name: pa.array(column, from_pandas=True) for name, column in self.ends.items()}

    def name(self, attribute: str, rows: Int64s, which: Int32s, names: list[str]) -> None:
        """Set an attribute of rows to names."""
        self.names.setdefault(attribute, _Names(len(self.flags))).put(rows, which, names)

    def unit(self, rows: Int64s, which: Int32s, units: list[str]) -> None:
        """Set the units of rows."""
        self._units = self._units or _Names(len(self.flags))
        self._units.put(rows, which, units)

    def end(self, attribute: str, rows: Int64s, values: Floats) -> None:
        """Set one end of the range of rows."""
        self.ends.setdefault(attribute, np.full(len(self.flags), np.nan))[rows] = values


class _Names:
    """An attribute of rows with few distinct values."""

    def __init__(self, rows: int) -> None:
        self._positions = np.full(rows, -1, np.int32)
        self._values: dict[str, int] = {}

    def put(self, rows: Int64s, which: Int32s, names: list[str]) -> None:
        """Set the names of rows. If a row already has a name, the new name is appended."""
        pairs, place = np.unique((self._positions[rows].astype(np.int64) + 1) * len(names) + which, return_inverse=True)
        present = [None, *self._values]
        joined = [self._joined(present[pair // len(names)], names[pair % len(names)]) for pair in pairs.tolist()]
        self._positions[rows] = np.array(joined, np.int32)[place]

    def _joined(self, present: str | None, name: str) -> int:
        if present is not None:
            name = present if name in present.split(", ") else f"{present}, {name}"
        return self._values.setdefault(name, len(self._values))

    def array(self) -> pa.Array:
        """Return the attribute of all rows, null for rows without it."""
        positions = pa.array(self._positions, mask=self._positions < 0)
        return pa.DictionaryArray.from_arrays(positions, pa.array(list(self._values), pa.string()))

    def texts(self) -> Texts:
        """Return the names of all rows."""
        return Texts(self._positions, pa.array(list(self._values), pa.string()))


class TextReader:
    """Applies the rule tables of texts."""

    def __init__(self, rules_of: dict[str, TextRules], spelled: Callable[[str | None], str | None]) -> None:
        """Set the rules.

        Args:
            rules_of: rules of each event type.
            spelled: returns a written unit in UCUM: "" for no unit, None if it is unknown.
        """
        self._spelled = spelled
        self._interpreters = {name: Interpreter(of_type, spelled) for name, of_type in rules_of.items()}
        self._flags = rules.flags()

    def reads(self, event_type: str) -> bool:
        """Return whether texts of an event type are read."""
        return event_type in self._interpreters

    def read(
        self,
        event_type: str,
        numbers: Floats,
        text: Texts | None,
        comments: Texts | None,
        units: Texts | None = None,
    ) -> Readings | None:
        """Read the texts of one statement.

        Args:
            event_type: event type of the statement.
            numbers: number of each row, NaN for null; not changed.
            text: text_value of each row, None if the statement has no texts.
            comments: the laboratory's comment on each row, None if the statement has no comments.
            units: unit as written of each row, None if the statement has no units. A number in a text with another unit
                is not read.

        Returns:
            The meaning of the texts; None if there are no texts.
        """
        text, comments = text or _no_texts(len(numbers)), comments or _no_texts(len(numbers))
        if not len(text.values) and not len(comments.values):
            return None
        interpreter = self._interpreters[event_type]
        text_rules = interpreter.rules
        readings = Readings(numbers.copy(), np.zeros(len(numbers), bool), text, text, np.zeros(len(numbers), np.int64))
        without_number = np.isnan(numbers)
        without_text = text.positions < 0
        raw = np.full(len(numbers), -1, np.int32)
        empty, why_empty = np.empty(0, np.int64), np.empty(0, np.int32)
        if len(rows := np.flatnonzero(without_number & ~without_text)):
            empty, why_empty = self._from_value(interpreter, readings, rows, raw, units)
            without_text[empty] = True
        if len(rows := np.flatnonzero(without_number & without_text & (comments.positions >= 0))):
            read = self._from_comments(interpreter, readings, rows, comments, units)
            unread = ~np.isin(empty, read)
            empty, why_empty = empty[unread], why_empty[unread]
        self._no_result(text_rules, readings, empty, why_empty)
        readings.raw = Texts(raw, text.values)
        for texts in (text, comments):
            self._remarks(text_rules.remarks, readings, texts)
        return readings

    def _from_value(
        self, interpreter: Interpreter, readings: Readings, rows: Int64s, raw: Int32s, units: Texts | None
    ) -> tuple[Int64s, Int32s]:
        """Read the rows that have a text and no number.

        Returns:
            The rows whose text is written in an empty field, and the position of that remark.
        """
        text = readings.text
        used, place = distinct_positions(text.positions[rows], len(text.values))
        meaning = interpreter.meaning(text.values.take(pa.array(used)))
        rows, place, kind = self._known(meaning, rows, place, units)
        self._note(interpreter.rules, readings, rows, place, meaning, kind)
        number, no_value = rows[kind == NUMBER], rows[(kind == NO_RESULT) | (kind == EMPTY)]
        raw[number] = text.positions[number]
        if len(no_value):
            readings.name("value", no_value, text.positions[no_value], text.values.to_pylist())
        positions = text.positions.copy()
        positions[number] = positions[no_value] = -1
        readings.text = Texts(positions, text.values)
        readings.flags[number] |= self._flags["number_from_text"]
        return rows[kind == EMPTY], meaning.status[place[kind == EMPTY]]

    def _from_comments(
        self, interpreter: Interpreter, readings: Readings, rows: Int64s, comments: Texts, units: Texts | None
    ) -> Int64s:
        """Read the rows that have a comment and neither a number nor a text, and return those with a known meaning."""
        used, place = distinct_positions(comments.positions[rows], len(comments.values))
        heads = _heads(comments.values.take(pa.array(used)))
        meaning = interpreter.meaning(heads)
        # Other comments are ignored: a plain number in a comment may mean anything.
        meaning.kind[meaning.kind == NUMBER] = -1
        meaning.kind[meaning.kind == EMPTY] = NO_RESULT
        rows, place, kind = self._known(meaning, rows, place, units)
        self._note(interpreter.rules, readings, rows, place, meaning, kind)
        with_result = np.isin(kind, (BOUND, RANGE, RESULT))
        positions = readings.text.positions.copy()
        results, shown = np.unique(place[with_result], return_inverse=True)
        positions[rows[with_result]] = shown + len(readings.text.values)
        values = readings.text.values.cast(pa.string())
        readings.text = Texts(positions, pa.concat_arrays([values, heads.take(pa.array(results))]))
        readings.flags[rows[with_result]] |= self._flags["text_from_comments"]
        return rows

    def _known(
        self, meaning: Meaning, rows: Int64s, place: Int32s, units: Texts | None
    ) -> tuple[Int64s, Int32s, Int32s]:
        """Return the rows whose text has a known meaning, its place and its kind. Most texts of a chart have none.

        The meaning of a text with a unit other than the row's is not known.
        """
        known = np.flatnonzero(meaning.kind[place] >= 0)
        rows, place = rows[known], place[known]
        if units is None or not meaning.units:
            return rows, place, meaning.kind[place]
        names = [self._spelled(unit) for unit in (*meaning.units, *units.values.to_pylist())]
        number_of = {name: number for number, name in enumerate(dict.fromkeys(names))}
        numbers = np.array([number_of[name] for name in names] + [-1])
        in_text, of_row = meaning.unit[place], units.positions[rows]
        one_unit = (in_text < 0) | (of_row < 0)
        same = np.flatnonzero(one_unit | (numbers[in_text] == numbers[of_row + len(meaning.units)]))
        return rows[same], place[same], meaning.kind[place[same]]

    def _note(
        self,
        text_rules: TextRules,
        readings: Readings,
        rows: Int64s,
        place: Int32s,
        meaning: Meaning,
        kind: Int32s,
    ) -> None:
        """Record the meaning of the rows' texts, except for the texts themselves."""
        numeric = (kind == NUMBER) | (kind == BOUND)
        readings.numbers[rows[numeric]] = meaning.number[place[numeric]]
        with_unit = meaning.unit[place] >= 0
        if with_unit.any():
            readings.unit(rows[with_unit], meaning.unit[place[with_unit]], meaning.units)
        for name, flag, is_kind in (
            ("operator", "bound_only", kind == BOUND),
            ("low", "range_only", kind == RANGE),
            ("high", "range_only", kind == RANGE),
        ):
            at, which = rows[is_kind], place[is_kind]
            if not len(at):
                continue
            readings.flags[at] |= self._flags[flag]
            if name == "operator":
                readings.bounds[at] = True
                readings.name(name, at, meaning.operator[which], [f.operator for f in text_rules.forms])
            else:
                readings.end(name, at, getattr(meaning, name)[which])
        self._no_result(text_rules, readings, rows[kind == NO_RESULT], meaning.status[place[kind == NO_RESULT]])

    def _no_result(self, text_rules: TextRules, readings: Readings, rows: Int64s, status: Int32s) -> None:
        """Record that rows have no result, and why."""
        if len(rows):
            readings.flags[rows] |= self._flags["no_result"]
            readings.name("status", rows, status, [r.name for r in text_rules.remarks])

    def _remarks(self, remarks: list[Remark], readings: Readings, texts: Texts) -> None:
        """Record remarks on results."""
        for remark in remarks:
            if remark.no_result:
                continue
            found = matches(texts.values, remark)
            if found is None:
                continue
            rows = np.flatnonzero(np.append(found, False)[texts.positions])
            if len(rows):
                readings.flags[rows] |= self._flags["remarked"]
                readings.name(remark.kind, rows, np.zeros(len(rows), np.int32), [remark.name])


def _no_texts(rows: int) -> Texts:
    return Texts(np.full(rows, -1, np.int32), pa.array([], pa.string()))


def _heads(comments: pa.Array) -> pa.Array:
    """Return the first statement of each comment, without its full stop."""
    return pc.utf8_trim_whitespace(pc.struct_field(pc.extract_regex(comments.cast(pa.string()), _HEAD), "head"))
