"""Draw the tables of patients, admissions, transfers, services, ICU stays and ED stays."""

from __future__ import annotations

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import BLOCK_PATIENTS, PatientBlock
from ehrtraj.synth.draw import (
    DAY,
    HOUR,
    NONE,
    Bools,
    Floats,
    Ints,
    choose,
    dates,
    minutes,
    pick,
    pick_rows,
    times,
)

# Shares of admissions in which a value differs from the previous admission (MIMIC-IV demo 2.2: of 48 patients with
# several admissions, marital status changed in 8, insurance in 5 and race in 4).
NEW_MARITAL_STATUS = 0.06
NEW_INSURANCE = 0.04
NEW_RACE = 0.025
# 593,071 services in 546,028 admissions. Admissions with intensive care change service more often (an assumption).
SERVICE_CHANGES = 593_071 / 546_028 - 1
SECOND_CHANGE = 0.15
PLANNED_EARLY = 0.4
"""Share of planned admissions whose first service starts before admittime (MIMIC-IV demo 2.2: about half)."""
WITHOUT_DISCHARGE_LOCATION = ("EU OBSERVATION", "DIRECT OBSERVATION", "AMBULATORY OBSERVATION")
"""Types of admission for observation only. In MIMIC-IV demo 2.2 none of them has a discharge location."""
PLANNED = ("ELECTIVE", "SURGICAL SAME DAY ADMISSION")


def draw(block: PatientBlock) -> dict[str, pl.DataFrame]:
    """Return patients, admissions, transfers, services, icustays and edstays for a block."""
    race, races = _races(block)
    bed_released = _bed_release_times(block)
    return {
        "hosp/patients": _patients(block),
        "hosp/admissions": _admissions(block, races),
        "hosp/transfers": _transfers(block, bed_released),
        "hosp/services": _services(block),
        "icu/icustays": _icustays(block, bed_released),
        "ed/edstays": _edstays(block, race, races),
    }


def dictionaries() -> dict[str, pl.DataFrame]:
    """Return the tables of providers and caregivers."""
    providers, caregivers = catalog.staff()
    return {
        "hosp/provider": pl.DataFrame({"provider_id": providers}),
        "icu/caregiver": pl.DataFrame({"caregiver_id": caregivers.cast(pl.Int64)}),
    }


def inside_stay(block: PatientBlock, person: Ints, time: Ints) -> Bools:
    """Return, for each person and time, whether the patient was in an admission, including its ED stay."""
    stays, first = block.admissions, _first_contact(block)
    # Person numbers times a step wider than all times give ascending keys. One search finds the last earlier admission.
    step = np.int64(1) << 40
    before = np.searchsorted(stays.person * step + first, person * step + time, side="right") - 1
    latest = np.maximum(before, 0)
    inside: Bools = (before >= 0) & (stays.person[latest] == person) & (time <= stays.discharge[latest])
    return inside


def _first_contact(block: PatientBlock) -> Ints:
    first: Ints = block.episodes.start[: len(block.admissions.person)]
    return first


def _patients(block: PatientBlock) -> pl.DataFrame:
    people = block.people
    bands = pl.Series([f"{2008 + 3 * group} - {2010 + 3 * group}" for group in range(5)])
    return pl.DataFrame(
        {
            "subject_id": people.subject_id,
            "gender": choose(pl.Series(["M", "F"]), people.female.astype(np.int64)),
            "anchor_age": people.anchor_age,
            "anchor_year": people.anchor_year,
            "anchor_year_group": choose(bands, people.group),
            "dod": dates(people.death),
        }
    )


def _races(block: PatientBlock) -> tuple[pl.Series, pl.Series]:
    """Return each patient's usual race, and the race recorded in each admission."""
    rng = block.streams.rng("encounters race")
    usual = catalog.draw_choice(rng, "race", BLOCK_PATIENTS)
    total = len(block.admissions.person)
    unsure = catalog.draw_choice(rng, "encounters_race_unsure", total)
    recorded = unsure.zip_with(pl.Series(rng.random(total) < NEW_RACE), usual[block.admissions.person])
    return usual, recorded


def _draw_from(rng: np.random.Generator, fields: tuple[str, ...], which: Ints) -> pl.Series:
    """Draw each element from the values of the field fields[which]; null where `which` is -1."""
    lists = [catalog.choices(field) for field in fields]
    index, offset = np.full(len(which), -1), 0
    for number, (values, weights) in enumerate(lists):
        index = np.where(which == number, offset + pick(rng, weights, len(which)), index)
        offset += len(values)
    return choose(pl.concat([values for values, _ in lists]), index)


