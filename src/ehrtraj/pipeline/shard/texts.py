"""Read: what a text says that stands where a number is expected, and what the laboratory remarks about a result.

Works on the distinct texts of one statement, whole columns at a time, by the rule tables of texts. A bound ('<0.1')
is handed on as the row's number, so that it is converted as numbers are, and taken out again afterwards.
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

# The laboratory ends each statement of a comment with a point, and marks what is abnormal with a star: '1+*.'.
_HEAD = r"(?s)^(?P<head>.*?)[* ]*(?:[.]+(?:\s.*)?)?$"
_AROUND = r"(?i)^\s*(?:{})\s*$"


@dataclass
class Said:
    """What the texts of a statement's rows say.

    Attributes:
        numbers: of each row, those from texts included, bounds too; NaN for null.
        bounds: rows whose number is a bound.
        text: what text_value is now.
        raw: the source's text, where it was read as a number.
        flags: bits to add.
        names: `operator`, `status`, `caveat`, and `value` for a text that is no result: those that some row has.
        ends: `low` and `high` of ranges, NaN where there is none.
    """

    numbers: Floats
    bounds: Bools
    text: Texts
    raw: Texts
    flags: Int64s
    names: dict[str, _Names] = field(default_factory=dict)
    ends: dict[str, Floats] = field(default_factory=dict)

    def attributes(self) -> dict[str, pa.Array]:
        """Return what goes to the events' attributes, a column for each name."""
        columns = {name: column.array() for name, column in self.names.items()}
        return columns | {name: pa.array(column, from_pandas=True) for name, column in self.ends.items()}

    def name(self, attribute: str, rows: Int64s, which: Int32s, names: list[str]) -> None:
        """Give rows names as an attribute."""
        self.names.setdefault(attribute, _Names(len(self.flags))).put(rows, which, names)

    def end(self, attribute: str, rows: Int64s, values: Floats) -> None:
        """Give rows an end of their range."""
        self.ends.setdefault(attribute, np.full(len(self.flags), np.nan))[rows] = values


