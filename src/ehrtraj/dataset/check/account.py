"""What one data file holds, counted while it is read: put together, the accounts show what only all files can show."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ehrtraj.dataset.check.findings import Findings
from ehrtraj.dataset.check.rows import Bools, Rows
from ehrtraj.pipeline.events import NULL, Int64s

_ENCOUNTERS = {"hadm_id": "hadm_unknown", "stay_id": None}


@dataclass
class Patient:
    """One patient's events in a file.

    Attributes:
        position: of the first event.
        events: how many.
        first_time: microseconds, of the first event that has a time; `NULL` where none has.
        last_time: of the last event.
    """

    position: int
    events: int = 0
    first_time: int = NULL
    last_time: int = NULL


@dataclass
class CodeCount:
    """What is observed of one code.

    Attributes:
        events: with it.
        patients: who have it.
        units: of its events.
        number_units: of its events that have a number; an empty text stands for none.
        tables: where they come from.
    """

    events: int = 0
    patients: int = 0
    units: set[str] = field(default_factory=set)
    number_units: set[str] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)

    def add(self, other: CodeCount) -> None:
        """Add what another file has of it."""
        self.events += other.events
        self.patients += other.patients
        self.units |= other.units
        self.number_units |= other.number_units
        self.tables |= other.tables


@dataclass
class Account:
    """What a data file holds.

    Attributes:
        file: its path in the dataset.
        events: rows.
        patients: by subject_id.
        codes: what is observed of each code.
        tables: events by source table.
        flagged: events by source table and all their flags.
        encounters: for `hadm_id` and `stay_id`, pairs of it and subject_id, a row each.
        bytes: size of the file.
        sha256: of the file, where the manifest has one to compare with.
        findings: what is wrong.
        whole: whether all columns could be counted.
    """

    file: str
    events: int = 0
    whole: bool = True
    patients: dict[int, Patient] = field(default_factory=dict)
    codes: dict[str, CodeCount] = field(default_factory=dict)
    tables: dict[str, int] = field(default_factory=dict)
    flagged: dict[tuple[str, int], int] = field(default_factory=dict)
    encounters: dict[str, Int64s] = field(default_factory=dict)
    bytes: int = 0
    sha256: str | None = None
    findings: Findings = field(default_factory=Findings)
    _codes_of_last: set[str] = field(default_factory=set)
    _last: int | None = None

    def add(self, rows: Rows, flag_values: dict[str, int]) -> None:
        """Count some rows.

        Args:
            rows: the next ones.
            flag_values: value of each flag by name.
        """
        self.events += len(rows) - rows.before
        subject = rows.ints("subject_id")[rows.before :]
        begins = np.flatnonzero(np.concatenate([[True], subject[1:] != subject[:-1]]))
        self._count_patients(rows, subject, begins)
        self._count_codes(rows, subject, begins)
        if rows.has("source_table"):
            self._count_tables(rows)
            if rows.has("flags"):
                self._count_flags(rows)
        for name, unknown in _ENCOUNTERS.items():
            if rows.has(name, "flags"):
                self._keep_encounters(rows, name, flag_values.get(unknown, 0) if unknown else 0)

    def _count_patients(self, rows: Rows, subject: Int64s, begins: Int64s) -> None:
        time = rows.ints("time")[rows.before :]
        ends = np.append(begins[1:], len(subject))
        again = []
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            who = int(subject[begin])
            known = self.patients.get(who)
            if known is None:
                known = self.patients[who] = Patient(rows.start + rows.before + begin)
            elif who != self._last:
                again.append(rows.before + begin)
            self._last = who
            known.events += end - begin
            known.last_time = int(time[end - 1])
            if known.first_time == NULL:
                timed = np.flatnonzero(time[begin:end] != NULL)
                known.first_time = int(time[begin + timed[0]]) if len(timed) else NULL
        self.findings.add("contiguous", rows.places(again, "other patients' events lie between"), len(again))

    def _count_codes(self, rows: Rows, subject: Int64s, begins: Int64s) -> None:
        texts = rows.texts("code")
        names = texts.values.to_pylist()
        code = texts.positions[rows.before :]
        patient = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, len(subject))))
        width = len(names) + 1
        pairs = np.unique(patient[code >= 0] * width + code[code >= 0])
        who, what = pairs // width, pairs % width
        for position, events in enumerate(np.bincount(code[code >= 0], minlength=len(names)).tolist()):
            if events:
                self.codes.setdefault(names[position], CodeCount()).events += events
        for position, patients in enumerate(np.bincount(what, minlength=len(names)).tolist()):
            if patients:
                self.codes[names[position]].patients += patients
        goes_on = rows.before == 1 and int(rows.ints("subject_id")[0]) == int(subject[0])
        if goes_on:
            # Counted before, with the patient's earlier rows.
            for name in self._codes_of_last.intersection(names[p] for p in what[who == 0].tolist()):
                self.codes[name].patients -= 1
        if len(begins) > 1 or not goes_on:
            self._codes_of_last = set()
        self._codes_of_last |= {names[p] for p in what[who == len(begins) - 1].tolist()}
        if rows.has("unit", "numeric_value"):
            self._keep_pairs(rows, "unit", "units", np.ones(len(code), np.bool_))
            self._keep_pairs(rows, "unit", "number_units", ~rows.null("numeric_value")[rows.before :])
        if rows.has("source_table"):
            self._keep_pairs(rows, "source_table", "tables", np.ones(len(code), np.bool_))

    def _keep_pairs(self, rows: Rows, column: str, attribute: str, chosen: Bools) -> None:
        texts, code = rows.texts(column), rows.texts("code")
        values, names = [*texts.values.to_pylist(), ""], code.values.to_pylist()
        chosen = chosen & (code.positions[rows.before :] >= 0)
        if attribute != "number_units":
            chosen &= texts.positions[rows.before :] >= 0
        width = len(values) + 1
        pairs = np.unique(
            code.positions[rows.before :][chosen].astype(np.int64) * width + texts.positions[rows.before :][chosen] + 1
        )
        for pair in pairs.tolist():
            getattr(self.codes[names[pair // width]], attribute).add(values[pair % width - 1])

    def _count_tables(self, rows: Rows) -> None:
        texts = rows.texts("source_table")
        positions = texts.positions[rows.before :]
        counts = np.bincount(positions[positions >= 0], minlength=len(texts.values))
        for name, events in zip(texts.values.to_pylist(), counts.tolist(), strict=True):
            if events:
                self.tables[name] = self.tables.get(name, 0) + events

    def _count_flags(self, rows: Rows) -> None:
        texts = rows.texts("source_table")
        names = [*texts.values.to_pylist(), None]
        sets, place = np.unique(rows.ints("flags")[rows.before :], return_inverse=True)
        pairs, counts = np.unique(place * len(names) + texts.positions[rows.before :] + 1, return_counts=True)
        for pair, events in zip(pairs.tolist(), counts.tolist(), strict=True):
            key = names[pair % len(names) - 1], int(sets[pair // len(names)])
            self.flagged[key] = self.flagged.get(key, 0) + events

    def _keep_encounters(self, rows: Rows, name: str, unless: int) -> None:
        encounter, subject = rows.ints(name), rows.ints("subject_id")
        chosen = (encounter != NULL) & (rows.ints("flags") & unless == 0)
        pairs = np.stack([encounter[chosen], subject[chosen]], axis=1)
        if not len(pairs):
            return
        # Rows lie in runs of the same pair: few are left to compare.
        pairs = pairs[np.concatenate([[True], (pairs[1:] != pairs[:-1]).any(axis=1)])]
        known = self.encounters.get(name, np.empty((0, 2), np.int64))
        self.encounters[name] = np.unique(np.concatenate([known, pairs]), axis=0)
