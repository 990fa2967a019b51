"""The meaning of texts where a number is expected, by the rule tables of texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj.errors import RecipeError
from ehrtraj.format.arrays import Bools, Floats, Int32s, Int64s, Texts
from ehrtraj.rules.texts import Form, Remark, TextRules

_AROUND = r"(?i)^\s*(?:{})\s*$"

KINDS = ("number", "bound", "range", "result", "no_result", "empty")
"""What a text can mean; `Meaning.kind` is a position in it."""
NUMBER, BOUND, RANGE, RESULT, NO_RESULT, EMPTY = range(len(KINDS))

_COLUMN_OF_GROUP = {"number": "number", "bound": "number", "low": "low", "high": "high"}
_COLUMNS = ("kind", "number", "low", "high", "operator", "status", "unit")
# Texts whose meaning a worker keeps: about 6 MB.
_MOST_KNOWN = 1 << 15


@dataclass
class Meaning:
    """The meaning of each of some texts.

    Attributes:
        kind: position in `KINDS`, -1 if the meaning is unknown.
        number: the number or the bound.
        low: lower end of a range.
        high: upper end of a range.
        operator: position among the event type's forms.
        status: position among the event type's remarks of the remark that marks the text as not a result.
        unit: position in `units`, -1 if the text has no unit.
        units: the units as written in texts.
    """

    kind: Int32s
    number: Floats
    low: Floats
    high: Floats
    operator: Int32s
    status: Int32s
    unit: Int32s
    units: list[str]

    @classmethod
    def unknown(cls, count: int) -> Meaning:
        """Return the meaning of texts that have not been examined."""
        kind, unit, *positions = (np.full(count, value, np.int32) for value in (-1, -1, 0, 0))
        number, low, high = (np.full(count, np.nan) for _ in range(3))
        operator, status = positions
        return cls(kind, number, low, high, operator, status, unit, [])

    def take(self, at: Int64s) -> Meaning:
        """Return the meaning of the texts at these positions, as a copy."""
        return Meaning(**{name: getattr(self, name)[at] for name in _COLUMNS}, units=self.units)

    def append(self, other: Meaning) -> None:
        """Add the meaning of more texts."""
        place = {unit: at for at, unit in enumerate(self.units)}
        of_unit = np.array([*(place.setdefault(unit, len(place)) for unit in other.units), -1], np.int32)
        for name in _COLUMNS:
            added = of_unit[other.unit] if name == "unit" else getattr(other, name)
            setattr(self, name, np.concatenate([getattr(self, name), added]))
        self.units = list(place)


class Interpreter:
    """Finds the meaning of texts of one event type.

    It remembers the meaning, since most texts occur in every part: to compare them with all patterns again would take
    2 % of the time of a shard.
    """

    def __init__(self, text_rules: TextRules, spelled: Callable[[str | None], str | None]) -> None:
        """Set the rules.

        Args:
            text_rules: rules of the event type.
            spelled: returns a written unit in UCUM: "" for no unit, None if it is unknown.
        """
        self.rules = text_rules
        self._spelled = spelled
        self._known = Meaning.unknown(0)
        self._place: dict[str, int] = {}

    def meaning(self, texts: pa.Array) -> Meaning:
        """Return the meaning of texts.

        Raises:
            RecipeError: if the group of a form matches text that is not a number.
        """
        names: list[str] = texts.cast(pa.string()).to_pylist()
        found = list(map(self._place.get, names))
        if None in found:
            new = list(dict.fromkeys(name for name, at in zip(names, found, strict=True) if at is None))
            if len(self._place) + len(new) > _MOST_KNOWN:
                self._known, self._place, new = Meaning.unknown(0), {}, list(dict.fromkeys(names))
            self._known.append(self.examine(pa.array(new, pa.string())))
            self._place.update(zip(new, range(len(self._place), len(self._place) + len(new)), strict=True))
            found = list(map(self._place.get, names))
        return self._known.take(np.array(found, np.int64))

    def examine(self, texts: pa.Array) -> Meaning:
        """Return the meaning of distinct texts: the first matching form, else a known word for a result, else a status.

        A form that finds a unit matches only if the unit is known.
        """
        meaning = Meaning.unknown(len(texts))
        for number, form in enumerate(self.rules.forms):
            fits = np.flatnonzero((meaning.kind < 0) & _fits(texts, form.pattern))
            if len(fits) and form.kind != "result":
                fits = self._read_groups(form, texts.take(pa.array(fits)), fits, meaning)
            meaning.kind[fits] = KINDS.index(form.kind)
            meaning.operator[fits] = number
        is_word = pc.is_in(pc.utf8_upper(texts), pa.array(self.rules.results, pa.string()))
        meaning.kind[(meaning.kind < 0) & is_word.to_numpy(zero_copy_only=False)] = RESULT
        for number, remark in enumerate(self.rules.remarks):
            if remark.no_result and (found := matches(texts, remark)) is not None:
                new = (meaning.kind < 0) & found
                meaning.kind[new], meaning.status[new] = EMPTY if remark.empty else NO_RESULT, number
        return meaning

    def _read_groups(self, form: Form, texts: pa.Array, at: Int64s, meaning: Meaning) -> Int64s:
        """Read the numbers and units of texts, and return the positions of those that are finite and known."""
        groups = pc.extract_regex(texts, _AROUND.format(form.pattern))
        has = {name: groups.type.get_field_index(name) >= 0 for name in (*_COLUMN_OF_GROUP, "unit")}
        numbers = {name: _as_numbers(form, name, groups) for name in _COLUMN_OF_GROUP if has[name]}
        good = np.logical_and.reduce([np.isfinite(column) for column in numbers.values()])
        if has["unit"]:
            units = Texts.encode(pa.chunked_array([pc.struct_field(groups, "unit")])).trimmed()
            known = np.array([*(bool(self._spelled(unit)) for unit in units.values.to_pylist()), True])
            good &= known[units.positions]
            meaning.unit[at[good]] = np.where(units.positions >= 0, units.positions + len(meaning.units), -1)[good]
            meaning.units.extend(units.values.to_pylist())
        for name, column in numbers.items():
            getattr(meaning, _COLUMN_OF_GROUP[name])[at[good]] = column[good]
        return at[good]


def _fits(texts: pa.Array, pattern: str) -> Bools:
    fits: Bools = pc.fill_null(pc.match_substring_regex(texts, _AROUND.format(pattern)), False).to_numpy(
        zero_copy_only=False
    )
    return fits


def _as_numbers(form: Form, group: str, groups: pa.Array) -> Floats:
    """Return the numbers in a group of a form's pattern."""
    digits = pc.replace_substring(pc.struct_field(groups, group), ",", "")
    try:
        numbers: Floats = digits.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        raise RecipeError(
            f"text_forms.csv: the group {group} of '{form.pattern}' matches text that is not a number: it must match "
            "only digits and a decimal point"
        ) from None
    return numbers


def matches(texts: pa.Array, remark: Remark) -> Bools | None:
    """Return which texts contain a remark; None if none does."""
    if not len(texts):
        return None
    found = pc.fill_null(pc.match_substring_regex(texts, f"(?i){remark.pattern}"), False)
    if not pc.any(found).as_py():
        return None
    if remark.unless:
        denied = pc.fill_null(pc.match_substring_regex(texts, f"(?i){remark.unless}"), False)
        found = pc.and_not(found, denied)
    contained: Bools = found.to_numpy(zero_copy_only=False)
    return contained
