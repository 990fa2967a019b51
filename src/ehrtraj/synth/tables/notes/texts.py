"""Text fragments of the catalog, and the assembly of notes from them."""

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

MASK = "___"
"""Marks removed text in de-identified notes. Here it also stands for unknown numbers."""
ANY = "any"
SEXES = {
    "man": ("man", "woman"), "he": ("he", "she"), "He": ("He", "She"), "his": ("his", "her"), "His": ("His", "Her"),
    "him": ("him", "her"), "Mr": ("Mr.", "Ms."), "sex": ("M", "F"),
}  # fmt: skip
VITALS = ("t", "hr", "rr", "o", "sbp", "dbp")
COUNTS = ("los", "icu_days", "vent_days", "weight")
MAX_NUMBERS = (3000, 200, 20)
"""Highest number that a note can quote, by the number of decimal places."""
MAX_LINES = 1000
"""Upper limit on the number of lines in a list; no note reaches it."""


@dataclass(frozen=True)
class TextFragments:
    """All pieces of text, split into fragments."""

    vocabulary: pl.Series
    codes: Ints
    """Codes of all pieces in order: a position in the vocabulary, or -1 - field for a blank to be filled in."""
    first: Ints
    length: Ints
    """Position of the first code of each piece, and the number of its codes."""
    pieces: dict[tuple[str, str], tuple[int, int]]
    """For each section and cause: the position of its first piece in `listed`, and the number of its pieces."""
    listed: Ints
    decimals: tuple[int, int, int]
    """Where numbers with 0, 1 and 2 decimal places start in the vocabulary, each plain and then with an asterisk."""
    hidden: int
    """Position of MASK in the vocabulary."""
    clock: int
    """Where the times of day start in the vocabulary, one for each minute."""
    sexes: Ints
    """[words, sexes]: positions in the vocabulary."""


@cache
def field_numbers() -> dict[str, int]:
    """Return the number of each blank. Blank 0 is the number of a line in a list, which differs in each line."""
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
def read_fragments() -> TextFragments:
    """Return all pieces of text and their vocabulary."""
    vocabulary: dict[str, int] = {}
    codes: list[int] = []
    length: list[int] = []
    causes: dict[tuple[str, str], list[int]] = {}
    for number, (section, names, text) in enumerate(_all_pieces()):
        parts = [part for part in re.split(r"(\{\w+\})", text) if part]
        for part in parts:
            blank = part[0] == "{" and part[-1] == "}"
            codes.append(-1 - field_numbers()[part[1:-1]] if blank else vocabulary.setdefault(part, len(vocabulary)))
        length.append(len(parts))
        for name in names:
            causes.setdefault((section, name), []).append(number)
    sexes = [[vocabulary.setdefault(word, len(vocabulary)) for word in pair] for pair in SEXES.values()]
    hidden = vocabulary.setdefault(MASK, len(vocabulary))
    numbers, decimals = _numbers(len(vocabulary))
    begin = np.cumsum([0, *(len(lines) for lines in causes.values())]).tolist()
    return TextFragments(
        vocabulary=pl.Series([*vocabulary, *numbers, *_clocks()], dtype=pl.String),
        codes=np.array(codes, dtype=np.int64),
        first=np.cumsum(length, dtype=np.int64) - np.array(length),
        length=np.array(length, dtype=np.int64),
        pieces={key: (start, len(lines)) for (key, lines), start in zip(causes.items(), begin, strict=False)},
        listed=np.array([line for lines in causes.values() for line in lines], dtype=np.int64),
        decimals=decimals,
        hidden=hidden,
        clock=len(vocabulary) + len(numbers),
        sexes=np.array(sexes, dtype=np.int64),
    )


def _numbers(start: int) -> tuple[list[str], tuple[int, int, int]]:
    """Return all numbers that a note can quote, as text, and where those with 0, 1 and 2 decimal places start."""
    fragments: list[str] = []
    begin = []
    for decimals, highest in enumerate(MAX_NUMBERS):
        begin.append(start + len(fragments))
        plain = [f"{value / 10**decimals:.{decimals}f}" for value in range(highest * 10**decimals + 1)]
        fragments += plain + [f"{text}*" for text in plain]
    return fragments, (begin[0], begin[1], begin[2])


def _clocks() -> list[str]:
    return [f"{hour % 12 or 12:02d}:{minute:02d}{'AP'[hour // 12]}M" for hour in range(24) for minute in range(60)]


