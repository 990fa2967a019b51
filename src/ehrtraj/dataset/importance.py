"""The order of importance of events, in which a text of limited length includes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from ehrtraj.errors import SettingsError
from ehrtraj.sources.source import source_of

_CONCEPTS = "concepts"


class Importance:
    """Ranks codes by their event type, the most important first.

    The ranks are those of the lines of the source's `text_order.csv`. A line with `concepts` applies only to the items
    of a concept, such as the heart rate. Event types that the source does not list follow, the rarest in the dataset
    first. A rank never depends on the patient.
    """

    def __init__(
        self,
        lines: Sequence[Mapping[str, str]],
        concept_items: Sequence[Mapping[str, str]],
        event_types: Sequence[str],
    ) -> None:
        """Create the order.

        Args:
            lines: lines with `event_type` and `items`, the most important first.
            concept_items: lines with `event_type` and `item` of the items of concepts.
            event_types: event types of the dataset, the rarest first.
        """
        self._items = {(line["event_type"], line["item"]) for line in concept_items}
        self._of_concepts: dict[str, int] = {}
        self._others: dict[str, int] = {}
        for rank, line in enumerate(lines):
            ranks = self._of_concepts if line["items"] == _CONCEPTS else self._others
            ranks.setdefault(line["event_type"], rank)
        for rank, name in enumerate(event_types, start=len(lines)):
            self._others.setdefault(name, rank)

    def rank(self, code: str) -> int:
        """Return the rank of a code; 0 is the most important."""
        event_type, _, rest = code.partition("//")
        if event_type in self._of_concepts and (event_type, rest.partition("//")[0]) in self._items:
            return self._of_concepts[event_type]
        return self._others[event_type]


def importance_of(manifest: Mapping[str, Any], codes: pl.DataFrame) -> Importance:
    """Return the order of importance for a dataset; by frequency only, if its custom source no longer exists.

    Args:
        manifest: the dataset's manifest.
        codes: its metadata/codes.parquet.
    """
    try:
        source = source_of(manifest)
        lines, items = source.text_order, source.concept_lists.get("concept_items", [])
    except SettingsError:
        lines, items = [], []
    frequency = codes.group_by("event_type").agg(pl.col("n_events").sum()).sort("n_events", "event_type")
    return Importance(lines, items, frequency["event_type"].to_list())
