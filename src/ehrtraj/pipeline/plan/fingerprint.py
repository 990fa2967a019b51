"""The fingerprint of a build covers everything that affects its data. Equal fingerprints mean equal datasets."""

from __future__ import annotations

from typing import Any

from ehrtraj.config import SETTINGS, Settings
from ehrtraj.pipeline.plan.vocabularies import VocabularyFile, hashes
from ehrtraj.release.found import Release
from ehrtraj.runtime.sizes import DEFAULT, Sizes
from ehrtraj.version import __version__


def fingerprint_of(
    settings: Settings, release: Release, vocabularies: list[VocabularyFile], sizes: Sizes = DEFAULT
) -> dict[str, Any]:
    """Return the fingerprint of a build, for `manifest.json`. It includes every setting that changes the data.

    Args:
        settings: settings of the build.
        release: release that the build reads, represented by the identity of its files.
        vocabularies: vocabularies that the build reads, represented by their hashes.
        sizes: batch sizes, some of which determine the data files.
    """
    return {
        "ehrtraj": __version__,
        # The next three entries are those that `content_in` refers to.
        "source": [release.source.name, release.source.recipes_digest(), release.source.rules_digest()],
        "vocabularies": hashes(vocabularies),
        "files": {name: [release.where(name), *f.identity] for name, f in release.files.items()},
        "settings": {
            s.name: s.canonical(getattr(settings, s.name))
            for s in SETTINGS
            if s.declared.changes_data and s.declared.content_in is None
        },
        "large_rows": sizes.large_rows,
        "span_rows": sizes.span_rows,
        "shard_rows": sizes.shard_rows,
    }
