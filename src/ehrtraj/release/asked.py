"""Parse `--subjects`. The command line imports this module, so it imports little itself."""

from __future__ import annotations

import re
from pathlib import Path

from ehrtraj.errors import SettingsError


def number_or_file(subjects: str | Path | int) -> int | Path:
    """Return what `--subjects` requests: a number of patients to sample, or an existing file.

    Raises:
        SettingsError: if it is neither, or a number below 1.
    """
    text = str(subjects)
    if re.fullmatch(r"[+-]?[0-9]+", text):
        if int(text) < 1:
            raise SettingsError(f"--subjects is {text}, but must be a number of patients (1 or more) or a file")
        return int(text)
    path = Path(text).expanduser()
    if not path.is_file():
        raise SettingsError(f"--subjects is '{text}', which is neither a number nor an existing file")
    return path
