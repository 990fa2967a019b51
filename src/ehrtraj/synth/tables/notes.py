"""Draws discharge summaries and radiology reports, put together from the pieces of text in `catalog/notes`.

Numbers are those of MIMIC-IV-Note 2.2: 331,793 summaries and 2,321,355 reports of 431,231 admissions. A piece of text
is cut, once, at its blanks into fragments; all fragments, and all numbers that a note can quote, have a place in one
list, the vocabulary. A note is then a run of places in it, and columns of numbers make it without looking at text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import polars as pl
import pyarrow as pa

from ehrtraj.synth import catalog
from ehrtraj.synth.block import Block
from ehrtraj.synth.draw import DAY, HOUR, MINUTE, NONE, Bools, Floats, Ints, minutes, pick_rows, repeat, times
from ehrtraj.synth.tables import encounters, labs
from ehrtraj.synth.tables.emergency import ELDERLY, home_drugs, triage, word_weights

HIDDEN = "___"
"""What stands in a de-identified note for what was removed; here also for a number that is not known."""
ANY = "any"
AGES = (ANY, "elderly")
OUTPATIENT, VENTILATED = "outpatient", "ventilated"
CHRONIC_FINDINGS = ("cancer", "cirrhosis", "ckd")
"""Chronic conditions that show in outpatients' reports, first what matters most."""
SEXES = {
    "man": ("man", "woman"), "he": ("he", "she"), "He": ("He", "She"), "his": ("his", "her"), "His": ("His", "Her"),
    "him": ("him", "her"), "Mr": ("Mr.", "Ms."), "sex": ("M", "F"),
}  # fmt: skip
VITALS = ("t", "hr", "rr", "o", "sbp", "dbp")
SIGNALS = (
    "temperature", "heart_rate", "respiratory_rate", "oxygen_saturation", "systolic_pressure", "diastolic_pressure",
)  # fmt: skip
TRIAGE_COLUMNS = ("temperature", "heartrate", "resprate", "o2sat", "sbp", "dbp")
COUNTS = ("los", "icu_days", "vent_days", "weight")
MOST = (3000, 200, 20)
"""The highest number that a note can quote, by decimals."""
LINES = 1000
"""More than any list in a note has."""
DISPOSITIONS = ("home", "service", "facility", "death")

# Shares and rates that together give the numbers of rows of MIMIC-IV-Note 2.2; each by itself is an assumption.
SUMMARY, SUMMARY_OF_OBSERVATION = 0.90, 0.30
ADDENDUM, REPORT_ADDENDUM = 0.004, 0.025
AUTHOR = 0.56
HAS_CPT = 0.62
REPORTS = {"ed": 1.03, "ward": 0.69, "icu": 0.95, "outpatient": 2.4}
"""Radiology reports of an ED stay, of a day's length of stay to the power of 0.7, of an ICU day, of a patient."""
SETTINGS = tuple(REPORTS)
CPT_CHANGE = 2018
"""The year in which many CPT codes of plain films changed."""


def draw(block: Block) -> dict[str, pl.DataFrame]:
    """Return the notes of the block's patients, and the details of each."""
    return {**_discharge(block), **_radiology(block)}


# The catalog's texts -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Texts:
    """All pieces of text, cut into fragments."""

    vocabulary: pl.Series
    codes: Ints
    """Of all pieces, one after the other: a place in the vocabulary, or -1 - field for a blank to be filled in."""
    first: Ints
    length: Ints
    """Of each piece: its first code, and how many."""
    pieces: dict[tuple[str, str], tuple[int, int]]
    """For each section and cause: the first of its pieces in `listed`, and how many."""
    listed: Ints
    decimals: tuple[int, int, int]
    """Where the numbers with none, one and two decimals begin in the vocabulary: each plain, then with an asterisk."""
    hidden: int
    clock: int
    """Where the times of day begin in the vocabulary, a minute each."""
    sexes: Ints
    """[words, sexes]: places in the vocabulary."""


