"""Draw discharge summaries: note/discharge and its details."""

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
from ehrtraj.synth.tables.notes.frames import addendum_links, detail_frame, draw_addenda, note_frame
from ehrtraj.synth.tables.notes.texts import ANY, MASK, NoteBuilder, lab_lines, piece_choices

AGES = (ANY, "elderly")
DISPOSITIONS = ("home", "service", "facility", "death")

# Together these shares give the numbers of rows of MIMIC-IV-Note 2.2. Each of them is an assumption.
SUMMARY, SUMMARY_OF_OBSERVATION = 0.90, 0.30
ADDENDUM = 0.004
AUTHOR = 0.56


def draw_discharge(block: PatientBlock) -> dict[str, pl.DataFrame]:
    """Return the discharge summaries and their details for a block."""
    rng = block.streams.rng("note discharge")
    stays = block.admissions
    observed = stays.kind.str.contains("OBSERVATION", literal=True).to_numpy() & ~stays.icu
    written = np.flatnonzero(rng.random(len(stays.person)) < np.where(observed, SUMMARY_OF_OBSERVATION, SUMMARY))
    note, addendum = draw_addenda(rng, len(written), ADDENDUM)
    stay = written[note]
    midnight = stays.discharge[stay] - stays.discharge[stay] % DAY
    days = rng.lognormal(np.log(1.2 * DAY), 0.8, len(written)).astype(np.int64)[note]
    later = np.where(addendum, HOUR + rng.exponential(6 * DAY, len(stay)).astype(np.int64), 0)
    rows = np.arange(len(stay))
    builder = NoteBuilder(rng)
    results = lab_results(block)
    _add_summaries(builder, rng, block, rows[~addendum], stay[~addendum], results.times)
    builder.add(rows[addendum], "addendum")
    text = builder.text(summary_fields(rng, block, stay, results))
    stored = stays.discharge[stay] + days + later
    frame = note_frame(rng, block, stays.person[stay], stay, addendum, ("DS", "AD"), midnight, stored, text)
    signed = np.flatnonzero(rng.random(len(stay)) < AUTHOR)
    details = [("author", signed, pl.Series([MASK]).new_from_index(0, len(signed))), *addendum_links(frame, addendum)]
    return {"note/discharge": frame, "note/discharge_detail": detail_frame(frame, details)}


def _add_summaries(
    builder: NoteBuilder, rng: np.random.Generator, block: PatientBlock, notes: Ints, stay: Ints, lab_times: Ints
) -> None:
    """Add the text of discharge summaries. Note notes[i] belongs to admission stay[i]."""
    died = block.admissions.death[stay] != NONE
    _add_header(builder, block, notes, stay)
    _add_histories(builder, block, notes, stay)
    _add_findings(builder, block, notes, stay, died, lab_times[:, stay])
    _add_courses(builder, rng, block, notes, stay, died)
    _add_drug_lists(builder, rng, block, notes, stay, died)
    _add_ending(builder, block, notes, stay, died)


def _illness(block: PatientBlock, stay: Ints) -> tuple[tuple[str, ...], Ints]:
    return catalog.illnesses(), block.admissions.illness[stay]


def _age(block: PatientBlock, stay: Ints) -> tuple[tuple[str, ...], Ints]:
    stays = block.admissions
    return AGES, (block.age(stays.person[stay], stays.admit[stay]) >= ELDERLY).astype(np.int64)


@cache
def _services() -> tuple[tuple[str, ...], Ints]:
    """Return the names of services, and the number of the service of each illness."""
    of_illness = catalog.read("illnesses.csv")["service"].to_list()
    names = tuple(dict.fromkeys(of_illness))
    return names, np.array([names.index(name) for name in of_illness])


def _add_header(builder: NoteBuilder, block: PatientBlock, notes: Ints, stay: Ints) -> None:
    illness = _illness(block, stay)
    services, of_illness = _services()
    builder.add(notes, "head")
    builder.add(notes, "gap")
    builder.add(notes, "service", services, of_illness[illness[1]])
    builder.add(notes, "gap")
    builder.add(notes, "allergies")
    builder.add(notes, "gap")
    builder.add(notes, "complaint_heading")
    builder.add(notes, "complaint", *illness)
    builder.add(notes, "procedure_heading")
    builder.add(notes, "procedure", *illness)
    care = icu_care(block)
    for name in ("ventilated", "dialysis", "pressors", "line"):
        builder.add(notes[care[name][stay] > 0], f"procedure_{name}")
    has_procedure = (piece_choices(("procedure",), illness[0])[1][illness[1]] > 0) | (care["any"][stay] > 0)
    builder.add(notes[~has_procedure], "procedure_none")


