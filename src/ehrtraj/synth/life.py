"""Draw the lives of a block of patients: conditions, admissions, ED and ICU stays, transfers, death.

Proportions are the published ones. MIMIC-IV 3.1 (data descriptor and validation counts): 364,627 patients, of whom
223,452 have an admission (546,028 admissions) and 65,366 an ICU stay (94,458 stays). MIMIC-IV-ED 2.2: 425,087 stays in
the 299,712 patients of MIMIC-IV 2.2, about half of which led to an admission. Comments mark figures without a source as
assumptions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import BLOCK_PATIENTS, Admissions, EdStays, Episodes, IcuStays, PatientBlock, People, Transfers
from ehrtraj.synth.draw import DAY, HOUR, MINUTE, NONE, Bools, Floats, Ints, Streams, pick_rows, repeat
from ehrtraj.synth.failures.courses import Courses, place_courses
from ehrtraj.synth.failures.draws import FailureDraws, death_odds, draw_failures
from ehrtraj.synth.failures.treatment import Treatment, also_given, treat_failures

ADMITTED = 223_452 / 364_627
ICU_OF_ADMITTED = 65_366 / 223_452
MORE_ADMISSIONS = 546_028 / 223_452 - 1
# 94,458 stays of 65,366 patients. Each patient has one stay; the others are in further admissions, or are returns to
# the ICU within an admission.
ICU_AGAIN = 0.20
ICU_RETURN = 0.09
ICU_DEATH_ODDS = 0.5
"""Odds of death of patients in intensive care without a failure, relative to those of the illness; an assumption."""
MAX_MORTALITY = 0.9
# About 220,000 of 425,087 ED stays in 299,712 patients did not lead to an admission. Their division between admitted
# patients and others is an assumption.
ED_ONLY_OF_ADMITTED = 0.50
ED_ONLY_OF_OTHERS = 1.10
MAX_ADMISSIONS = 24
MAX_STAY = 60 * DAY
SUBJECT_SPACING = 27
"""364,627 patients share ten million numbers. Each number stays the same for any number of patients."""
# A patient's place within the block determines the band of years. Releases before 3.0 contain no patients first seen in
# 2020 - 2022, so they skip these places and still reach the requested number of patients.
RECENT_PLACES = (np.arange(BLOCK_PATIENTS) % 11 == 4) | (np.arange(BLOCK_PATIENTS) % 11 == 9)
TOP_AGE = 89
CODED_TOP_AGE = 91


def draw_block(seed: int, number: int) -> PatientBlock:
    """Return block `number` (from 0) of the patients for `seed`."""
    streams = Streams(seed, number)
    admitted, critical, people = _people(streams)
    draft = _admissions(streams, people, admitted, critical)
    visits = _ed_visits(streams, people, admitted, draft)
    people = _with_death(streams, people, draft, visits)
    levels, phases = _levels(streams, people)
    admissions, ed, episodes, icu, courses, transfers = _assign_units(streams, people, draft, visits, levels)
    return PatientBlock(streams, people, episodes, admissions, ed, icu, transfers, courses, levels, phases)


def _people(streams: Streams) -> tuple[Bools, Bools, People]:
    rng = streams.rng("people")
    count = BLOCK_PATIENTS
    number = streams.block * BLOCK_PATIENTS + np.arange(count, dtype=np.int64)
    admitted = rng.random(count) < ADMITTED
    critical = admitted & (rng.random(count) < ICU_OF_ADMITTED)
    female = rng.random(count) < np.where(critical, 0.44, 0.53)
    # The data descriptor gives mean ages of 64 in intensive care and about 59 on admission; 46 in the ED is an
    # assumption.
    age = rng.normal(np.where(critical, 64, np.where(admitted, 58, 46)), np.where(critical, 16.5, 19.5))
    years: Ints = np.clip(np.rint(age), 18, 97).astype(np.int64)
    years = np.where(years > TOP_AGE, CODED_TOP_AGE, years)
    group = np.where(RECENT_PLACES, 4, rng.choice(4, count, p=[0.34, 0.23, 0.22, 0.21]))
    true_year = 2008 + 3 * group + rng.integers(0, 3, count)
    anchor_year = rng.integers(2105, 2181, count)
    start = _new_year(anchor_year) + rng.integers(0, 300 * DAY, count)
    last_true_year = np.where(group == 4, 2023, 2020)
    end = _new_year(anchor_year + last_true_year - true_year)
    people = People(
        subject_id=10_000_000 + number * SUBJECT_SPACING + rng.integers(0, SUBJECT_SPACING, count),
        female=female,
        birth=_new_year(anchor_year - years),
        anchor_age=years,
        anchor_year=anchor_year,
        group=group.astype(np.int64),
        shift=anchor_year - true_year,
        conditions=_conditions(rng, years, female, np.where(critical, 1.5, np.where(admitted, 1.1, 0.6))),
        window_start=start,
        window_end=np.maximum(end, start + 60 * DAY),
        death=np.full(count, NONE),
    )
    return admitted, critical, people


def _conditions(rng: np.random.Generator, age: Ints, female: Bools, sickness: Floats) -> Bools:
    """Draw chronic conditions. Log odds are linear in age between 40 and 80 years."""
    table = catalog.read("conditions.csv")
    at_40, at_80 = (table[name].to_numpy() for name in ("prevalence_40", "prevalence_80"))
    share = np.clip((age - 40) / 40, -0.5, 1.2)[:, None]
    odds = np.exp((1 - share) * np.log(at_40 / (1 - at_40)) + share * np.log(at_80 / (1 - at_80)))
    odds = odds * np.where(female[:, None], 1.0, table["male_odds"].to_numpy()[None, :]) * sickness[:, None]
    has: Bools = rng.random(odds.shape) < odds / (1 + odds)
    return has


@dataclass(frozen=True)
class _AdmissionDraft:
    """Admissions before units are assigned, ordered by patient and time. If `via_ed`, `arrival` is in the ED."""

    person: Ints
    arrival: Ints
    admit: Ints
    discharge: Ints
    illness: Ints
    severity: Floats
    died: Bools
    icu: Bools
    via_ed: Bools
    ed_length: Ints
    failures: Floats
    """Columns of FailureDraws."""
    by_infection: Bools


@dataclass(frozen=True)
class _Visits:
    """ED visits without admission, ordered by patient and time."""

    person: Ints
    arrival: Ints
    length: Ints
    illness: Ints
    severity: Floats


def _admissions(streams: Streams, people: People, admitted: Bools, critical: Bools) -> _AdmissionDraft:
    rng = streams.rng("admissions")
    # A gamma mixture of Poisson distributions gives few patients many admissions. Its shape is an assumption.
    rate = rng.gamma(0.6, MORE_ADMISSIONS * 1.05 / 0.6, BLOCK_PATIENTS) * np.where(critical, 1.25, 0.90)
    count = np.where(admitted, 1 + np.minimum(rng.poisson(rate), MAX_ADMISSIONS - 1), 0)
    person, ordinal = repeat(count)
    total = len(person)
    certain = ordinal == (rng.random(BLOCK_PATIENTS) * np.maximum(count, 1)).astype(np.int64)[person]
    icu = critical[person] & (certain | (rng.random(total) < ICU_AGAIN))
    illness = _illnesses(rng, people, person, icu)
    table = catalog.read("illnesses.csv")
    severity = np.clip(rng.lognormal(np.where(icu, 0.22, -0.35), 0.35), 0.2, 2.6)
    age = people.anchor_age[person]
    failures = draw_failures(streams.rng("failures"), illness, severity, icu, people.conditions[person], age)
    died = rng.random(total) < _mortality(illness, severity, icu, age, failures)
    days = table["los_days"].to_numpy()[illness] * np.where(icu, 1.45, 0.72) * rng.lognormal(0.0, 0.62, total)
    length: Ints = np.clip(days * DAY, np.where(icu, 1.1 * DAY, 0.25 * DAY), MAX_STAY).astype(np.int64)
    via_ed = rng.random(total) < table["via_ed"].to_numpy()[illness]
    # The median time in the ED is five to six hours (MIMIC-IV demo 2.2, admissions).
    ed_length = np.clip(rng.lognormal(np.log(5.6 * HOUR), 0.5, total), HOUR, 30 * HOUR).astype(np.int64)
    wait = np.where(via_ed, (ed_length * rng.uniform(0.6, 0.95, total)).astype(np.int64), 0)
    arrival = _arrivals(rng, people, person, ordinal, count, wait + length)
    arrival = np.where(via_ed, arrival, _office_hours(rng, arrival))
    draft = _AdmissionDraft(
        person=person,
        arrival=arrival,
        admit=arrival + wait,
        discharge=arrival + wait + length,
        illness=illness,
        severity=severity,
        died=died,
        icu=icu,
        via_ed=via_ed,
        ed_length=ed_length,
        failures=failures.severity,
        by_infection=failures.by_infection,
    )
    first_death = np.full(BLOCK_PATIENTS, MAX_ADMISSIONS + 1)
    np.minimum.at(first_death, person[died], ordinal[died])
    return _select_admissions(draft, ordinal <= first_death[person])


def _mortality(illness: Ints, severity: Floats, icu: Bools, age: Ints, failures: FailureDraws) -> Floats:
    """Return the probability of death in hospital. In intensive care it depends on the failures of organs."""
    usual = catalog.read("illnesses.csv")["mortality"].to_numpy()[illness] * np.exp((age - 65) / 28)
    on_ward = usual * 0.25 * (severity / 0.75) ** 2
    odds = usual / (1 - np.minimum(usual, 0.9)) * ICU_DEATH_ODDS * death_odds(failures)
    return np.minimum(np.where(icu, odds / (1 + odds), on_ward), MAX_MORTALITY)


def _select_admissions(draft: _AdmissionDraft, keep: Bools) -> _AdmissionDraft:
    return _AdmissionDraft(**{name: column[keep] for name, column in vars(draft).items()})


def _illnesses(rng: np.random.Generator, people: People, person: Ints, icu: Bools) -> Ints:
    table = catalog.read("illnesses.csv")
    weights = table["admit_weight"].to_numpy()[None, :] * _illness_factors(people)[person]
    share = table["icu_share"].to_numpy()[None, :]
    return pick_rows(rng, weights * np.where(icu[:, None], share, 1 - share))


def _illness_factors(people: People) -> Floats:
    """Return [patients, illnesses]: the factor by which each patient's conditions multiply each illness."""
    names = catalog.conditions()
    factors = np.ones((len(names), len(catalog.illnesses())))
    for number, entries in enumerate(catalog.read("illnesses.csv")["liked_by"].fill_null("")):
        for entry in entries.split():
            condition, factor = entry.split(":")
            factors[names.index(condition), number] = float(factor)
    return np.exp(people.conditions @ np.log(factors))