@cache
def _fields() -> dict[str, int]:
    """Return the number of each blank; 0 is the number of a line in a list, different in each line."""
    vitals = [f"{name}{moment}" for moment in (0, 1) for name in VITALS]
    values = [f"lab{moment}_{line}" for moment in (0, 1) for line in range(_labs().height)]
    clocks = [f"clock{moment}_{panel}" for moment in (0, 1) for panel in range(len(_panels()))]
    return {name: place for place, name in enumerate(("n", *SEXES, *vitals, *COUNTS, *values, *clocks))}


@cache
def _labs() -> pl.DataFrame:
    return catalog.read("note_labs.csv")


@cache
def _panels() -> tuple[str, ...]:
    return tuple(_labs()["line"].unique(maintain_order=True))


@cache
def _texts() -> _Texts:
    words: dict[str, int] = {}
    codes: list[int] = []
    length: list[int] = []
    causes: dict[tuple[str, str], list[int]] = {}
    for number, (section, names, text) in enumerate(_all_pieces()):
        parts = [part for part in re.split(r"(\{\w+\})", text) if part]
        for part in parts:
            blank = part[0] == "{" and part[-1] == "}"
            codes.append(-1 - _fields()[part[1:-1]] if blank else words.setdefault(part, len(words)))
        length.append(len(parts))
        for name in names:
            causes.setdefault((section, name), []).append(number)
    sexes = [[words.setdefault(word, len(words)) for word in pair] for pair in SEXES.values()]
    hidden = words.setdefault(HIDDEN, len(words))
    numbers, decimals = _numbers(len(words))
    begin = np.cumsum([0, *(len(lines) for lines in causes.values())]).tolist()
    return _Texts(
        vocabulary=pl.Series([*words, *numbers, *_clocks()], dtype=pl.String),
        codes=np.array(codes, dtype=np.int64),
        first=np.cumsum(length, dtype=np.int64) - np.array(length),
        length=np.array(length, dtype=np.int64),
        pieces={key: (start, len(lines)) for (key, lines), start in zip(causes.items(), begin, strict=False)},
        listed=np.array([line for lines in causes.values() for line in lines], dtype=np.int64),
        decimals=decimals,
        hidden=hidden,
        clock=len(words) + len(numbers),
        sexes=np.array(sexes, dtype=np.int64),
    )


def _numbers(start: int) -> tuple[list[str], tuple[int, int, int]]:
    """Return all numbers that a note can quote, as text, and where those with 0, 1 and 2 decimals begin."""
    texts: list[str] = []
    begin = []
    for decimals, most in enumerate(MOST):
        begin.append(start + len(texts))
        plain = [f"{value / 10**decimals:.{decimals}f}" for value in range(most * 10**decimals + 1)]
        texts += plain + [f"{text}*" for text in plain]
    return texts, (begin[0], begin[1], begin[2])


def _clocks() -> list[str]:
    return [f"{hour % 12 or 12:02d}:{minute:02d}{'AP'[hour // 12]}M" for hour in range(24) for minute in range(60)]


