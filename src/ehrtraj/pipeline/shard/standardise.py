"""Standardise numbers with the rule tables: convert them to their item's unit and compare them with limits.

This works on the result of one statement, before it becomes events. The rule of a row depends only on its item and its
unit as written, so each rule is looked up once for each pair that occurs and applied to complete columns. The order is
fixed: conversions, numbers meant in another unit, sentinels, limits. If a rule changes a value, raw_value and raw_unit
contain the original.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrtraj import rules
from ehrtraj.format.arrays import Bools, Floats, Int32s, Int64s, Texts
from ehrtraj.pipeline.shard.texts import TextReader
from ehrtraj.rules.copied_results import copied_results
from ehrtraj.rules.items import ItemFlags
from ehrtraj.rules.measures import Limits, Measures, Rule
from ehrtraj.rules.texts import text_rules
from ehrtraj.sources.source import Source

# Up to this number of pairs, rules are looked up in a table of all pairs, which takes 2 ns per row; beyond, by sorting.
_MAX_PAIRS = 1 << 22


@dataclass
class Standardised:
    """The standardised numbers of one statement.

    Attributes:
        rules: rules of the rows; they contain the item, the unit, and whether the unit is part of the code.
        numbers: numbers in the rule's unit; NaN for null.
        raw_value: original numbers of the source where they were changed; None if no number was changed.
        flags: flags to add to each row.
    """

    rules: RowRules
    numbers: Floats
    raw_value: Texts | None
    flags: Int64s


class Standardiser:
    """Applies the rule tables of numbers, and caches the rule of each pair of item and unit.

    Attributes:
        texts: reads texts where a number is expected.
        items: flags that depend on the code alone.
        copied_results: items whose values repeat those of other items.
        planned: event types whose times are planned.
        weight: column of a statement with the patient's weight in kg, which conversions of doses need.
        comments: column of a statement with the laboratory's comments on a result.
    """

    def __init__(self, source: Source) -> None:
        """Read the rule tables.

        Args:
            source: whose rules to apply.
        """
        self._measures = measures = Measures(source.rules)
        self.texts = TextReader(text_rules(source.rules, partial(source.rules, special_first=True)), measures.spelled)
        self.items = ItemFlags(source.rules)
        self.copied_results = copied_results(source.rules)
        self.planned = source.planned
        self.weight, self.comments = source.declared.weight, source.declared.comments
        self._sentinels = np.array(sorted(measures.sentinels))
        self._user_sentinels = np.array([float(line["value"]) for line in source.overlay_lines("sentinels")])
        self._known = KnownRules()
        self._flags = rules.flags()

    def has_rules(self, event_type: str) -> bool:
        """Return whether numbers of an event type are standardised."""
        return event_type in self._measures.event_types

    def apply(
        self,
        event_type: str,
        items: Texts,
        units: Texts,
        numbers: Floats,
        weights: Floats | None = None,
        bounds: Bools | None = None,
    ) -> Standardised:
        """Standardise the numbers of one statement.

        Args:
            event_type: event type of the statement.
            items: item of each row.
            units: unit as written of each row.
            numbers: number of each row, NaN for null.
            weights: body weight of each row in kg, NaN if unknown; None if the statement has no weights.
            bounds: rows whose number is a bound. They are converted, but not compared with limits, and their raw_value
                is not set, since the source contains no number for them.
        """
        pair = _pairs(items, units)
        row_rules = self._rules(event_type, items, units, pair)
        absent = np.isnan(numbers)
        if (needs_weight := row_rules.attribute("weight") != 0).any():
            without_weight = ~absent & needs_weight.take(row_rules.rule_of) & ~_known_weights(weights, len(numbers))
            other = self._rules(event_type, items, units, pair, "without_weight")
            row_rules = row_rules.override_where(other, without_weight)
        if absent.any():
            row_rules = row_rules.override_where(self._rules(event_type, items, units, pair, "spelling_only"), absent)
        return self._convert_and_check(row_rules, numbers, weights, bounds)

    def user_sentinels(self, numbers: Floats, bounds: Bools | None = None) -> Int64s:
        """Return the positions of numbers in the user's `sentinels.csv`, which apply to every number.

        The package's sentinels apply only to numbers beyond the limits, because an item may reach them.

        Args:
            numbers: numbers of the source, NaN for null.
            bounds: rows whose number is a bound, which is never a sentinel.
        """
        if not len(self._user_sentinels):
            return np.empty(0, np.int64)
        found = np.isin(numbers, self._user_sentinels)
        return np.flatnonzero(found if bounds is None else found & ~bounds)

    def _rules(self, event_type: str, items: Texts, units: Texts, pair: Int64s, kind: str = "rule") -> RowRules:
        width = len(units.values) + 1
        present, rule_of = _distinct(pair, (len(items.values) + 1) * width)
        item_names = [*items.values.cast(pa.string()).to_pylist(), None]
        unit_names = [*units.values.to_pylist(), None]
        pairs = [
            (item_names[item], unit_names[unit])
            for item, unit in zip((present // width - 1).tolist(), (present % width - 1).tolist(), strict=True)
        ]
        find = partial(getattr(self._measures, kind), event_type)
        return RowRules(rule_of, self._known.numbers(event_type, kind, pairs, find), self._known)

    def _convert_and_check(
        self, row_rules: RowRules, source: Floats, weights: Floats | None, bounds: Bools | None = None
    ) -> Standardised:
        numbers, flags = row_rules.convert(source, weights), row_rules.of_rows("flags")
        inferred = self._infer_units(row_rules, source, numbers, _known_weights(weights, len(source)))
        flags[inferred] |= self._flags["unit_inferred"]
        measured = np.ones(len(numbers), bool) if bounds is None else ~bounds
        nulled = row_rules.of_rows("unusable") & measured & ~np.isnan(source)
        if row_rules.attribute("limited").any():
            low, high, suspicious_low, suspicious_high, sentinels_from = (row_rules.of_rows(name) for name in _LIMITS)
            impossible = measured & ((numbers < low) | (numbers > high))
            suspicious = measured & ~impossible & ((numbers < suspicious_low) | (numbers > suspicious_high))
            at = np.flatnonzero(impossible | suspicious | measured & (source >= sentinels_from))
            sentinels = at[np.isin(source[at], self._sentinels)]
            impossible[sentinels] = suspicious[sentinels] = False
            flags[suspicious] |= self._flags["suspicious_value"]
            flags[impossible] |= self._flags["impossible_value"]
            flags[sentinels] |= self._flags["sentinel_value"]
            nulled |= impossible
            nulled[sentinels] = True
        numbers = np.where(nulled, np.nan, numbers)
        by_user = self.user_sentinels(source, bounds)
        flags[by_user] &= ~(self._flags["impossible_value"] | self._flags["suspicious_value"])
        flags[by_user] |= self._flags["sentinel_value"]
        numbers[by_user], nulled[by_user] = np.nan, True
        changed = np.flatnonzero(measured & (nulled | (numbers != source) & ~np.isnan(source)))
        return Standardised(row_rules, numbers, _as_texts(source, changed), flags)

    def _infer_units(self, row_rules: RowRules, source: Floats, numbers: Floats, weighed: Bools) -> Int64s:
        """Convert, in place, the numbers that were meant in another unit, and return their positions."""
        positions = [np.empty(0, np.int64)]
        for number in np.flatnonzero(row_rules.attribute("has_meant")).tolist():
            for meant in row_rules.rule(number).meant:
                found = (row_rules.rule_of == number) & (source >= meant.low) & (source <= meant.high)
                rows = np.flatnonzero(found & ~weighed if meant.unknown_weight else found)
                numbers[rows] = source[rows] * meant.conversion.factor + meant.conversion.offset
                positions.append(rows)
        return np.concatenate(positions)


Pair = tuple[str | None, str | None]
"""An item, and a unit as written."""

_LIMITS = ("low", "high", "suspicious_low", "suspicious_high", "sentinels_from")


class KnownRules:
    """All rules that were looked up, numbered, and their attributes as arrays.

    A shard has thousands of pairs of item and unit, which are the same in all shards.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], dict[Pair, int]] = {}
        self._rules: list[Rule] = []
        self._attributes: dict[str, npt.NDArray[Any]] = {}
        self._texts: dict[str | None, int] = {}

    def numbers(
        self, event_type: str, kind: str, pairs: Sequence[Pair], find: Callable[[str | None, str | None], Rule]
    ) -> Int64s:
        """Return the number of each pair's rule.

        Args:
            event_type: event type of the rules.
            kind: kind of the rules.
            pairs: item, and unit as written.
            find: returns the rule of a pair.
        """
        known = self._numbers.setdefault((event_type, kind), {})
        numbers = list(map(known.get, pairs))
        if None in numbers:
            for pair in pairs:
                if pair not in known:
                    self._rules.append(find(*pair))
                    known[pair] = len(self._rules) - 1
            numbers = list(map(known.get, pairs))
        return np.array(numbers, np.int64)

    def rule(self, number: int) -> Rule:
        """Return a rule by its number."""
        return self._rules[number]

    def attribute(self, name: str) -> npt.NDArray[Any]:
        """Return an attribute of all rules: one of `_ATTRIBUTES`, or a text as the number that `texts` expects."""
        known = self._attributes.get(name, np.empty(0))
        if len(known) < len(self._rules):
            new = np.array([self._value(name, rule) for rule in self._rules[len(known) :]])
            known = self._attributes[name] = np.concatenate([known, new]) if len(known) else new
        return known

    def _value(self, name: str, rule: Rule) -> float:
        if name in _ATTRIBUTES:
            return _ATTRIBUTES[name](rule)
        text = getattr(rule, name)
        if name == "written" and text == rule.unit:
            text = None
        return -1 if text is None else self._texts.setdefault(text, len(self._texts))

    def texts(self) -> pa.Array:
        """Return all texts of the rules, by number."""
        return pa.array(list(self._texts), pa.string())