def _arrivals(rng: np.random.Generator, people: People, person: Ints, ordinal: Ints, count: Ints, length: Ints) -> Ints:
    """Place admissions at random within each patient's years, or soon after the previous one, without overlap."""
    drawn = people.window_start[person] + (
        rng.random(len(person)) * (people.window_end - people.window_start)[person] * 0.96
    ).astype(np.int64)
    drawn = drawn[np.lexsort((drawn, person))]
    first = np.cumsum(count) - count
    drawn[ordinal == 0] = people.window_start[person[ordinal == 0]]
    # About one in five patients is readmitted within 30 days (Jencks et al. N Engl J Med 2009;360:1418: 19.6% in
    # Medicare).
    soon = rng.random(len(person)) < 0.17
    gap = np.where(soon, rng.exponential(11 * DAY, len(person)) + DAY, 2 * DAY).astype(np.int64)
    for place in range(1, MAX_ADMISSIONS):
        patients = np.flatnonzero(count > place)
        row = first[patients] + place
        free = drawn[row - 1] + length[row - 1] + gap[row]
        drawn[row] = np.where(soon[row], free, np.maximum(drawn[row], free))
    return drawn


def _office_hours(rng: np.random.Generator, time: Ints) -> Ints:
    return time - time % DAY + rng.integers(6 * HOUR, 15 * HOUR, len(time))


