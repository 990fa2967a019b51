"""What a dataset keeps of its source, so that it can be read without it: `source.json` and `event_types.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from ehrtraj.format.event_types import EventType


@dataclass(frozen=True)
class SourceFacts:
    """What readers of a dataset know of its source.

    Attributes:
        name: of the source.
        title: what people call it.
        patient_key: column of the source's tables that names the patient.
        tables: full names of its tables, in the order in which their events are sorted.
        event_types: kinds of events by name, in the order of their rank.
        intervals: lines of the rule table `intervals`.
        icu_modules: modules whose rows name an ICU stay in `stay_id`.
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
        """Place of each event type among events of the same time."""
        return {name: one.rank for name, one in self.event_types.items()}

    @property
    def meanings(self) -> dict[str, str]:
        """Meaning of each event type, in plain words."""
        return {name: one.meaning for name, one in self.event_types.items()}

    def to_json(self) -> dict[str, Any]:
        """Content of `source.json`. The event types have a file of their own."""
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
        """The inverse of `to_json`.

        Args:
            content: of `source.json`.
            event_types: of `event_types.json`.

        Raises:
            ValueError: if the content is not of that form.
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
            raise ValueError(f"it is not what ehrtraj writes: {error!r}") from None