def _conditions(block: PatientBlock, notes: Ints, stay: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the chronic conditions in the notes: the note, the condition, and its number in the list."""
    has = block.people.conditions[block.admissions.person[stay]]
    row, condition = np.nonzero(has)
    _, ordinal = repeat(has.sum(axis=1))
    return notes[row], condition, ordinal + 1


def _add_histories(builder: NoteBuilder, block: PatientBlock, notes: Ints, stay: Ints) -> None:
    names = catalog.conditions()
    condition_note, condition, line = _conditions(block, notes, stay)
    healthy = ~block.people.conditions[block.admissions.person[stay]].any(axis=1)
    via_ed = block.admissions.ed[stay] >= 0
    ages, age = _age(block, stay)
    builder.add(notes, "hpi_heading")
    builder.add(notes[~healthy], "opening", ages, age[~healthy])
    builder.add(condition_note, "history", names, condition, line)
    builder.add(notes[healthy], "opening_healthy")
    builder.add(notes, "present", *_illness(block, stay))
    builder.add(notes, "gap")
    builder.add(notes[via_ed], "arrived_ed")
    builder.add(notes[~via_ed], "arrived_direct")
    builder.add(notes, "pmh_heading")
    builder.add(condition_note, "pmh", names, condition, line)
    builder.add(notes[healthy], "pmh_none")
    builder.add(notes, "social")


def _add_findings(
    builder: NoteBuilder, block: PatientBlock, notes: Ints, stay: Ints, died: Bools, lab_times: Ints
) -> None:
    illness = _illness(block, stay)
    builder.add(notes, "exam_heading")
    builder.add(notes, "exam", *illness)
    builder.add(notes[~died], "discharge_exam")
    builder.add(notes[died], "discharge_exam_death")
    builder.add(notes, "results_heading")
    first, last = lab_times
    for moment, drawn in enumerate((first != NONE, last > first)):
        builder.add(notes[drawn.any(axis=1)], f"results{moment}")
        row, panel = np.nonzero(drawn)
        builder.add(notes[row], f"labs{moment}", lab_lines(), panel, panel)
    for section in ("micro", "imaging"):
        has = piece_choices((section,), illness[0])[1][illness[1]] > 0
        builder.add(notes[has], "gap")
        builder.add(notes[has], section, illness[0], illness[1][has])


def _add_courses(
    builder: NoteBuilder, rng: np.random.Generator, block: PatientBlock, notes: Ints, stay: Ints, died: Bools
) -> None:
    illness, care = _illness(block, stay), icu_care(block)
    ages, age = _age(block, stay)
    critical = care["stay"][stay] > 0
    builder.add(notes, "course_heading")
    builder.add(notes, "course_opening")
    builder.add(notes, "gap")
    builder.add(notes[~died], "course", illness[0], illness[1][~died])
    builder.add(notes[died], "course_fatal")
    for section, where in (
        ("course_icu", critical & ~died),
        ("course_icu_death", critical & died),
        ("course_ventilated", care["ventilated"][stay] > 0),
        ("course_pressors", care["pressors"][stay] > 0),
        ("course_dialysis", care["dialysis"][stay] > 0),
        ("course_death", died),
    ):
        builder.add(notes[where], "gap")
        builder.add(notes[where], section)
    condition_note, condition, line = _conditions(block, notes[~died], stay[~died])
    mentioned = rng.random(len(condition_note)) < 0.8
    builder.add(np.unique(condition_note[mentioned]), "chronic_heading")
    builder.add(condition_note[mentioned], "chronic", catalog.conditions(), condition[mentioned], line[mentioned])
    builder.add(notes[~died], "transitional", ages, age[~died])


def _add_drug_lists(
    builder: NoteBuilder, rng: np.random.Generator, block: PatientBlock, notes: Ints, stay: Ints, died: Bools
) -> None:
    names = tuple(catalog.read("ed_home_drugs.csv")["name"])
    owner, drug = home_drugs(block)
    person = block.admissions.person[stay]
    count = np.bincount(owner, minlength=len(block.people.subject_id))
    first = (np.cumsum(count) - count)[person]
    row, ordinal = repeat(count[person])
    home_drug = drug[first[row] + ordinal]
    builder.add(notes, "meds_heading")
    builder.add(notes[row], "drug", names, home_drug, ordinal + 1)
    builder.add(notes[count[person] == 0], "meds_none")
    builder.add(notes[~died], "discharge_meds_heading")
    continued = (rng.random(len(row)) < 0.93) & ~died[row]
    continued_count = np.bincount(row[continued], minlength=len(stay))
    _, line = repeat(continued_count)
    builder.add(notes[row[continued]], "drug", names, home_drug[continued], line + 1)
    illnesses, illness = _illness(block, stay)
    new = ~died & (piece_choices(("new_drug",), illnesses)[1][illness] > 0)
    builder.add(notes[new], "new_drug", illnesses, illness[new], continued_count[new] + 1)
    builder.add(notes[~died & ~new & (continued_count == 0)], "discharge_meds_none")


def _add_ending(builder: NoteBuilder, block: PatientBlock, notes: Ints, stay: Ints, died: Bools) -> None:
    illnesses, illness = _illness(block, stay)
    ages, age = _age(block, stay)
    alive = notes[~died]
    builder.add(notes, "disposition", DISPOSITIONS, _dispositions(block)[stay])
    builder.add(notes, "diagnosis_heading")
    builder.add(notes, "diagnosis", illnesses, illness)
    condition_note, condition, line = _conditions(block, notes, stay)
    builder.add(np.unique(condition_note), "diagnosis_secondary")
    builder.add(condition_note, "secondary", catalog.conditions(), condition, line)
    builder.add(alive, "condition", ages, age[~died])
    builder.add(alive, "instructions_opening")
    builder.add(alive, "instructions", illnesses, illness[~died])
    builder.add(alive, "instructions_closing")
    builder.add(notes[died], "condition_death")


def _dispositions(block: PatientBlock) -> Ints:
    """Return the disposition for the discharge_location of each admission, as a position in DISPOSITIONS."""
    name = "hosp/admissions"
    places = (block.cache[name] if name in block.cache else encounters.draw(block)[name])["discharge_location"]
    table = catalog.read("note_dispositions.csv")
    numbers = [DISPOSITIONS.index(word) for word in table["disposition"]]
    # Observation has no discharge location; its disposition is home.
    return places.replace_strict(table["discharge_location"], numbers, default=0, return_dtype=pl.Int64).to_numpy()
