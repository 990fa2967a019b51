"""Which patients a user asks for: a number to draw, or a file of subject IDs. What was found of them is reported."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ehrtraj.errors import ReleaseError
from ehrtraj.format.keys import number_of

Int64s = npt.NDArray[np.int64]

_COLUMN = "subject_id"
# pandas writes whole numbers as 10000032.0 where the column had a gap.
_ID = re.compile(r"([0-9]{1,18})(?:\.0*)?")
_SEPARATORS = (",", "\t", ";")
_MISSING_NAMED = 10


@dataclass(frozen=True)
class SubjectsFound:
    """What became of the patients that were asked for.

    Attributes:
        source: file of subject IDs; empty for a number to draw.
        requested: patients asked for, each once.
        found: those that are there.
        missing: the first of those that are not there.
        repeated: lines that repeat a subject ID of the file.
        left_out: found, but left out by `--icu-only`.
    """

    source: str
    requested: int
    found: int
    missing: tuple[int | str, ...] = ()
    repeated: int = 0
    left_out: int = 0

    @property
    def complete(self) -> bool:
        """Whether all are there."""
        return self.found == self.requested

    def describe(self, where: str) -> str | None:
        """One sentence about it; None where a number was asked for and there are so many.

        Args:
            where: what was searched, as `this release`.
        """
        if not self.source:
            few = (
                f"--subjects asks for {self.requested:,} patients, more than the {self.found:,} to draw from in {where}"
            )
            return None if self.complete else few
        text = f"{self.source}: {self.found:,} of {self.requested:,} subject IDs are in {where}"
        if not self.complete:
            more = ", ..." if self.requested - self.found > len(self.missing) else ""
            text += f"; missing: {', '.join(map(str, self.missing))}{more}"
        if self.repeated:
            text += f"; repeated lines: {self.repeated:,}"
        if self.left_out:
            text += f"; left out by --icu-only: {self.left_out:,}"
        return text

    def to_json(self) -> dict[str, Any]:
        """As kept in the build's folder and in the manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(**{**content, "missing": tuple(content["missing"])})


def find_subjects(path: Path, everyone: Int64s, where: str, *, key: str | None = None) -> tuple[Int64s, SubjectsFound]:
    """Look up the patients of a file.

    Args:
        path: file of subject IDs.
        everyone: subject IDs that there are.
        where: what they are in, as `this release`.
        key: column of the source that names a patient by text, which the file then contains; None where it contains
            subject IDs.

    Returns:
        Those that are there, sorted, and the account of all.

    Raises:
        ReleaseError: if the file cannot be read, or names nobody who is there.
    """
    written: Sequence[int | str] = read_subject_file(path) if key is None else read_key_file(path, key)
    listed = [number_of(name) if isinstance(name, str) else name for name in written]
    names = dict(zip(listed, written, strict=True))
    asked = np.unique(np.array(listed, np.int64))
    if not len(asked):
        raise ReleaseError(f"{path} contains no subject IDs")
    there = np.isin(asked, everyone)
    if not there.any():
        raise ReleaseError(f"none of the {len(asked):,} subject IDs in {path} is in {where}")
    missing = tuple(names[number] for number in asked[~there][:_MISSING_NAMED].tolist())
    return asked[there], SubjectsFound(str(path), len(asked), int(there.sum()), missing, len(listed) - len(asked))


def read_subject_file(path: Path) -> list[int]:
    """Subject IDs of a text or CSV file, in its order.

    They are in the column `subject_id`, or in the only column. A first line without any digit is a header.

    Raises:
        ReleaseError: if the file cannot be read, or a line has no subject ID; it names the line.
    """
    lines = _lines(path, _text_of(path))
    number, first = next(lines, (0, [""]))
    names = [cell.strip().lower() for cell in first]
    if _COLUMN in names:
        column = names.index(_COLUMN)
    elif len(names) > 1:
        raise ReleaseError(
            f"{path}, line {number}: it has {len(names)} columns, none of which is named {_COLUMN}: name the column "
            "of the subject IDs so, or leave it alone in the file"
        )
    else:
        column = 0
        if re.search("[0-9]", names[0]):
            return [_subject_id(path, number, first, column), *(_subject_id(path, n, row, 0) for n, row in lines)]
    return [_subject_id(path, n, row, column) for n, row in lines]


def read_key_file(path: Path, key: str) -> list[str]:
    """Patients of a text or CSV file by the keys of text that the source gives them, in its order.

    They are in the column named as in the source, or in the only column.

    Args:
        path: of the file.
        key: the column of the source.

    Raises:
        ReleaseError: if the file cannot be read, or a line has no key; it names the line.
    """
    rows = [(number, [cell.strip() for cell in row]) for number, row in _lines(path, _text_of(path))]
    names = [name.lower() for name in rows[0][1]] if rows else []
    if len(names) > 1 and key.lower() not in names:
        raise ReleaseError(
            f"{path}, line {rows[0][0]}: it has {len(names)} columns, none of which is named {key}: name the column "
            "of the patients' keys so, or leave it alone in the file"
        )
    column = names.index(key.lower()) if key.lower() in names else None
    found = []
    for number, row in rows[column is not None :]:
        if len(row) <= (column or 0) or not row[column or 0]:
            raise ReleaseError(f"{path}, line {number}: it has no {key}")
        found.append(row[column or 0])
    return found


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ReleaseError(f"cannot read the subjects file {path}: {error}") from None


def _lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Lines that are not blank, with their numbers."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = next((s for s in _SEPARATORS if s in first), ",")
    reader = csv.reader(text.splitlines(), delimiter=separator, skipinitialspace=True)
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise ReleaseError(f"{path}, line {reader.line_num}: {error}") from None


def _subject_id(path: Path, number: int, row: list[str], column: int) -> int:
    cell = row[column].strip() if column < len(row) else ""
    match = _ID.fullmatch(cell)
    if match is None:
        raise ReleaseError(
            f"{path}, line {number}: '{cell[:60]}' is not a subject ID: write one whole number per line, or a CSV file "
            f"with a column {_COLUMN}"
        )
    return int(match[1])
