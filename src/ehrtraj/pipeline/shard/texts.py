"""Interpret texts where a number is expected, and the laboratory's comments on results.

This applies the rule tables of texts to the distinct texts of one statement, in complete columns. A bound ('<0.1') is
first returned as the row's number, so that it is converted like other numbers, and removed afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj import rules
from ehrtraj.errors import RecipeError
from ehrtraj.format.arrays import Bools, Floats, Int32s, Int64s, Texts
from ehrtraj.rules.texts import Form, Remark, TextRules

# The laboratory ends each statement of a comment with a full stop, and marks abnormal results with an asterisk: '1+*.'.
_HEAD = r"(?s)^(?P<head>.*?)[* ]*(?:[.]+(?:\s.*)?)?$"
_AROUND = r"(?i)^\s*(?:{})\s*$"


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

    def attributes(self) -> dict[str, pa.Array]:
        """Return the attributes of the events, one column for each name."""
        columns = {name: column.array() for name, column in self.names.items()}
        return columns | {name: pa.array(column, from_pandas=True) for name, column in self.ends.items()}

    def name(self, attribute: str, rows: Int64s, which: Int32s, names: list[str]) -> None:
        """Set an attribute of rows to names."""
        self.names.setdefault(attribute, _Names(len(self.flags))).put(rows, which, names)

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


@dataclass
class _Meaning:
    """The meaning of each of some distinct texts.

    Attributes:
        kind: position in `_KINDS`, -1 if the meaning is unknown.
        number: the number or the bound.
        low: lower end of a range.
        high: upper end of a range.
        operator: position among the event type's forms.
        status: position among the event type's remarks of the remark that marks the text as not a result.
    """

    kind: Int32s
    number: Floats
    low: Floats
    high: Floats
    operator: Int32s
    status: Int32s


_KINDS = ("number", "bound", "range", "result", "no_result")
_NUMBER, _BOUND, _RANGE, _RESULT, _NO_RESULT = range(len(_KINDS))


class TextReader:
    """Applies the rule tables of texts."""

    def __init__(self, rules_of: dict[str, TextRules]) -> None:
        self._rules_of = rules_of
        self._flags = rules.flags()

    def reads(self, event_type: str) -> bool:
        """Return whether texts of an event type are read."""
        return event_type in self._rules_of

    def read(self, event_type: str, numbers: Floats, text: Texts | None, comments: Texts | None) -> Readings | None:
        """Read the texts of one statement.

        Args:
            event_type: event type of the statement.
            numbers: number of each row, NaN for null; not changed.
            text: text_value of each row, None if the statement has no texts.
            comments: the laboratory's comment on each row, None if the statement has no comments.

        Returns:
            The meaning of the texts; None if there are no texts.
        """
        text, comments = text or _no_texts(len(numbers)), comments or _no_texts(len(numbers))
        if not len(text.values) and not len(comments.values):
            return None
        text_rules = self._rules_of[event_type]
        readings = Readings(numbers.copy(), np.zeros(len(numbers), bool), text, text, np.zeros(len(numbers), np.int64))
        rows = np.flatnonzero(np.isnan(numbers) & (text.positions >= 0))
        comment_only = np.flatnonzero(np.isnan(numbers) & (text.positions < 0) & (comments.positions >= 0))
        raw = np.full(len(numbers), -1, np.int32)
        if len(rows):
            self._from_value(text_rules, readings, rows, raw)
        if len(comment_only):
            self._from_comments(text_rules, readings, comment_only, comments)
        readings.raw = Texts(raw, text.values)
        for texts in (text, comments):
            self._remarks(text_rules.remarks, readings, texts)
        return readings

    def _from_value(self, text_rules: TextRules, readings: Readings, rows: Int64s, raw: Int32s) -> None:
        """Read the rows that have a text and no number."""
        text = readings.text
        used, place = _distinct(text.positions[rows], len(text.values))
        meaning = _examine(text_rules, text.values.take(pa.array(used)))
        kind = meaning.kind[place]
        self._note(text_rules, readings, rows, place, meaning)
        number, no_result = rows[kind == _NUMBER], rows[kind == _NO_RESULT]
        raw[number] = text.positions[number]
        if len(no_result):
            readings.name("value", no_result, text.positions[no_result], text.values.to_pylist())
        positions = text.positions.copy()
        positions[number] = positions[no_result] = -1
        readings.text = Texts(positions, text.values)
        readings.flags[number] |= self._flags["number_from_text"]

    def _from_comments(self, text_rules: TextRules, readings: Readings, rows: Int64s, comments: Texts) -> None:
        """Read the rows that have a comment and neither a number nor a text."""
        used, place = _distinct(comments.positions[rows], len(comments.values))
        heads = _heads(comments.values.take(pa.array(used)))
        meaning = _examine(text_rules, heads)
        results = np.flatnonzero(np.isin(meaning.kind, (_BOUND, _RANGE, _RESULT)))
        # Other comments are ignored: a plain number in a comment may mean anything.
        meaning.kind[meaning.kind == _NUMBER] = -1
        self._note(text_rules, readings, rows, place, meaning)
        shown = np.full(len(heads), -1, np.int32)
        shown[results] = len(readings.text.values) + np.arange(len(results), dtype=np.int32)
        with_result = rows[shown[place] >= 0]
        positions = readings.text.positions.copy()
        positions[rows] = shown[place]
        values = readings.text.values.cast(pa.string())
        readings.text = Texts(positions, pa.concat_arrays([values, heads.take(pa.array(results))]))
        readings.flags[with_result] |= self._flags["text_from_comments"]

    def _note(self, text_rules: TextRules, readings: Readings, rows: Int64s, place: Int32s, meaning: _Meaning) -> None:
        """Record the meaning of the rows' texts, except for the texts themselves."""
        kind = meaning.kind[place]
        numeric = (kind == _NUMBER) | (kind == _BOUND)
        readings.numbers[rows[numeric]] = meaning.number[place[numeric]]
        for name, flag, is_kind in (
            ("operator", "bound_only", kind == _BOUND),
            ("low", "range_only", kind == _RANGE),
            ("high", "range_only", kind == _RANGE),
            ("status", "no_result", kind == _NO_RESULT),
        ):
            at, which = rows[is_kind], place[is_kind]
            if not len(at):
                continue
            readings.flags[at] |= self._flags[flag]
            if name == "operator":
                readings.bounds[at] = True
                readings.name(name, at, meaning.operator[which], [f.operator for f in text_rules.forms])
            elif name == "status":
                readings.name(name, at, meaning.status[which], [r.name for r in text_rules.remarks])
            else:
                readings.end(name, at, getattr(meaning, name)[which])

    def _remarks(self, remarks: list[Remark], readings: Readings, texts: Texts) -> None:
        """Record remarks on results."""
        for remark in remarks:
            if remark.no_result:
                continue
            matches = _matches(texts.values, remark)
            if matches is None:
                continue
            rows = np.flatnonzero(np.append(matches, False)[texts.positions])
            if len(rows):
                readings.flags[rows] |= self._flags["remarked"]
                readings.name(remark.kind, rows, np.zeros(len(rows), np.int32), [remark.name])


