"""The codes of events while a shard is built: numbered as they occur, and sorted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj.format.arrays import Bools, Int32s, Int64s
from ehrtraj.format.event_types import EventType, event_type_of
from ehrtraj.pipeline.shard.code_facts import Facts
from ehrtraj.pipeline.shard.standardise import RowRules
from ehrtraj.rules.measures import Rule


@dataclass(frozen=True)
class SortedCodes:
    """Codes in the order of the rank of their event type and their name.

    Attributes:
        names: each code.
        event_types: names of event types.
        type_of: position of each code's event type in `event_types`.
    """

    names: pa.Array
    event_types: list[str]
    type_of: Int64s

    @classmethod
    def of(cls, names: Sequence[str]) -> SortedCodes:
        """Return codes that are already in order."""
        types = pa.array([event_type_of(name) for name in names], pa.string()).dictionary_encode()
        return cls(
            pa.array(names, pa.string()), types.dictionary.to_pylist(), types.indices.to_numpy().astype(np.int64)
        )

    def __len__(self) -> int:
        return len(self.names)

    def where(self, chosen: Bools) -> SortedCodes:
        """Return some of the codes."""
        return SortedCodes(self.names.filter(pa.array(chosen)), self.event_types, self.type_of[chosen])

    def positions(self, names: Sequence[str]) -> list[int]:
        """Return the position of each name, -1 if it does not occur."""
        found = pc.index_in(pa.array(names, pa.string()), value_set=self.names)
        positions: list[int] = pc.fill_null(found, -1).to_pylist()
        return positions


@dataclass
class Codes:
    """The codes of a part.

    The names, ranks and flags of codes are those of all parts of a worker, since most codes occur in every part.

    Attributes:
        event_types: all event types, including custom ones.
        names: each code.
        ranks: the rank of each code's event type.
        flags: flags of all events with each code, -1 if they are not determined yet.
        facts: what the rows of the source say about codes.
    """

    event_types: Mapping[str, EventType]
    names: list[str] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    facts: list[Facts] = field(default_factory=list)
    _positions: dict[str, int] = field(default_factory=dict)
    _of_rule: dict[int, int] = field(default_factory=dict)
    _in_order: list[tuple[Int64s, SortedCodes]] = field(default_factory=list)
    """The result of `in_order`, until a code is added. It is in a list so that the next parts have it, too."""

    def of_next_part(self) -> Codes:
        """Return the same codes without what the rows of this part contain about them."""
        return replace(self, facts=[])

    def of_rules(self, event_type: str, row_rules: RowRules) -> Int32s:
        """Return the position of the code of each rule, which is added if it is new."""
        numbers = row_rules.numbers.tolist()
        found = list(map(self._of_rule.get, numbers))
        if None in found:
            rank = self.event_types[event_type].rank
            for number in numbers:
                if number not in self._of_rule:
                    self._of_rule[number] = self.add(_code_name(event_type, row_rules.known.rule(number)), rank)
            found = list(map(self._of_rule.get, numbers))
        return np.array(found, np.int32)

    def add_all(self, names: list[str], rank: int) -> Int32s:
        """Return the positions of codes. Those that are new are added."""
        found = list(map(self._positions.get, names))
        if None in found:
            return np.array([self.add(name, rank) for name in names], np.int32)
        return np.array(found, np.int32)

    def in_order(self) -> tuple[Int64s, SortedCodes]:
        """Return the positions of all codes, sorted by the rank of their event type and their name, and the codes."""
        if not self._in_order or len(self._in_order[0][0]) < len(self.names):
            order = sorted(range(len(self.names)), key=lambda at: (self.ranks[at], self.names[at]))
            self._in_order[:] = [(np.array(order, np.int64), SortedCodes.of([self.names[at] for at in order]))]
        return self._in_order[0]

    def add(self, name: str, rank: int) -> int:
        """Return the position of a code, which is added if it is new."""
        position = self._positions.setdefault(name, len(self.names))
        if position == len(self.names):
            self.names.append(name)
            self.ranks.append(rank)
            self.flags.append(-1)
        return position


def _code_name(event_type: str, rule: Rule) -> str:
    return "//".join(filter(None, (event_type, rule.item, rule.suffix)))
