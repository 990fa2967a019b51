"""Draws discharge summaries: note/discharge and its details."""

from __future__ import annotations

from functools import cache

import numpy as np
import polars as pl

from ehrtraj.synth import catalog
from ehrtraj.synth.block import PatientBlock
from ehrtraj.synth.draw import DAY, HOUR, NONE, Bools, Ints, repeat
from ehrtraj.synth.tables import encounters
from ehrtraj.synth.tables.emergency import ELDERLY, home_drugs
from ehrtraj.synth.tables.notes.figures import icu_care, lab_results, summary_fields
from ehrtraj.synth.tables.notes.frames import addendum_links, detail_frame, note_frame, with_addenda
from ehrtraj.synth.tables.notes.texts import ANY, HIDDEN, Pages, lab_lines, piece_choices

AGES = (ANY, "elderly")
DISPOSITIONS = ("home", "service", "facility", "death")

# Shares and rates that together give the numbers of rows of MIMIC-IV-Note 2.2; each by itself is an assumption.
SUMMARY, SUMMARY_OF_OBSERVATION = 0.90, 0.30
ADDENDUM = 0.004
AUTHOR = 0.56


def draw_discharge(block: PatientBlock) -> dict[str, pl.DataFrame]:
    """Return the discharge summaries of the block's admissions, and the details of each."""
    rng = block.streams.rng("note discharge")
    stays = block.admissions
    observed = stays.kind.str.contains("OBSERVATION", literal=True).to_numpy() & ~stays.icu
    written = np.flatnonzero(rng.random(len(stays.person)) < np.where(observed, SUMMARY_OF_OBSERVATION, SUMMARY))
    note, addendum = with_addenda(rng, len(written), ADDENDUM)
    stay = written[note]
    midnight = stays.discharge[stay] - stays.discharge[stay] % DAY
    days = rng.lognormal(np.log(1.2 * DAY), 0.8, len(written)).astype(np.int64)[note]
    later = np.where(addendum, HOUR + rng.exponential(6 * DAY, len(stay)).astype(np.int64), 0)
    rows = np.arange(len(stay))
    pages = Pages(rng)
    results = lab_results(block)
    _summaries(pages, rng, block, rows[~addendum], stay[~addendum], results.times)
    pages.add(rows[addendum], "addendum")
    text = pages.text(summary_fields(rng, block, stay, results))
    stored = stays.discharge[stay] + days + later
    frame = note_frame(rng, block, stays.person[stay], stay, addendum, ("DS", "AD"), midnight, stored, text)
    signed = np.flatnonzero(rng.random(len(stay)) < AUTHOR)
    details = [("author", signed, pl.Series([HIDDEN]).new_from_index(0, len(signed))), *addendum_links(frame, addendum)]
    return {"note/discharge": frame, "note/discharge_detail": detail_frame(frame, details)}


def _summaries(
    pages: Pages, rng: np.random.Generator, block: PatientBlock, notes: Ints, stay: Ints, lab_times: Ints
) -> None:
    """Write discharge summaries: note notes[i] is that of admission stay[i]."""
    died = block.admissions.death[stay] != NONE
    _beginnings(pages, block, notes, stay)
    _histories(pages, block, notes, stay)
    _findings(pages, block, notes, stay, died, lab_times[:, stay])
    _courses(pages, rng, block, notes, stay, died)
    _drug_lists(pages, rng, block, notes, stay, died)
    _endings(pages, block, notes, stay, died)


def _illness(block: PatientBlock, stay: Ints) -> tuple[tuple[str, ...], Ints]:
    return catalog.illnesses(), block.admissions.illness[stay]


def _age(block: PatientBlock, stay: Ints) -> tuple[tuple[str, ...], Ints]:
    stays = block.admissions
    return AGES, (block.age(stays.person[stay], stays.admit[stay]) >= ELDERLY).astype(np.int64)


@cache
def _services() -> tuple[tuple[str, ...], Ints]:
    """Return the services' names, and the number of each illness's."""
    of_illness = catalog.read("illnesses.csv")["service"].to_list()
    names = tuple(dict.fromkeys(of_illness))
    return names, np.array([names.index(name) for name in of_illness])


def _beginnings(pages: Pages, block: PatientBlock, notes: Ints, stay: Ints) -> None:
    illness = _illness(block, stay)
    services, of_illness = _services()
    pages.add(notes, "head")
    pages.add(notes, "gap")
    pages.add(notes, "service", services, of_illness[illness[1]])
    pages.add(notes, "gap")
    pages.add(notes, "allergies")
    pages.add(notes, "gap")
    pages.add(notes, "complaint_heading")
    pages.add(notes, "complaint", *illness)
    pages.add(notes, "procedure_heading")
    pages.add(notes, "procedure", *illness)
    care = icu_care(block)
    for name in ("ventilated", "dialysis", "pressors", "line"):
        pages.add(notes[care[name][stay] > 0], f"procedure_{name}")
    done = (piece_choices(("procedure",), illness[0])[1][illness[1]] > 0) | (care["any"][stay] > 0)
    pages.add(notes[~done], "procedure_none")


