"""What a defect must know of the rest of the block: the stay, the admission, the patient that a row belongs to.

Everything is taken from the frames as they stand, so that a right event follows from what the files will say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ehrtraj.synth.draw import DAY, ID_SPACES, NONE, SCATTER, Bools, Floats, Ints, repeat
from ehrtraj.synth.life import SUBJECT_SPACING

FIRST = ("hosp/patients", "hosp/admissions", "icu/icustays")
"""Tables that others are compared with: their defects are planted before all others."""
_LATE = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Encounters:
    """Which admissions hold some times.

    Args:
        open: how many do.
        hadm_id: one of them, or NONE.
        nearest: the patient's admission that begins nearest, or NONE.
    """

    open: Ints
    hadm_id: Ints
    nearest: Ints


class World:
    """The frames of a block, as far as they have been planted."""

    def __init__(self, frames: dict[str, pl.DataFrame]) -> None:
        self.frames = dict(frames)
        self._known: dict[str, tuple[Ints, dict[str, Ints]]] = {}
        self._stays: tuple[Ints, Ints, Ints, Ints] | None = None
        self._ints: dict[tuple[str, str], Ints] = {}
        self._used: dict[str, int] = {}

    def finish(self, table: str, frame: pl.DataFrame) -> None:
        """Put a planted table in place of what it was."""
        self.frames[table] = frame
        if table in FIRST:
            self._known.clear()
            self._ints.clear()
            self._stays = None

    def ints(self, table: str, column: str) -> Ints:
        """Return a column of whole numbers, or of times in seconds; empty is NONE, a missing table has no rows."""
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
        """Return what icustays says of each ICU stay."""
        if "stay" not in self._known:
            columns = {name: self.ints("icu/icustays", name) for name in ("intime", "outtime")}
            self._known["stay"] = _sorted(self.ints("icu/icustays", "stay_id"), columns)
        return _find(self._known["stay"], stay_id, column)

    def admission(self, hadm_id: Ints, column: str) -> Ints:
        """Return what is known of each admission: its end, and the patient's discharge before and admission after."""
        if "admission" not in self._known:
            self._known["admission"] = self._admissions()
        return _find(self._known["admission"], hadm_id, column)

    def patient(self, subject_id: Ints, column: str) -> Ints:
        """Return what is known of each patient: dod, deathtime, death as the build finds it, the last ICU stay."""
        if "patient" not in self._known:
            self._known["patient"] = self._patients()
        return _find(self._known["patient"], subject_id, column)

    def encounters(self, subject_id: Ints, time: Ints) -> Encounters:
        """Find the admissions that hold each time of each patient: from registration to discharge or death."""
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
        holds = np.full(len(time), NONE)
        holds[row[inside]] = hadm[stay[inside]]
        nearest = np.full(len(time), NONE)
        by_gap = np.argsort(-np.abs(start[stay] - time[row]), kind="stable")
        nearest[row[by_gap]] = hadm[stay[by_gap]]
        return Encounters(np.bincount(row[inside], minlength=len(time)), holds, nearest)

    def other_hadm(self, subject_id: Ints, dice: Floats) -> Ints:
        """Return an admission of another patient, by the dice; NONE where there is none."""
        order = np.argsort(self.ints("hosp/admissions", "subject_id"), kind="stable")
        owner, hadm = (self.ints("hosp/admissions", name)[order] for name in ("subject_id", "hadm_id"))
        first, last = np.searchsorted(owner, subject_id, "left"), np.searchsorted(owner, subject_id, "right")
        others = len(owner) - (last - first)
        if not len(owner):
            return np.full(len(subject_id), NONE)
        step = np.minimum((dice * others).astype(np.int64), np.maximum(others - 1, 0))
        return np.where(others > 0, hadm[(last + step) % len(owner)], NONE)

    def fresh_hadm(self, count: int) -> Ints:
        """Return admissions' identifiers that no admission has, in this block or another."""
        return self._fresh("hadm", self.ints("hosp/admissions", "hadm_id"), count)

    def fresh_stays(self, count: int) -> Ints:
        """Return ICU stays' identifiers that no stay or transfer has, in this block or another."""
        known = [self.ints("icu/icustays", "stay_id"), self.ints("hosp/transfers", "transfer_id")]
        return self._fresh("transfer", np.concatenate(known), count)

    def fresh_subjects(self, subject_id: Ints) -> Ints:
        """Return, for each patient, a number beside the patient's own that nobody has; NONE where it is taken."""
        # A patient's number comes from a slot of its own: another number of the slot is nobody's.
        place = (subject_id - 10_000_000) % SUBJECT_SPACING
        other = subject_id - place + (place + 1) % SUBJECT_SPACING
        return np.where(np.isin(other, self.ints("hosp/patients", "subject_id")), NONE, other)

    def _fresh(self, space: str, known: Ints, count: int) -> Ints:
        """Return identifiers from the end of those that are the block's to use."""
        limits, taken = ID_SPACES[space], set(known.tolist())
        shift = SCATTER // 3
        origin = int(known[0]) if len(known) else limits.base + shift
        position = (origin - limits.base - shift) * pow(SCATTER, -1, limits.size) % limits.size
        end = (position // limits.stride + 1) * limits.stride
        found: list[int] = []
        while len(found) < count:
            self._used[space] = self._used.get(space, 0) + 1
            number = limits.base + ((end - self._used[space]) * SCATTER + shift) % limits.size
            if number not in taken:
                found.append(number)
        return np.array(found, dtype=np.int64)

    def _span(self) -> tuple[Ints, Ints]:
        """Return when admissions began, registration included, and ended: death may lie after a discharge by date."""
        admit, registered, discharge, death = (
            self.ints("hosp/admissions", name) for name in ("admittime", "edregtime", "dischtime", "deathtime")
        )
        start = np.where(registered == NONE, admit, np.minimum(admit, registered))
        one_day = discharge // DAY == death // DAY
        stop = np.where(discharge == NONE, death, np.where(one_day, np.maximum(discharge, death), discharge))
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
        place, known = _places(subject, owner)
        deathtime = np.full(len(subject), _LATE)
        use = known & (died != NONE)
        np.minimum.at(deathtime, place[use], died[use])
        deathtime[deathtime == _LATE] = NONE
        died_at, last_intime = np.full(len(subject), NONE), np.full(len(subject), NONE)
        use = known & (expired == 1) & (discharge != NONE)
        use[use] &= discharge[use] // DAY == dod[place[use]] // DAY
        np.maximum.at(died_at, place[use], discharge[use])
        place, known = _places(subject, self.ints("icu/icustays", "subject_id"))
        np.maximum.at(last_intime, place[known], self.ints("icu/icustays", "intime")[known])
        by_date = np.where(dod == NONE, NONE, dod - dod % DAY + DAY - 1)
        death = np.where(deathtime != NONE, deathtime, np.where(died_at != NONE, died_at, by_date))
        return subject, {"dod": dod, "deathtime": deathtime, "death": death, "last_intime": last_intime}


def _sorted(keys: Ints, columns: dict[str, Ints]) -> tuple[Ints, dict[str, Ints]]:
    order = np.argsort(keys, kind="stable")
    return keys[order], {name: values[order] for name, values in columns.items()}


def _places(keys: Ints, sought: Ints) -> tuple[Ints, Bools]:
    """Return where each sought key is among sorted keys, and whether it is there."""
    if not len(keys):
        return np.zeros(len(sought), dtype=np.int64), np.zeros(len(sought), dtype=bool)
    place = np.minimum(np.searchsorted(keys, sought), len(keys) - 1).astype(np.int64)
    return place, keys[place] == sought


def _find(known: tuple[Ints, dict[str, Ints]], sought: Ints, column: str) -> Ints:
    keys, columns = known
    place, there = _places(keys, sought)
    return np.where(there, columns[column][place], NONE) if len(keys) else np.full(len(sought), NONE)
