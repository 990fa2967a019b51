"""Check the order of consecutive events: by time as MEDS requires, and the order of `docs/decisions/total-order.md`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ehrtraj import rules
from ehrtraj.checks.findings import Findings
from ehrtraj.checks.rows import EventBatch
from ehrtraj.format.arrays import Int64s, Texts
from ehrtraj.format.events import INT_COLUMNS, PRECISIONS, TEXT_COLUMNS
from ehrtraj.format.source import SourceFacts

# Rank of an unknown event type or table, which is not compared.
_UNKNOWN = -1


def check_time_order(rows: EventBatch, findings: Findings) -> None:
    """Check that the times of a patient ascend; `NULL` is less than every time."""
    subject, time = rows.ints("subject_id"), rows.ints("time")
    late = np.flatnonzero((subject[1:] == subject[:-1]) & (time[1:] < time[:-1])) + 1
    findings.add("time_order", rows.places(late, "{time} is after a later time", "time"), len(late))


def check_total_order(rows: EventBatch, findings: Findings, source: SourceFacts) -> None:
    """Check that patients ascend, and that events of one patient and time are in the published order without repeats.

    Args:
        rows: events with all columns.
        findings: receives the violations.
        source: facts about the source that are stored in the dataset.
    """
    subject, time = rows.ints("subject_id"), rows.ints("time")
    down = np.flatnonzero(subject[1:] < subject[:-1]) + 1
    findings.add("total_order", rows.places(down, "is after a patient with a higher subject_id"), len(down))
    tied = np.flatnonzero((subject[1:] == subject[:-1]) & (time[1:] == time[:-1])) + 1
    wrong = []
    for key in _keys(rows, source):
        if not len(tied):
            break
        values = key[tied], key[tied - 1]
        known = (values[0] != _UNKNOWN) & (values[1] != _UNKNOWN) if key.dtype == np.int32 else True
        wrong.append(tied[known & (values[0] < values[1])])
        tied = tied[known & (values[0] == values[1])]
    if rows.has("event_time"):
        # It is not part of the order, but events that differ in it are not repeats.
        happened = rows.ints("event_time")
        tied = tied[happened[tied] == happened[tied - 1]]
    at = np.sort(np.concatenate([np.empty(0, np.intp), *wrong]))
    words = "{code} is too early among the events of the same time"
    findings.add("total_order", rows.places(at, words, "code"), len(at))
    tied = tied[rows.ints("flags")[tied] & rules.flags()["repeated_event"] == 0]
    findings.add("no_repeats", rows.places(tied, "{code} repeats the event before it", "code"), len(tied))


def _keys(rows: EventBatch, source: SourceFacts) -> Iterator[npt.NDArray[Any]]:
    """Yield the sort keys of events of one patient and time in order of priority; int32 if they can be `_UNKNOWN`."""
    code = rows.texts("code")
    yield _event_type_ranks(code, source.ranks)
    yield _by_name(code)
    table_rank = {name: number for number, name in enumerate(source.tables)}
    table = rows.texts("source_table")
    yield np.array([*(table_rank.get(n, _UNKNOWN) for n in table.values.to_pylist()), _UNKNOWN], np.int32)[
        table.positions
    ]
    yield rows.ints("source_key")
    for name in INT_COLUMNS:
        yield rows.ints(name)
    # A null number is after all others.
    yield np.where(rows.null("numeric_value"), np.inf, rows.numbers())
    precision = {name: number for number, name in enumerate(PRECISIONS)}
    texts = rows.texts("time_precision")
    yield np.array([*(precision.get(n, _UNKNOWN) for n in texts.values.to_pylist()), _UNKNOWN], np.int32)[
        texts.positions
    ]
    for name in TEXT_COLUMNS:
        yield _by_name(rows.texts(name))


def _event_type_ranks(code: Texts, known: Mapping[str, int]) -> npt.NDArray[np.int32]:
    ranks = [known.get(str(value).partition("//")[0], _UNKNOWN) for value in code.values.to_pylist()]
    return np.array([*ranks, _UNKNOWN], np.int32)[code.positions]


def _by_name(texts: Texts) -> Int64s:
    """Return the rank of each row's text in byte order; null is first."""
    ranks = texts.ranks().astype(np.int64)
    placed: Int64s = ranks[texts.positions]
    return placed
