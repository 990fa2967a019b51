"""Read the patients that a user requests in a file, look them up, and report which of them were found."""

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
# pandas writes integers as 10000032.0 if the column had missing values.
_ID = re.compile(r"([0-9]{1,18})(?:\.0*)?")
_SEPARATORS = (",", "\t", ";")
_MISSING_NAMED = 10


@dataclass(frozen=True)
class SubjectsFound:
    """Result of looking up the requested patients.

    Attributes:
        source: file of subject IDs; empty if a number of patients to sample was requested.
        requested: number of distinct patients requested.
        found: number of them that exist.
        missing: the first of those that do not exist.
        repeated: number of lines that repeat a subject ID of the file.
        left_out: number of patients found but excluded by `--icu-only`.
    """

    source: str
    requested: int
    found: int
    missing: tuple[int | str, ...] = ()
    repeated: int = 0
    left_out: int = 0

    @property
    def complete(self) -> bool:
        """Whether all requested patients were found."""
        return self.found == self.requested

    def describe(self, where: str) -> str | None:
        """Return one sentence about the result, or None if a number was requested and available.

        Args:
            where: what was searched, such as `this release`.
        """
        if not self.source:
            too_few = (
                f"--subjects requests {self.requested:,} patients, but {where} has only {self.found:,} to choose from"
            )
            return None if self.complete else too_few
        text = f"{self.source}: {self.found:,} of {self.requested:,} subject IDs are in {where}"
        if not self.complete:
            more = ", ..." if self.requested - self.found > len(self.missing) else ""
            text += f"; missing: {', '.join(map(str, self.missing))}{more}"
        if self.repeated:
            text += f"; repeated lines: {self.repeated:,}"
        if self.left_out:
            text += f"; excluded by --icu-only: {self.left_out:,}"
        return text

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form stored in the build's folder and in the manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Return the result that `to_json` stored."""
        return cls(**{**content, "missing": tuple(content["missing"])})


def find_subjects(path: Path, everyone: Int64s, where: str, *, key: str | None = None) -> tuple[Int64s, SubjectsFound]:
    """Look up the patients of a file.

    Args:
        path: file of subject IDs.
        everyone: all existing subject IDs.
        where: what contains them, such as `this release`.
        key: the source's column of text keys of patients, if the file contains those; None if it contains subject IDs.

    Returns:
        The subject IDs found, sorted, and the result of the lookup.

    Raises:
        ReleaseError: if the file cannot be read, or contains no existing patient.
    """
    written: Sequence[int | str] = read_subject_file(path) if key is None else read_key_file(path, key)
    listed = [number_of(name) if isinstance(name, str) else name for name in written]
    names = dict(zip(listed, written, strict=True))
    requested = np.unique(np.array(listed, np.int64))
    if not len(requested):
        raise ReleaseError(f"{path} contains no subject IDs")
    exists = np.isin(requested, everyone)
    if not exists.any():
        raise ReleaseError(f"{path} contains {len(requested):,} subject IDs, but none of them is in {where}")
    missing = tuple(names[number] for number in requested[~exists][:_MISSING_NAMED].tolist())
    return requested[exists], SubjectsFound(
        str(path), len(requested), int(exists.sum()), missing, len(listed) - len(requested)
    )


def read_subject_file(path: Path) -> list[int]:
    """Return the subject IDs of a text or CSV file, in file order.

    They are in the column `subject_id`, or in the only column. A first line without digits is a header.

    Raises:
        ReleaseError: if the file cannot be read, or a line has no subject ID; the message names the line.
    """
    lines = _lines(path, _text_of(path))
    number, first = next(lines, (0, [""]))
    names = [cell.strip().lower() for cell in first]
    if _COLUMN in names:
        column = names.index(_COLUMN)
    elif len(names) > 1:
        raise ReleaseError(
            f"{path}, line {number}: none of the {len(names)} columns is named {_COLUMN}. Rename the column of subject "
            f"IDs to {_COLUMN}, or remove the other columns"
        )
    else:
        column = 0
        if re.search("[0-9]", names[0]):
            return [_subject_id(path, number, first, column), *(_subject_id(path, n, row, 0) for n, row in lines)]
    return [_subject_id(path, n, row, column) for n, row in lines]


def read_key_file(path: Path, key: str) -> list[str]:
    """Return the patients of a text or CSV file by their text keys in the source, in file order.

    The keys are in the column with the source's column name, or in the only column.

    Args:
        path: of the file.
        key: name of the source's key column.

    Raises:
        ReleaseError: if the file cannot be read, or a line has no key; the message names the line.
    """
    rows = [(number, [cell.strip() for cell in row]) for number, row in _lines(path, _text_of(path))]
    names = [name.lower() for name in rows[0][1]] if rows else []
    if len(names) > 1 and key.lower() not in names:
        raise ReleaseError(
            f"{path}, line {rows[0][0]}: none of the {len(names)} columns is named {key}. Rename the column of patient "
            f"keys to {key}, or remove the other columns"
        )
    column = names.index(key.lower()) if key.lower() in names else None
    found = []
    for number, row in rows[column is not None :]:
        if len(row) <= (column or 0) or not row[column or 0]:
            raise ReleaseError(f"{path}, line {number}: the value of {key} is missing")
        found.append(row[column or 0])
    return found


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ReleaseError(f"cannot read the subjects file {path}: {error}") from None


def _lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that are not blank, with their numbers."""
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
            f"{path}, line {number}: '{cell[:60]}' is not a subject ID. Write one integer per line, or a CSV file "
            f"with a column {_COLUMN}"
        )
    return int(match[1])
