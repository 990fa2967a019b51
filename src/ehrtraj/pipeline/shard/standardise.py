"""Standardise: bring numbers into their item's own unit and judge them, by the rule tables.

Works on the result of one statement, before it becomes events. Which rule a row falls under depends only on its item
and its unit as written, so rules are looked up once for each pair that occurs and applied to whole columns. The order
is fixed: a number meant in another unit, conversion, sentinels, limits. What a rule changes keeps what the source said
in raw_value and raw_unit.
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

# A pair's rule is found in a table of all pairs where that is small, which costs 2 ns a row; else by sorting.
_LARGEST_TABLE = 1 << 22


@dataclass
class Standardised:
    """What standardising made of the numbers of one statement.

    Attributes:
        rule_of: position of each row's rule in `rules`.
        rules: all rules that rows fall under; they say item, unit, and whether the unit belongs into the code.
        numbers: in the rule's unit; NaN for null.
        raw_value: what the source said, where the number is another one now.
        flags: bits to add.
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
    """Applies the rule tables of numbers, remembering each pair of item and unit it has met.

    Attributes:
        texts: reads what stands where a number is expected.
        items: flags that codes carry by themselves.
        copied results: items whose values repeat those of another.
        planned: event types whose times show what was planned.
        weight: column of a statement with the patient's weight in kg, which conversions of doses need.
        comments: column of a statement with what a laboratory remarks on a result.
    """

    def __init__(self, source: Source) -> None:
        """Read the rule tables.

        Args:
            source: whose rules to apply.
        """
        self._measures = measures = Measures(source.rules)
        self.texts = TextReader(text_rules(source.rules, partial(source.rules, special_first=True)))
        self.items = ItemFlags(source.rules)
        self.copied_results = copied_results(source.rules)
        self.planned = source.planned
        self.weight, self.comments = source.declared.weight, source.declared.comments
        self._sentinels = np.array(sorted(measures.sentinels))
        self._known: dict[tuple[str, str | None, str | None, str], Rule] = {}
        self._flags = rules.flags()

    def has_rules(self, event_type: str) -> bool:
        """Whether numbers of an event type are standardised."""
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
            event_type: of the statement.
            items: of each row.
            units: as written, of each row.
            numbers: of each row, NaN for null.
            weights: kg of body weight of each row, NaN for unknown; None where the statement has none.
            bounds: rows whose number is a bound: converted, but not judged, and the source gave no number for them.
        """
        pair = _pairs(items, units)
        found = self._rules(event_type, items, units, pair)
        absent = np.isnan(numbers)
        if any(rule.conversion.weight for rule in found.rules):
            unweighed = ~absent & found.needs_weight() & ~_known_weights(weights, len(numbers))
            found = found.instead(self._rules(event_type, items, units, pair, "without_weight"), unweighed)
        if absent.any():
            found = found.instead(self._rules(event_type, items, units, pair, "spelling_only"), absent)
        return self._judge(found, numbers, weights, bounds)

    def _rules(self, event_type: str, items: Texts, units: Texts, pair: Int64s, kind: str = "rule") -> _Found:
        width = len(units.values) + 1
        present, rule_of = _distinct(pair, (len(items.values) + 1) * width)
        item_names = [*(str(v) for v in items.values.to_pylist()), None]
        unit_names = [*units.values.to_pylist(), None]
        chosen = [
            self._rule(event_type, item_names[at // width - 1], unit_names[at % width - 1], kind) for at in present
        ]
        return _Found(rule_of, chosen)

    def _rule(self, event_type: str, item: str | None, written: str | None, kind: str) -> Rule:
        key = (event_type, item, written, kind)
        if key not in self._known:
            measures = self._measures
            self._known[key] = (
                measures.rule(event_type, item, written) if kind == "rule" else getattr(measures, kind)(item, written)
            )
        return self._known[key]

    def _judge(
        self, found: _Found, source: Floats, weights: Floats | None, bounds: Bools | None = None
    ) -> Standardised:
        numbers, flags = found.convert(source, weights), found.flags()
        meant = self._meant(found, source, numbers)
        flags[meant] |= self._flags["unit_inferred"]
        gone = np.zeros(len(numbers), bool)
        if found.limited:
            limits = [np.array([getattr(r.limits, name) for r in found.rules]) for name in _LIMITS]
            low, high, suspicious_low, suspicious_high = (limit[found.rule_of] for limit in limits)
            gone = (numbers < low) | (numbers > high)
            odd = ~gone & ((numbers < suspicious_low) | (numbers > suspicious_high))
            if bounds is not None:
                gone, odd = gone & ~bounds, odd & ~bounds
            at = np.flatnonzero(gone | odd)
            stands_for_none = at[np.isin(source[at], self._sentinels)]
            gone[stands_for_none], odd[stands_for_none] = True, False
            flags[odd] |= self._flags["suspicious_value"]
            flags[gone] |= self._flags["impossible_value"]
            flags[stands_for_none] ^= self._flags["impossible_value"] | self._flags["sentinel_value"]
            numbers = np.where(gone, np.nan, numbers)
        altered = gone | (numbers != source) & ~np.isnan(source)
        changed = np.flatnonzero(altered if bounds is None else altered & ~bounds)
        return Standardised(found.rule_of, found.rules, numbers, _spelled(source, changed), flags)

    def _meant(self, found: _Found, source: Floats, numbers: Floats) -> Int64s:
        """Convert, in place, the numbers that were meant in another unit, and return where they are."""
        places = [np.empty(0, np.int64)]
        for number, rule in enumerate(found.rules):
            for meant in rule.meant:
                rows = np.flatnonzero((found.rule_of == number) & (source >= meant.low) & (source <= meant.high))
                numbers[rows] = source[rows] * meant.conversion.factor + meant.conversion.offset
                places.append(rows)
        return np.concatenate(places)


_LIMITS = ("low", "high", "suspicious_low", "suspicious_high")


@dataclass
class _Found:
    """The rule of each row."""

    rule_of: Int32s
    rules: list[Rule]

    @property
    def limited(self) -> bool:
        """Whether any rule has limits."""
        return any(rule.limits != type(rule.limits)() for rule in self.rules)

    def flags(self) -> Int64s:
        """Return the flags of each row's rule."""
        return np.array([rule.flags for rule in self.rules], np.int64)[self.rule_of]

    def needs_weight(self) -> Bools:
        """Say which rows are converted by the patient's weight."""
        needs: Bools = np.array([rule.conversion.weight != 0 for rule in self.rules])[self.rule_of]
        return needs

    def instead(self, other: _Found, where: Bools) -> _Found:
        """Return these rules, and the other ones where `where` holds."""
        rule_of = np.where(where, other.rule_of + len(self.rules), self.rule_of).astype(np.int32)
        return _Found(rule_of, [*self.rules, *other.rules])

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
    """Return one number for each row's pair of item and unit, nulls included."""
    pair: Int64s = (items.positions.astype(np.int64) + 1) * (len(units.values) + 1) + (units.positions + 1)
    return pair


def _distinct(keys: Int64s, size: int) -> tuple[list[int], Int32s]:
    """Return the keys that occur, ascending, and each row's place among them."""
    if size > _LARGEST_TABLE:
        present, place = np.unique(keys, return_inverse=True)
        return present.tolist(), place.astype(np.int32)
    seen = np.zeros(size, bool)
    seen[keys] = True
    present = np.flatnonzero(seen)
    table = np.zeros(size, np.int32)
    table[present] = np.arange(len(present), dtype=np.int32)
    return present.tolist(), table[keys]


def _spelled(source: Floats, rows: Int64s) -> Texts | None:
    """Return the source's numbers of these rows as texts, null elsewhere."""
    if not len(rows):
        return None
    encoded = Texts.encode(pa.chunked_array([pa.array(source[rows]).cast(pa.string())]))
    positions = np.full(len(source), -1, np.int32)
    positions[rows] = encoded.positions
    return Texts(positions, encoded.values)
