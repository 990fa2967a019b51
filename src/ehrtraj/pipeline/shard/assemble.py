"""Assemble the events of a part: link encounters, set flags, and sort them into their total order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ehrtraj import rules
from ehrtraj.format.arrays import NULL, SECOND, Int64s, Texts, to_int64
from ehrtraj.format.events import INT_COLUMNS, TEXT_COLUMNS
from ehrtraj.format.splits import Splits
from ehrtraj.pipeline.shard.codes import Codes, SortedCodes
from ehrtraj.pipeline.shard.copied_results import mark_copied_results
from ehrtraj.pipeline.shard.encounters import Encounters, Owners, link_encounters
from ehrtraj.pipeline.shard.events import Events
from ehrtraj.pipeline.shard.packing import pack, sort_order
from ehrtraj.pipeline.shard.spans import flag_times
from ehrtraj.pipeline.shard.standardise import Standardiser

# Maximum size in bytes of a table of patients by codes; a sort is used instead if the table would be larger.
_MAX_TABLE_BYTES = 64 << 20


@dataclass
class OrderedEvents:
    """The events of some patients, and their order.

    Attributes:
        events: the events, unsorted; `code` is a position in `codes`. Rows are sorted only when they are written, one
            row group at a time: this takes half as long as sorting complete columns, which do not fit into the cache.
        order: positions in `events`, in the order of the trajectories.
        codes: the codes that occur.
        event_time: when each event happened, if `events.time` is when it became available; otherwise None.
        subjects: the patients, sorted.
        starts: position in `order` of each patient's first event, followed by the number of events.
        splits: position in `SPLITS` of each patient.
        code_patients: number of patients with each code.
    """

    events: Events
    order: npt.NDArray[np.intp]
    codes: SortedCodes
    event_time: Int64s | None
    subjects: Int64s
    starts: npt.NDArray[np.int64]
    splits: npt.NDArray[np.uint8]
    code_patients: npt.NDArray[np.int64]


def _order_codes(events: Events, codes: Codes) -> SortedCodes:
    """Renumber the codes of the events in the order of event type rank and name, and return them in this order."""
    used = np.zeros(len(codes.names), np.bool_)
    used[events.code] = True
    in_order, all_codes = codes.in_order()
    chosen = used[in_order]
    by_rank = in_order[chosen]
    new = np.empty(len(codes.names), np.int32)
    new[by_rank] = np.arange(len(by_rank), dtype=np.int32)
    new.take(events.code, out=events.code, mode="clip")
    return all_codes.where(chosen)


def _patients(events: Events, splits_of: Splits) -> tuple[Int64s, npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return the patients sorted by split and subject_id, their splits, and the position of each event's patient."""
    texts = Texts.encode(pa.chunked_array([pa.array(events.subject)]))
    subjects = texts.values.to_numpy()
    splits = splits_of.of(subjects)
    order = np.lexsort((subjects, splits))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return subjects[order], splits[order], place[texts.positions]


