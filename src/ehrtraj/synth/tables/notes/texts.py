"""The texts of the catalog cut into fragments, and the pages of notes put together from them."""

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
from ehrtraj.synth.draw import Bools, Floats, Ints, repeat

HIDDEN = "___"
"""What stands in a de-identified note for what was removed; here also for a number that is not known."""
ANY = "any"
SEXES = {
    "man": ("man", "woman"), "he": ("he", "she"), "He": ("He", "She"), "his": ("his", "her"), "His": ("His", "Her"),
    "him": ("him", "her"), "Mr": ("Mr.", "Ms."), "sex": ("M", "F"),
}  # fmt: skip
VITALS = ("t", "hr", "rr", "o", "sbp", "dbp")
COUNTS = ("los", "icu_days", "vent_days", "weight")
MOST = (3000, 200, 20)
"""The highest number that a note can quote, by decimals."""
LINES = 1000
"""More than any list in a note has."""


@dataclass(frozen=True)
class Texts:
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
def field_numbers() -> dict[str, int]:
    """Return the number of each blank; 0 is the number of a line in a list, different in each line."""
    vitals = [f"{name}{moment}" for moment in (0, 1) for name in VITALS]
    values = [f"lab{moment}_{line}" for moment in (0, 1) for line in range(read_labs().height)]
    clocks = [f"clock{moment}_{panel}" for moment in (0, 1) for panel in range(len(lab_lines()))]
    return {name: place for place, name in enumerate(("n", *SEXES, *vitals, *COUNTS, *values, *clocks))}


@cache
def read_labs() -> pl.DataFrame:
    """Return note_labs.csv: the results that a summary lists."""
    return catalog.read("note_labs.csv")


@cache
def lab_lines() -> tuple[str, ...]:
    """Return the lines in which a summary lists results."""
    return tuple(read_labs()["line"].unique(maintain_order=True))


@cache
def read_texts() -> Texts:
    """Return all pieces of text, and the vocabulary that they are made of."""
    words: dict[str, int] = {}
    codes: list[int] = []
    length: list[int] = []
    causes: dict[tuple[str, str], list[int]] = {}
    for number, (section, names, text) in enumerate(_all_pieces()):
        parts = [part for part in re.split(r"(\{\w+\})", text) if part]
        for part in parts:
            blank = part[0] == "{" and part[-1] == "}"
            codes.append(-1 - field_numbers()[part[1:-1]] if blank else words.setdefault(part, len(words)))
        length.append(len(parts))
        for name in names:
            causes.setdefault((section, name), []).append(number)
    sexes = [[words.setdefault(word, len(words)) for word in pair] for pair in SEXES.values()]
    hidden = words.setdefault(HIDDEN, len(words))
    numbers, decimals = _numbers(len(words))
    begin = np.cumsum([0, *(len(lines) for lines in causes.values())]).tolist()
    return Texts(
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
        for place, panel in enumerate(lab_lines()):
            rows = [row for row in read_labs().with_row_index().iter_rows(named=True) if row["line"] == panel]
            values = " ".join(f"{row['label']}-{{lab{moment}_{row['index']}}}" for row in rows)
            yield f"labs{moment}", [panel], f"{HIDDEN} {{clock{moment}_{place}}} BLOOD {values}\n"


@cache
def piece_choices(sections: tuple[str, ...], names: tuple[str, ...]) -> tuple[Ints, Ints]:
    """Return, for each section and in it for each name, its first piece in `listed` and how many it has.

    A section that has none for a name uses those for any.
    """
    pieces = read_texts().pieces
    found = [pieces.get((part, name)) or pieces.get((part, ANY), (0, 0)) for part in sections for name in names]
    table = np.array(found, dtype=np.int64)
    return table[:, 0], table[:, 1]


class Pages:
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
        first, count = piece_choices((section,) if isinstance(section, str) else section, names)
        which = np.zeros(len(notes), dtype=np.int64) if which is None else which
        has = count[which] > 0
        notes, which = notes[has], which[has]
        chosen = first[which] + (self._rng.random(len(notes)) * count[which]).astype(np.int64)
        line = np.zeros(len(notes), dtype=np.int64) if line is None else line[has]
        self._parts.append((notes, np.full(len(notes), len(self._parts)), line, read_texts().listed[chosen]))

    def text(self, fields: Ints) -> pl.Series:
        """Return the text of all notes, given [notes, fields] what to fill in, as places in the vocabulary."""
        texts = read_texts()
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


def number_places(values: Floats, decimals: Ints | int, starred: Bools | bool = False) -> Ints:
    """Return places of numbers in the vocabulary; that of HIDDEN for those not known."""
    texts = read_texts()
    places = np.broadcast_to(np.asarray(decimals, dtype=np.int64), values.shape)
    most = np.array(MOST)[places] * 10**places
    known = ~np.isnan(values)
    scaled = np.clip(np.rint(np.where(known, values, 0.0) * 10.0**places).astype(np.int64), 0, most)
    return np.where(known, np.array(texts.decimals)[places] + scaled + np.where(starred, most + 1, 0), texts.hidden)


def blank_fields(female: Bools) -> Ints:
    """Return [notes, fields] with the words that go with the sex; all else hidden."""
    texts, fields = read_texts(), field_numbers()
    filled = np.full((len(female), len(fields)), texts.hidden)
    filled[:, [fields[word] for word in SEXES]] = texts.sexes[:, female.astype(np.int64)].T
    return filled
