"""Find the files of vocabularies that give codes their parents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ehrtraj.config import Settings
from ehrtraj.errors import SettingsError
from ehrtraj.rules.overlay import VOCABULARY_SETTINGS
from ehrtraj.sources.source import Source

# Both files of OMOP say nothing without the other: of the other settings any file will do.
_WHOLE = ("vocabulary",)


@dataclass(frozen=True)
class VocabularyFile:
    """A file that gives parents.

    Attributes:
        setting: it belongs to.
        name: in `vocabularies.csv`.
        path: where it lies.
        event_types: whose items it maps; none where it maps codes of whatever event type.
        least_confidence: lines that are less sure by their own account are not used.
    """

    setting: str
    name: str
    path: Path
    event_types: tuple[str, ...]
    least_confidence: float


def find_vocabularies(settings: Settings, source: Source) -> list[VocabularyFile]:
    """Find the files of the settings `gem`, `concept_maps` and `vocabulary`.

    Raises:
        SettingsError: if a folder is not there, or does not hold what it should.
    """
    lines = source.rules("vocabularies")
    found = []
    for setting in VOCABULARY_SETTINGS:
        folder: Path | None = getattr(settings, setting)
        if folder is not None:
            expected = [line for line in lines if line["setting"] == setting]
            found += _find_in(folder, setting, expected, source.declared.vocabulary_places)
    return found


def _find_in(folder: Path, setting: str, expected: list[dict[str, str]], places: Iterable[str]) -> list[VocabularyFile]:
    option = f"--{setting.replace('_', '-')}"
    wanted = ", ".join(line["file"] for line in expected)
    sources = "; ".join(sorted({line["source"] for line in expected}))
    if not folder.is_dir():
        raise SettingsError(f"{option} is {folder}: there is no such folder. It should hold {wanted} ({sources})")
    paths = {line["file"]: _find_file(folder, line["file"], option, places) for line in expected}
    missing = [name for name, path in paths.items() if path is None]
    if len(missing) == len(paths) or (missing and setting in _WHOLE):
        raise SettingsError(f"{option} is {folder}, which does not hold {', '.join(missing)}. Get it from: {sources}")
    return [
        VocabularyFile(
            setting,
            line["file"],
            path,
            tuple(line["event_types"].split()),
            float(line["least_confidence"] or 0),
        )
        for line in expected
        if (path := paths[line["file"]]) is not None
    ]


def _find_file(folder: Path, name: str, option: str, places: Iterable[str]) -> Path | None:
    for place in places:
        matches = sorted(path for path in (folder / place).glob(name) if path.is_file())
        if len(matches) > 1:
            raise SettingsError(f"{option} is {folder}, which holds {len(matches)} files {name}: keep one of them")
        if matches:
            return matches[0]
    return None


def hashes(files: list[VocabularyFile]) -> dict[str, dict[str, str]]:
    """Return the SHA-256 of each file by setting and the file's own name."""
    found: dict[str, dict[str, str]] = {}
    for file in files:
        with file.path.open("rb") as handle:
            found.setdefault(file.setting, {})[file.path.name] = hashlib.file_digest(handle, "sha256").hexdigest()
    return found