def _mostly_constant(rng: np.random.Generator, field: str, old: Bools, person: Ints, change_share: float) -> pl.Series:
    """Return a value for each admission that is constant for a patient except in a share `change_share` of admissions.

    `old` chooses, for each admission, between the lists of a field for patients under 65 and from 65.
    """
    lists = [catalog.choices(f"encounters_{field}_{name}") for name in ("under_65", "65")]
    constant = [pick(rng, weights, BLOCK_PATIENTS)[person] for _, weights in lists]
    new = [pick(rng, weights, len(person)) for _, weights in lists]
    changed = rng.random(len(person)) < change_share
    index_young, index_old = (np.where(changed, fresh, usual) for fresh, usual in zip(new, constant, strict=True))
    values = pl.concat([values for values, _ in lists])
    return values[np.where(old, len(lists[0][0]) + index_old, index_young)]


def _admissions(block: PatientBlock, race: pl.Series) -> pl.DataFrame:
    rng = block.streams.rng("encounters admissions")
    stays = block.admissions
    person, total = stays.person, len(stays.person)
    providers, _ = catalog.staff()
    anchor_old = (block.people.anchor_age >= 65)[person]
    age = block.age(person, stays.admit)
    died = stays.death != NONE
    arrival, departure = _ed_times(block)
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(person),
            "hadm_id": stays.hadm_id,
            "admittime": times(minutes(stays.admit)),
            "dischtime": times(minutes(stays.discharge)),
            "deathtime": times(minutes(stays.death)),
            "admission_type": stays.kind,
            "admit_provider_id": providers[rng.integers(0, len(providers), total)],
            "admission_location": _origin(rng, block),
            "discharge_location": _destination(rng, stays.kind, age, died),
            "insurance": _mostly_constant(rng, "insurance", age >= 65, person, NEW_INSURANCE),
            "language": catalog.draw_choice(rng, "language", BLOCK_PATIENTS)[person],
            "marital_status": _mostly_constant(rng, "marital_status", anchor_old, person, NEW_MARITAL_STATUS),
            "race": race,
            "edregtime": times(arrival),
            "edouttime": times(departure),
            "hospital_expire_flag": died.astype(np.int64),
        }
    )


def _ed_times(block: PatientBlock) -> tuple[Ints, Ints]:
    """Return arrival and departure of each admission's ED stay, in whole minutes; NONE without an ED stay."""
    number = block.admissions.ed
    arrival, departure = (minutes(column)[number] for column in (block.ed.arrival, block.ed.departure))
    return np.where(number >= 0, arrival, NONE), np.where(number >= 0, departure, NONE)


def _origin(rng: np.random.Generator, block: PatientBlock) -> pl.Series:
    kind = block.admissions.kind
    planned, ambulatory = kind.is_in(PLANNED).to_numpy(), (kind == "AMBULATORY OBSERVATION").to_numpy()
    fields = ("admission_location_ed", "encounters_location_ambulatory", "encounters_location_planned")
    which = np.select([block.admissions.ed >= 0, ambulatory, planned], [0, 1, 2], 3)
    return _draw_from(rng, (*fields, "admission_location_other"), which)


def _destination(rng: np.random.Generator, kind: pl.Series, age: Floats, died: Bools) -> pl.Series:
    fields = tuple(f"encounters_discharge_{name}" for name in ("under_75", "75", "died"))
    return _draw_from(
        rng, fields, np.select([died, kind.is_in(WITHOUT_DISCHARGE_LOCATION).to_numpy(), age >= 75], [2, -1, 1], 0)
    )


def _bed_release_times(block: PatientBlock) -> Ints:
    """Return when the bed of each admission is released: shortly after discharge, on the same day.

    MIMIC-IV demo 2.2: the median delay is 225 seconds, and a twentieth are within 16 seconds.
    """
    rng = block.streams.rng("encounters leaving")
    discharge = block.admissions.discharge
    lag = np.clip(rng.lognormal(np.log(200), 1.5, len(discharge)), 6, 3 * HOUR).astype(np.int64)
    bed_released: Ints = np.minimum(discharge + lag, discharge - discharge % DAY + DAY - 1)
    return bed_released


def _transfers(block: PatientBlock, bed_released: Ints) -> pl.DataFrame:
    transfers = block.transfers
    start, end = _transfer_times(block, bed_released)
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(transfers.person),
            "hadm_id": block.hadm_id(transfers.admission),
            "transfer_id": transfers.transfer_id,
            "eventtype": transfers.kind,
            "careunit": transfers.unit,
            "intime": times(start),
            "outtime": times(end),
        }
    )


def _transfer_times(block: PatientBlock, bed_released: Ints) -> tuple[Ints, Ints]:
    """Return intime and outtime of each transfer: whole minutes in the ED; the last ends when the bed is released."""
    transfers = block.transfers
    emergency = (transfers.kind == "ED").to_numpy()
    is_discharge = (transfers.kind == "discharge").to_numpy()
    after = np.zeros(len(emergency), dtype=bool)
    after[1:] = emergency[:-1] & (transfers.admission[1:] == transfers.admission[:-1]) & (transfers.admission[1:] >= 0)
    last = np.zeros(len(emergency), dtype=bool)
    last[:-1] = is_discharge[1:]
    release = bed_released[transfers.admission]
    start = np.where(emergency | after, minutes(transfers.start), transfers.start)
    end = np.where(emergency, minutes(transfers.end), transfers.end)
    return np.where(is_discharge, release, start), np.where(last, release, end)


