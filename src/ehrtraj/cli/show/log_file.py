"""The log file of `--log-file`: what stderr gets, with the time of each line, and without data of patients."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from ehrtraj.errors import OutputError

_TIME = "%Y-%m-%d %H:%M:%S"
_BEGINS = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ehrtraj ")
# Our messages write numbers with separators, so that a longer number is an identifier, or a part of a path.
_IDENTIFIER = re.compile(r"(?<![\d.])\d{5,}")
# DuckDB quotes the text that it cannot convert, for example in the error of a custom recipe.
_VALUE = re.compile(r"(\b(?:string|value|timestamp|date) )(\"[^\"]*\"|'[^']*')", re.IGNORECASE)


class LogFile:
    """Appends lines to a file that only the user can read."""

    def __init__(self, path: Path, opening: str) -> None:
        """Open the file.

        Args:
            path: the file: new, empty, or a log file.
            opening: first line.

        Raises:
            OutputError: if it is another file, a link, or cannot be written.
        """
        self._path = path.expanduser()
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            self._descriptor = os.open(self._path, flags, 0o600)
            start = os.pread(self._descriptor, 64, 0)
        except OSError as error:
            raise OutputError(f"cannot write the log file {path}: {error.strerror or error}") from None
        if start and not _BEGINS.match(start):
            self.close()
            raise OutputError(f"{path} is not a log file of ehrtraj: choose another --log-file")
        self.write(opening)

    def write(self, text: str) -> None:
        """Append lines. A log that cannot be written does not stop the work."""
        now = time.strftime(_TIME)
        lines = "".join(f"{now} {part}\n" for part in without_data(text).split("\n"))
        try:
            os.write(self._descriptor, lines.encode("utf-8", "backslashreplace"))
        except OSError:
            return

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def without_data(text: str) -> str:
    """Replace identifiers and quoted values."""
    return _IDENTIFIER.sub("<number>", _VALUE.sub(r"\1<text>", text))
