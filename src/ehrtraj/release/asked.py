"""What `--subjects` asks for. The command line reads it, so this module imports little."""

from __future__ import annotations

import re
from pathlib import Path

from ehrtraj.errors import SettingsError


def number_or_file(subjects: str | Path | int) -> int | Path:
    """What `--subjects` asks for: a number of patients to draw, or a file that is there.

    Raises:
        SettingsError: if it is neither, or a number below 1.
    """
    text = str(subjects)
    if re.fullmatch(r"[+-]?[0-9]+", text):
        if int(text) < 1:
            raise SettingsError(f"--subjects is {text}: it takes a number of patients, 1 or more, or a file")
        return int(text)
    path = Path(text).expanduser()
    if not path.is_file():
        raise SettingsError(f"--subjects is '{text}', neither a number nor a file that is there")
    return path
