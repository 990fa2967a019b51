"""What a build's data follow from: work and datasets of the same fingerprint are the same."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import ehrtraj
from ehrtraj import recipes, rules
from ehrtraj.config import Settings
from ehrtraj.pipeline.plan.vocabularies import VocabularyFile, hashes
from ehrtraj.pipeline.shard.task import PART_ROWS
from ehrtraj.release.detect import Release


def fingerprint_of(settings: Settings, release: Release, vocabularies: list[VocabularyFile]) -> dict[str, Any]:
    """Return what decides the dataset, for `manifest.json`. Neither --max-cpus nor --memory-limit is in it.

    Args:
        settings: of the build.
        release: that it reads, by the size and time of its files.
        vocabularies: that it reads, by their hashes.
    """
    subjects = settings.subjects
    if subjects is not None and (listed := Path(subjects).expanduser()).is_file():
        subjects = hashlib.sha256(listed.read_bytes()).hexdigest()
    return {
        "ehrtraj": ehrtraj.__version__,
        "recipes": recipes.digest(release.source, settings.recipes),
        "rules": rules.digest(settings.rules),
        "vocabularies": hashes(vocabularies),
        "files": {name: [release.where(name), f.size, f.mtime_ns] for name, f in release.files.items()},
        "settings": {
            "tables": sorted(settings.tables),
            "subjects": subjects,
            "icu_only": settings.icu_only,
            "clock": settings.clock,
            "standardise": settings.standardise,
            "notes": settings.notes,
            "seed": settings.seed,
        },
        "part_rows": PART_ROWS,
    }
