"""The units that have a file: patients, admissions or ICU stays, and the events outside of these."""

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

# Patients whose IDs share all but the last five digits are in one folder. MIMIC-IV has 100 folders of at most 3,700
# patients.
_PATIENTS_A_FOLDER = 100_000

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Unit:
    """The unit of one file: a patient, an admission, an ICU stay, or a patient's other events.

    Attributes:
        path: path of the file in the export, without its ending.
        subject_id: patient.
        hadm_id: admission, if the unit is one.
        stay_id: ICU stay, if the unit is one.
        rows: positions of its events in the chunk, ascending.
        history: number of these events that are history and do not belong to the unit.
        first_time: first time of the unit's events without history, in microseconds; `NULL` if none has a time.
        last_time: last time of the same events.
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
    """Return the folder of a patient in an export, such as `p100/p10000032`."""
    return f"p{subject_id // _PATIENTS_A_FOLDER}/p{subject_id}"


def units_of(job: ExportJob, rows: pa.Table, spans: Sequence[Span]) -> Iterator[Unit]:
    """Yield the units of some patients.

    Args:
        job: settings of the export, which define the units.
        rows: all events of the patients.
        spans: spans of the patients, whose events are consecutive in `rows`.
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
        patient_keys = key[at]
        for value in _in_order(patient_keys):
            if value == NULL and not job.outside:
                continue
            in_unit = patient_keys == value
            unit_rows = at[in_unit]
            file_rows = unit_rows
            if available is not None and value != NULL:
                file_rows = _with_history(at, in_unit, time, available)
            yield _unit(job, subject_id, int(value), unit_rows, file_rows, time)


def _keys(job: ExportJob, rows: pa.Table) -> Int64s:
    """Return the hadm_id or stay_id of each event, `NULL` for those outside of any."""
    if job.per == "admission":
        return to_int64(rows["hadm_id"])
    stay = to_int64(rows["stay_id"])
    table = one_array(rows["source_table"])
    pattern = f"^({'|'.join(map(re.escape, job.icu_modules))})/" if job.icu_modules else "^$"
    if pa.types.is_dictionary(table.type):
        of_icu = pc.match_substring_regex(table.dictionary, pattern).take(table.indices)
    else:
        of_icu = pc.match_substring_regex(table, pattern)
    # The column stay_id also contains stays in the emergency department.
    icu_stays = np.unique(stay[of_icu.to_numpy(zero_copy_only=False)])
    return np.where(np.isin(stay, icu_stays), stay, NULL)


def _in_order(key: Int64s) -> Int64s:
    """Return the distinct values in the order of their first occurrence, `NULL` last."""
    values, first = np.unique(key, return_index=True)
    ordered: Int64s = values[np.lexsort((first, values == NULL))]
    return ordered


def _with_history(at: Rows, in_unit: npt.NDArray[np.bool_], time: Int64s, available: Int64s) -> Rows:
    """Return the positions of a unit's events, and of the patient's events that were known when the unit began."""
    begin = time[at[in_unit]]
    begin = begin[begin != NULL]
    is_known = available[at] <= (begin.min() if len(begin) else NULL)
    return at[in_unit | is_known]


def _unit(job: ExportJob, subject_id: int, value: int, unit_rows: Rows, file_rows: Rows, time: Int64s) -> Unit:
    """Describe a unit.

    Args:
        job: settings of the export.
        subject_id: patient.
        value: hadm_id or stay_id, or `NULL`.
        unit_rows: positions of the unit's events.
        file_rows: positions of all events in its file, including history.
        time: times of all events, in microseconds.
    """
    timed = time[unit_rows]
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
        rows=file_rows,
        history=len(file_rows) - len(unit_rows),
        first_time=int(timed[0]) if len(timed) else NULL,
        last_time=int(timed[-1]) if len(timed) else NULL,
    )
