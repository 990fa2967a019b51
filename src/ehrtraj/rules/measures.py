"""The rule tables of numbers: the unit of each item, the conversions into it, and which numbers are impossible.

`units.csv`, `spellings.csv`, `conversions.csv`, `meant_units.csv`, `limits.csv`, `quantities.csv` and `sentinels.csv`
are read into one object, which is queried by event type, item and unit as written in the source.

An item with a unit has this unit in none of its codes, an item without a unit of its own, such as a drug in free text,
has the written unit in all of them, or `UNKNOWN`. Only a unit that cannot be converted into the item's unit makes
another code.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from ehrtraj import rules
from ehrtraj.format.names import NO_UNIT
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
        sentinels_from: a sentinel from this number on is a placeholder, even if it is within the other limits.
    """

    low: float = -inf
    high: float = inf
    suspicious_low: float = -inf
    suspicious_high: float = inf
    sentinels_from: float = inf


@dataclass(frozen=True)
class InferredUnit:
    """Numbers from `low` to `high` were recorded in a different unit than the one written.

    Attributes:
        low, high: range of the numbers as written, bounds included.
        conversion: conversion of the numbers into the item's unit.
        from_unit: unit as written, in UCUM; "" for any.
        unknown_weight: whether this applies only to rows without a known weight of the patient.
    """

    low: float
    high: float
    conversion: Conversion
    from_unit: str = ""
    unknown_weight: bool = False


@dataclass(frozen=True)
class Rule:
    """How to treat the numbers of one item that are written in one unit.

    Attributes:
        item: the item as in the code.
        unit: unit of the numbers afterwards, in UCUM, or as written if it is unknown.
        written: the unit as written in the source.
        suffix: the unit, if it is part of the code because the item has no unit of its own, or another one.
        conversion: conversion into `unit`.
        meant: ranges of numbers that were recorded in a different unit.
        limits: limits in `unit`.
        flags: flag bits of all numbers under this rule.
        unusable: whether the numbers become null because the patient's weight is needed, but not known.
    """

    item: str | None
    unit: str | None
    written: str | None
    suffix: str | None = None
    conversion: Conversion = Conversion()
    meant: tuple[InferredUnit, ...] = ()
    limits: Limits = Limits()
    flags: int = 0
    unusable: bool = False


def _number(text: str, empty: float) -> float:
    return float(text) if text else empty


def _conversion(line: dict[str, str]) -> Conversion:
    weight = {"": 0, "multiply": 1, "divide": -1}[line["weight"]]
    return Conversion(_number(line["factor"], 1.0), _number(line["offset"], 0.0), weight)


def _inferred(line: dict[str, str]) -> InferredUnit:
    conversion = Conversion(_number(line["factor"], 1.0), _number(line["offset"], 0.0))
    return InferredUnit(
        float(line["low"]), float(line["high"]), conversion, line["from_unit"], line["weight"] == "unknown"
    )


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
            self.meant[key] = (*self.meant.get(key, ()), _inferred(line))
        self.quantities = {
            line["unit"]: Limits(
                suspicious_low=_number(line["low"], -inf), sentinels_from=_number(line["sentinels_from"], inf)
            )
            for line in read("quantities")
        }
        self.sentinels = tuple(float(line["value"]) for line in read("sentinels"))
        self.event_types = frozenset(event_type for event_type, _ in self.units)
        # UCUM codes that need no line in spellings.csv. Their case matters: Mg is not mg.
        self._own_units = {*self.units.values(), *(unit for key in self.conversions for unit in key[2:])}
        self._into = {
            (event_type, item, source): target
            for (event_type, item, source, target), conversion in self.conversions.items()
            if event_type != ANY and item == ANY and not conversion.weight
        }

    def item_unit(self, event_type: str, item: str) -> str | None:
        """Return the unit of an item's standardised numbers, or None if no rule sets one."""
        return self._unit_line(event_type, item) or None

    def _unit_line(self, event_type: str, item: str) -> str | None:
        """Return the unit in the item's line of `units.csv`: "" for no unit of its own, None without a line."""
        for key in (item, ANY):
            if (unit := self.units.get((event_type, key))) is not None:
                return unit
        return None

    def limits_of(self, event_type: str, item: str, unit: str | None) -> Limits:
        """Return the limits of an item in this unit: its own, those of the event type, or those of the quantity."""
        for key in (item, ANY):
            if found := self.limits.get((event_type, key)):
                return found
        return self.quantities.get(unit or "", Limits())

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
        if item_unit is None:
            return self._without_item_unit(event_type, item, written, spelled)
        if spelled is None:
            return self._unlisted(event_type, item, written)
        same = spelled in ("", item_unit)
        conversion = Conversion() if same else self.conversion(event_type, item, spelled, item_unit)
        if conversion is None:
            return self._unlisted(event_type, item, written)
        flags = rules.flags()
        flag_bits = flags["unit_converted"] if conversion.changes else 0
        flag_bits |= flags["weight_used"] if conversion.weight else 0
        flag_bits |= flags["unit_assumed"] if spelled == "" else 0
        meant = tuple(m for m in self.meant.get((event_type, item), ()) if m.from_unit in ("", spelled))
        limits = self.limits_of(event_type, item, item_unit)
        return Rule(item, item_unit, written, None, conversion, meant, limits, flag_bits)

    def _without_item_unit(self, event_type: str, item: str, written: str | None, spelled: str | None) -> Rule:
        """Return the rule for an item that can have any unit, such as a drug's dose: the unit is part of the code."""
        if spelled is None:
            return self._unlisted(event_type, item, written)
        if spelled == "":
            return Rule(item, None, written, suffix=self._missing_suffix(event_type, item))
        target = self._into.get((event_type, ANY, spelled), spelled)
        conversion = self.conversions.get((event_type, ANY, spelled, target), Conversion())
        flag_bits = rules.flags()["unit_converted"] if conversion.changes else 0
        limits = self.limits_of(event_type, item, target)
        return Rule(item, target, written, target, conversion, limits=limits, flags=flag_bits)

    def _missing_suffix(self, event_type: str, item: str) -> str | None:
        """Return the part of the code for a missing unit, if the unit is part of all codes of the item."""
        return NO_UNIT if self._unit_line(event_type, item) == "" else None

    def _unlisted(self, event_type: str, item: str, written: str | None) -> Rule:
        """Return the rule for a unit that is unknown, or that no conversion joins with the item's unit."""
        unit = self.spelled(written) or written
        limits = self.quantities.get(unit or "", Limits())
        return Rule(item, unit, written, suffix=unit, limits=limits, flags=rules.flags()["unit_unlisted"])

    def spelling_only(self, event_type: str, item: str | None, written: str | None) -> Rule:
        """Return the rule for rows without a number: only the spelling of the unit changes."""
        spelled = self.spelled(written)
        if item is None or self.item_unit(event_type, item) is not None:
            return Rule(item, spelled or written or None, written)
        if not spelled:
            listed = self._unit_line(event_type, item) is not None
            suffix = written if spelled is None and listed else self._missing_suffix(event_type, item)
            return Rule(item, written or None, written, suffix=suffix)
        target = self._into.get((event_type, ANY, spelled), spelled)
        if self.conversions.get((event_type, ANY, spelled, target), Conversion()).changes:
            target = spelled
        return Rule(item, target, written, suffix=target)

    def without_weight(self, event_type: str, item: str | None, written: str | None) -> Rule:
        """Return the rule for rows whose conversion needs an unknown weight: there is no number in the item's unit."""
        flag = rules.flags()["weight_placeholder"]
        return Rule(item, self.spelled(written) or written, written, flags=flag, unusable=True)
