"""What a build's data follow from: work and datasets of the same fingerprint are the same."""

from __future__ import annotations

from typing import Any

from ehrtraj.config import SETTINGS, Settings
from ehrtraj.pipeline.plan.vocabularies import VocabularyFile, hashes
from ehrtraj.pipeline.shard.task import PART_ROWS
from ehrtraj.release.found import Release
from ehrtraj.version import __version__


def fingerprint_of(settings: Settings, release: Release, vocabularies: list[VocabularyFile]) -> dict[str, Any]:
    """Return what decides the dataset, for `manifest.json`: every setting that is declared to change the data.

    Args:
        settings: of the build.
        release: that it reads, by the identity of its files.
        vocabularies: that it reads, by their hashes.
    """
    return {
        "ehrtraj": __version__,
        # What `content_in` of the declarations refers to.
        "source": [release.source.name, release.source.recipes_digest(), release.source.rules_digest()],
        "vocabularies": hashes(vocabularies),
        "files": {name: [release.where(name), *f.identity] for name, f in release.files.items()},
        "settings": {
            s.name: s.canonical(getattr(settings, s.name))
            for s in SETTINGS
            if s.declared.changes_data and s.declared.content_in is None
        },
        "part_rows": PART_ROWS,
    }