def _ed_visits(streams: Streams, people: People, admitted: Bools, draft: _AdmissionDraft) -> _Visits:
    rng = streams.rng("ed visits")
    count = rng.poisson(np.where(admitted, ED_ONLY_OF_ADMITTED, ED_ONLY_OF_OTHERS))
    person, _ = repeat(count)
    total = len(person)
    span = (people.window_end - people.window_start)[person]
    arrival = people.window_start[person] + (rng.random(total) * span).astype(np.int64)
    length = np.clip(rng.lognormal(np.log(4.5 * HOUR), 0.55, total), 0.4 * HOUR, 24 * HOUR).astype(np.int64)
    weights = catalog.read("illnesses.csv")["ed_weight"].to_numpy()
    illness = pick_rows(rng, weights[None, :] * _illness_factors(people)[person])
    severity = np.clip(rng.lognormal(-0.9, 0.4, total), 0.1, 1.2)
    order = np.lexsort((arrival, person))
    visits = _Visits(person[order], arrival[order], length[order], illness[order], severity[order])
    keep = ~_overlaps(visits, draft)
    return _Visits(**{name: column[keep] for name, column in vars(visits).items()})


def _overlaps(visits: _Visits, draft: _AdmissionDraft) -> Bools:
    """Return which visits overlap an admission of the same patient, follow the death, or overlap the visit before."""
    same = visits.person[:, None] == draft.person[None, :]
    overlapping = (visits.arrival[:, None] < draft.discharge[None, :] + DAY) & (
        visits.arrival[:, None] + visits.length[:, None] + DAY > draft.arrival[None, :]
    )
    after_death = draft.died[None, :] & (visits.arrival[:, None] > draft.arrival[None, :])
    conflicting: Bools = (same & (overlapping | after_death)).any(axis=1)
    too_soon = np.zeros(len(visits.person), dtype=bool)
    too_soon[1:] = (visits.person[1:] == visits.person[:-1]) & (
        visits.arrival[1:] < visits.arrival[:-1] + visits.length[:-1] + DAY
    )
    return conflicting | too_soon


