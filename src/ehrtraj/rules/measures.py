"""The rule tables of numbers: the unit of each item, the conversions into it, and which numbers are impossible.

`units.csv`, `spellings.csv`, `conversions.csv`, `meant_units.csv`, `limits.csv` and `sentinels.csv` are read into one
object, which is queried by event type, item and unit as written in the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from ehrtraj import rules
from ehrtraj.rules import Read

ANY = "*"


@dataclass(frozen=True)
class Conversion:
    """number * factor + offset, then optionally multiplied or divided by the patient's weight.

    Attributes:
        factor, offset: coefficients of the conversion.
        weight: 1 to multiply by the body weight in kg, -1 to divide by it, 0 for neither.
    """

    factor: float = 1.0
    offset: float = 0.0
    weight: int = 0

    @property
    def changes(self) -> bool:
        """Whether it changes numbers."""
        return self.factor != 1.0 or self.offset != 0.0 or self.weight != 0


@dataclass(frozen=True)
class Limits:
    """Limits of an item's numbers in the item's unit, bounds included.

    Attributes:
        low, high: a number beyond them is impossible.
        suspicious_low, suspicious_high: a number beyond them is suspicious, but kept.
    """

    low: float = -inf
    high: float = inf
    suspicious_low: float = -inf
    suspicious_high: float = inf


@dataclass(frozen=True)
class InferredUnit:
    """Numbers from `low` to `high` were recorded in a different unit than the one written."""

    low: float
    high: float
    conversion: Conversion


@dataclass(frozen=True)
class Rule:
    """How to treat the numbers of one item that are written in one unit.

    Attributes:
        item: the item as in the code.
        unit: unit of the numbers afterwards, in UCUM, or as written if it is unknown.
        written: the unit as written in the source.
        suffix: the unit, if it must be part of the code because it is not the item's unit.
        conversion: conversion into `unit`.
        meant: ranges of numbers that were recorded in a different unit.
        limits: limits in `unit`.
        flags: flag bits of all numbers under this rule.
    """

    item: str | None
    unit: str | None
    written: str | None
    suffix: str | None = None
    conversion: Conversion = Conversion()
    meant: tuple[InferredUnit, ...] = ()
    limits: Limits = Limits()
    flags: int = 0


def _number(text: str, empty: float) -> float:
    return float(text) if text else empty


def _conversion(line: dict[str, str]) -> Conversion:
    weight = {"": 0, "multiply": 1, "divide": -1}[line.get("weight", "")]
    return Conversion(_number(line["factor"], 1.0), _number(line["offset"], 0.0), weight)


class Measures:
    """The rule tables of numbers, queried by event type, item and unit as written."""

    def __init__(self, read: Read) -> None:
        """Read the tables.

        Args:
            read: function that reads a rule table of the source.
        """
        self.spellings = {line["written"].lower(): line["ucum"] for line in read("spellings")}
        self.units = {(line["event_type"], line["item"]): line["unit"] for line in read("units")}
        self.conversions = {
            (line["event_type"], line["item"], line["from_unit"], line["to_unit"]): _conversion(line)
            for line in read("conversions")
        }
        self.limits = {
            (line["event_type"], line["item"]): Limits(
                _number(line["low"], -inf),
                _number(line["high"], inf),
                _number(line["suspicious_low"], -inf),
                _number(line["suspicious_high"], inf),
            )
            for line in read("limits")
        }
        self.meant: dict[tuple[str, str], tuple[InferredUnit, ...]] = {}
        for line in read("meant_units"):
            key = line["event_type"], line["item"]
            inferred = InferredUnit(float(line["low"]), float(line["high"]), _conversion(line))
            self.meant[key] = (*self.meant.get(key, ()), inferred)
        self.sentinels = tuple(float(line["value"]) for line in read("sentinels"))
        self.event_types = frozenset(event_type for event_type, _ in self.units)
        # UCUM codes that need no line in spellings.csv. Their case matters: Mg is not mg.
        self._own_units = {*self.units.values(), *(unit for key in self.conversions for unit in key[2:])}
        self._into = {
            (event_type, item, source): target
            for event_type, item, source, target in self.conversions
            if event_type != ANY and item == ANY
        }

    def item_unit(self, event_type: str, item: str) -> str | None:
        """Return the unit of an item's standardised numbers, or None if no rule sets one."""
        return self.units.get((event_type, item)) or self.units.get((event_type, ANY)) or None

    def spelled(self, written: str | None) -> str | None:
        """Return a written unit in UCUM: "" if it means "no unit", None if it is unknown."""
        text = (written or "").strip()
        if not text:
            return ""
        return self.spellings.get(text.lower(), text if text in self._own_units else None)

    def conversion(self, event_type: str, item: str, source: str, target: str) -> Conversion | None:
        """Return the conversion between two UCUM units: of the item, of the event type, or a general one."""
        for key in ((event_type, item), (event_type, ANY), (ANY, ANY)):
            if found := self.conversions.get((*key, source, target)):
                return found
        return None

    def rule(self, event_type: str, item: str | None, written: str | None) -> Rule:
        """Return how to treat the numbers of an item that are written in a unit."""
        if item is None:
            return Rule(None, written, written)
        spelled, item_unit = self.spelled(written), self.item_unit(event_type, item)
        meant, limits = self.meant.get((event_type, item), ()), self.limits.get((event_type, item), Limits())
        flags = rules.flags()
        if spelled is None:
            return Rule(item, written, written, suffix=written, flags=flags["unit_unlisted"])
        if spelled == "":
            assumed = flags["unit_assumed"] if item_unit and not _is_bare(item_unit) else 0
            return Rule(item, item_unit, written, meant=meant, limits=limits, flags=assumed)
        if item_unit is None:
            return self._without_item_unit(event_type, item, written, spelled)
        if spelled == item_unit:
            return Rule(item, item_unit, written, meant=meant, limits=limits)
        conversion = self.conversion(event_type, item, spelled, item_unit)
        if conversion is None:
            return Rule(item, spelled, written, suffix=spelled, flags=flags["unit_unlisted"])
        flag_bits = flags["unit_converted"] if conversion.changes else 0
        flag_bits |= flags["weight_used"] if conversion.weight else 0
        return Rule(item, item_unit, written, None, conversion, meant, limits, flag_bits)

    def _without_item_unit(self, event_type: str, item: str, written: str | None, spelled: str) -> Rule:
        """Return the rule for an item that can have any unit, such as a drug's dose: the unit is part of the code."""
        target = self._into.get((event_type, ANY, spelled))
        if target is None:
            return Rule(item, spelled, written, suffix=spelled)
        conversion = self.conversions[event_type, ANY, spelled, target]
        flag_bits = rules.flags()["unit_converted"] if conversion.changes else 0
        return Rule(item, target, written, suffix=target, conversion=conversion, flags=flag_bits)

    def spelling_only(self, item: str | None, written: str | None) -> Rule:
        """Return the rule for rows without a number: only the spelling of the unit changes."""
        return Rule(item, self.spelled(written) or written or None, written)

    def without_weight(self, item: str | None, written: str | None) -> Rule:
        """Return the rule for rows whose conversion needs an unknown weight: number and unit are unchanged."""
        unit = self.spelled(written) or written
        return Rule(item, unit, written, suffix=unit, flags=rules.flags()["weight_placeholder"])


def _is_bare(unit: str) -> bool:
    """Return whether numbers in this unit are usually written without it."""
    return unit in ("1", "[pH]") or unit.startswith("{")
