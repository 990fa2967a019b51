"""What features are made of: concepts, rates of infusions, complete codes, and columns of computed concepts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ehrtraj.cohorts.nearest import did_you_mean
from ehrtraj.concepts.session import ConceptMode
from ehrtraj.dataset.concepts import stored_concepts
from ehrtraj.dataset.layout import DatasetLayout
from ehrtraj.errors import SettingsError
from ehrtraj.sources.source import source_of

_NUMBERS = frozenset({"BIGINT", "INTEGER", "DOUBLE", "BOOLEAN"})
_RATE = "_rate"


@dataclass(frozen=True)
class Measure:
    """One of the things of which features are computed.

    Attributes:
        name: name that the user gave, with which its columns begin.
        codes: codes of its values, or of the starts of its periods.
        is_rate: whether it is a rate, which holds for periods.
        ends: for a rate, codes of the ends of its periods.
        table: for a column of a computed concept, the name of the concept.
        column: that column.
    """

    name: str
    codes: tuple[str, ...] = ()
    is_rate: bool = False
    ends: tuple[str, ...] = ()
    table: str = ""
    column: str = ""


class Measures:
    """All names that a dataset knows."""

    def __init__(self, layout: DatasetLayout) -> None:
        """Read the lists of concepts of the dataset's source.

        There are none if the dataset was built with a custom source whose folder no longer exists.
        """
        self._layout = layout
        self._codes = layout.codes.select(
            "code", "event_type", "unit", item=pl.col("code").str.split("//").list.get(1, null_on_oob=True)
        )
        items, aliases = _lists(layout)
        self._aliases = dict(aliases)
        ends = {line["start"]: line["end"] for line in layout.source.intervals}
        self._items: dict[str, list[tuple[str, str]]] = {}
        self._starts: dict[str, list[tuple[str, str]]] = {}
        self._ends: dict[str, list[tuple[str, str]]] = {}
        for concept, event_type, item in items:
            if event_type in ends:
                self._starts.setdefault(concept, []).append((event_type, item))
                self._ends.setdefault(concept, []).append((ends[event_type], item))
            else:
                self._items.setdefault(concept, []).append((event_type, item))

    @property
    def names(self) -> list[str]:
        """Names of concepts, their aliases and rates, in order of the alphabet."""
        return sorted({*self._items, *self._aliases, *(name + _RATE for name in self._starts)})

    def find(self, name: str) -> Measure:
        """Return the measure with a name; see `Cohort.features`.

        Raises:
            SettingsError: if there is none, or its values have several units.
        """
        if not isinstance(name, str):
            raise SettingsError(f"'{name}' is not the name of a concept, a code or a column")
        if "//" in name:
            return self._code(name)
        concept = self._aliases.get(name, name)
        if concept in self._items:
            return Measure(name, self._with_one_unit(name, self._items[concept]))
        drug = name.removesuffix(_RATE)
        if drug != name and drug in self._starts:
            ends = self._codes_of(self._ends[drug])["code"].to_list()
            return Measure(name, self._with_one_unit(name, self._starts[drug]), is_rate=True, ends=tuple(ends))
        table, dot, column = name.partition(".")
        if dot:
            return self._computed(name, table, column)
        raise self._unknown(name)

    def _code(self, name: str) -> Measure:
        known = self._codes["code"]
        if name in known:
            return Measure(name, (name,))
        if "*" in name:
            raise SettingsError(f"'{name}' is a pattern: name complete codes, such as {known[0]}")
        near = did_you_mean(name, known.filter(known.str.starts_with(name.partition("//")[0])))
        raise SettingsError(f"the dataset has no code '{name}'{near or _find_codes(self._layout.root)}")

    def _codes_of(self, items: Sequence[tuple[str, str]]) -> pl.DataFrame:
        listed = pl.DataFrame(items, schema=["event_type", "item"], orient="row")
        return self._codes.join(listed, on=["event_type", "item"], how="semi", maintain_order="left")

    def _with_one_unit(self, name: str, items: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """Return the codes of items that occur in the dataset.

        Raises:
            SettingsError: if they have several units: their values cannot be compared.
        """
        found = self._codes_of(items)
        units = found.filter(pl.col("unit").is_not_null()).group_by("unit").agg(pl.col("code").sort()).sort("unit")
        if units.height > 1:
            each = "; ".join(f"{', '.join(codes)} in {unit}" for unit, codes in units.rows())
            raise SettingsError(f"the values of {name} have several units: {each}. Name the codes instead")
        return tuple(found["code"])

    def _computed(self, name: str, table: str, column: str) -> Measure:
        root, stored = self._layout.root, stored_concepts(self._layout, ConceptMode())
        if table not in stored:
            raise SettingsError(
                f"{root} has no results of the concept {table}, which '{name}' needs: run `ehrtraj concepts {root} "
                f"{table}`{did_you_mean(table, stored)}"
            )
        columns = [one.name for one in stored[table].columns if one.type in _NUMBERS]
        if column not in columns:
            raise SettingsError(
                f"the concept {table} has no column '{column}': use one of {', '.join(columns)}"
                f"{did_you_mean(column, columns)}"
            )
        return Measure(name, table=table, column=column)

    def _unknown(self, name: str) -> SettingsError:
        if name in self._starts:
            return SettingsError(f"'{name}' is given as an infusion: name its rate, {name}{_RATE}")
        near = did_you_mean(name, self.names) or _find_codes(self._layout.root)
        return SettingsError(f"there is no concept '{name}'{near}")


def _find_codes(root: Path) -> str:
    return f": find codes with `ehrtraj codes {root} TEXT`, and concepts in the table concept_items of `Dataset.sql`"


def _lists(layout: DatasetLayout) -> tuple[list[tuple[str, str, str]], list[tuple[str, str]]]:
    """Return the items of the source's concepts (concept, event type, item), and aliases with their concepts.

    A custom source can have lists with other columns, which features cannot use.
    """
    try:
        lists: Mapping[str, list[dict[str, str]]] = source_of(layout.manifest).concept_lists
    except SettingsError:
        lists = {}
    items = _complete(lists.get("concept_items", []), "concept", "event_type", "item")
    aliases = _complete(lists.get("concept_aliases", []), "alias", "concept")
    return [(concept, kind, item) for concept, kind, item in items], [(alias, concept) for alias, concept in aliases]


def _complete(lines: Iterable[Mapping[str, str]], *columns: str) -> list[tuple[str, ...]]:
    """Return the values of columns in the lines that have a value in each."""
    return [tuple(line[name] for name in columns) for line in lines if all(line.get(name) for name in columns)]