def _with_death(streams: Streams, people: People, draft: _AdmissionDraft, visits: _Visits) -> People:
    """Add deaths: at discharge for patients who died in hospital, and within a year of the last contact for others.

    MIMIC-IV contains dates of death only up to one year after the last discharge (PhysioNet, MIMIC-IV documentation).
    """
    rng = streams.rng("death")
    death = np.full(BLOCK_PATIENTS, NONE)
    death[draft.person[draft.died]] = draft.discharge[draft.died]
    last_contact = np.full(BLOCK_PATIENTS, NONE)
    np.maximum.at(last_contact, draft.person, draft.discharge)
    np.maximum.at(last_contact, visits.person, visits.arrival + visits.length)
    names = catalog.conditions()
    burden = people.conditions[:, [names.index(name) for name in ("cancer", "heart_failure", "dementia", "cirrhosis")]]
    admitted = np.zeros(BLOCK_PATIENTS, dtype=bool)
    admitted[draft.person] = True
    # One-year mortality after admission is about 13% at age 65. Its dependence on age and disease is an assumption.
    log_odds = -3.2 + (people.anchor_age - 65) / 16 + 0.9 * burden.sum(axis=1) + np.where(admitted, 0.6, -1.0)
    dies = (death == NONE) & (last_contact != NONE) & (rng.random(BLOCK_PATIENTS) < 1 / (1 + np.exp(-log_odds)))
    later = last_contact + np.clip(rng.exponential(130 * DAY, BLOCK_PATIENTS), DAY, 364 * DAY).astype(np.int64)
    death = np.where(dies, later, death)
    return People(**{**vars(people), "death": death})


def _assign_units(
    streams: Streams, people: People, draft: _AdmissionDraft, visits: _Visits, levels: Floats
) -> tuple[Admissions, EdStays, Episodes, IcuStays, Courses, Transfers]:
    """Assign units to every admission and visit, and draw the identifiers of the tables."""
    rng = streams.rng("places")
    segments = _segments(rng, draft, visits)
    ids = streams.unique_ids("transfer", len(segments.person))
    admissions = _admission_rows(streams, rng, people, draft, segments, ids)
    ed, admissions = _ed_rows(draft, visits, segments, ids, admissions)
    episodes = Episodes(
        person=np.concatenate([draft.person, visits.person]),
        start=np.concatenate([draft.arrival, visits.arrival]),
        end=np.concatenate([draft.discharge, visits.arrival + visits.length]),
        illness=np.concatenate([draft.illness, visits.illness]),
        severity=np.concatenate([draft.severity, visits.severity]),
        dying=np.concatenate([draft.died, np.zeros(len(visits.person), dtype=bool)]),
    )
    transfers = Transfers(
        person=segments.person,
        admission=segments.admission,
        transfer_id=ids,
        kind=segments.kind,
        unit=segments.unit,
        start=segments.start,
        end=segments.end,
    )
    icu, courses = _icu_rows(streams, draft, segments, ids, levels, len(episodes.person))
    return admissions, ed, episodes, icu, courses, transfers