def _services(block: PatientBlock) -> pl.DataFrame:
    rng = block.streams.rng("encounters services")
    stays, total = block.admissions, len(block.admissions.person)
    length = stays.discharge - stays.admit
    chance = np.where(stays.icu, 2.0, 0.8) * SERVICE_CHANGES * 0.96 / (1 + SECOND_CHANGE)
    once = (rng.random(total) < chance) & (length > DAY / 2)
    twice = once & (rng.random(total) < SECOND_CHANGE)
    first = minutes(stays.admit) + _delay(rng, block)
    at = np.sort(stays.admit[:, None] + (rng.uniform(0.04, 0.9, (total, 2)) * length[:, None]).astype(np.int64), axis=1)
    second = _different_service(rng, stays.service)
    third = _different_service(rng, second)
    parts = [
        (np.arange(total), first, pl.Series([None], dtype=pl.String).new_from_index(0, total), stays.service),
        (np.flatnonzero(once), at[once, 0], stays.service.filter(once), second.filter(once)),
        (np.flatnonzero(twice), at[twice, 1], second.filter(twice), third.filter(twice)),
    ]
    admission = np.concatenate([part[0] for part in parts])
    time = np.concatenate([part[1] for part in parts])
    order = np.lexsort((time, admission))
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(stays.person[admission[order]]),
            "hadm_id": block.hadm_id(admission[order]),
            "transfertime": times(time[order]),
            "prev_service": pl.concat([part[2] for part in parts])[order],
            "curr_service": pl.concat([part[3] for part in parts])[order],
        }
    )


def _delay(rng: np.random.Generator, block: PatientBlock) -> Ints:
    """Return the seconds from admittime to the first service: about a minute, or hours before in planned admissions."""
    total = len(block.admissions.person)
    after = np.clip(rng.lognormal(np.log(74), 0.4, total), 8, 600)
    early = block.admissions.kind.is_in(PLANNED).to_numpy() & (rng.random(total) < PLANNED_EARLY)
    before = np.clip(rng.lognormal(np.log(3.5 * HOUR), 0.7, total), HOUR / 2, 10 * HOUR)
    return np.where(early, -before, after).astype(np.int64)


def _different_service(rng: np.random.Generator, service: pl.Series) -> pl.Series:
    """Draw, for each service, a different one by the weights of service_change."""
    values, weights = catalog.choices("service_change")
    different = np.stack([(service != value).to_numpy() for value in values], axis=1)
    return values[pick_rows(rng, weights * different)]


def _icustays(block: PatientBlock, bed_released: Ints) -> pl.DataFrame:
    stays = block.icu
    start, _ = _transfer_times(block, bed_released)
    # An ICU stay has the ID of its first transfer, and starts with it.
    order = np.argsort(block.transfers.transfer_id)
    row = order[np.searchsorted(block.transfers.transfer_id[order], stays.stay_id)]
    arrival = start[row]
    until_discharge = stays.departure == block.admissions.discharge[stays.admission]
    departure = np.where(until_discharge, bed_released[stays.admission], stays.departure)
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(stays.person),
            "hadm_id": block.hadm_id(stays.admission),
            "stay_id": stays.stay_id,
            "first_careunit": stays.first_unit,
            "last_careunit": stays.last_unit,
            "intime": times(arrival),
            "outtime": times(departure),
            "los": (departure - arrival) / DAY,
        }
    )


def _edstays(block: PatientBlock, race: pl.Series, races: pl.Series) -> pl.DataFrame:
    rng = block.streams.rng("encounters ed")
    visits, total = block.ed, len(block.ed.person)
    admitted = visits.admission >= 0
    return pl.DataFrame(
        {
            "subject_id": block.subject_id(visits.person),
            "hadm_id": block.hadm_id(visits.admission),
            "stay_id": visits.stay_id,
            "intime": times(minutes(visits.arrival)),
            "outtime": times(minutes(visits.departure)),
            "gender": choose(pl.Series(["M", "F"]), block.people.female[visits.person].astype(np.int64)),
            "race": choose(races, visits.admission).zip_with(pl.Series(admitted), race[visits.person]),
            "arrival_transport": catalog.draw_choice(rng, "arrival_transport", total),
            "disposition": _draw_from(
                rng, ("disposition", "encounters_disposition_admitted"), admitted.astype(np.int64)
            ),
        }
    )


__all__ = ["dictionaries", "draw", "inside_stay"]
