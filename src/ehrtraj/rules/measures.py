"""The rule tables of numbers: which unit an item's numbers end in, how they get there, and which numbers cannot be.

`units.csv`, `spellings.csv`, `conversions.csv`, `meant_units.csv`, `limits.csv` and `sentinels.csv`, read into one
object that answers for an event type, an item and a unit as the source writes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from ehrtraj import rules
from ehrtraj.rules import Read

ANY = "*"


@dataclass(frozen=True)
class Conversion:
    """to = number * factor + offset, and then times or by the patient's weight.

    Attributes:
        factor, offset: of the conversion.
        weight: 1 to multiply by kg of body weight, -1 to divide, 0 for neither.
    """

    factor: float = 1.0
    offset: float = 0.0
    weight: int = 0

    @property
    def changes(self) -> bool:
        """Whether a number is another one after it."""
        return self.factor != 1.0 or self.offset != 0.0 or self.weight != 0


@dataclass(frozen=True)
class Limits:
    """What a number of an item may be, in the item's own unit, bounds included.

    Attributes:
        low, high: beyond them a number is impossible.
        suspicious_low, suspicious_high: beyond them it is only worth a look.
    """

    low: float = -inf
    high: float = inf
    suspicious_low: float = -inf
    suspicious_high: float = inf


@dataclass(frozen=True)
class Meant:
    """Numbers from `low` to `high` were meant in another unit than the one written."""

    low: float
    high: float
    conversion: Conversion


@dataclass(frozen=True)
class Rule:
    """What happens to the numbers of one item written in one unit.

    Attributes:
        item: as in the code.
        unit: that the numbers have afterwards; UCUM, or as written where that is not known.
        written: the unit as the source writes it.
        suffix: the unit, where it belongs into the code because it is not the item's own.
        conversion: into that unit.
        meant: numbers that were meant otherwise.
        limits: in that unit.
        flags: bits of all numbers under this rule.
    """

    item: str | None
    unit: str | None
    written: str | None
    suffix: str | None = None
    conversion: Conversion = Conversion()
    meant: tuple[Meant, ...] = ()
    limits: Limits = Limits()
    flags: int = 0


def _number(text: str, empty: float) -> float:
    return float(text) if text else empty


def _conversion(line: dict[str, str]) -> Conversion:
    weight = {"": 0, "multiply": 1, "divide": -1}[line.get("weight", "")]
    return Conversion(_number(line["factor"], 1.0), _number(line["offset"], 0.0), weight)


class Measures:
    """The rule tables of numbers, looked up by event type, item and unit as written."""

    def __init__(self, read: Read) -> None:
        """Read the tables.

        Args:
            read: reads a rule table of the source.
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
        self.meant: dict[tuple[str, str], tuple[Meant, ...]] = {}
        for line in read("meant_units"):
            key = line["event_type"], line["item"]
            one = Meant(float(line["low"]), float(line["high"]), _conversion(line))
            self.meant[key] = (*self.meant.get(key, ()), one)
        self.sentinels = tuple(float(line["value"]) for line in read("sentinels"))
        self.event_types = frozenset(event_type for event_type, _ in self.units)
        self._into = {
            (event_type, item, source): target
            for event_type, item, source, target in self.conversions
            if event_type != ANY and item == ANY
        }

    def item_unit(self, event_type: str, item: str) -> str | None:
        """Return the unit that an item's numbers end in; None where no rule says one."""
        return self.units.get((event_type, item)) or self.units.get((event_type, ANY)) or None

    def spelled(self, written: str | None) -> str | None:
        """Return a written unit in UCUM: "" where it says that there is none, None where it is not known."""
        text = (written or "").strip().lower()
        return self.spellings.get(text) if text else ""

    def conversion(self, event_type: str, item: str, source: str, target: str) -> Conversion | None:
        """Return how to get from one UCUM unit to another: by the item, the event type, or in general."""
        for key in ((event_type, item), (event_type, ANY), (ANY, ANY)):
            if found := self.conversions.get((*key, source, target)):
                return found
        return None

    def rule(self, event_type: str, item: str | None, written: str | None) -> Rule:
        """Return what happens to the numbers of an item that stand in a unit as written."""
        if item is None:
            return Rule(None, written, written)
        spelled, own = self.spelled(written), self.item_unit(event_type, item)
        meant, limits = self.meant.get((event_type, item), ()), self.limits.get((event_type, item), Limits())
        flags = rules.flags()
        if spelled is None:
            return Rule(item, written, written, suffix=written, flags=flags["unit_unlisted"])
        if spelled == "":
            assumed = flags["unit_assumed"] if own and not _is_bare(own) else 0
            return Rule(item, own, written, meant=meant, limits=limits, flags=assumed)
        if own is None:
            return self._without_item_unit(event_type, item, written, spelled)
        if spelled == own:
            return Rule(item, own, written, meant=meant, limits=limits)
        conversion = self.conversion(event_type, item, spelled, own)
        if conversion is None:
            return Rule(item, spelled, written, suffix=spelled, flags=flags["unit_unlisted"])
        noted = flags["unit_converted"] if conversion.changes else 0
        noted |= flags["weight_used"] if conversion.weight else 0
        return Rule(item, own, written, None, conversion, meant, limits, noted)

    def _without_item_unit(self, event_type: str, item: str, written: str | None, spelled: str) -> Rule:
        """An item that may have any unit, as a drug's dose: its unit is always part of the code."""
        target = self._into.get((event_type, ANY, spelled))
        if target is None:
            return Rule(item, spelled, written, suffix=spelled)
        conversion = self.conversions[event_type, ANY, spelled, target]
        noted = rules.flags()["unit_converted"] if conversion.changes else 0
        return Rule(item, target, written, suffix=target, conversion=conversion, flags=noted)

    def spelling_only(self, item: str | None, written: str | None) -> Rule:
        """Return the rule for rows without a number: only the spelling of the unit changes."""
        return Rule(item, self.spelled(written) or written or None, written)

    def without_weight(self, item: str | None, written: str | None) -> Rule:
        """Return the rule for rows whose conversion needs a weight that nobody knew: number and unit stay."""
        unit = self.spelled(written) or written
        return Rule(item, unit, written, suffix=unit, flags=rules.flags()["weight_placeholder"])


def _is_bare(unit: str) -> bool:
    """Whether numbers of a unit are usually written without one."""
    return unit in ("1", "[pH]") or unit.startswith("{")