_ATTRIBUTES: dict[str, Callable[[Rule], float]] = {
    "factor": lambda rule: rule.conversion.factor,
    "offset": lambda rule: rule.conversion.offset,
    "weight": lambda rule: rule.conversion.weight,
    "changes": lambda rule: rule.conversion.changes,
    "flags": lambda rule: rule.flags,
    "unusable": lambda rule: rule.unusable,
    "limited": lambda rule: rule.limits != Limits(),
    "has_meant": lambda rule: bool(rule.meant),
    **{name: partial(lambda name, rule: getattr(rule.limits, name), name) for name in _LIMITS},
}


@dataclass
class RowRules:
    """The rule of each row.

    Attributes:
        rule_of: position of each row's rule in `numbers`.
        numbers: numbers of the rules that occur.
        known: all rules.
    """

    rule_of: Int32s
    numbers: Int64s
    known: KnownRules

    def rule(self, position: int) -> Rule:
        """Return the rule at a position in `numbers`."""
        return self.known.rule(int(self.numbers[position]))

    def attribute(self, name: str) -> npt.NDArray[Any]:
        """Return an attribute of each rule in `numbers`."""
        return self.known.attribute(name)[self.numbers]

    def of_rows(self, name: str) -> npt.NDArray[Any]:
        """Return an attribute of each row's rule."""
        return self.attribute(name).take(self.rule_of)

    def texts(self, name: str) -> Texts:
        """Return a text of each row's rule: `unit`, or `written` where it differs from the unit."""
        present, place = np.unique(self.attribute(name), return_inverse=True)
        with_text = present >= 0
        positions = np.where(with_text, np.cumsum(with_text) - 1, -1).astype(np.int32)
        return Texts(positions[place].take(self.rule_of), self.known.texts().take(pa.array(present[with_text])))

    def override_where(self, other: RowRules, mask: Bools) -> RowRules:
        """Return these rules, replaced by the other rules where `mask` is true."""
        rule_of = np.where(mask, other.rule_of + len(self.numbers), self.rule_of).astype(np.int32)
        return RowRules(rule_of, np.concatenate([self.numbers, other.numbers]), self.known)

    def convert(self, source: Floats, weights: Floats | None) -> Floats:
        """Return the numbers in their rule's unit."""
        if not self.attribute("changes").any():
            return source.copy()
        converted: Floats = source * self._factor(weights) + self.of_rows("offset")
        return converted

    def _factor(self, weights: Floats | None) -> Floats:
        factor: Floats = self.of_rows("factor")
        power = self.attribute("weight")
        if weights is None or not power.any():
            return factor
        power = power.take(self.rule_of)
        return factor * np.where(
            power == 0, 1.0, np.power(np.where(power == 0, 1.0, weights), power.astype(np.float64))
        )