def _all_pieces() -> Iterator[tuple[str, list[str], str]]:
    """Yield section, causes and text of every piece: those in the files, and lines made from tables."""
    folder = resources.files("ehrtraj.synth") / "catalog" / "notes"
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        for piece in re.split(r"^@ ", entry.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            header, _, text = piece.partition("\n")
            section, *names = header.split()
            # The blank line before the next piece only makes the file easier to read.
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
            yield f"labs{moment}", [panel], f"{MASK} {{clock{moment}_{place}}} BLOOD {values}\n"


@cache
def piece_choices(sections: tuple[str, ...], names: tuple[str, ...]) -> tuple[Ints, Ints]:
    """Return, for each section and each name, the first of its pieces in `listed` and the number of its pieces.

    If a section has no pieces for a name, its pieces for `any` are used.
    """
    pieces = read_fragments().pieces
    ranges = [pieces.get((part, name)) or pieces.get((part, ANY), (0, 0)) for part in sections for name in names]
    table = np.array(ranges, dtype=np.int64)
    return table[:, 0], table[:, 1]


class NoteBuilder:
    """Collects the pieces of text for the notes of a block, in the order in which they appear in a note."""

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
        """Append a piece of a section to some notes. If there are several pieces, one is drawn at random.

        Args:
            notes: numbers of the notes. In a list, a note appears once for each line.
            section: the section, or all sections that may appear at this position.
            names: causes that the pieces of the section are for.
            which: for each note, the number of the section times the number of names, plus the number of the name.
            line: order and number of each line of a list.
        """
        first, count = piece_choices((section,) if isinstance(section, str) else section, names)
        which = np.zeros(len(notes), dtype=np.int64) if which is None else which
        has = count[which] > 0
        notes, which = notes[has], which[has]
        chosen = first[which] + (self._rng.random(len(notes)) * count[which]).astype(np.int64)
        line = np.zeros(len(notes), dtype=np.int64) if line is None else line[has]
        self._parts.append((notes, np.full(len(notes), len(self._parts)), line, read_fragments().listed[chosen]))

    def text(self, fields: Ints) -> pl.Series:
        """Return the text of all notes. `fields` is [notes, fields]: positions in the vocabulary for the blanks."""
        fragments = read_fragments()
        note, place, line, piece = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        order = np.argsort((note * len(self._parts) + place) * MAX_LINES + line, kind="stable")
        note, line, piece = note[order], line[order], piece[order]
        row, ordinal = repeat(fragments.length[piece])
        code = fragments.codes[fragments.first[piece][row] + ordinal]
        blank = np.maximum(-1 - code, 0)
        filled = np.where(blank == 0, fragments.decimals[0] + line[row], fields[note[row], blank])
        begin = np.flatnonzero(np.diff(note[row], prepend=-1))
        return _join(fragments.vocabulary[np.where(code < 0, filled, code)], begin)


def _join(pieces: pl.Series, begin: Ints) -> pl.Series:
    """Join runs of pieces, each from begin[i] to begin[i + 1].

    The pieces are adjacent in memory, so joining only removes the offsets between the pieces of a run.
    """
    column = pieces.to_arrow().cast(pa.large_string())
    _, borders, characters = column.buffers()
    offsets = np.frombuffer(borders, dtype=np.int64)[np.append(begin, len(pieces))]
    joined = pa.LargeStringArray.from_buffers(len(begin), pa.py_buffer(offsets), characters)
    return pl.Series(joined, dtype=pl.String)


def number_places(values: Floats, decimals: Ints | int, starred: Bools | bool = False) -> Ints:
    """Return the positions of numbers in the vocabulary; NaN gets the position of MASK."""
    fragments = read_fragments()
    places = np.broadcast_to(np.asarray(decimals, dtype=np.int64), values.shape)
    highest = np.array(MAX_NUMBERS)[places] * 10**places
    is_known = ~np.isnan(values)
    scaled = np.clip(np.rint(np.where(is_known, values, 0.0) * 10.0**places).astype(np.int64), 0, highest)
    return np.where(
        is_known, np.array(fragments.decimals)[places] + scaled + np.where(starred, highest + 1, 0), fragments.hidden
    )


def blank_fields(female: Bools) -> Ints:
    """Return [notes, fields] with the words that depend on sex; all other fields are masked."""
    fragments, fields = read_fragments(), field_numbers()
    filled = np.full((len(female), len(fields)), fragments.hidden)
    filled[:, [fields[word] for word in SEXES]] = fragments.sexes[:, female.astype(np.int64)].T
    return filled
