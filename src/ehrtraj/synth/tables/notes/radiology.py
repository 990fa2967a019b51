"""Draw radiology reports: note/radiology and its details."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import DAY, HOUR, MINUTE, NONE, Bools, Floats, Ints, minutes, pick_rows, repeat
from ehrtraj.synth.tables import encounters
from ehrtraj.synth.tables.emergency import parse_weights
from ehrtraj.synth.tables.notes.frames import addendum_links, detail_frame, draw_addenda, note_frame
from ehrtraj.synth.tables.notes.texts import NoteBuilder, blank_fields

OUTPATIENT, VENTILATED = "outpatient", "ventilated"
CHRONIC_FINDINGS = ("cancer", "cirrhosis", "ckd")
"""Chronic conditions that reports of outpatients mention, the most important first."""

# Together these shares and rates give the numbers of rows of MIMIC-IV-Note 2.2. Each of them is an assumption.
REPORT_ADDENDUM = 0.025
HAS_CPT = 0.62
REPORTS = {"ed": 1.03, "ward": 0.69, "icu": 0.95, "outpatient": 2.4}
"""Mean number of reports for: an ED stay; an admission, times its days to the power of 0.7; an ICU day; a patient."""
SETTINGS = tuple(REPORTS)
CPT_CHANGE = 2018
"""Year in which many CPT codes of plain films changed."""


@dataclass(frozen=True)
class _Exams:
    """Radiology exams of a block, ordered by patient and time. Admission and episode are -1 for outpatients."""

    person: Ints
    time: Ints
    admission: Ints
    episode: Ints
    setting: Ints
    """Position in SETTINGS."""


def draw_radiology(block: PatientBlock) -> dict[str, pl.DataFrame]:
    """Return the radiology reports and their details for a block."""
    rng = block.streams.rng("note radiology")
    exams = _exams(rng, block)
    kind = _exam_kinds(rng, block, exams)
    row, addendum = draw_addenda(rng, len(kind), REPORT_ADDENDUM)
    notes = np.arange(len(row))
    builder = NoteBuilder(rng)
    _add_reports(builder, block, exams, notes[~addendum], kind)
    builder.add(notes[addendum], "radiology_addendum")
    text = builder.text(blank_fields(block.people.female[exams.person[row]]))
    hours = rng.lognormal(np.log(2.5 * HOUR), 0.9, len(kind)).astype(np.int64)[row]
    later = np.where(addendum, HOUR + rng.exponential(2 * DAY, len(row)).astype(np.int64), 0)
    charted, stored = exams.time[row], minutes(exams.time[row] + 5 * MINUTE + hours + later)
    person, admission = exams.person[row], exams.admission[row]
    frame = note_frame(rng, block, person, admission, addendum, ("RR", "AR"), charted, stored, text)
    details = [*_exam_details(rng, block, exams, notes[~addendum], kind), *addendum_links(frame, addendum)]
    return {"note/radiology": frame, "note/radiology_detail": detail_frame(frame, details)}


def _exams(rng: np.random.Generator, block: PatientBlock) -> _Exams:
    """Draw the exams in the ED, on wards, in intensive care, and of outpatients."""
    stays, ed, icu, people = block.admissions, block.ed, block.icu, block.people
    days, icu_days = (stays.discharge - stays.admit) / DAY, (icu.departure - icu.arrival) / DAY
    patients = len(people.subject_id)
    parts = [
        _times(rng, np.full(len(ed.person), REPORTS["ed"]), ed.arrival, ed.departure),
        _times(rng, REPORTS["ward"] * days**0.7, stays.admit, stays.discharge),
        _times(rng, REPORTS["icu"] * icu_days, icu.arrival, icu.departure),
        _times(rng, np.full(patients, REPORTS["outpatient"]), people.window_start, people.window_end),
    ]
    rows = [row for row, _ in parts]
    outside = np.full(len(rows[3]), -1)
    day = parts[3][1] - parts[3][1] % DAY
    office = day + rng.integers(7 * HOUR, 18 * HOUR, len(day))
    exams = _Exams(
        person=np.concatenate([ed.person[rows[0]], stays.person[rows[1]], icu.person[rows[2]], rows[3]]),
        time=minutes(np.concatenate([*(time for _, time in parts[:3]), office])),
        admission=np.concatenate([ed.admission[rows[0]], rows[1], icu.admission[rows[2]], outside]),
        episode=np.concatenate([ed.episode[rows[0]], rows[1], icu.admission[rows[2]], outside]),
        setting=np.repeat(np.arange(len(parts)), [len(row) for row in rows]),
    )
    death = people.death[exams.person]
    alive = (death == NONE) | (exams.time < death - DAY)
    is_possible = (exams.episode >= 0) | (alive & ~encounters.inside_stay(block, exams.person, exams.time))
    order = np.lexsort((exams.setting, exams.time, exams.person))
    order = order[is_possible[order]]
    return _Exams(
        exams.person[order], exams.time[order], exams.admission[order], exams.episode[order], exams.setting[order]
    )


def _times(rng: np.random.Generator, mean: Floats, start: Ints, end: Ints) -> tuple[Ints, Ints]:
    """Draw a number of times within each span, more of them early on; return each one's span and the time."""
    row, _ = repeat(rng.poisson(mean))
    passed = 0.02 + 0.95 * rng.random(len(row)) ** 1.3
    return row, start[row] + (passed * (end - start)[row]).astype(np.int64)


