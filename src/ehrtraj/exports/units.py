"""What has a file of its own: patients, their admissions or ICU stays, and what lies outside of these."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj.exports.data_file import Span
from ehrtraj.exports.job import OUTSIDE, ExportJob
from ehrtraj.format.arrays import NULL, Int64s, one_array, to_int64

# Patients whose numbers share all but the last five digits are in one folder: those of MIMIC-IV make 100 folders of at
# most 3,700.
_PATIENTS_A_FOLDER = 100_000

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Unit:
    """What one file is about.

    Attributes:
        path: of the file in the export, without its ending.
        subject_id: patient.
        hadm_id: admission, where the file is of one.
        stay_id: ICU stay, where the file is of one.
        rows: positions of its events in the chunk, ascending.
        history: how many of them are from before, not its own.
        first_time: of its own events that have a time, microseconds; `NULL` where none has.
        last_time: of its own events.
    """

    path: str
    subject_id: int
    hadm_id: int | None
    stay_id: int | None
    rows: Rows
    history: int
    first_time: int
    last_time: int


def folder_of(subject_id: int) -> str:
    """Folder of a patient in an export, `p100/p10000032`."""
    return f"p{subject_id // _PATIENTS_A_FOLDER}/p{subject_id}"


def units_of(job: ExportJob, rows: pa.Table, spans: Sequence[Span]) -> Iterator[Unit]:
    """Find the units of some patients.

    Args:
        job: says what a unit is.
        rows: all events of the patients.
        spans: of the patients, whose events follow each other in `rows`.
    """
    time = to_int64(rows["time"])
    begin = 0
    key = None if job.per == "patient" else _keys(job, rows)
    available = to_int64(rows["available_time"]) if job.history else None
    for subject_id, _, count in spans:
        at = np.arange(begin, begin + count)
        begin += count
        if key is None:
            yield _unit(job, subject_id, NULL, at, at, time)
            continue
        own = key[at]
        for value in _in_order(own):
            if value == NULL and not job.outside:
                continue
            mine = at[own == value]
            both = mine if available is None or value == NULL else _with_history(at, own == value, time, available)
            yield _unit(job, subject_id, int(value), mine, both, time)


def _keys(job: ExportJob, rows: pa.Table) -> Int64s:
    """hadm_id or stay_id of each event, `NULL` for those outside."""
    if job.per == "admission":
        return to_int64(rows["hadm_id"])
    stay = to_int64(rows["stay_id"])
    table = one_array(rows["source_table"])
    pattern = f"^({'|'.join(map(re.escape, job.icu_modules))})/" if job.icu_modules else "^$"
    if pa.types.is_dictionary(table.type):
        of_icu = pc.match_substring_regex(table.dictionary, pattern).take(table.indices)
    else:
        of_icu = pc.match_substring_regex(table, pattern)
    # stay_id is that of a stay in the emergency department, too.
    known = np.unique(stay[of_icu.to_numpy(zero_copy_only=False)])
    return np.where(np.isin(stay, known), stay, NULL)


def _in_order(key: Int64s) -> Int64s:
    """Distinct values in the order in which they first come, what is outside last."""
    values, first = np.unique(key, return_index=True)
    ordered: Int64s = values[np.lexsort((first, values == NULL))]
    return ordered


def _with_history(at: Rows, mine: npt.NDArray[np.bool_], time: Int64s, available: Int64s) -> Rows:
    """A unit's events and those of the patient that were known when it began."""
    begin = time[at[mine]]
    begin = begin[begin != NULL]
    known = available[at] <= (begin.min() if len(begin) else NULL)
    return at[mine | known]


def _unit(job: ExportJob, subject_id: int, value: int, mine: Rows, rows: Rows, time: Int64s) -> Unit:
    timed = time[mine]
    timed = timed[timed != NULL]
    folder = folder_of(subject_id)
    hadm_id = value if job.per == "admission" and value != NULL else None
    stay_id = value if job.per == "icustay" and value != NULL else None
    name = OUTSIDE
    if job.per == "patient":
        name = f"p{subject_id}"
    elif value != NULL:
        name = f"{'hadm' if hadm_id is not None else 'stay'}-{value}"
    return Unit(
        path=f"{folder}/{name}",
        subject_id=subject_id,
        hadm_id=hadm_id,
        stay_id=stay_id,
        rows=rows,
        history=len(rows) - len(mine),
        first_time=int(timed[0]) if len(timed) else NULL,
        last_time=int(timed[-1]) if len(timed) else NULL,
    )