def _all_pieces() -> Iterator[tuple[str, list[str], str]]:
    """Return section, causes and text of every piece: those of the files, and lines made from tables."""
    folder = resources.files("ehrtraj.synth") / "catalog" / "notes"
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        for piece in re.split(r"^@ ", entry.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            header, _, text = piece.partition("\n")
            section, *names = header.split()
            # The blank line before the next piece is for the reader of the file only.
            text = text[:-1] if text.endswith("\n\n") else text
            yield section, names or [ANY], text.removesuffix("\\\n")
    for name, dose in catalog.read("ed_home_drugs.csv").select("name", "dose").iter_rows():
        yield "drug", [name], f"{{n}}. {name[:1].upper()}{name[1:]} {dose}\n"
    for name in catalog.read("note_exams.csv")["exam_name"]:
        yield "examination", [name], f"EXAMINATION:  {name}\n\n"
    for moment in (0, 1):
        for place, panel in enumerate(_panels()):
            rows = [row for row in _labs().with_row_index().iter_rows(named=True) if row["line"] == panel]
            values = " ".join(f"{row['label']}-{{lab{moment}_{row['index']}}}" for row in rows)
            yield f"labs{moment}", [panel], f"{HIDDEN} {{clock{moment}_{place}}} BLOOD {values}\n"


@cache
def _choices(sections: tuple[str, ...], names: tuple[str, ...]) -> tuple[Ints, Ints]:
    """Return, for each section and in it for each name, its first piece in `listed` and how many it has.

    A section that has none for a name uses those for any.
    """
    pieces = _texts().pieces
    found = [pieces.get((part, name)) or pieces.get((part, ANY), (0, 0)) for part in sections for name in names]
    table = np.array(found, dtype=np.int64)
    return table[:, 0], table[:, 1]


class _Pages:
    """Pieces of text collected for the notes of a block, in the order in which they stand in a note."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._parts: list[tuple[Ints, Ints, Ints, Ints]] = []

    def add(
        self,
        notes: Ints,
        section: str | tuple[str, ...],
        names: tuple[str, ...] = (ANY,),
        which: Ints | None = None,
        line: Ints | None = None,
    ) -> None:
        """Put a piece of a section next into some notes, one of several by chance.

        Args:
            notes: numbers of the notes; in a list of lines, a note comes once for each line.
            section: the section, or all sections there are in this place.
            names: causes that pieces of the section are for.
            which: for each note the number of the section times the number of names, plus the number of the name.
            line: order and number of each line of a list.
        """
        first, count = _choices((section,) if isinstance(section, str) else section, names)
        which = np.zeros(len(notes), dtype=np.int64) if which is None else which
        has = count[which] > 0
        notes, which = notes[has], which[has]
        chosen = first[which] + (self._rng.random(len(notes)) * count[which]).astype(np.int64)
        line = np.zeros(len(notes), dtype=np.int64) if line is None else line[has]
        self._parts.append((notes, np.full(len(notes), len(self._parts)), line, _texts().listed[chosen]))

    def text(self, fields: Ints) -> pl.Series:
        """Return the text of all notes, given [notes, fields] what to fill in, as places in the vocabulary."""
        texts = _texts()
        note, place, line, piece = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        order = np.argsort((note * len(self._parts) + place) * LINES + line, kind="stable")
        note, line, piece = note[order], line[order], piece[order]
        row, ordinal = repeat(texts.length[piece])
        code = texts.codes[texts.first[piece][row] + ordinal]
        blank = np.maximum(-1 - code, 0)
        filled = np.where(blank == 0, texts.decimals[0] + line[row], fields[note[row], blank])
        begin = np.flatnonzero(np.diff(note[row], prepend=-1))
        return _join(texts.vocabulary[np.where(code < 0, filled, code)], begin)


def _join(pieces: pl.Series, begin: Ints) -> pl.Series:
    """Return runs of pieces put together, each from begin[i] to begin[i + 1].

    The pieces lie one after the other in memory: all it takes is to leave out the borders between those of a run.
    """
    column = pieces.to_arrow().cast(pa.large_string())
    _, borders, characters = column.buffers()
    offsets = np.frombuffer(borders, dtype=np.int64)[np.append(begin, len(pieces))]
    joined = pa.LargeStringArray.from_buffers(len(begin), pa.py_buffer(offsets), characters)
    return pl.Series(joined, dtype=pl.String)


def _number(values: Floats, decimals: Ints | int, starred: Bools | bool = False) -> Ints:
    """Return places of numbers in the vocabulary; that of HIDDEN for those not known."""
    texts = _texts()
    places = np.broadcast_to(np.asarray(decimals, dtype=np.int64), values.shape)
    most = np.array(MOST)[places] * 10**places
    known = ~np.isnan(values)
    scaled = np.clip(np.rint(np.where(known, values, 0.0) * 10.0**places).astype(np.int64), 0, most)
    return np.where(known, np.array(texts.decimals)[places] + scaled + np.where(starred, most + 1, 0), texts.hidden)


def _blank_fields(female: Bools) -> Ints:
    """Return [notes, fields] with the words that go with the sex; all else hidden."""
    texts, fields = _texts(), _fields()
    filled = np.full((len(female), len(fields)), texts.hidden)
    filled[:, [fields[word] for word in SEXES]] = texts.sexes[:, female.astype(np.int64)].T
    return filled


# What both kinds of notes have ---------------------------------------------------------------------------------------


def _with_addenda(rng: np.random.Generator, count: int, share: float) -> tuple[Ints, Bools]:
    """Return, for notes and for the addenda that follow some of them, the number of the note, and what is one."""
    note, ordinal = repeat(1 + (rng.random(count) < share).astype(np.int64))
    return note, ordinal == 1


def _frame(
    rng: np.random.Generator,
    block: Block,
    person: Ints,
    admission: Ints,
    addendum: Bools,
    kinds: tuple[str, str],
    charted: Ints,
    stored: Ints,
    text: pl.Series,
) -> pl.DataFrame:
    """Return the table, in the order given: by patient and time, addenda after what they belong to."""
    subject, kind = block.subject_id(person), pl.Series(kinds)[addendum.astype(np.int64)]
    # Numbers ascend with time in each patient, and leave some out: those of notes that are not in the release.
    step = np.cumsum(1 + rng.geometric(0.7, len(person)) - (rng.random(len(person)) < 0.9))
    first = np.searchsorted(person, person)
    number = step - step[first] + rng.integers(1, 25, len(person))[first]
    return pl.DataFrame(
        {
            "subject_id": subject,
            "hadm_id": block.hadm_id(admission),
            "note_type": kind,
            "note_seq": number,
            "charttime": times(charted),
            "storetime": times(stored),
            "text": text,
        }
    ).select(pl.concat_str("subject_id", "note_type", "note_seq", separator="-").alias("note_id"), pl.all())


def _details(frame: pl.DataFrame, parts: list[tuple[str, Ints, pl.Series]]) -> pl.DataFrame:
    """Return the details of notes: of each part its name, which rows of the notes have it, and what it is for them."""
    row = np.concatenate([rows for _, rows, _ in parts])
    part = np.repeat(np.arange(len(parts)), [len(rows) for _, rows, _ in parts])
    order = np.lexsort((part, row))
    notes = frame.select("note_id", "subject_id")[row[order]]
    return pl.DataFrame(
        {
            "note_id": notes["note_id"],
            "subject_id": notes["subject_id"],
            "field_name": pl.Series([name for name, _, _ in parts])[part[order]],
            "field_value": pl.concat([values for _, _, values in parts])[order],
            "field_ordinal": np.ones(len(row), dtype=np.int64),
        }
    )


def _links(frame: pl.DataFrame, addendum: Bools) -> list[tuple[str, Ints, pl.Series]]:
    """Return the details that join addenda, which follow their notes, to them and back."""
    rows = np.flatnonzero(addendum)
    return [
        ("addendum_note_id", rows - 1, frame["note_id"][rows]),
        ("parent_note_id", rows, frame["note_id"][rows - 1]),
    ]


# Discharge summaries -------------------------------------------------------------------------------------------------


def _discharge(block: Block) -> dict[str, pl.DataFrame]:
    rng = block.streams.rng("note discharge")
    stays = block.admissions
    observed = stays.kind.str.contains("OBSERVATION", literal=True).to_numpy() & ~stays.icu
    written = np.flatnonzero(rng.random(len(stays.person)) < np.where(observed, SUMMARY_OF_OBSERVATION, SUMMARY))
    note, addendum = _with_addenda(rng, len(written), ADDENDUM)
    stay = written[note]
    midnight = stays.discharge[stay] - stays.discharge[stay] % DAY
    days = rng.lognormal(np.log(1.2 * DAY), 0.8, len(written)).astype(np.int64)[note]
    later = np.where(addendum, HOUR + rng.exponential(6 * DAY, len(stay)).astype(np.int64), 0)
    rows = np.arange(len(stay))
    pages = _Pages(rng)
    results = _lab_results(block)
    _summaries(pages, rng, block, rows[~addendum], stay[~addendum], results.times)
    pages.add(rows[addendum], "addendum")
    text = pages.text(_summary_fields(rng, block, stay, results))
    stored = stays.discharge[stay] + days + later
    frame = _frame(rng, block, stays.person[stay], stay, addendum, ("DS", "AD"), midnight, stored, text)
    signed = np.flatnonzero(rng.random(len(stay)) < AUTHOR)
    details = [("author", signed, pl.Series([HIDDEN]).new_from_index(0, len(signed))), *_links(frame, addendum)]
    return {"note/discharge": frame, "note/discharge_detail": _details(frame, details)}


def _summaries(pages: _Pages, rng: np.random.Generator, block: Block, notes: Ints, stay: Ints, lab_times: Ints) -> None:
    """Write discharge summaries: note notes[i] is that of admission stay[i]."""
    died = block.admissions.death[stay] != NONE
    _beginnings(pages, block, notes, stay)
    _histories(pages, block, notes, stay)
    _findings(pages, block, notes, stay, died, lab_times[:, stay])
    _courses(pages, rng, block, notes, stay, died)
    _drug_lists(pages, rng, block, notes, stay, died)
    _endings(pages, block, notes, stay, died)


def _illness(block: Block, stay: Ints) -> tuple[tuple[str, ...], Ints]:
    return catalog.illnesses(), block.admissions.illness[stay]


def _age(block: Block, stay: Ints) -> tuple[tuple[str, ...], Ints]:
    stays = block.admissions
    return AGES, (block.age(stays.person[stay], stays.admit[stay]) >= ELDERLY).astype(np.int64)


@cache
def _services() -> tuple[tuple[str, ...], Ints]:
    """Return the services' names, and the number of each illness's."""
    of_illness = catalog.read("illnesses.csv")["service"].to_list()
    names = tuple(dict.fromkeys(of_illness))
    return names, np.array([names.index(name) for name in of_illness])


def _beginnings(pages: _Pages, block: Block, notes: Ints, stay: Ints) -> None:
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
    care = _icu_care(block)
    for name in ("ventilated", "dialysis", "pressors", "line"):
        pages.add(notes[care[name][stay] > 0], f"procedure_{name}")
    done = (_choices(("procedure",), illness[0])[1][illness[1]] > 0) | (care["any"][stay] > 0)
    pages.add(notes[~done], "procedure_none")


def _icu_care(block: Block) -> dict[str, Floats]:
    """Return, by admission: seconds in intensive care and on a ventilator, and how many stays needed each help."""
    icu, total = block.icu, len(block.admissions.person)
    on_ventilator = np.where(icu.ventilated_from != NONE, icu.ventilated_until - icu.ventilated_from, 0)
    helped = (on_ventilator > 0) | icu.pressors | icu.dialysis | icu.arterial_line
    columns: dict[str, Ints | Bools] = {
        "stay": icu.departure - icu.arrival, "ventilated": on_ventilator, "dialysis": icu.dialysis,
        "pressors": icu.pressors, "line": icu.arterial_line, "any": helped,
    }  # fmt: skip
    return {name: np.bincount(icu.admission, column, total).astype(np.float64) for name, column in columns.items()}


def _conditions(block: Block, notes: Ints, stay: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the chronic conditions of the notes' patients: the note, the condition, and its number in the list."""
    has = block.people.conditions[block.admissions.person[stay]]
    row, condition = np.nonzero(has)
    _, ordinal = repeat(has.sum(axis=1))
    return notes[row], condition, ordinal + 1


def _histories(pages: _Pages, block: Block, notes: Ints, stay: Ints) -> None:
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


def _findings(pages: _Pages, block: Block, notes: Ints, stay: Ints, died: Bools, lab_times: Ints) -> None:
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
        pages.add(notes[row], f"labs{moment}", _panels(), panel, panel)
    for section in ("micro", "imaging"):
        has = _choices((section,), illness[0])[1][illness[1]] > 0
        pages.add(notes[has], "gap")
        pages.add(notes[has], section, illness[0], illness[1][has])


def _courses(pages: _Pages, rng: np.random.Generator, block: Block, notes: Ints, stay: Ints, died: Bools) -> None:
    illness, care = _illness(block, stay), _icu_care(block)
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


def _drug_lists(pages: _Pages, rng: np.random.Generator, block: Block, notes: Ints, stay: Ints, died: Bools) -> None:
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
    new = ~died & (_choices(("new_drug",), illnesses)[1][illness] > 0)
    pages.add(notes[new], "new_drug", illnesses, illness[new], still[new] + 1)
    pages.add(notes[~died & ~new & (still == 0)], "discharge_meds_none")


def _endings(pages: _Pages, block: Block, notes: Ints, stay: Ints, died: Bools) -> None:
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


def _dispositions(block: Block) -> Ints:
    """Return, by admission, which of DISPOSITIONS goes with its discharge_location."""
    name = "hosp/admissions"
    places = (block.cache[name] if name in block.cache else encounters.draw(block)[name])["discharge_location"]
    table = catalog.read("note_dispositions.csv")
    numbers = [DISPOSITIONS.index(word) for word in table["disposition"]]
    # Observation has no place of discharge: home.
    return places.replace_strict(table["discharge_location"], numbers, default=0, return_dtype=pl.Int64).to_numpy()


def _summary_fields(rng: np.random.Generator, block: Block, stay: Ints, results: _Results) -> Ints:
    stays, care, number = block.admissions, _icu_care(block), _fields()
    person = stays.person[stay]
    fields = _blank_fields(block.people.female[person])
    vitals = _vitals(rng, block, stay)
    decimals = np.array([name == "t" for name in VITALS] * 2, dtype=np.int64)
    fields[:, number["t0"] : number["t0"] + len(decimals)] = _number(vitals, decimals)
    ill = block.episodes.start[stay]
    fields[:, number["los"]] = _number(np.ceil((stays.discharge[stay] - ill) / DAY), 0)
    fields[:, number["icu_days"]] = _number(np.ceil(care["stay"][stay] / DAY), 0)
    fields[:, number["vent_days"]] = _number(np.ceil(care["ventilated"][stay] / DAY), 0)
    signal = np.full(len(stay), catalog.signal_numbers()["weight"])
    fields[:, number["weight"]] = _number(block.measure(rng, signal, person, stay, stays.admit[stay]), 1)
    low, high = (_labs()[name].cast(pl.Float64).to_numpy() for name in ("low", "high"))
    for moment in (0, 1):
        found = results.values[moment, stay]
        places = _number(found, _labs()["decimals"].to_numpy(), (found < low) | (found > high))
        fields[:, number[f"lab{moment}_0"] : number[f"lab{moment}_0"] + len(low)] = places
        clock = _texts().clock + results.times[moment, stay] % DAY // MINUTE
        fields[:, number[f"clock{moment}_0"] : number[f"clock{moment}_0"] + clock.shape[1]] = clock
    return fields


def _vitals(rng: np.random.Generator, block: Block, stay: Ints) -> Floats:
    """Return [notes, moments * VITALS]: those of triage, or else on admission; and those before leaving."""
    stays, total, width = block.admissions, len(stay), len(SIGNALS)
    signals = np.array([catalog.signal_numbers()[name] for name in SIGNALS])
    moments = np.column_stack([stays.admit[stay], stays.discharge[stay] - 2 * HOUR])
    times_of_all = np.repeat(moments, width, axis=1).reshape(-1)
    each = np.repeat(stay, 2 * width)
    values = block.measure(rng, np.tile(signals, 2 * total), stays.person[each], each, times_of_all)
    values = values.reshape(total, 2, width)
    values[:, :, 0] = values[:, :, 0] * 1.8 + 32
    values[:, :, 5] = np.minimum(values[:, :, 5], values[:, :, 4] - 10)
    number = stays.ed[stay]
    seen = triage(block).select(TRIAGE_COLUMNS).to_numpy()[np.maximum(number, 0)]
    values[:, 0] = np.where((number >= 0)[:, None], seen, values[:, 0])
    return values.reshape(total, 2 * width)


@dataclass(frozen=True)
class _Results:
    """The first and the last laboratory results of each admission."""

    values: Floats
    """[moments, admissions, lines of note_labs.csv], NaN for none."""
    times: Ints
    """[moments, admissions, panels], NONE for none."""


def _lab_results(block: Block) -> _Results:
    table = block.cache[labs.TABLE] if labs.TABLE in block.cache else labs.draw(block)[labs.TABLE]
    slot = _lab_slots()[table["itemid"].to_numpy()]
    rows = np.flatnonzero((slot >= 0) & table["hadm_id"].is_not_null().to_numpy())
    found, slot = table.select("hadm_id", "charttime", "valuenum")[rows], slot[rows]
    by_hadm = np.argsort(block.admissions.hadm_id)
    stay = by_hadm[np.searchsorted(block.admissions.hadm_id[by_hadm], found["hadm_id"].to_numpy())]
    panel = np.array([_panels().index(name) for name in _labs()["line"]])[slot]
    time = found["charttime"].to_numpy().astype("datetime64[s]").astype(np.int64)
    number = found["valuenum"].to_numpy()
    total = len(block.admissions.person)
    results = _Results(np.full((2, total, _labs().height), np.nan), np.full((2, total, len(_panels())), NONE))
    for target, column, source in ((results.values, slot, number), (results.times, panel, time)):
        for moment, (place, row) in enumerate(_ends(stay * target.shape[2] + column)):
            target[moment].reshape(-1)[place] = source[row]
    return results


def _ends(key: Ints) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
    """Return the distinct keys with the first row that has each, and with the last."""
    order = np.argsort(key, kind="stable")
    distinct, first = np.unique(key[order], return_index=True)
    last = np.append(first[1:], len(key)) - 1
    return (distinct, order[first]), (distinct, order[last])


@cache
def _lab_slots() -> Ints:
    """Return, by itemid, the line of note_labs.csv, or -1."""
    items = _labs()["itemid"].to_numpy()
    slots = np.full(100_000, -1)
    slots[items] = np.arange(len(items))
    return slots


# Radiology reports ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Exams:
    """Radiology exams of a block, ordered by patient and time; admission and episode are -1 outside of any."""

    person: Ints
    time: Ints
    admission: Ints
    episode: Ints
    setting: Ints
    """Number of SETTINGS."""


def _radiology(block: Block) -> dict[str, pl.DataFrame]:
    rng = block.streams.rng("note radiology")
    exams = _exams(rng, block)
    kind = _exam_kinds(rng, block, exams)
    row, addendum = _with_addenda(rng, len(kind), REPORT_ADDENDUM)
    notes = np.arange(len(row))
    pages = _Pages(rng)
    _reports(pages, block, exams, notes[~addendum], kind)
    pages.add(notes[addendum], "radiology_addendum")
    text = pages.text(_blank_fields(block.people.female[exams.person[row]]))
    hours = rng.lognormal(np.log(2.5 * HOUR), 0.9, len(kind)).astype(np.int64)[row]
    later = np.where(addendum, HOUR + rng.exponential(2 * DAY, len(row)).astype(np.int64), 0)
    charted, stored = exams.time[row], minutes(exams.time[row] + 5 * MINUTE + hours + later)
    person, admission = exams.person[row], exams.admission[row]
    frame = _frame(rng, block, person, admission, addendum, ("RR", "AR"), charted, stored, text)
    details = [*_exam_details(rng, block, exams, notes[~addendum], kind), *_links(frame, addendum)]
    return {"note/radiology": frame, "note/radiology_detail": _details(frame, details)}


def _exams(rng: np.random.Generator, block: Block) -> _Exams:
    """Draw when exams are done: in the ED, on wards, in intensive care, and in outpatients."""
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
    free = (exams.episode >= 0) | (alive & ~encounters.inside_stay(block, exams.person, exams.time))
    order = np.lexsort((exams.setting, exams.time, exams.person))
    order = order[free[order]]
    return _Exams(
        exams.person[order], exams.time[order], exams.admission[order], exams.episode[order], exams.setting[order]
    )


def _times(rng: np.random.Generator, mean: Floats, start: Ints, end: Ints) -> tuple[Ints, Ints]:
    """Draw a number of times within each span, more of them early on; return each one's span and the time."""
    row, _ = repeat(rng.poisson(mean))
    passed = 0.02 + 0.95 * rng.random(len(row)) ** 1.3
    return row, start[row] + (passed * (end - start)[row]).astype(np.int64)


def _exam_kinds(rng: np.random.Generator, block: Block, exams: _Exams) -> Ints:
    """Return for each exam the line of note_exams.csv: by where it is done, and by illness and sex."""
    by_setting, by_illness, women_only = _exam_weights()
    illness = np.where(exams.episode >= 0, block.episodes.illness[exams.episode], -1)
    weights = by_setting[exams.setting] * by_illness[illness]
    weights[np.ix_(~block.people.female[exams.person], women_only)] = 0.0
    return pick_rows(rng, weights)


@cache
def _exam_weights() -> tuple[Floats, Floats, Bools]:
    """Return weights of exams by setting; factors by illness, last those of none; and which only women have."""
    table = catalog.read("note_exams.csv")
    by_setting = np.stack([table[name].cast(pl.Float64).to_numpy() for name in SETTINGS])
    liked = word_weights(table["liked_by"], catalog.illnesses()).T
    by_illness = np.concatenate([np.where(liked > 0, liked, 1.0), np.ones((1, table.height))])
    return by_setting, by_illness, (table["only"] == "F").fill_null(False).to_numpy()


def _reports(pages: _Pages, block: Block, exams: _Exams, notes: Ints, kind: Ints) -> None:
    """Write reports: notes[i] is that of exam i, which is of kind kind[i]."""
    table, families = catalog.read("note_exams.csv"), _families()
    illnesses = catalog.illnesses()
    inside = exams.episode >= 0
    illness = np.where(inside, block.episodes.illness[exams.episode], len(illnesses))
    names = (*illnesses, OUTPATIENT, *CHRONIC_FINDINGS, VENTILATED)
    family = np.array([families.index(name) for name in table["findings"]])[kind]
    techniques = tuple(table["technique"].unique(maintain_order=True))
    technique = np.array([techniques.index(name) for name in table["technique"]])[kind]
    pages.add(notes, "examination", tuple(table["exam_name"]), kind)
    pages.add(notes, "indication", (*illnesses, OUTPATIENT), illness)
    pages.add(notes, "question", families, family)
    pages.add(notes, "gap")
    pages.add(notes, "technique", techniques, technique)
    pages.add(notes, "gap")
    pages.add(notes, "comparison")
    pages.add(notes, "gap")
    shown = _shown(block, exams, illness, len(illnesses))
    pages.add(notes, families, names, family * len(names) + shown)


@cache
def _families() -> tuple[str, ...]:
    return tuple(catalog.read("note_exams.csv")["findings"].unique(maintain_order=True))


def _shown(block: Block, exams: _Exams, illness: Ints, outpatient: int) -> Ints:
    """Return what each exam shows: the illness, a chronic condition of an outpatient, or the ventilator's tube."""
    place = [catalog.conditions().index(name) for name in CHRONIC_FINDINGS]
    chronic = block.people.conditions[exams.person][:, place]
    first = np.where(chronic.any(axis=1), outpatient + 1 + np.argmax(chronic, axis=1), outpatient)
    shown: Ints = np.where(exams.episode >= 0, illness, first)
    return np.where(_ventilated(block, exams), outpatient + 1 + len(CHRONIC_FINDINGS), shown)


def _ventilated(block: Block, exams: _Exams) -> Bools:
    """Say which exams fall into a time on the ventilator."""
    icu = block.icu
    used = np.flatnonzero(icu.ventilated_from != NONE)
    # Few are ventilated in a block: each exam is compared with all of them.
    inside = (exams.time[:, None] >= icu.ventilated_from[used]) & (exams.time[:, None] <= icu.ventilated_until[used])
    found: Bools = (inside & (exams.admission[:, None] == icu.admission[used])).any(axis=1)
    return found


def _exam_details(
    rng: np.random.Generator, block: Block, exams: _Exams, notes: Ints, kind: Ints
) -> list[tuple[str, Ints, pl.Series]]:
    """Return code and name of every exam, and for some the CPT code of the time."""
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