def _exam_kinds(rng: np.random.Generator, block: PatientBlock, exams: _Exams) -> Ints:
    """Return for each exam the line of note_exams.csv: by where it is done, and by illness and sex."""
    by_setting, by_illness, women_only = _exam_weights()
    illness = np.where(exams.episode >= 0, block.episodes.illness[exams.episode], -1)
    weights = by_setting[exams.setting] * by_illness[illness]
    weights[np.ix_(~block.people.female[exams.person], women_only)] = 0.0
    return pick_rows(rng, weights)


@cache
def _exam_weights() -> tuple[Floats, Floats, Bools]:
    """Return the weights of exams by setting, factors by illness (the last row without illness), and female exams."""
    table = catalog.read("note_exams.csv")
    by_setting = np.stack([table[name].cast(pl.Float64).to_numpy() for name in SETTINGS])
    factors = parse_weights(table["liked_by"], catalog.illnesses()).T
    by_illness = np.concatenate([np.where(factors > 0, factors, 1.0), np.ones((1, table.height))])
    return by_setting, by_illness, (table["only"] == "F").fill_null(False).to_numpy()


def _add_reports(builder: NoteBuilder, block: PatientBlock, exams: _Exams, notes: Ints, kind: Ints) -> None:
    """Add the text of reports. Note notes[i] belongs to exam i, which has kind kind[i]."""
    table, families = catalog.read("note_exams.csv"), _families()
    illnesses = catalog.illnesses()
    inside = exams.episode >= 0
    illness = np.where(inside, block.episodes.illness[exams.episode], len(illnesses))
    names = (*illnesses, OUTPATIENT, *CHRONIC_FINDINGS, VENTILATED)
    family = np.array([families.index(name) for name in table["findings"]])[kind]
    techniques = tuple(table["technique"].unique(maintain_order=True))
    technique = np.array([techniques.index(name) for name in table["technique"]])[kind]
    builder.add(notes, "examination", tuple(table["exam_name"]), kind)
    builder.add(notes, "indication", (*illnesses, OUTPATIENT), illness)
    builder.add(notes, "question", families, family)
    builder.add(notes, "gap")
    builder.add(notes, "technique", techniques, technique)
    builder.add(notes, "gap")
    builder.add(notes, "comparison")
    builder.add(notes, "gap")
    finding = _findings(block, exams, illness, len(illnesses))
    builder.add(notes, families, names, family * len(names) + finding)


@cache
def _families() -> tuple[str, ...]:
    return tuple(catalog.read("note_exams.csv")["findings"].unique(maintain_order=True))


def _findings(block: PatientBlock, exams: _Exams, illness: Ints, outpatient: int) -> Ints:
    """Return the finding of each exam: the illness, a chronic condition of an outpatient, or ventilation."""
    place = [catalog.conditions().index(name) for name in CHRONIC_FINDINGS]
    chronic = block.people.conditions[exams.person][:, place]
    first = np.where(chronic.any(axis=1), outpatient + 1 + np.argmax(chronic, axis=1), outpatient)
    finding: Ints = np.where(exams.episode >= 0, illness, first)
    return np.where(_ventilated(block, exams), outpatient + 1 + len(CHRONIC_FINDINGS), finding)


def _ventilated(block: PatientBlock, exams: _Exams) -> Bools:
    """Return during which exams the patient is ventilated."""
    icu = block.icu
    used = np.flatnonzero(icu.ventilated_from != NONE)
    # A block has few ventilated stays, so each exam is compared with all of them.
    inside = (exams.time[:, None] >= icu.ventilated_from[used]) & (exams.time[:, None] <= icu.ventilated_until[used])
    ventilated: Bools = (inside & (exams.admission[:, None] == icu.admission[used])).any(axis=1)
    return ventilated


def _exam_details(
    rng: np.random.Generator, block: PatientBlock, exams: _Exams, notes: Ints, kind: Ints
) -> list[tuple[str, Ints, pl.Series]]:
    """Return the details: code and name of every exam, and for some exams the CPT code of that year."""
    table = catalog.read("note_exams.csv").select(
        "exam_code", "exam_name", pl.col("cpt", "cpt_before_2018").cast(pl.String)
    )
    billed = np.flatnonzero(rng.random(len(kind)) < HAS_CPT)
    year = exams.time.astype("datetime64[s]").astype("datetime64[Y]").astype(np.int64) + 1970
    older = (year - block.people.shift[exams.person] < CPT_CHANGE)[billed]
    codes = pl.concat([table["cpt"], table["cpt_before_2018"].fill_null(table["cpt"])])
    return [
        ("exam_code", notes, table["exam_code"][kind]),
        ("exam_name", notes, table["exam_name"][kind]),
        ("cpt_code", notes[billed], codes[kind[billed] + np.where(older, table.height, 0)]),
    ]