class _Names:
    """An attribute of rows that takes few distinct values."""

    def __init__(self, rows: int) -> None:
        self._positions = np.full(rows, -1, np.int32)
        self._values: dict[str, int] = {}

    def put(self, rows: Int64s, which: Int32s, names: list[str]) -> None:
        """Name rows; where there is a name already, the new one comes after it."""
        pairs, place = np.unique((self._positions[rows].astype(np.int64) + 1) * len(names) + which, return_inverse=True)
        known = [None, *self._values]
        joined = [self._joined(known[pair // len(names)], names[pair % len(names)]) for pair in pairs.tolist()]
        self._positions[rows] = np.array(joined, np.int32)[place]

    def _joined(self, known: str | None, name: str) -> int:
        if known is not None:
            name = known if name in known.split(", ") else f"{known}, {name}"
        return self._values.setdefault(name, len(self._values))

    def array(self) -> pa.Array:
        """Return the attribute of all rows, null where there is none."""
        positions = pa.array(self._positions, mask=self._positions < 0)
        return pa.DictionaryArray.from_arrays(positions, pa.array(list(self._values), pa.string()))


@dataclass
class _Meaning:
    """What each of some distinct texts says.

    Attributes:
        kind: position in `_KINDS`, -1 for nothing known.
        number: the number or the bound.
        low, high: of a range.
        operator: position among the event type's forms.
        status: position among the event type's remarks, of the one by which this is no result.
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

    def __init__(self, known: dict[str, TextRules]) -> None:
        self._known = known
        self._flags = rules.flags()

    def reads(self, event_type: str) -> bool:
        """Whether texts of an event type are read."""
        return event_type in self._known

    def read(self, event_type: str, numbers: Floats, text: Texts | None, comments: Texts | None) -> Said | None:
        """Read the texts of one statement.

        Args:
            event_type: of the statement.
            numbers: of each row, NaN for null; not changed.
            text: text_value of each row, None where the statement has none.
            comments: the laboratory's remarks, None where the statement has none.

        Returns:
            What they say; None where there is no text.
        """
        text, comments = text or _no_texts(len(numbers)), comments or _no_texts(len(numbers))
        if not len(text.values) and not len(comments.values):
            return None
        of_event_type = self._known[event_type]
        said = Said(numbers.copy(), np.zeros(len(numbers), bool), text, text, np.zeros(len(numbers), np.int64))
        rows = np.flatnonzero(np.isnan(numbers) & (text.positions >= 0))
        untold = np.flatnonzero(np.isnan(numbers) & (text.positions < 0) & (comments.positions >= 0))
        raw = np.full(len(numbers), -1, np.int32)
        if len(rows):
            self._from_value(of_event_type, said, rows, raw)
        if len(untold):
            self._from_comments(of_event_type, said, untold, comments)
        said.raw = Texts(raw, text.values)
        for texts in (text, comments):
            self._remarks(of_event_type.remarks, said, texts)
        return said

    def _from_value(self, of_event_type: TextRules, said: Said, rows: Int64s, raw: Int32s) -> None:
        """Rows that have a text and no number."""
        text = said.text
        used, place = _distinct(text.positions[rows], len(text.values))
        meaning = _examine(of_event_type, text.values.take(pa.array(used)))
        kind = meaning.kind[place]
        self._note(of_event_type, said, rows, place, meaning)
        number, no_result = rows[kind == _NUMBER], rows[kind == _NO_RESULT]
        raw[number] = text.positions[number]
        if len(no_result):
            said.name("value", no_result, text.positions[no_result], text.values.to_pylist())
        positions = text.positions.copy()
        positions[number] = positions[no_result] = -1
        said.text = Texts(positions, text.values)
        said.flags[number] |= self._flags["number_from_text"]

    def _from_comments(self, of_event_type: TextRules, said: Said, rows: Int64s, comments: Texts) -> None:
        """Rows that have a remark, and neither number nor text."""
        used, place = _distinct(comments.positions[rows], len(comments.values))
        heads = _heads(comments.values.take(pa.array(used)))
        meaning = _examine(of_event_type, heads)
        known = np.flatnonzero(np.isin(meaning.kind, (_BOUND, _RANGE, _RESULT)))
        # What a comment says besides a result stays there: a bare number in it may be anything.
        meaning.kind[meaning.kind == _NUMBER] = -1
        self._note(of_event_type, said, rows, place, meaning)
        shown = np.full(len(heads), -1, np.int32)
        shown[known] = len(said.text.values) + np.arange(len(known), dtype=np.int32)
        told = rows[shown[place] >= 0]
        positions = said.text.positions.copy()
        positions[rows] = shown[place]
        values = said.text.values.cast(pa.string())
        said.text = Texts(positions, pa.concat_arrays([values, heads.take(pa.array(known))]))
        said.flags[told] |= self._flags["text_from_comments"]

    def _note(self, of_event_type: TextRules, said: Said, rows: Int64s, place: Int32s, meaning: _Meaning) -> None:
        """Write down what the rows' texts mean, but for the texts themselves."""
        kind = meaning.kind[place]
        numeric = (kind == _NUMBER) | (kind == _BOUND)
        said.numbers[rows[numeric]] = meaning.number[place[numeric]]
        for name, flag, is_kind in (
            ("operator", "bound_only", kind == _BOUND),
            ("low", "range_only", kind == _RANGE),
            ("high", "range_only", kind == _RANGE),
            ("status", "no_result", kind == _NO_RESULT),
        ):
            at, which = rows[is_kind], place[is_kind]
            if not len(at):
                continue
            said.flags[at] |= self._flags[flag]
            if name == "operator":
                said.bounds[at] = True
                said.name(name, at, meaning.operator[which], [f.operator for f in of_event_type.forms])
            elif name == "status":
                said.name(name, at, meaning.status[which], [r.name for r in of_event_type.remarks])
            else:
                said.end(name, at, getattr(meaning, name)[which])

    def _remarks(self, remarks: list[Remark], said: Said, texts: Texts) -> None:
        """What is said of results that are there."""
        for remark in remarks:
            if remark.no_result:
                continue
            saying = _says(texts.values, remark)
            if saying is None:
                continue
            rows = np.flatnonzero(np.append(saying, False)[texts.positions])
            if len(rows):
                said.flags[rows] |= self._flags["remarked"]
                said.name(remark.kind, rows, np.zeros(len(rows), np.int32), [remark.name])


def _no_texts(rows: int) -> Texts:
    return Texts(np.full(rows, -1, np.int32), pa.array([], pa.string()))


def _distinct(positions: Int32s, size: int) -> tuple[Int64s, Int32s]:
    """Return the positions that occur, ascending, and each one's place among them."""
    seen = np.zeros(size, bool)
    seen[positions] = True
    used = np.flatnonzero(seen)
    place = np.empty(size, np.int32)
    place[used] = np.arange(len(used), dtype=np.int32)
    return used, place[positions]


def _heads(comments: pa.Array) -> pa.Array:
    """Return the first statement of each comment, without the point that ends it."""
    return pc.utf8_trim_whitespace(pc.struct_field(pc.extract_regex(comments.cast(pa.string()), _HEAD), "head"))


def _examine(of_event_type: TextRules, texts: pa.Array) -> _Meaning:
    """Find out what distinct texts mean: the first form that fits, else a word of the vocabulary, else a status."""
    count = len(texts)
    nothing = np.full(count, np.nan)
    kind, whole = np.full(count, -1, np.int32), np.zeros(count, np.int32)
    meaning = _Meaning(kind, nothing.copy(), nothing.copy(), nothing.copy(), whole.copy(), whole.copy())
    texts = texts.cast(pa.string())
    for number, form in enumerate(of_event_type.forms):
        fits = np.flatnonzero((meaning.kind < 0) & _fits(texts, form.pattern))
        if len(fits):
            meaning.kind[fits] = _KINDS.index(form.kind)
            meaning.operator[fits] = number
            _read_groups(form, texts.take(pa.array(fits)), fits, meaning)
    is_word = pc.is_in(pc.utf8_upper(texts), pa.array(of_event_type.results, pa.string()))
    meaning.kind[(meaning.kind < 0) & is_word.to_numpy(zero_copy_only=False)] = _RESULT
    for number, remark in enumerate(of_event_type.remarks):
        if remark.no_result and (saying := _says(texts, remark)) is not None:
            new = (meaning.kind < 0) & saying
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
                    f"text_forms.csv: the group {group} of '{form.pattern}' matches what is not a number: let it match "
                    "digits and a decimal point only"
                ) from None


def _says(texts: pa.Array, remark: Remark) -> Bools | None:
    """Which texts make a remark; None where none does."""
    if not len(texts):
        return None
    found = pc.fill_null(pc.match_substring_regex(texts, f"(?i){remark.pattern}"), False)
    if not pc.any(found).as_py():
        return None
    if remark.unless:
        denied = pc.fill_null(pc.match_substring_regex(texts, f"(?i){remark.unless}"), False)
        found = pc.and_not(found, denied)
    saying: Bools = found.to_numpy(zero_copy_only=False)
    return saying
