"""A block of patients: their traits, illnesses and stays. All tables are drawn from it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.draw import DAY, NONE, Bools, Floats, Ints, Streams, choose
from ehrtraj.synth.failures.courses import Courses
from ehrtraj.synth.failures.effects import read_effects, signal_shifts

BLOCK_PATIENTS = 128
"""Number of patients drawn together. It must stay fixed, since every draw depends on it, not on cores or settings."""


@dataclass(frozen=True)
class People:
    """Patients, in order of subject_id. Arrays have one element per patient; times are seconds since 1970."""

    subject_id: Ints
    female: Bools
    birth: Ints
    """Midnight of 1 January of anchor_year - anchor_age."""
    anchor_age: Ints
    """Age in anchor_year. 91 stands for all ages over 89."""
    anchor_year: Ints
    group: Ints
    """Three-year band of the true anchor year: 0 is 2008 - 2010, 4 is 2020 - 2022."""
    shift: Ints
    """Number of years by which dates are shifted: true year = year of a time - shift."""
    conditions: Bools
    """[patients, conditions], with columns in the order of catalog.conditions()."""
    window_start: Ints
    window_end: Ints
    """Care takes place between these times."""
    death: Ints
    """Time of death, in hospital or within a year of the last discharge; NONE without a known death."""


@dataclass(frozen=True)
class Episodes:
    """Episodes of illness: first all admissions, in the order of `Admissions`, then ED visits without admission."""

    person: Ints
    start: Ints
    """Arrival in the emergency department, or admission if the patient did not come through it."""
    end: Ints
    illness: Ints
    """Number of the illness; see catalog.illnesses()."""
    severity: Floats
    """Peak severity: 1 is typical of a patient on a ward, 2 is critical."""
    dying: Bools
    """The episode ends in death in hospital."""


@dataclass(frozen=True)
class Admissions:
    """Admissions, ordered by patient and time. Element i is episode i."""

    person: Ints
    hadm_id: Ints
    admit: Ints
    discharge: Ints
    death: Ints
    """NONE unless the patient died in this admission."""
    illness: Ints
    kind: pl.Series
    """admission_type"""
    service: pl.Series
    """The first service."""
    ed: Ints
    """Number of the ED stay, or -1."""
    icu: Bools
    """The admission has at least one ICU stay."""
    surgical: Bools
    true_year: Ints
    """Year before shifting. It determines whether ICD-9 or ICD-10 (from October 2015) and emar were in use."""


@dataclass(frozen=True)
class EdStays:
    """ED stays, ordered by patient and time."""

    person: Ints
    episode: Ints
    admission: Ints
    """Number of the admission that it led to, or -1."""
    stay_id: Ints
    arrival: Ints
    departure: Ints


@dataclass(frozen=True)
class IcuStays:
    """ICU stays, ordered by patient and time."""

    person: Ints
    admission: Ints
    stay_id: Ints
    arrival: Ints
    departure: Ints
    first_unit: pl.Series
    last_unit: pl.Series
    ventilated_from: Ints
    """Start of invasive ventilation; NONE if the patient is never ventilated."""
    ventilated_until: Ints
    pressors: Bools
    """The patient needs vasopressors for a part of the stay."""
    pressors_from: Ints
    """Start of vasopressors; NONE without them."""
    pressors_until: Ints
    dialysis: Bools
    dialysis_from: Ints
    """Start of dialysis; NONE without it."""
    dialysis_until: Ints
    arterial_line: Bools
    weight: Floats
    """Weight in kg, measured on arrival and used for doses."""


@dataclass(frozen=True)
class Transfers:
    """Rows of the table transfers, ordered by patient and time."""

    person: Ints
    admission: Ints
    """Number of the admission; -1 for an ED visit without admission."""
    transfer_id: Ints
    kind: pl.Series
    """eventtype"""
    unit: pl.Series
    """careunit"""
    start: Ints
    end: Ints
    """NONE in the row of a discharge."""


@dataclass(frozen=True)
class PatientBlock:
    """The facts that all tables of one block of patients share."""

    streams: Streams
    people: People
    episodes: Episodes
    admissions: Admissions
    ed: EdStays
    icu: IcuStays
    transfers: Transfers
    courses: Courses
    """Infections and organ failures in the ICU stays."""
    levels: Floats
    """[patients, signals]: baseline of each patient in spreads, including effects of conditions and traits."""
    phases: Floats
    """[patients, signals]: phase at which the slow wave of each signal starts, in radians."""
    cache: dict[str, pl.DataFrame] = field(default_factory=dict)
    """Tables already drawn, for tables that copy parts of them (labs in the chart, triage in the notes)."""

    def subject_id(self, person: Ints) -> pl.Series:
        """Return the subject_id for each person number."""
        return pl.Series(self.people.subject_id[person])

    def hadm_id(self, admission: Ints) -> pl.Series:
        """Return the hadm_id for each admission number; null for -1."""
        return choose(pl.Series(self.admissions.hadm_id, dtype=pl.Int64), admission)

    def age(self, person: Ints, time: Ints) -> Floats:
        """Return each person's age in years at each time."""
        return (time - self.people.birth[person]) / (365.25 * DAY)

    def on_ventilator(self, person: Ints, time: Ints) -> Bools:
        """Return whether each person was on an invasive ventilator at each time."""
        icu = self.icu
        if not len(icu.person):
            return np.zeros(len(person), dtype=bool)
        # Stays are ordered by patient and time. Only the last stay that started earlier can contain the time.
        step = np.int64(1) << 40
        before = np.searchsorted(icu.person * step + icu.arrival, person * step + time, side="right") - 1
        stay = np.maximum(before, 0)
        ventilated: Bools = (before >= 0) & (icu.person[stay] == person) & (icu.ventilated_from[stay] != NONE)
        return ventilated & (time >= icu.ventilated_from[stay]) & (time < icu.ventilated_until[stay])

    def severity(self, episode: Ints, time: Ints) -> Floats:
        """Return the severity of illness at each time: 0 outside of episodes (-1), about 0 to 2.5 inside.

        Severity peaks some hours after arrival and then decreases, or it increases until death.
        """
        inside = episode >= 0
        if not len(self.episodes.person):
            return np.zeros(len(episode))
        number = np.where(inside, episode, 0)
        length = np.maximum(self.episodes.end[number] - self.episodes.start[number], 3600)
        passed = np.clip((time - self.episodes.start[number]) / length, 0.0, 1.0)
        decreasing = np.minimum(0.75 + passed * 2.5, 1.0) * np.exp(-2.2 * np.maximum(passed - 0.12, 0.0))
        increasing = 0.8 + 0.6 * passed
        course = np.where(self.episodes.dying[number], increasing, decreasing)
        return np.where(inside, self.episodes.severity[number] * course, 0.0)

    def measure(self, rng: np.random.Generator, signal: Ints, person: Ints, episode: Ints, time: Ints) -> Floats:
        """Return a measurement of each signal, in the unit of the signal.

        Each patient has a baseline that includes the effects of conditions and traits. Values drift around it over
        days, and shift with illness and with the failures of organs.

        Args:
            rng: source of the noise.
            signal: number of the signal, for each row.
            person: number of the patient, for each row.
            episode: number of the episode, for each row; -1 outside of episodes.
            time: time of the measurement in seconds since 1970, for each row.
        """
        table = _signal_table()
        noise, drift = catalog.signal_noise()
        ill = self._illness_shifts(signal, episode, time)
        failing = signal_shifts(self.courses, signal, episode, time)
        # An illness and the failures that it leads to have common effects, which count once.
        ill = np.where(np.abs(failing) > np.abs(ill), failing, ill)
        wave = drift[signal] * np.sin(time / (5.3 * DAY) * (2 * np.pi) + self.phases[person, signal])
        z = self.levels[person, signal] + wave + noise[signal] * rng.standard_normal(len(person)) + ill
        spread, typical = table["spread"][signal], table["typical"][signal]
        value = np.where(table["log"][signal] > 0, typical * np.exp(np.clip(spread * z, -8, 8)), typical + spread * z)
        clipped: Floats = np.clip(value, table["low"][signal], table["high"][signal])
        return clipped

    def _illness_shifts(self, signal: Ints, episode: Ints, time: Ints) -> Floats:
        """Return by how many spreads the illness shifts each measurement, without the failures of organs."""
        if not len(self.episodes.person):
            return np.zeros(len(signal))
        severity = self.severity(episode, time)
        illness = np.where(episode >= 0, self.episodes.illness[episode], 0)
        dying = (episode >= 0) & self.episodes.dying[episode]
        shifts = catalog.effects()
        ill = shifts[_first_illness() + illness, signal] * severity
        ill += np.where(dying, shifts[catalog.causes().index("dying"), signal] * np.maximum(severity - 0.9, 0.0), 0.0)
        critical = np.append(
            self.admissions.icu, np.zeros(len(self.episodes.person) + 1 - len(self.admissions.icu), bool)
        )
        return np.where(critical[episode] & read_effects().replaces[signal], 0.0, ill)


def _first_illness() -> int:
    return len(catalog.conditions()) + len(catalog.TRAITS)


def _signal_table() -> dict[str, Floats]:
    frame = catalog.signals()
    table: dict[str, Floats] = {
        name: frame[name].cast(pl.Float64).to_numpy() for name in ("typical", "spread", "low", "high")
    }
    table["log"] = (frame["scale"] == "log").cast(pl.Float64).to_numpy()
    return table


__all__ = [
    "BLOCK_PATIENTS",
    "NONE",
    "Admissions",
    "EdStays",
    "Episodes",
    "IcuStays",
    "PatientBlock",
    "People",
    "Transfers",
]