def _no_texts(rows: int) -> Texts:
    return Texts(np.full(rows, -1, np.int32), pa.array([], pa.string()))


def _distinct(positions: Int32s, size: int) -> tuple[Int64s, Int32s]:
    """Return the positions that occur, ascending, and the index of each position in them."""
    seen = np.zeros(size, bool)
    seen[positions] = True
    used = np.flatnonzero(seen)
    place = np.empty(size, np.int32)
    place[used] = np.arange(len(used), dtype=np.int32)
    return used, place[positions]


def _heads(comments: pa.Array) -> pa.Array:
    """Return the first statement of each comment, without its full stop."""
    return pc.utf8_trim_whitespace(pc.struct_field(pc.extract_regex(comments.cast(pa.string()), _HEAD), "head"))


def _examine(text_rules: TextRules, texts: pa.Array) -> _Meaning:
    """Return the meaning of distinct texts: the first matching form, else a known word for a result, else a status."""
    count = len(texts)
    no_number = np.full(count, np.nan)
    kind, zeros = np.full(count, -1, np.int32), np.zeros(count, np.int32)
    meaning = _Meaning(kind, no_number.copy(), no_number.copy(), no_number.copy(), zeros.copy(), zeros.copy())
    texts = texts.cast(pa.string())
    for number, form in enumerate(text_rules.forms):
        fits = np.flatnonzero((meaning.kind < 0) & _fits(texts, form.pattern))
        if len(fits):
            meaning.kind[fits] = _KINDS.index(form.kind)
            meaning.operator[fits] = number
            _read_groups(form, texts.take(pa.array(fits)), fits, meaning)
    is_word = pc.is_in(pc.utf8_upper(texts), pa.array(text_rules.results, pa.string()))
    meaning.kind[(meaning.kind < 0) & is_word.to_numpy(zero_copy_only=False)] = _RESULT
    for number, remark in enumerate(text_rules.remarks):
        if remark.no_result and (matches := _matches(texts, remark)) is not None:
            new = (meaning.kind < 0) & matches
            meaning.kind[new], meaning.status[new] = _NO_RESULT, number
    return meaning


def _fits(texts: pa.Array, pattern: str) -> Bools:
    fits: Bools = pc.fill_null(pc.match_substring_regex(texts, _AROUND.format(pattern)), False).to_numpy(
        zero_copy_only=False
    )
    return fits


def _read_groups(form: Form, texts: pa.Array, at: Int64s, meaning: _Meaning) -> None:
    if form.kind == "result":
        return
    groups = pc.extract_regex(texts, _AROUND.format(form.pattern))
    for group, column in (
        ("number", meaning.number),
        ("bound", meaning.number),
        ("low", meaning.low),
        ("high", meaning.high),
    ):
        if groups.type.get_field_index(group) >= 0:
            digits = pc.replace_substring(pc.struct_field(groups, group), ",", "")
            try:
                column[at] = digits.cast(pa.float64()).to_numpy(zero_copy_only=False)
            except pa.ArrowInvalid:
                raise RecipeError(
                    f"text_forms.csv: the group {group} of '{form.pattern}' matches text that is not a number: it must "
                    "match only digits and a decimal point"
                ) from None


def _matches(texts: pa.Array, remark: Remark) -> Bools | None:
    """Return which texts contain a remark; None if none does."""
    if not len(texts):
        return None
    found = pc.fill_null(pc.match_substring_regex(texts, f"(?i){remark.pattern}"), False)
    if not pc.any(found).as_py():
        return None
    if remark.unless:
        denied = pc.fill_null(pc.match_substring_regex(texts, f"(?i){remark.unless}"), False)
        found = pc.and_not(found, denied)
    matches: Bools = found.to_numpy(zero_copy_only=False)
    return matches
