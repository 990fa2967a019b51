"""Draw the occasions on which specimens are taken from the patients of a block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import DAY, HOUR, MINUTE, NONE, Bools, Ints, minutes, repeat
from ehrtraj.synth.tables.labs.panels import CLINIC, DIRECT, ED, ED_AGAIN, ICU, LATER, LINE, MORNING, VENT, read_panels

_SERIES_HOURS = 24


@dataclass(frozen=True)
class Occasions:
    """Occasions on which specimens are taken from a patient."""

    person: Ints
    episode: Ints
    admission: Ints
    """Number of the admission, whether or not the laboratory knows it; or -1."""
    time: Ints
    kind: Ints
    """Position in panels.OCCASIONS."""
    panel: Ints
    """The panel that is due if only one is, else -1."""


def _of_admissions(
    block: PatientBlock, admission: Ints, time: Ints, kind: int | Ints, panel: Ints | None = None
) -> Occasions:
    return Occasions(
        person=block.admissions.person[admission],
        episode=admission,
        admission=admission,
        time=time.astype(np.int64),
        kind=np.broadcast_to(np.asarray(kind, dtype=np.int64), time.shape),
        panel=np.full(len(time), -1) if panel is None else panel,
    )


def draw_occasions(block: PatientBlock, rng: np.random.Generator) -> Occasions:
    """Draw all occasions, ordered by patient and time."""
    parts = [
        _in_ed(block, rng),
        _on_arrival(block, rng),
        _on_days(block, rng, MORNING),
        _on_days(block, rng, LATER),
        _on_days(block, rng, LATER),
        _in_icu(block, rng),
        _from_lines(block, rng),
        _in_series(block, rng),
        _in_clinic(block, rng),
    ]
    columns = {name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])}
    time = minutes(columns["time"])
    # Two fifths are rounded to five minutes, in addition to those that fall there by chance (MIMIC-IV demo 2.2).
    columns["time"] = np.where(rng.random(len(time)) < 0.4, time - time % (5 * MINUTE), time)
    order = np.lexsort((columns["kind"], columns["time"], columns["person"]))
    # Occasionally the laboratory measures two specimens of the same kind and time.
    order = np.repeat(order, 1 + (rng.random(len(order)) < 0.004))
    return Occasions(**{name: column[order] for name, column in columns.items()})


def _in_ed(block: PatientBlock, rng: np.random.Generator) -> Occasions:
    stays = block.ed
    total = len(stays.person)
    first = stays.arrival + np.clip(rng.lognormal(np.log(32 * MINUTE), 0.6, total), 6 * MINUTE, 4 * HOUR)
    drawn = rng.random(total) < np.where(stays.admission >= 0, 0.96, 0.68)
    again = first + rng.uniform(2 * HOUR, 5.5 * HOUR, total)
    repeated = drawn & (rng.random(total) < 0.42)
    keep = np.concatenate([drawn, repeated])
    time = np.concatenate([first, again])
    stay = np.tile(np.arange(total), 2)
    kind = np.repeat([ED, ED_AGAIN], total)
    rows = np.flatnonzero(keep & (time < stays.departure[stay] - MINUTE))
    stay = stay[rows]
    return Occasions(
        person=stays.person[stay],
        episode=stays.episode[stay],
        admission=stays.admission[stay],
        time=time[rows].astype(np.int64),
        kind=kind[rows],
        panel=np.full(len(rows), -1),
    )


def _on_arrival(block: PatientBlock, rng: np.random.Generator) -> Occasions:
    """Draw occasions on arrival of patients who did not come through the ED, some shortly before admission."""
    stays = block.admissions
    time = stays.admit + rng.integers(-HOUR // 2, 3 * HOUR, len(stays.person))
    rows = np.flatnonzero((stays.ed < 0) & (rng.random(len(time)) < 0.94) & (time < stays.discharge - 30 * MINUTE))
    return _of_admissions(block, rows, time[rows], DIRECT)


def _on_days(block: PatientBlock, rng: np.random.Generator, kind: int) -> Occasions:
    """Draw at most one occasion per day. It is more likely in sicker patients."""
    stays = block.admissions
    stay, day = repeat((stays.discharge - stays.admit) // DAY + 2)
    total = len(stay)
    if kind == MORNING:
        hour, chances = np.clip(rng.normal(5.7, 1.3, total), 1.5, 9.5), (0.72, 0.28, 0.97)
    else:
        hour, chances = rng.uniform(9.5, 25.0, total), (0.16, 0.26, 0.8)
    time = stays.admit[stay] - stays.admit[stay] % DAY + day * DAY + (hour * HOUR).astype(np.int64)
    base, per_severity, highest = chances
    chance = np.minimum(base + per_severity * block.severity(stay, time), highest)
    inside = (time > stays.admit[stay] + 2 * HOUR) & (time < stays.discharge[stay] - 30 * MINUTE)
    rows = np.flatnonzero(inside & (rng.random(total) < chance))
    return _of_admissions(block, stay[rows], time[rows], kind)


def _in_icu(block: PatientBlock, rng: np.random.Generator) -> Occasions:
    stay, time = _regularly(block, rng, 6 * HOUR)
    admission = block.icu.admission[stay]
    chance = np.minimum(0.12 + 0.16 * block.severity(admission, time), 0.8)
    rows = np.flatnonzero(rng.random(len(time)) < chance)
    return _of_admissions(block, admission[rows], time[rows], ICU)


def _from_lines(block: PatientBlock, rng: np.random.Generator) -> Occasions:
    """Draw arterial blood samples in patients with an arterial line, more often if they are ventilated."""
    stays = block.icu
    stay, time = _regularly(block, rng, 4 * HOUR)
    since = stays.ventilated_from[stay]
    ventilated = (since != NONE) & (time >= since) & (time < stays.ventilated_until[stay])
    drawn = rng.random(len(time)) < np.where(ventilated, 0.48, 0.24)
    rows = np.flatnonzero(stays.arterial_line[stay] & drawn)
    return _of_admissions(block, stays.admission[stay[rows]], time[rows], np.where(ventilated[rows], VENT, LINE))


def _regularly(block: PatientBlock, rng: np.random.Generator, interval: int) -> tuple[Ints, Ints]:
    """Return one time in each interval of each ICU stay: the stays and the times."""
    stays = block.icu
    stay, ordinal = repeat((stays.departure - stays.arrival) // interval + 1)
    time = stays.arrival[stay] + ((ordinal + rng.random(len(stay))) * interval).astype(np.int64)
    end = np.minimum(stays.departure, block.admissions.discharge[stays.admission] - 30 * MINUTE)
    rows = np.flatnonzero((time > stays.arrival[stay] + 10 * MINUTE) & (time < end[stay]))
    return stay[rows], time[rows]


def _in_series(block: PatientBlock, rng: np.random.Generator) -> Occasions:
    """Draw panels that an illness requires every few hours on the first day."""
    stays = block.admissions
    every = read_panels().every
    admission, panel = np.nonzero(every[stays.illness] > 0)
    hours = np.rint(every[stays.illness[admission], panel])
    series, ordinal = repeat((_SERIES_HOURS // hours).astype(np.int64))
    admission, panel, hours = admission[series], panel[series], hours[series]
    early = rng.uniform(-0.1, 0.1, len(stays.person))[admission]
    time = block.episodes.start[admission] + ((ordinal + 1 + early) * hours * HOUR).astype(np.int64)
    inside = (time > stays.admit[admission] + 10 * MINUTE) & (time < stays.discharge[admission] - 30 * MINUTE)
    rows = np.flatnonzero(inside & (rng.random(len(time)) < 0.85))
    return _of_admissions(block, admission[rows], time[rows], LATER, panel[rows])


def _in_clinic(block: PatientBlock, rng: np.random.Generator) -> Occasions:
    """Draw occasions in outpatients, more often with more conditions, and before planned operations."""
    people, stays = block.people, block.admissions
    never_in_hospital = np.ones(len(people.subject_id), dtype=bool)
    never_in_hospital[block.episodes.person] = False
    rate = rng.gamma(0.7, 1 / 0.7, len(never_in_hospital)) * (0.55 + 0.5 * people.conditions.sum(axis=1))
    person, _ = repeat(np.maximum(rng.poisson(rate), never_in_hospital))
    end = np.where(people.death == NONE, people.window_end, np.minimum(people.window_end, people.death))
    visit = people.window_start[person] + (rng.random(len(person)) * (end - people.window_start)[person]).astype(
        np.int64
    )
    planned = np.flatnonzero(stays.surgical & (stays.ed < 0) & (rng.random(len(stays.person)) < 0.6))
    before = stays.admit[planned] - rng.integers(DAY, 14 * DAY, len(planned))
    person = np.concatenate([person, stays.person[planned]])
    admission = np.concatenate([np.full(len(visit), -1), planned])
    time = np.concatenate([visit, before])
    time = time - time % DAY + (np.clip(rng.normal(10.8, 2.2, len(time)), 6.5, 18) * HOUR).astype(np.int64)
    rows = np.flatnonzero(
        (time > people.window_start[person] + HOUR) & (time < end[person] - DAY) & ~_in_hospital(block, person, time)
    )
    if never_in_hospital.any():
        rows = np.union1d(rows, np.flatnonzero(never_in_hospital[person] & (time < end[person])))
    none = np.full(len(rows), -1)
    return Occasions(person[rows], none, admission[rows], time[rows], np.full(len(rows), CLINIC), none)


def _in_hospital(block: PatientBlock, person: Ints, time: Ints) -> Bools:
    episodes = block.episodes
    near = (time[:, None] > episodes.start - 12 * HOUR) & (time[:, None] < episodes.end + 12 * HOUR)
    inside: Bools = ((person[:, None] == episodes.person) & near).any(axis=1)
    return inside
