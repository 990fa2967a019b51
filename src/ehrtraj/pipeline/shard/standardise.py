"""Standardise numbers with the rule tables: convert them to their item's unit and compare them with limits.

This works on the result of one statement, before it becomes events. The rule of a row depends only on its item and its
unit as written, so each rule is looked up once for each pair that occurs and applied to complete columns. The order is
fixed: conversions, numbers meant in another unit, sentinels, limits. If a rule changes a value, raw_value and raw_unit
contain the original.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from ehrtraj import rules
from ehrtraj.format.arrays import Bools, Floats, Int32s, Int64s, Texts
from ehrtraj.pipeline.shard.texts import TextReader
from ehrtraj.rules.copied_results import copied_results
from ehrtraj.rules.items import ItemFlags
from ehrtraj.rules.measures import Measures, Rule
from ehrtraj.rules.texts import text_rules
from ehrtraj.sources.source import Source

# Up to this number of pairs, rules are looked up in a table of all pairs, which takes 2 ns per row; beyond, by sorting.
_MAX_PAIRS = 1 << 22


@dataclass
class Standardised:
    """The standardised numbers of one statement.

    Attributes:
        rule_of: position of each row's rule in `rules`.
        rules: all rules of the rows; they contain the item, the unit, and whether the unit is part of the code.
        numbers: numbers in the rule's unit; NaN for null.
        raw_value: original numbers of the source where they were changed; None if no number was changed.
        flags: flags to add to each row.
    """

    rule_of: Int32s
    rules: list[Rule]
    numbers: Floats
    raw_value: Texts | None
    flags: Int64s

    def texts(self, attribute: str) -> Texts:
        """Return a text of each row's rule: `unit`, or `written` where it differs from the unit."""
        values = [getattr(rule, attribute) for rule in self.rules]
        if attribute == "written":
            values = [v if v != rule.unit else None for v, rule in zip(values, self.rules, strict=True)]
        distinct = sorted({v for v in values if v is not None})
        place = {v: i for i, v in enumerate(distinct)}
        positions = np.array([place.get(v, -1) for v in values], np.int32)
        return Texts(positions[self.rule_of], pa.array(distinct, pa.string()))


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
        self._known: dict[tuple[str, str | None, str | None, str], Rule] = {}
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
        if any(rule.conversion.weight for rule in row_rules.rules):
            without_weight = ~absent & row_rules.needs_weight() & ~_known_weights(weights, len(numbers))
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

    def _rules(self, event_type: str, items: Texts, units: Texts, pair: Int64s, kind: str = "rule") -> _RowRules:
        width = len(units.values) + 1
        present, rule_of = _distinct(pair, (len(items.values) + 1) * width)
        item_names = [*(str(v) for v in items.values.to_pylist()), None]
        unit_names = [*units.values.to_pylist(), None]
        chosen = [
            self._rule(event_type, item_names[at // width - 1], unit_names[at % width - 1], kind) for at in present
        ]
        return _RowRules(rule_of, chosen)

    def _rule(self, event_type: str, item: str | None, written: str | None, kind: str) -> Rule:
        key = (event_type, item, written, kind)
        if key not in self._known:
            self._known[key] = getattr(self._measures, kind)(event_type, item, written)
        return self._known[key]

    def _convert_and_check(
        self, row_rules: _RowRules, source: Floats, weights: Floats | None, bounds: Bools | None = None
    ) -> Standardised:
        numbers, flags = row_rules.convert(source, weights), row_rules.flags()
        inferred = self._infer_units(row_rules, source, numbers, _known_weights(weights, len(source)))
        flags[inferred] |= self._flags["unit_inferred"]
        measured = np.ones(len(numbers), bool) if bounds is None else ~bounds
        nulled = row_rules.unusable() & measured & ~np.isnan(source)
        if row_rules.limited:
            limits = [np.array([getattr(r.limits, name) for r in row_rules.rules]) for name in _LIMITS]
            low, high, suspicious_low, suspicious_high, sentinels_from = (each[row_rules.rule_of] for each in limits)
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
        return Standardised(row_rules.rule_of, row_rules.rules, numbers, _as_texts(source, changed), flags)

    def _infer_units(self, row_rules: _RowRules, source: Floats, numbers: Floats, weighed: Bools) -> Int64s:
        """Convert, in place, the numbers that were meant in another unit, and return their positions."""
        positions = [np.empty(0, np.int64)]
        for number, rule in enumerate(row_rules.rules):
            for meant in rule.meant:
                found = (row_rules.rule_of == number) & (source >= meant.low) & (source <= meant.high)
                rows = np.flatnonzero(found & ~weighed if meant.unknown_weight else found)
                numbers[rows] = source[rows] * meant.conversion.factor + meant.conversion.offset
                positions.append(rows)
        return np.concatenate(positions)


_LIMITS = ("low", "high", "suspicious_low", "suspicious_high", "sentinels_from")


@dataclass
class _RowRules:
    """The rule of each row."""

    rule_of: Int32s
    rules: list[Rule]

    @property
    def limited(self) -> bool:
        """Whether at least one rule has limits."""
        return any(rule.limits != type(rule.limits)() for rule in self.rules)

    def flags(self) -> Int64s:
        """Return the flags of each row's rule."""
        return np.array([rule.flags for rule in self.rules], np.int64)[self.rule_of]

    def unusable(self) -> Bools:
        """Return which rows have a number that needs the patient's unknown weight."""
        unusable: Bools = np.array([rule.unusable for rule in self.rules])[self.rule_of]
        return unusable

    def needs_weight(self) -> Bools:
        """Return which rows are converted with the patient's weight."""
        needs: Bools = np.array([rule.conversion.weight != 0 for rule in self.rules])[self.rule_of]
        return needs

    def override_where(self, other: _RowRules, mask: Bools) -> _RowRules:
        """Return these rules, replaced by the other rules where `mask` is true."""
        rule_of = np.where(mask, other.rule_of + len(self.rules), self.rule_of).astype(np.int32)
        return _RowRules(rule_of, [*self.rules, *other.rules])

    def convert(self, source: Floats, weights: Floats | None) -> Floats:
        """Return the numbers in their rule's unit."""
        conversions = [rule.conversion for rule in self.rules]
        if not any(c.changes for c in conversions):
            return source.copy()
        factor = np.array([c.factor for c in conversions])[self.rule_of]
        offset = np.array([c.offset for c in conversions])[self.rule_of]
        if weights is not None and any(c.weight for c in conversions):
            power = np.array([c.weight for c in conversions])[self.rule_of]
            factor = factor * np.where(power == 0, 1.0, np.power(np.where(power == 0, 1.0, weights), power))
        converted: Floats = source * factor + offset
        return converted


def _known_weights(weights: Floats | None, rows: int) -> Bools:
    return np.zeros(rows, bool) if weights is None else ~np.isnan(weights)


def _pairs(items: Texts, units: Texts) -> Int64s:
    """Return a number for each row's pair of item and unit, including nulls."""
    pair: Int64s = (items.positions.astype(np.int64) + 1) * (len(units.values) + 1) + (units.positions + 1)
    return pair


def _distinct(keys: Int64s, size: int) -> tuple[list[int], Int32s]:
    """Return the keys that occur, ascending, and each row's position in them."""
    if size > _MAX_PAIRS:
        present, place = np.unique(keys, return_inverse=True)
        return present.tolist(), place.astype(np.int32)
    seen = np.zeros(size, bool)
    seen[keys] = True
    present = np.flatnonzero(seen)
    table = np.zeros(size, np.int32)
    table[present] = np.arange(len(present), dtype=np.int32)
    return present.tolist(), table[keys]


def _as_texts(source: Floats, rows: Int64s) -> Texts | None:
    """Return the source's numbers of these rows as texts, null in other rows; None without rows."""
    if not len(rows):
        return None
    encoded = Texts.encode(pa.chunked_array([pa.array(source[rows]).cast(pa.string())]))
    positions = np.full(len(source), -1, np.int32)
    positions[rows] = encoded.positions
    return Texts(positions, encoded.values)