def _whole_seconds(time: Int64s) -> Int64s:
    """Return times in seconds for sorting; null sorts before everything."""
    known = time != NULL
    if known.all():
        return time // SECOND
    earliest = int(time[known].min()) // SECOND if known.any() else 0
    return np.where(known, time // SECOND, earliest - 1)


def _order(events: Events, patient: npt.NDArray[np.int64], event_time: Int64s | None) -> npt.NDArray[np.intp]:
    """Return the total order of events: patient, time, code, then all other columns."""
    seconds, code = _whole_seconds(events.time), events.code.astype(np.int64)
    order, same = sort_order([patient, seconds, code])
    fraction = (events.time % SECOND != 0) & (events.time != NULL)
    if fraction.any():
        # Few times have fractions of a second: only rows in the same second as one of them are sorted again.
        moment, resort = pack([patient, seconds]), fraction[order]
        in_order = seconds[order] if moment is None else moment[order]
        resort = np.isin(in_order, in_order[resort])
        rows = order[resort]
        order[resort] = rows[np.lexsort((code[rows], events.time[rows], patient[rows]))]
        same[1:] = True
        for column in (patient, events.time, code):
            same[1:] &= column[order][1:] == column[order][:-1]
    if same.any():
        _break_ties(events, order, same, event_time)
    return order


def _break_ties(
    events: Events, order: npt.NDArray[np.intp], same: npt.NDArray[np.bool_], event_time: Int64s | None
) -> None:
    """Sort events of the same patient, time and code into an order that depends only on their content."""
    tied = _with_neighbour(same)
    rows, group = order[tied], np.cumsum(~same[tied], dtype=np.int64)
    key = events.ints["source_key"][rows]
    known = key != NULL
    key = np.where(known, key, (key[known].min() if known.any() else 0) - 1)
    by_key, still_same = sort_order([group, events.table[rows].astype(np.int64), key])
    rows = rows[by_key]
    if still_same.any():
        still_tied = _with_neighbour(still_same)
        rest, tie = rows[still_tied], np.cumsum(~still_same[still_tied])
        columns = [tie, *_all_columns(events, rest, event_time)]
        in_order = np.lexsort(tuple(reversed(columns)))
        equal = np.ones(len(rest) - 1, np.bool_)
        for column in columns:
            one, other = column[in_order[1:]], column[in_order[:-1]]
            # Two null numbers count as equal, although NaN differs from itself.
            equal &= (one == other) | ((one != one) & (other != other))
        if equal.any():
            # The source rows differ only in columns that no event contains. The flag is part of the order: sort again.
            events.ints["flags"][rest[in_order[1:][equal]]] |= rules.flags()["repeated_event"]
            in_order = np.lexsort(tuple(reversed([tie, *_all_columns(events, rest, event_time)])))
        rows[still_tied] = rest[in_order]
    order[tied] = rows


def _all_columns(
    events: Events, rows: npt.NDArray[np.intp], event_time: Int64s | None
) -> list[npt.NDArray[np.generic]]:
    """Return the columns of some events that determine their order after patient, time, code, table and key."""
    columns: list[npt.NDArray[np.generic]] = [events.ints[c][rows] for c in INT_COLUMNS]
    columns += [events.number[rows], events.precision[rows]]
    for name in TEXT_COLUMNS:
        chosen = events.texts[name].positions[rows]
        if (chosen >= 0).any():
            columns.append(_ranks_of(events.texts[name], chosen))
    if event_time is not None:
        columns.append(event_time[rows])
    return columns


def _with_neighbour(same: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Return the positions of rows that equal the previous or the next row."""
    either = same.copy()
    either[:-1] |= same[1:]
    return np.flatnonzero(either)


def _ranks_of(text: Texts, positions: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the ranks of some texts among themselves; -1 for null."""
    used = np.unique(positions[positions >= 0])
    ranks = Texts(positions, text.values.take(pa.array(used))).ranks()
    rank_of = np.full(len(text.values) + 1, -1, np.int32)
    rank_of[used] = ranks[:-1]
    return rank_of[positions]


def _count_patients(patient: npt.NDArray[np.int64], code: npt.NDArray[np.int32], patients: int, codes: int) -> Int64s:
    if patients * codes > _MAX_TABLE_BYTES:
        pairs = np.unique(patient * codes + code)
        return np.bincount(pairs % codes, minlength=codes)
    seen = np.zeros((patients, codes), np.bool_)
    seen[patient, code] = True
    counts: Int64s = seen.sum(axis=0, dtype=np.int64)
    return counts


def assemble(
    events: Events,
    codes: Codes,
    owners: Mapping[str, Owners],
    about: Mapping[str, pa.Table],
    *,
    patients_known: bool,
    standardiser: Standardiser | None,
    clock: str,
    splits: Splits,
) -> OrderedEvents | None:
    """Link, flag and sort the events of all statements of a part.

    Args:
        events: events of all statements; changed in place.
        codes: names of the codes.
        owners: owners of the admissions and stays of all patients.
        about: results of `encounters.sql`, `subjects.sql` and `stays.sql` for the part's patients.
        patients_known: whether the release has a table of patients.
        standardiser: marks copied results and contradictory times; None marks nothing.
        clock: `event` or `available`.
        splits: splits of the patients.

    Returns:
        The assembled events, or None if there are none.
    """
    if not len(events):
        return None
    used_codes = _order_codes(events, codes)
    event_time = None
    if clock == "available":
        event_time = events.time.copy()
        events.time[:] = np.where(event_time == NULL, NULL, events.ints["available_time"])
    subjects, split, patient = _patients(events, splits)
    link_encounters(events, event_time, owners, Encounters.of(about["encounters"]))
    if standardiser is not None:
        mark_copied_results(events, used_codes, standardiser.copied_results, event_time)
        planned = np.array([event_type in standardiser.planned for event_type in used_codes.event_types])
        flag_times(events, planned[used_codes.type_of], event_time, about["stays"], about["subjects"])
    if patients_known:
        _flag_unknown_subjects(events, subjects, patient, to_int64(about["subjects"]["subject_id"]))
    return OrderedEvents(
        events=events,
        order=_order(events, patient, event_time),
        codes=used_codes,
        event_time=event_time,
        subjects=subjects,
        starts=np.concatenate([[0], np.cumsum(np.bincount(patient, minlength=len(subjects)))]),
        splits=split,
        code_patients=_count_patients(patient, events.code, len(subjects), len(used_codes)),
    )


def _flag_unknown_subjects(
    events: Events, subjects: Int64s, patient: npt.NDArray[np.int64], known_subjects: Int64s
) -> None:
    unknown = ~np.isin(subjects, known_subjects)
    if unknown.any():
        events.ints["flags"] |= np.where(unknown[patient], rules.flags()["subject_unknown"], 0)
