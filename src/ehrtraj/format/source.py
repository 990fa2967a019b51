"""Facts about the source that a dataset contains so that it can be read without the source.

They are stored in `source.json` and `event_types.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ehrtraj.format.event_types import EventType


@dataclass(frozen=True)
class SourceFacts:
    """What readers of a dataset need to know about its source.

    Attributes:
        name: name of the source.
        title: title of the source for users.
        patient_key: column of the source's tables that identifies the patient.
        tables: full names of its tables, in the order in which their events are sorted.
        event_types: event types by name, ordered by rank.
        intervals: lines of the rule table `intervals`.
        icu_modules: modules whose `stay_id` identifies an ICU stay.
    """

    name: str = ""
    title: str = ""
    patient_key: str = "subject_id"
    tables: tuple[str, ...] = ()
    event_types: Mapping[str, EventType] = field(default_factory=dict)
    intervals: tuple[Mapping[str, str], ...] = ()
    icu_modules: tuple[str, ...] = ()

    @property
    def ranks(self) -> dict[str, int]:
        """Rank of each event type among events of the same time."""
        return {name: event_type.rank for name, event_type in self.event_types.items()}

    @property
    def meanings(self) -> dict[str, str]:
        """Meaning of each event type, in plain words."""
        return {name: event_type.meaning for name, event_type in self.event_types.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the content of `source.json`. The event types are stored in a separate file."""
        return {
            "source": self.name,
            "title": self.title,
            "patient_key": self.patient_key,
            "tables": list(self.tables),
            "intervals": [dict(line) for line in self.intervals],
            "icu_modules": list(self.icu_modules),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], event_types: Mapping[str, EventType]) -> Self:
        """Return the facts in the content of the files. The inverse of `to_json`.

        Args:
            content: content of `source.json`.
            event_types: event types in `event_types.json`.

        Raises:
            ValueError: if the content does not have the expected form.
        """
        try:
            return cls(
                name=str(content["source"]),
                title=str(content["title"]),
                patient_key=str(content["patient_key"]),
                tables=tuple(content["tables"]),
                event_types=event_types,
                intervals=tuple(dict(line) for line in content["intervals"]),
                icu_modules=tuple(content["icu_modules"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"ehrtraj did not write this content: {error!r}") from None