@dataclass(frozen=True)
class _UnitSegments:
    """Times spent in one unit, ordered by patient and time. `part` is a position in PARTS."""

    person: Ints
    admission: Ints
    visit: Ints
    part: Ints
    start: Ints
    end: Ints
    kind: pl.Series
    unit: pl.Series


PARTS = (
    "ED", "ward before", "ICU", "second ICU unit", "ward", "ICU again", "ward at the end", "other ward", "discharge",
)  # fmt: skip
"""Parts of an admission in order of time. An ICU stay consists of parts 2 and 3, or of part 5."""


def _segments(rng: np.random.Generator, draft: _AdmissionDraft, visits: _Visits) -> _UnitSegments:
    total = len(draft.person)
    icu = draft.icu
    short = draft.discharge - draft.admit < 1.2 * DAY
    returns = icu & (rng.random(total) < ICU_RETURN)
    table = catalog.read("illnesses.csv")
    surgical = table["surgical"].to_numpy()[draft.illness].astype(bool)
    has = np.zeros((total, len(PARTS)), dtype=bool)
    has[:, 0] = draft.via_ed
    has[:, 1] = (icu & (rng.random(total) < np.where(surgical, 0.55, 0.33))) | ~icu
    has[:, 2] = icu
    has[:, 3] = icu & (rng.random(total) < 0.07)
    has[:, 4] = icu & ~(draft.died & (rng.random(total) < 0.9)) | returns
    has[:, 5] = returns
    has[:, 6] = returns & ~(draft.died & (rng.random(total) < 0.9))
    has[:, 7] = ~short & ~has[:, 6] & ~(draft.died & icu) & (rng.random(total) < 0.8)
    has[:, 8] = True
    # The mean time in the ICU is 3.5 days (MIMIC-IV demo 2.2: 3.7). How the rest of a stay is divided is an assumption.
    weight = (0.3 + rng.gamma(2.0, 1.0, has.shape)) * np.array([0, 0.45, 1.0, 0.5, 0.85, 0.7, 0.8, 0.8, 0]) * has
    length = (draft.discharge - draft.admit).astype(np.float64)
    share = weight / weight.sum(axis=1, keepdims=True)
    edges = draft.admit[:, None] + np.rint(np.cumsum(share, axis=1) * length[:, None]).astype(np.int64)
    end = edges
    start = np.concatenate([draft.admit[:, None], edges[:, :-1]], axis=1)
    # A patient moves to the first bed on leaving the ED, not at the admission time. The ED stay ends before half of the
    # time in that bed has passed.
    departure = np.minimum(draft.arrival + draft.ed_length, edges[:, 1:8].max(axis=1))
    first_part = np.argmax(has[:, 1:], axis=1) + 1
    rows = np.arange(total)
    departure = np.minimum(departure, (start[rows, first_part] + end[rows, first_part]) // 2)
    departure = np.maximum(departure, draft.admit + MINUTE)
    start[:, 0], end[:, 0] = draft.arrival, np.where(draft.via_ed, departure, draft.admit)
    start[rows, first_part] = np.where(draft.via_ed, departure, draft.admit)
    start[:, 8], end[:, 8] = draft.discharge, NONE
    return _flatten(rng, draft, visits, has, start, end)


def _flatten(
    rng: np.random.Generator, draft: _AdmissionDraft, visits: _Visits, has: Bools, start: Ints, end: Ints
) -> _UnitSegments:
    stay, part = np.nonzero(has)
    count = len(visits.person)
    person = np.concatenate([draft.person[stay], visits.person])
    admission = np.concatenate([stay, np.full(count, -1)])
    visit = np.concatenate([np.full(len(stay), -1), np.arange(count)])
    parts = np.concatenate([part, np.zeros(count, dtype=np.int64)])
    starts = np.concatenate([start[has], visits.arrival])
    ends = np.concatenate([end[has], visits.arrival + visits.length])
    order = np.lexsort((parts, starts, person))
    services = catalog.read("illnesses.csv")["service"]
    service = services.gather(draft.illness[np.maximum(admission, 0)]) if len(draft.person) else services.clear()
    unit = _units(rng, parts, service, admission)
    first = np.ones(len(parts), dtype=bool)
    inside = admission >= 0
    beds = np.flatnonzero(inside & (parts > 0) & (parts < 8))
    first[beds[1:]] = admission[beds[1:]] != admission[beds[:-1]]
    kind = pl.Series(np.select([parts == 0, parts == 8, first], ["ED", "discharge", "admit"], "transfer"))
    return _UnitSegments(
        person[order], admission[order], visit[order], parts[order], starts[order], ends[order],
        kind.gather(order), unit.gather(order),
    )  # fmt: skip


def _units(rng: np.random.Generator, part: Ints, service: pl.Series, admission: Ints) -> pl.Series:
    """Draw the care unit of each part, by the service that treats the illness."""
    unit = np.full(len(part), None, dtype=object)
    unit[part == 0] = "Emergency Department"
    intensive = np.isin(part, (2, 3, 5))
    services = service.to_numpy() if len(service) else np.empty(0, dtype=object)
    for name in sorted(set(services)):
        for prefix, where in (("icu", intensive), ("ward", ~intensive & (part > 0) & (part < 8))):
            rows = np.flatnonzero(where & (admission >= 0) & (services == name))
            unit[rows] = catalog.draw_choice(rng, f"{prefix}_{name}", len(rows)).to_numpy()
    return pl.Series(unit, dtype=pl.String)


def _admission_rows(
    streams: Streams,
    rng: np.random.Generator,
    people: People,
    draft: _AdmissionDraft,
    segments: _UnitSegments,
    ids: Ints,
) -> Admissions:
    table = catalog.read("illnesses.csv")
    total = len(draft.person)
    surgical = table["surgical"].to_numpy()[draft.illness].astype(bool)
    brief = draft.discharge - draft.admit < 1.5 * DAY
    kinds = [
        (draft.via_ed & brief & ~draft.icu, "admission_type_brief"),
        (draft.via_ed & ~(brief & ~draft.icu), "admission_type_ed"),
        (~draft.via_ed & surgical, "admission_type_surgical"),
        (~draft.via_ed & ~surgical, "admission_type_other"),
    ]
    kind = np.full(total, None, dtype=object)
    for where, field in kinds:
        kind[where] = catalog.draw_choice(rng, field, int(where.sum())).to_numpy()
    return Admissions(
        person=draft.person,
        hadm_id=streams.unique_ids("hadm", total),
        admit=draft.admit,
        discharge=draft.discharge,
        death=np.where(draft.died, draft.discharge, NONE),
        illness=draft.illness,
        kind=pl.Series(kind, dtype=pl.String),
        service=table["service"].gather(draft.illness),
        ed=np.full(total, -1),
        icu=draft.icu,
        surgical=surgical,
        true_year=_year(draft.admit) - people.shift[draft.person],
    )


def _ed_rows(
    draft: _AdmissionDraft, visits: _Visits, segments: _UnitSegments, ids: Ints, admissions: Admissions
) -> tuple[EdStays, Admissions]:
    rows = np.flatnonzero(segments.part == 0)
    admission, visit = segments.admission[rows], segments.visit[rows]
    number = np.full(len(draft.person), -1)
    number[admission[admission >= 0]] = np.flatnonzero(admission >= 0)
    ed = EdStays(
        person=segments.person[rows],
        episode=np.where(admission >= 0, admission, len(draft.person) + visit),
        admission=admission,
        stay_id=ids[rows],
        arrival=segments.start[rows],
        departure=segments.end[rows],
    )
    return ed, Admissions(**{**vars(admissions), "ed": number})


def _icu_rows(
    streams: Streams, draft: _AdmissionDraft, segments: _UnitSegments, ids: Ints, levels: Floats, episodes: int
) -> tuple[IcuStays, Courses]:
    """Return ICU stays and the failures in them.

    A stay is a run of consecutive ICU units, with the transfer_id of the first (mimic-code issue 929).
    """
    rng = streams.rng("icu")
    first = np.flatnonzero(np.isin(segments.part, (2, 5)))
    following = np.minimum(first + 1, max(len(segments.part) - 1, 0))
    has_second_unit = (segments.part[following] == 3) & (segments.part[first] == 2)
    last = np.where(has_second_unit, following, first)
    person, admission = segments.person[first], segments.admission[first]
    arrival, departure = segments.start[first], segments.end[last]
    courses = _place_courses(streams, draft, admission, segments.part[first], arrival, departure, episodes)
    care = _draw_care(rng, draft, courses, admission, arrival, departure)
    ventilated, pressors, dialysis = (care[name] for name in ("ventilated", "pressors", "dialysis"))
    weight = catalog.signal_numbers()["weight"]
    signal = catalog.signals().row(weight, named=True)
    stays = IcuStays(
        person=person,
        admission=admission,
        stay_id=ids[first],
        arrival=arrival,
        departure=departure,
        first_unit=segments.unit.gather(first),
        last_unit=segments.unit.gather(last),
        ventilated_from=np.where(ventilated.given, ventilated.start, NONE),
        ventilated_until=np.where(ventilated.given, ventilated.end, NONE),
        pressors=pressors.given,
        pressors_from=np.where(pressors.given, pressors.start, NONE),
        pressors_until=np.where(pressors.given, pressors.end, NONE),
        dialysis=dialysis.given,
        dialysis_from=np.where(dialysis.given, dialysis.start, NONE),
        dialysis_until=np.where(dialysis.given, dialysis.end, NONE),
        arterial_line=ventilated.given | care["arterial_line"].given,
        weight=np.clip(signal["typical"] * np.exp(signal["spread"] * levels[person, weight]), 38, 220).round(1),
    )
    return stays, courses


def _place_courses(
    streams: Streams, draft: _AdmissionDraft, admission: Ints, part: Ints, arrival: Ints, departure: Ints, episodes: int
) -> Courses:
    """Place the failures of ICU stays. A patient who dies in a return to the ICU has the failures of the first stay."""
    returned = np.zeros(len(draft.person), dtype=bool)
    returned[admission[part == 5]] = True
    again = draft.failures.copy()
    again[:, 1] = np.where((draft.died & returned)[:, None], np.maximum(again[:, 0], again[:, 1]), again[:, 1])
    return place_courses(
        streams.rng("failure courses"),
        FailureDraws(again, draft.by_infection),
        admission=admission,
        ordinal=(part == 5).astype(np.int64),
        arrival=arrival,
        departure=departure,
        died=draft.died[admission] & (departure == draft.discharge[admission]),
        episode_start=draft.arrival[admission],
        episodes=episodes,
    )


def _draw_care(
    rng: np.random.Generator, draft: _AdmissionDraft, courses: Courses, admission: Ints, arrival: Ints, departure: Ints
) -> dict[str, Treatment]:
    """Draw the treatments of ICU stays: for failures, and as part of the care of the illness, such as anesthesia."""
    total, died = len(admission), draft.died[admission]
    care = catalog.read("icu_care.csv")[draft.illness[admission]]
    length = departure - arrival
    begin = arrival + (rng.random(total) ** 2 * 0.1 * length).astype(np.int64)
    end = begin + (rng.uniform(0.1, 0.5, total) * (departure - begin)).astype(np.int64)
    treatments = {}
    for name in ("ventilated", "pressors", "dialysis", "arterial_line"):
        usual = rng.random(total) < np.minimum(care[name].to_numpy() * draft.severity[admission] / 1.3, 0.98)
        for_failures = treat_failures(rng, courses, name, arrival, departure)
        both = also_given(for_failures, usual, begin, end)
        treatments[name] = Treatment(both.given, both.start, np.where(died & both.given, departure, both.end))
    return treatments


def _levels(streams: Streams, people: People) -> tuple[Floats, Floats]:
    rng = streams.rng("levels")
    shape = (BLOCK_PATIENTS, catalog.signals().height)
    traits = np.stack([people.female, ~people.female, people.anchor_age >= 75, np.zeros(BLOCK_PATIENTS, dtype=bool)])
    causes = np.concatenate([people.conditions, traits.T], axis=1).astype(np.float64)
    chronic_effects = causes @ catalog.effects()[: causes.shape[1]]
    return 0.75 * rng.standard_normal(shape) + chronic_effects, rng.uniform(0, 2 * np.pi, shape)


def _new_year(year: Ints) -> Ints:
    return (year - 1970).astype("datetime64[Y]").astype("datetime64[s]").astype(np.int64)


def _year(time: Ints) -> Ints:
    return time.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970


__all__ = ["RECENT_PLACES", "draw_block"]
