"""Read the small text files that users write: tasks, rule tables, recipes. Errors name the line."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection

from ehrtraj.errors import EhrtrajError, RecipeError
from ehrtraj.user_files import MOST_BYTES, File, UserFile, keep_file, list_folder


def read_text_file(path: File, what: str, error: type[EhrtrajError], most: int = MOST_BYTES) -> str:
    """Return the text of a file, with line feeds at the end of lines and without a byte order mark.

    Args:
        path: the file.
        what: name of the file in messages, such as "the task file".
        error: class of the error to raise.
        most: maximum size in bytes.

    Raises:
        EhrtrajError: of the class `error`, if the file is missing, a folder, a pipe, too large, not UTF-8 or binary.
    """
    file = path if isinstance(path, UserFile) else keep_file(path, most)
    if file.problem:
        raise error(f"{what} {path} cannot be read: {file.problem}")
    if not file.is_file():
        raise error(f"{what} {path} is {'a folder' if file.is_dir() else 'not a regular file'}")
    content = file.content
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


def read_source_file(file: File) -> str:
    """Return the text of a file of a source. Only files that a user wrote are checked, not those of the package.

    Raises:
        RecipeError: if a user's file is missing, too large, not UTF-8 or binary.
    """
    if isinstance(file, UserFile):
        return read_text_file(file, "the file", RecipeError)
    return file.read_text(encoding="utf-8")


def header_of(path: File, error: type[EhrtrajError]) -> list[str]:
    """Return the columns in the first line of a CSV file; empty if it has none.

    Raises:
        EhrtrajError: of the class `error`, if the file cannot be read.
    """
    first = read_text_file(path, "the table", error).partition("\n")[0]
    return next(csv.reader([first]), [])


def read_csv_lines(
    path: File, columns: list[str], error: type[EhrtrajError], optional: Collection[str] = ()
) -> list[tuple[int, dict[str, str]]]:
    """Return the lines of a CSV file with exactly these columns, each with its line number.

    Args:
        path: file to read.
        columns: the columns in their order.
        error: class of the error.
        optional: columns that the file may lack, all of them: they are then empty.

    Raises:
        EhrtrajError: of the class `error`, if the file cannot be read, its header differs from `columns`, or a line has
            a different number of fields.
    """
    reader = csv.reader(io.StringIO(read_text_file(path, "the table", error)), strict=True)
    lines: list[tuple[int, dict[str, str]]] = []
    line = 1
    try:
        required = [column for column in columns if column not in optional]
        header = next(reader, [])
        if header not in (columns, required):
            raise error(f"{path}: its first line must be {','.join(required)}")
        while True:
            line = reader.line_num + 1
            fields = next(reader, None)
            if fields is None:
                return lines
            if fields and len(fields) != len(header):
                raise error(f"{path}, line {line}: it must have {len(header)} fields, not {len(fields)}")
            if fields:
                lines.append((line, dict.fromkeys(columns, "") | dict(zip(header, fields, strict=True))))
    except csv.Error as problem:
        raise error(f"{path}, line {line}: {problem}") from None


def names_in(folder: File, error: type[EhrtrajError]) -> list[str]:
    """Return the sorted names of the files and folders in a folder, without hidden files.

    Raises:
        EhrtrajError: of the class `error`, if the folder cannot be read.
    """
    listing = folder if isinstance(folder, UserFile) else list_folder(folder)
    if listing.problem:
        raise error(f"the folder {folder} cannot be read: {listing.problem}")
    return [file.name for file in listing.inside]
