"""Counts of one data file, made while it is read. Combined, they allow checks across all files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import meds
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrtraj.checks import spill
from ehrtraj.checks.findings import Findings
from ehrtraj.checks.rows import Bools, EventBatch
from ehrtraj.checks.spill import Spill
from ehrtraj.format.arrays import NULL, Int64s

ENCOUNTERS = {"hadm_id": "hadm_unknown", "stay_id": "stay_unknown"}
"""Columns of admissions and stays, and the flag of events whose value may belong to another patient."""

ONCE = (meds.birth_code, meds.death_code)
"""Codes that a patient has at most once."""


@dataclass
class FileTally:
    """Summary of a data file, without the counts by patient and code.

    Attributes:
        file: path of the file in the dataset.
        events: number of rows.
        complete: whether all columns could be counted.
        bytes: size of the file in bytes.
        sha256: SHA-256 of the file, if the manifest has one to compare with.
        findings: violations.
    """

    file: str
    events: int = 0
    complete: bool = True
    bytes: int = 0
    sha256: str | None = None
    findings: Findings = field(default_factory=Findings)


@dataclass
class _Run:
    """Consecutive events of one patient, as in `spill.RUNS`."""

    subject: int
    position: int
    events: int
    first_time: int
    last_time: int


class Counts:
    """Counts a data file's events by patient, code, encounter and flags, and writes the result.

    Attributes:
        once: number of events and of patients with such events, for the codes of `ONCE`.
    """

    def __init__(self, folder: Path, number: int, pending_rows: int, period: str | None = None) -> None:
        """Start counting a data file.

        Args:
            folder: folder that receives the counts.
            number: number of the data file.
            pending_rows: maximum number of rows of a table in memory.
            period: event type whose item is a patient's calendar period, to keep such codes by patient.
        """
        self.once: dict[str, tuple[int, int]] = dict.fromkeys(ONCE, (0, 0))
        self._number, self._period = number, period
        self._spill = Spill(folder, number, pending_rows)
        self._open: _Run | None = None
        self._codes_of_last: set[str] = set()

    def add(self, rows: EventBatch, flag_values: dict[str, int]) -> None:
        """Count a batch of rows.

        Args:
            rows: the next rows.
            flag_values: value of each flag by name.
        """
        subject = rows.ints("subject_id")[rows.before :]
        begins = np.flatnonzero(np.concatenate([[True], subject[1:] != subject[:-1]]))
        self._count_codes(rows, subject, begins)
        self._count_runs(rows, subject, begins)
        if self._period is not None:
            self._keep_periods(rows, self._period)
        if not rows.has("source_table", "flags"):
            return
        self._count_details(rows)
        self._count_flags(rows)
        for kind, (name, unknown) in enumerate(ENCOUNTERS.items()):
            self._keep_encounters(rows, kind, name, flag_values.get(unknown, 0) if unknown else 0)

    def close(self) -> None:
        """Write the remaining counts."""
        if self._open is not None:
            self._add_runs(*(np.array([value], np.int64) for value in vars(self._open).values()))
        self._spill.close()

    def _count_runs(self, rows: EventBatch, subject: Int64s, begins: Int64s) -> None:
        time = rows.ints("time")[rows.before :]
        ends = np.append(begins[1:], len(subject))
        timed = np.append(np.flatnonzero(time != NULL), len(time))
        first = timed[np.searchsorted(timed, begins)]
        first_time = np.where(first < ends, np.append(time, NULL)[first], NULL)
        columns = [subject[begins], begins + rows.start + rows.before, ends - begins, first_time, time[ends - 1]]
        last = self._open
        if last is not None:
            if last.subject == columns[0][0]:
                columns[1][0] = last.position
                columns[2][0] += last.events
                if last.first_time != NULL:
                    columns[3][0] = last.first_time
            else:
                self._add_runs(*(np.array([value], np.int64) for value in vars(last).values()))
        # The last run may continue in the next rows.
        self._open = _Run(*(int(column[-1]) for column in columns))
        if len(begins) > 1:
            self._add_runs(*(column[:-1] for column in columns))

    def _add_runs(self, *columns: Int64s) -> None:
        self._spill.add(spill.RUNS, [np.full(len(columns[0]), self._number, np.int32), *columns])

    def _count_codes(self, rows: EventBatch, subject: Int64s, begins: Int64s) -> None:
        texts = rows.texts("code")
        code = texts.positions[rows.before :]
        run = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, len(subject))))
        width = len(texts.values) + 1
        pairs = np.unique(run[code >= 0] * width + code[code >= 0])
        who, what = pairs // width, pairs % width
        events = np.bincount(code[code >= 0], minlength=len(texts.values))
        patients = np.bincount(what, minlength=len(texts.values))
        firsts = what[who == 0]
        continues = self._open is not None and self._open.subject == subject[0]
        if continues:
            # These codes were counted with the patient's earlier rows.
            names = texts.values.take(pa.array(firsts)).to_pylist()
            patients[firsts[[name in self._codes_of_last for name in names]]] -= 1
        if len(begins) > 1 or not continues:
            self._codes_of_last = set()
        self._codes_of_last.update(texts.values.take(pa.array(what[who == len(begins) - 1])).to_pylist())
        used = np.flatnonzero(events)
        self._spill.add(spill.CODES, [texts.values.take(pa.array(used)), events[used], patients[used]])
        for name in ONCE:
            at = texts.values.index(name).as_py()
            if at >= 0:
                known = self.once[name]
                self.once[name] = known[0] + int(events[at]), known[1] + int(patients[at])

    def _keep_periods(self, rows: EventBatch, event_type: str) -> None:
        texts = rows.texts("code")
        matches = pc.starts_with(texts.values, f"{event_type}//").to_numpy(zero_copy_only=False)
        code = texts.positions[rows.before :]
        # Position -1 stands for null, which matches nothing.
        at = np.flatnonzero(np.append(matches, [False])[code])
        if len(at):
            subject = rows.ints("subject_id")[rows.before :]
            self._spill.add(spill.PERIODS, [subject[at], texts.values.take(pa.array(code[at]))])

    def _count_details(self, rows: EventBatch) -> None:
        code, unit, table = (rows.texts(name) for name in ("code", "unit", "source_table"))
        numbered = ~rows.null("numeric_value")
        units, tables = len(unit.values) + 1, len(table.values) + 1
        key = (code.positions.astype(np.int64) * units + unit.positions + 1) * 2 + numbered
        key = key * tables + table.positions + 1
        key = np.unique(key[rows.before :][code.positions[rows.before :] >= 0])
        key, of_table = np.divmod(key, tables)
        key, with_number = np.divmod(key, 2)
        of_code, of_unit = np.divmod(key, units)
        self._spill.add(
            spill.DETAILS,
            [
                code.values.take(pa.array(of_code)),
                unit.values.take(_or_null(of_unit - 1)),
                with_number.astype(np.bool_),
                table.values.take(_or_null(of_table - 1)),
            ],
        )

    def _count_flags(self, rows: EventBatch) -> None:
        table = rows.texts("source_table")
        sets, place = np.unique(rows.ints("flags")[rows.before :], return_inverse=True)
        width = len(table.values) + 1
        pairs, events = np.unique(place * width + table.positions[rows.before :] + 1, return_counts=True)
        names = table.values.take(_or_null(pairs % width - 1))
        self._spill.add(spill.MARKS, [np.full(len(pairs), self._number), names, sets[pairs // width], events])

    def _keep_encounters(self, rows: EventBatch, kind: int, name: str, unless: int) -> None:
        encounter, subject = rows.ints(name), rows.ints("subject_id")
        chosen: Bools = (encounter != NULL) & (rows.ints("flags") & unless == 0)
        pairs = np.stack([encounter[chosen], subject[chosen]], axis=1)
        if not len(pairs):
            return
        # Equal pairs are consecutive, so few remain to compare.
        pairs = pairs[np.concatenate([[True], (pairs[1:] != pairs[:-1]).any(axis=1)])]
        self._spill.add(spill.ENCOUNTERS, [np.full(len(pairs), kind, np.int8), pairs[:, 0], pairs[:, 1]])


def _or_null(positions: Int64s) -> pa.Array:
    """Return positions as an array, with null for negative ones."""
    return pa.array(positions, mask=positions < 0)
