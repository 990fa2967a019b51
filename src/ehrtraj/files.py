"""Read the small text files that users write: tasks, rule tables, recipes. A mistake is named with its line."""

from __future__ import annotations

import csv
import io
import os
import stat
from pathlib import Path

from ehrtraj.errors import EhrtrajError

MOST_BYTES = 4 << 20
"""Maximum size of such a file. The largest of ours has 170 kB."""


def read_text_file(path: Path, what: str, error: type[EhrtrajError], most: int = MOST_BYTES) -> str:
    """Return the text of a file, with line feeds at the end of lines and without a byte order mark.

    Args:
        path: of the file.
        what: it is, for messages: "the task file".
        error: class of the error to raise.
        most: maximum size, bytes.

    Raises:
        EhrtrajError: of the class `error`, if the file is missing, a folder, a pipe, too large, not UTF-8 or binary.
    """
    try:
        mode, content = _read(path, most + 1)
    except (OSError, ValueError) as problem:
        raise error(f"{what} {path} cannot be read: {_reason(path, problem)}") from None
    if not stat.S_ISREG(mode):
        raise error(f"{what} {path} is {'a folder' if stat.S_ISDIR(mode) else 'not a regular file'}")
    if len(content) > most:
        raise error(f"{what} {path} is too large: the maximum is {most:,} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise error(f"{path}, line {line}: not UTF-8. Save the file as UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise error(f"{path}, line {line}: a NUL character. Save the file as UTF-8 text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read(path: Path, most: int) -> tuple[int, bytes]:
    """Return the mode of a file, and its content where it is a regular one, up to so many bytes."""
    # A pipe that nobody writes to would never open otherwise.
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        mode = os.fstat(number).st_mode
        if not stat.S_ISREG(mode):
            return mode, b""
        with open(number, "rb", closefd=False) as handle:  # a descriptor, not a path
            return mode, handle.read(most)
    finally:
        os.close(number)


def _reason(path: Path, problem: Exception) -> str:
    if isinstance(problem, FileNotFoundError) and path.is_symlink():
        return f"it is a link to {path.readlink()}, which does not exist"
    return (problem.strerror if isinstance(problem, OSError) else None) or str(problem)


def read_csv_lines(path: Path, columns: list[str], error: type[EhrtrajError]) -> list[tuple[int, dict[str, str]]]:
    """Return the lines of a CSV file that must have these columns, each with its number in the file.

    Raises:
        EhrtrajError: of the class `error`, if the file cannot be read or a line has another number of fields.
    """
    reader = csv.reader(io.StringIO(read_text_file(path, "the table", error)), strict=True)
    lines: list[tuple[int, dict[str, str]]] = []
    begun = 1
    try:
        if next(reader, []) != columns:
            raise error(f"{path}: its first line must be {','.join(columns)}")
        while True:
            begun = reader.line_num + 1
            fields = next(reader, None)
            if fields is None:
                return lines
            if fields and len(fields) != len(columns):
                raise error(f"{path}, line {begun}: it must have {len(columns)} fields, not {len(fields)}")
            if fields:
                lines.append((begun, dict(zip(columns, fields, strict=True))))
    except csv.Error as problem:
        raise error(f"{path}, line {begun}: {problem}") from None


def names_in(folder: Path, error: type[EhrtrajError]) -> list[str]:
    """Return the names of what a folder holds, in order, hidden files left out.

    Raises:
        EhrtrajError: of the class `error`, if it cannot be read.
    """
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208  # names alone
    except OSError as problem:
        raise error(f"the folder {folder} cannot be read: {_reason(folder, problem)}") from None
