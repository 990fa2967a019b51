"""The context of a row: the ICU stay, the admission and the patient that it belongs to.

Everything is read from the current frames, so that correct events agree with the files that will be written.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ehrtraj.synth.draw import DAY, ID_SPACES, NONE, SCATTER, Bools, Floats, Ints, repeat
from ehrtraj.synth.life import SUBJECT_SPACING

PLANTED_FIRST = ("hosp/patients", "hosp/admissions", "icu/icustays")
"""Tables that other tables are compared with. Their defects are planted before all others."""
_LATE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class AdmissionLookup:
    """The admissions of patients at some times, one element for each time.

    Args:
        count: number of admissions that contain the time.
        hadm_id: one of these admissions, or NONE.
        nearest: admission of the patient whose start is nearest, or NONE.
    """

    count: Ints
    hadm_id: Ints
    nearest: Ints


class World:
    """The tables of a block, including the defects planted so far."""

    def __init__(self, frames: dict[str, pl.DataFrame]) -> None:
        self.frames = dict(frames)
        self._lookups: dict[str, tuple[Ints, dict[str, Ints]]] = {}
        self._stays: tuple[Ints, Ints, Ints, Ints] | None = None
        self._ints: dict[tuple[str, str], Ints] = {}
        self._used: dict[str, int] = {}

    def finish(self, table: str, frame: pl.DataFrame) -> None:
        """Replace a table by the one with planted defects."""
        self.frames[table] = frame
        if table in PLANTED_FIRST:
            self._lookups.clear()
            self._ints.clear()
            self._stays = None

    def ints(self, table: str, column: str) -> Ints:
        """Return a column of integers or of times in seconds. Empty cells are NONE; a missing table has no rows."""
        if table not in self.frames:
            return np.empty(0, dtype=np.int64)
        if (table, column) not in self._ints:
            values = self.frames[table][column].to_numpy()
            if values.dtype.kind == "M":
                values = values.astype("datetime64[s]").view(np.int64)
            elif values.dtype.kind == "f":
                values = np.where(np.isnan(values), NONE, np.nan_to_num(values).astype(np.int64))
            self._ints[table, column] = values
        return self._ints[table, column]

    def stay(self, stay_id: Ints, column: str) -> Ints:
        """Return a column of icustays (intime or outtime) for each ICU stay."""
        if "stay" not in self._lookups:
            columns = {name: self.ints("icu/icustays", name) for name in ("intime", "outtime")}
            self._lookups["stay"] = _sorted(self.ints("icu/icustays", "stay_id"), columns)
        return _find(self._lookups["stay"], stay_id, column)

    def admission(self, hadm_id: Ints, column: str) -> Ints:
        """Return a column for each admission: its end, the patient's previous discharge, or the next admission."""
        if "admission" not in self._lookups:
            self._lookups["admission"] = self._admissions()
        return _find(self._lookups["admission"], hadm_id, column)

    def patient(self, subject_id: Ints, column: str) -> Ints:
        """Return a column for each patient: dod, deathtime, death as the build derives it, or last_intime (ICU)."""
        if "patient" not in self._lookups:
            self._lookups["patient"] = self._patients()
        return _find(self._lookups["patient"], subject_id, column)

    def admissions_at(self, subject_id: Ints, time: Ints) -> AdmissionLookup:
        """Find the admissions of each patient that contain each time, from registration to discharge or death."""
        if self._stays is None:
            start, stop = self._span()
            valid = (stop >= start) & (stop != NONE)
            owner, hadm = (self.ints("hosp/admissions", name)[valid] for name in ("subject_id", "hadm_id"))
            order = np.argsort(owner, kind="stable")
            self._stays = owner[order], hadm[order], start[valid][order], stop[valid][order]
        owner, hadm, start, stop = self._stays
        first, last = np.searchsorted(owner, subject_id, "left"), np.searchsorted(owner, subject_id, "right")
        row, ordinal = repeat(last - first)
        stay = first[row] + ordinal
        inside = (start[stay] <= time[row]) & (time[row] <= stop[stay])
        containing = np.full(len(time), NONE)
        containing[row[inside]] = hadm[stay[inside]]
        nearest = np.full(len(time), NONE)
        by_gap = np.argsort(-np.abs(start[stay] - time[row]), kind="stable")
        nearest[row[by_gap]] = hadm[stay[by_gap]]
        return AdmissionLookup(np.bincount(row[inside], minlength=len(time)), containing, nearest)

    def other_hadm(self, subject_id: Ints, uniform: Floats) -> Ints:
        """Return an admission of another patient, chosen by uniform numbers; NONE if no other patient has one."""
        order = np.argsort(self.ints("hosp/admissions", "subject_id"), kind="stable")
        owner, hadm = (self.ints("hosp/admissions", name)[order] for name in ("subject_id", "hadm_id"))
        first, last = np.searchsorted(owner, subject_id, "left"), np.searchsorted(owner, subject_id, "right")
        others = len(owner) - (last - first)
        if not len(owner):
            return np.full(len(subject_id), NONE)
        step = np.minimum((uniform * others).astype(np.int64), np.maximum(others - 1, 0))
        return np.where(others > 0, hadm[(last + step) % len(owner)], NONE)

    def unused_hadm_ids(self, count: int) -> Ints:
        """Return `count` hadm_ids that no admission of any block has."""
        return self._unused_ids("hadm", self.ints("hosp/admissions", "hadm_id"), count)

    def unused_stay_ids(self, count: int) -> Ints:
        """Return `count` stay_ids that no ICU stay or transfer of any block has."""
        used = [self.ints("icu/icustays", "stay_id"), self.ints("hosp/transfers", "transfer_id")]
        return self._unused_ids("transfer", np.concatenate(used), count)

    def unused_subject_ids(self, subject_id: Ints) -> Ints:
        """Return, for each patient, a nearby subject_id that no patient has; NONE if the number is in use."""
        # Each patient has a slot of SUBJECT_SPACING numbers. No patient has the other numbers of the slot.
        place = (subject_id - 10_000_000) % SUBJECT_SPACING
        other = subject_id - place + (place + 1) % SUBJECT_SPACING
        return np.where(np.isin(other, self.ints("hosp/patients", "subject_id")), NONE, other)

    def _unused_ids(self, space: str, used: Ints, count: int) -> Ints:
        """Return identifiers from the end of the range reserved for the block."""
        ids, used_ids = ID_SPACES[space], set(used.tolist())
        shift = SCATTER // 3
        origin = int(used[0]) if len(used) else ids.base + shift
        position = (origin - ids.base - shift) * pow(SCATTER, -1, ids.size) % ids.size
        end = (position // ids.stride + 1) * ids.stride
        unused: list[int] = []
        while len(unused) < count:
            self._used[space] = self._used.get(space, 0) + 1
            number = ids.base + ((end - self._used[space]) * SCATTER + shift) % ids.size
            if number not in used_ids:
                unused.append(number)
        return np.array(unused, dtype=np.int64)

    def _span(self) -> tuple[Ints, Ints]:
        """Return the start of each admission (ED registration if earlier) and its end (death if later that day)."""
        admit, registered, discharge, death = (
            self.ints("hosp/admissions", name) for name in ("admittime", "edregtime", "dischtime", "deathtime")
        )
        start = np.where(registered == NONE, admit, np.minimum(admit, registered))
        same_day = discharge // DAY == death // DAY
        stop = np.where(discharge == NONE, death, np.where(same_day, np.maximum(discharge, death), discharge))
        return start, stop

    def _admissions(self) -> tuple[Ints, dict[str, Ints]]:
        subject, hadm, admit, discharge = (
            self.ints("hosp/admissions", name) for name in ("subject_id", "hadm_id", "admittime", "dischtime")
        )
        order = np.lexsort((hadm, admit, subject))
        same = subject[order][1:] == subject[order][:-1]
        earlier, later = order[:-1][same], order[1:][same]
        columns = {"dischtime": discharge, "ended": self._span()[1]}
        columns |= {name: np.full(len(hadm), NONE) for name in ("before", "after", "end_after")}
        columns["before"][later] = discharge[earlier]
        columns["after"][earlier] = admit[later]
        columns["end_after"][earlier] = discharge[later]
        return _sorted(hadm, columns)

    def _patients(self) -> tuple[Ints, dict[str, Ints]]:
        order = np.argsort(self.ints("hosp/patients", "subject_id"), kind="stable")
        subject, dod = (self.ints("hosp/patients", name)[order] for name in ("subject_id", "dod"))
        owner, died, discharge, expired = (
            self.ints("hosp/admissions", name)
            for name in ("subject_id", "deathtime", "dischtime", "hospital_expire_flag")
        )
        place, found = _places(subject, owner)
        deathtime = np.full(len(subject), _LATE)
        use = found & (died != NONE)
        np.minimum.at(deathtime, place[use], died[use])
        deathtime[deathtime == _LATE] = NONE
        died_at, last_intime = np.full(len(subject), NONE), np.full(len(subject), NONE)
        use = found & (expired == 1) & (discharge != NONE)
        use[use] &= discharge[use] // DAY == dod[place[use]] // DAY
        np.maximum.at(died_at, place[use], discharge[use])
        place, found = _places(subject, self.ints("icu/icustays", "subject_id"))
        np.maximum.at(last_intime, place[found], self.ints("icu/icustays", "intime")[found])
        by_date = np.where(dod == NONE, NONE, dod - dod % DAY + DAY - 1)
        death = np.where(deathtime != NONE, deathtime, np.where(died_at != NONE, died_at, by_date))
        return subject, {"dod": dod, "deathtime": deathtime, "death": death, "last_intime": last_intime}


def _sorted(keys: Ints, columns: dict[str, Ints]) -> tuple[Ints, dict[str, Ints]]:
    order = np.argsort(keys, kind="stable")
    return keys[order], {name: values[order] for name, values in columns.items()}


def _places(keys: Ints, requested: Ints) -> tuple[Ints, Bools]:
    """Return the position of each requested key among sorted keys, and whether it was found."""
    if not len(keys):
        return np.zeros(len(requested), dtype=np.int64), np.zeros(len(requested), dtype=bool)
    place = np.minimum(np.searchsorted(keys, requested), len(keys) - 1).astype(np.int64)
    return place, keys[place] == requested


def _find(lookup: tuple[Ints, dict[str, Ints]], requested: Ints, column: str) -> Ints:
    keys, columns = lookup
    place, found = _places(keys, requested)
    return np.where(found, columns[column][place], NONE) if len(keys) else np.full(len(requested), NONE)
