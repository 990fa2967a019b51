"""Find the vocabulary files, which contain parents of codes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ehrtraj.config import Settings
from ehrtraj.errors import SettingsError
from ehrtraj.rules.overlay import VOCABULARY_SETTINGS
from ehrtraj.sources.source import Source

# Files that a setting needs: each of these OMOP files is useless without the other. Other settings accept any file.
_REQUIRED_FILES = {"vocabulary": ("CONCEPT.csv", "CONCEPT_RELATIONSHIP.csv")}


@dataclass(frozen=True)
class VocabularyFile:
    """A file with parents of codes.

    Attributes:
        setting: setting that the file belongs to.
        name: name in `vocabularies.csv`.
        path: path of the file.
        event_types: event types whose items it maps; empty if it maps codes of any event type.
        least_confidence: minimum confidence: lines with a lower confidence are not used.
    """

    setting: str
    name: str
    path: Path
    event_types: tuple[str, ...]
    least_confidence: float


def find_vocabularies(settings: Settings, source: Source) -> list[VocabularyFile]:
    """Find the files of the settings `gem`, `concept_maps` and `vocabulary`.

    Raises:
        SettingsError: if a folder does not exist, or does not contain the expected files.
    """
    lines = source.rules("vocabularies")
    files = []
    for setting in VOCABULARY_SETTINGS:
        folder: Path | None = getattr(settings, setting)
        if folder is not None:
            expected = [line for line in lines if line["setting"] == setting]
            files += _find_in(folder, setting, expected, source.declared.vocabulary_places)
    return files


def _find_in(folder: Path, setting: str, expected: list[dict[str, str]], places: Iterable[str]) -> list[VocabularyFile]:
    option = f"--{setting.replace('_', '-')}"
    names = ", ".join(line["file"] for line in expected)
    sources = "; ".join(sorted({line["source"] for line in expected}))
    if not folder.is_dir():
        raise SettingsError(f"{option} is {folder}: there is no such folder. It must contain {names} ({sources})")
    paths = {line["file"]: _find_file(folder, line["file"], option, places) for line in expected}
    missing = [name for name, path in paths.items() if path is None]
    if len(missing) < len(paths):
        missing = [name for name in _REQUIRED_FILES.get(setting, ()) if name in missing]
    if missing:
        raise SettingsError(
            f"{option} is {folder}, which does not contain {', '.join(missing)}. Get it from: {sources}"
        )
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
            raise SettingsError(
                f"{option} is {folder}, which contains {len(matches)} files {name}: keep only one of them"
            )
        if matches:
            return matches[0]
    return None


def hashes(files: list[VocabularyFile]) -> dict[str, dict[str, str]]:
    """Return the SHA-256 of each file by setting and by the name on disk."""
    by_setting: dict[str, dict[str, str]] = {}
    for file in files:
        with file.path.open("rb") as handle:
            by_setting.setdefault(file.setting, {})[file.path.name] = hashlib.file_digest(handle, "sha256").hexdigest()
    return by_setting