def _conditions(block: PatientBlock, notes: Ints, stay: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the chronic conditions of the notes' patients: the note, the condition, and its number in the list."""
    has = block.people.conditions[block.admissions.person[stay]]
    row, condition = np.nonzero(has)
    _, ordinal = repeat(has.sum(axis=1))
    return notes[row], condition, ordinal + 1


def _histories(pages: Pages, block: PatientBlock, notes: Ints, stay: Ints) -> None:
    names = catalog.conditions()
    ill, condition, line = _conditions(block, notes, stay)
    healthy = ~block.people.conditions[block.admissions.person[stay]].any(axis=1)
    via_ed = block.admissions.ed[stay] >= 0
    ages, age = _age(block, stay)
    pages.add(notes, "hpi_heading")
    pages.add(notes[~healthy], "opening", ages, age[~healthy])
    pages.add(ill, "history", names, condition, line)
    pages.add(notes[healthy], "opening_healthy")
    pages.add(notes, "present", *_illness(block, stay))
    pages.add(notes, "gap")
    pages.add(notes[via_ed], "arrived_ed")
    pages.add(notes[~via_ed], "arrived_direct")
    pages.add(notes, "pmh_heading")
    pages.add(ill, "pmh", names, condition, line)
    pages.add(notes[healthy], "pmh_none")
    pages.add(notes, "social")


def _findings(pages: Pages, block: PatientBlock, notes: Ints, stay: Ints, died: Bools, lab_times: Ints) -> None:
    illness = _illness(block, stay)
    pages.add(notes, "exam_heading")
    pages.add(notes, "exam", *illness)
    pages.add(notes[~died], "discharge_exam")
    pages.add(notes[died], "discharge_exam_death")
    pages.add(notes, "results_heading")
    first, last = lab_times
    for moment, drawn in enumerate((first != NONE, last > first)):
        pages.add(notes[drawn.any(axis=1)], f"results{moment}")
        row, panel = np.nonzero(drawn)
        pages.add(notes[row], f"labs{moment}", lab_lines(), panel, panel)
    for section in ("micro", "imaging"):
        has = piece_choices((section,), illness[0])[1][illness[1]] > 0
        pages.add(notes[has], "gap")
        pages.add(notes[has], section, illness[0], illness[1][has])


def _courses(pages: Pages, rng: np.random.Generator, block: PatientBlock, notes: Ints, stay: Ints, died: Bools) -> None:
    illness, care = _illness(block, stay), icu_care(block)
    ages, age = _age(block, stay)
    critical = care["stay"][stay] > 0
    pages.add(notes, "course_heading")
    pages.add(notes, "course_opening")
    pages.add(notes, "gap")
    pages.add(notes[~died], "course", illness[0], illness[1][~died])
    pages.add(notes[died], "course_fatal")
    for section, where in (
        ("course_icu", critical & ~died),
        ("course_icu_death", critical & died),
        ("course_ventilated", care["ventilated"][stay] > 0),
        ("course_pressors", care["pressors"][stay] > 0),
        ("course_dialysis", care["dialysis"][stay] > 0),
        ("course_death", died),
    ):
        pages.add(notes[where], "gap")
        pages.add(notes[where], section)
    ill, condition, line = _conditions(block, notes[~died], stay[~died])
    told = rng.random(len(ill)) < 0.8
    pages.add(np.unique(ill[told]), "chronic_heading")
    pages.add(ill[told], "chronic", catalog.conditions(), condition[told], line[told])
    pages.add(notes[~died], "transitional", ages, age[~died])


def _drug_lists(
    pages: Pages, rng: np.random.Generator, block: PatientBlock, notes: Ints, stay: Ints, died: Bools
) -> None:
    names = tuple(catalog.read("ed_home_drugs.csv")["name"])
    owner, drug = home_drugs(block)
    person = block.admissions.person[stay]
    count = np.bincount(owner, minlength=len(block.people.subject_id))
    first = (np.cumsum(count) - count)[person]
    row, ordinal = repeat(count[person])
    taken = drug[first[row] + ordinal]
    pages.add(notes, "meds_heading")
    pages.add(notes[row], "drug", names, taken, ordinal + 1)
    pages.add(notes[count[person] == 0], "meds_none")
    pages.add(notes[~died], "discharge_meds_heading")
    kept = (rng.random(len(row)) < 0.93) & ~died[row]
    still = np.bincount(row[kept], minlength=len(stay))
    _, line = repeat(still)
    pages.add(notes[row[kept]], "drug", names, taken[kept], line + 1)
    illnesses, illness = _illness(block, stay)
    new = ~died & (piece_choices(("new_drug",), illnesses)[1][illness] > 0)
    pages.add(notes[new], "new_drug", illnesses, illness[new], still[new] + 1)
    pages.add(notes[~died & ~new & (still == 0)], "discharge_meds_none")


def _endings(pages: Pages, block: PatientBlock, notes: Ints, stay: Ints, died: Bools) -> None:
    illnesses, illness = _illness(block, stay)
    ages, age = _age(block, stay)
    alive = notes[~died]
    pages.add(notes, "disposition", DISPOSITIONS, _dispositions(block)[stay])
    pages.add(notes, "diagnosis_heading")
    pages.add(notes, "diagnosis", illnesses, illness)
    ill, condition, line = _conditions(block, notes, stay)
    pages.add(np.unique(ill), "diagnosis_secondary")
    pages.add(ill, "secondary", catalog.conditions(), condition, line)
    pages.add(alive, "condition", ages, age[~died])
    pages.add(alive, "instructions_opening")
    pages.add(alive, "instructions", illnesses, illness[~died])
    pages.add(alive, "instructions_closing")
    pages.add(notes[died], "condition_death")


def _dispositions(block: PatientBlock) -> Ints:
    """Return, by admission, which of DISPOSITIONS goes with its discharge_location."""
    name = "hosp/admissions"
    places = (block.cache[name] if name in block.cache else encounters.draw(block)[name])["discharge_location"]
    table = catalog.read("note_dispositions.csv")
    numbers = [DISPOSITIONS.index(word) for word in table["disposition"]]
    # Observation has no place of discharge: home.
    return places.replace_strict(table["discharge_location"], numbers, default=0, return_dtype=pl.Int64).to_numpy()
