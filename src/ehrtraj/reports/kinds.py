"""Events by event type: their parents in public vocabularies, and their time in the life of the patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj.format.splits import SPLITS
from ehrtraj.reports.files import DatasetFiles, counts_by
from ehrtraj.reports.masking import Masking, Shown

_MOST_VOCABULARIES = 4
_LEVELS = 5
_DAYS_PER_YEAR = 365.25


@dataclass(frozen=True)
class Cell:
    """The events of one event type in one period.

    Attributes:
        events: their number.
        level: share of the event type's events, from 0 (none) to 5.
    """

    events: Shown
    level: int


@dataclass(frozen=True)
class EventTypeFacts:
    """The events of one event type.

    Attributes:
        name: of the event type.
        meaning: in plain words.
        events: their number.
        codes: number of codes.
        codes_with_parent: codes that have a parent in percent; None if it is not shown.
        events_with_parent: events of these codes in percent; None if it is not shown.
        vocabularies: names of the vocabularies of the parents, with the number of codes, the most frequent first.
        times: events in each period.
    """

    name: str
    meaning: str
    events: Shown
    codes: Shown
    codes_with_parent: int | None
    events_with_parent: int | None
    vocabularies: tuple[tuple[str, int], ...]
    times: tuple[Cell, ...]


@dataclass(frozen=True)
class SplitFacts:
    """The patients and events of one split."""

    name: str
    patients: Shown
    events: Shown


@dataclass(frozen=True)
class KindFacts:
    """All event types.

    Attributes:
        event_types: the event types, those with most events first.
        periods: labels of the periods, in order.
        codes: number of codes.
        codes_with_parent: number of codes that have a parent.
        vocabularies: number of codes by vocabulary of their parents.
    """

    event_types: tuple[EventTypeFacts, ...]
    periods: tuple[str, ...]
    codes: int
    codes_with_parent: int
    vocabularies: tuple[tuple[str, int], ...]


def kind_facts(files: DatasetFiles, masking: Masking) -> KindFacts:
    """Return the events by event type.

    Args:
        files: files of the dataset.
        masking: how counts are shown.
    """
    codes = files.codes
    has_parent = pc.greater(pc.list_value_length(codes["parent_codes"]), 0)
    events = counts_by(codes, ["event_type"], "n_events")
    with_parent = codes.filter(has_parent)
    events_with_parent = counts_by(with_parent, ["event_type"], "n_events")
    n_codes, n_with_parent = _lines(codes), _lines(with_parent)
    vocabularies = _vocabularies(codes)
    periods, times = _times(files.times)
    found = []
    for name in events:
        shown = _total(events[name], times.get(name, {}), events_with_parent.get(name, 0), masking)
        share = round(100 * n_with_parent.get(name, 0) / n_codes[name])
        found.append(
            EventTypeFacts(
                name=name,
                meaning=files.meanings_of_event_types.get(name, ""),
                events=shown,
                codes=masking.codes(n_codes[name], shown),
                codes_with_parent=None if shown.masked else share,
                events_with_parent=_percent(events_with_parent.get(name, 0), events[name], masking),
                vocabularies=_most(vocabularies.get(name, {})),
                times=_cells([times.get(name, {}).get(period, 0) for period in periods], masking),
            )
        )
    everywhere: dict[str, int] = {}
    for counts in vocabularies.values():
        for vocabulary, number in counts.items():
            everywhere[vocabulary] = everywhere.get(vocabulary, 0) + number
    return KindFacts(
        event_types=tuple(sorted(found, key=lambda one: (-one.events.size, one.name))),
        periods=tuple(_label(*period) for period in periods),
        codes=codes.num_rows,
        codes_with_parent=with_parent.num_rows,
        vocabularies=tuple(sorted(everywhere.items(), key=lambda pair: (-pair[1], pair[0]))),
    )


def split_facts(files: DatasetFiles, masking: Masking) -> tuple[SplitFacts, ...]:
    """Return the patients and events of each split.

    Args:
        files: files of the dataset.
        masking: how counts are shown.
    """
    events, patients = counts_by(files.subjects, ["split"], "n_events"), _lines(files.subjects, "split")
    return tuple(SplitFacts(n, masking.count(patients[n]), masking.count(events[n])) for n in SPLITS if n in patients)


def all_patients(files: DatasetFiles, masking: Masking) -> Shown:
    """Return the number of patients."""
    patients = _lines(files.subjects, "split")
    return masking.total(sum(patients.values()), list(patients.values()))


def all_events(files: DatasetFiles, masking: Masking) -> Shown:
    """Return the number of events, which are shown by table, event type and split."""
    made = [line["events"] for line in files.ledger if line["events"]]
    by_type = counts_by(files.codes, ["event_type"], "n_events").values()
    by_split = counts_by(files.subjects, ["split"], "n_events").values()
    return masking.total(sum(by_type), made, by_type, by_split)


def _lines(rows: pa.Table, by: str = "event_type") -> Mapping[str, int]:
    """Return the number of rows for each value of a column."""
    return {line["values"]: line["counts"] for line in pc.value_counts(rows[by]).to_pylist()}


def _total(events: int, times: Mapping[Any, int], with_parent: int, masking: Masking) -> Shown:
    """Return the number of events of an event type, which are also shown by period and, in percent, by parent."""
    timeless = events - sum(times.values())
    return masking.total(events, [*times.values(), timeless], [with_parent, events - with_parent])


def _percent(part: int, whole: int, masking: Masking) -> int | None:
    """Return a share in percent that follows from the shown counts; None if one of them is masked."""
    shown, of, rest = masking.count(part), masking.count(whole), masking.count(whole - part)
    if shown.masked or of.masked or rest.masked:
        return None
    return round(100 * shown.size / of.size)


def _vocabularies(codes: pa.Table) -> Mapping[str, Mapping[str, int]]:
    """Return the number of codes of each event type that have a parent in each vocabulary."""
    lists = codes["parent_codes"].combine_chunks()
    vocabulary = pc.list_element(pc.split_pattern(pc.list_flatten(lists), "/", max_splits=1), 0)
    place = pc.list_parent_indices(lists)
    pairs = pa.table({"place": place, "vocabulary": vocabulary}).group_by(["place", "vocabulary"]).aggregate([])
    event_type = codes["event_type"].take(pairs["place"])
    found: dict[str, dict[str, int]] = {}
    counted = pa.table({"event_type": event_type, "vocabulary": pairs["vocabulary"]})
    for line in counted.group_by(["event_type", "vocabulary"]).aggregate([([], "count_all")]).to_pylist():
        found.setdefault(line["event_type"], {})[line["vocabulary"]] = line["count_all"]
    return found


def _most(counts: Mapping[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_MOST_VOCABULARIES])


def _times(rows: pa.Table) -> tuple[list[tuple[int, int]], Mapping[str, Mapping[tuple[int, int], int]]]:
    """Return the periods, and the events of each event type in each of them."""
    found: dict[str, dict[tuple[int, int], int]] = {}
    for line in rows.to_pylist():
        period = (line["from_day"], line["to_day"])
        found.setdefault(line["event_type"], {})[period] = line["events"]
    return sorted({period for counts in found.values() for period in counts}), found


def _cells(events: list[int], masking: Masking) -> tuple[Cell, ...]:
    shown = [masking.count(number) for number in events]
    largest = max((one.size for one in shown), default=0)
    return tuple(Cell(one, int(np.ceil(_LEVELS * one.size / largest)) if one.size else 0) for one in shown)


def _label(from_day: int, to_day: int) -> str:
    """Return the label of a period, in years if it is long."""
    if to_day - from_day == 1:
        return f"day {from_day}"
    if from_day < 2 * _DAYS_PER_YEAR:
        return f"days {from_day:,} to {to_day - 1:,}"
    return f"{from_day / _DAYS_PER_YEAR:.0f} to {to_day / _DAYS_PER_YEAR:.0f} years"