def _known_weights(weights: Floats | None, rows: int) -> Bools:
    return np.zeros(rows, bool) if weights is None else ~np.isnan(weights)


def _pairs(items: Texts, units: Texts) -> Int64s:
    """Return a number for each row's pair of item and unit, including nulls."""
    pair: Int64s = (items.positions.astype(np.int64) + 1) * (len(units.values) + 1) + (units.positions + 1)
    return pair


def _distinct(keys: Int64s, size: int) -> tuple[Int64s, Int32s]:
    """Return the keys that occur, ascending, and each row's position in them."""
    if size > _MAX_PAIRS:
        present, place = np.unique(keys, return_inverse=True)
        return present, place.astype(np.int32)
    seen = np.zeros(size, bool)
    seen[keys] = True
    present = np.flatnonzero(seen)
    table = np.zeros(size, np.int32)
    table[present] = np.arange(len(present), dtype=np.int32)
    return present, table.take(keys)


def _as_texts(source: Floats, rows: Int64s) -> Texts | None:
    """Return the source's numbers of these rows as texts, null in other rows; None without rows."""
    if not len(rows):
        return None
    encoded = Texts.encode(pa.chunked_array([pa.array(source[rows]).cast(pa.string())]))
    positions = np.full(len(source), -1, np.int32)
    positions[rows] = encoded.positions
    return Texts(positions, encoded.values)
