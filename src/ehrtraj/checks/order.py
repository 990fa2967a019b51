"""Whether consecutive events are in order: by time as MEDS asks, and as `docs/decisions/total-order.md` has it."""

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

# Of an event type or a table that is not known: it is not compared.
_UNKNOWN = -1


def check_time_order(rows: EventBatch, findings: Findings) -> None:
    """Times of a patient ascend; `NULL` is less than every time."""
    subject, time = rows.ints("subject_id"), rows.ints("time")
    late = np.flatnonzero((subject[1:] == subject[:-1]) & (time[1:] < time[:-1])) + 1
    findings.add("time_order", rows.places(late, "{time} comes after a later time", "time"), len(late))


def check_total_order(rows: EventBatch, findings: Findings, source: SourceFacts) -> None:
    """Patients ascend, and what has the same patient and time is in the published order, without repeats.

    Args:
        rows: with all columns of an event.
        findings: receives what is wrong.
        source: what the dataset keeps of its source.
    """
    subject, time = rows.ints("subject_id"), rows.ints("time")
    down = np.flatnonzero(subject[1:] < subject[:-1]) + 1
    findings.add("total_order", rows.places(down, "comes after a patient of a higher subject_id"), len(down))
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
        # It has no part in the order, but events that differ in it are no repeats.
        happened = rows.ints("event_time")
        tied = tied[happened[tied] == happened[tied - 1]]
    at = np.sort(np.concatenate([np.empty(0, np.intp), *wrong]))
    words = "{code} comes before its place among events of the same time"
    findings.add("total_order", rows.places(at, words, "code"), len(at))
    tied = tied[rows.ints("flags")[tied] & rules.flags()["repeated_event"] == 0]
    findings.add("no_repeats", rows.places(tied, "{code} repeats the event before it", "code"), len(tied))


def _keys(rows: EventBatch, source: SourceFacts) -> Iterator[npt.NDArray[Any]]:
    """What decides between events of one patient and time, the first first; int32 where `_UNKNOWN` may stand."""
    code = rows.texts("code")
    yield _event_type_ranks(code, source.ranks)
    yield _by_name(code)
    place = {name: number for number, name in enumerate(source.tables)}
    table = rows.texts("source_table")
    yield np.array([*(place.get(n, _UNKNOWN) for n in table.values.to_pylist()), _UNKNOWN], np.int32)[table.positions]
    yield rows.ints("source_key")
    for name in INT_COLUMNS:
        yield rows.ints(name)
    # A null number is behind all others.
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
    """The place of each row's text in the order of their bytes; null is first."""
    ranks = texts.ranks().astype(np.int64)
    placed: Int64s = ranks[texts.positions]
    return placed
