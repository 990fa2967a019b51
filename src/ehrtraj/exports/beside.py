"""Exports that a build asks for, each in a folder beside the dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ehrtraj.config import Settings
from ehrtraj.exports import formats
from ehrtraj.exports.run import ExportResult, export
from ehrtraj.runtime.progress import Reporter


def export_beside(dataset: Path, settings: Settings, reporter: Reporter) -> tuple[ExportResult, ...]:
    """Write the files that were asked for of a finished dataset, as `v1-patient-jsonl` beside `v1`.

    Args:
        dataset: its folder.
        settings: of the build.
        reporter: receives progress.

    Raises:
        EhrtrajError: see `export`.
    """
    written = []
    for wanted in settings.export:
        per, _, kind = wanted.partition(":")
        name = f"{per}-{kind or formats.DEFAULT}"
        reporter.exporting(name)
        about: dict[str, Any] = {"per": per, "format": kind or None}
        written.append(
            export(
                dataset,
                dataset.with_name(f"{dataset.name}-{name}"),
                **about,
                max_cpus=settings.max_cpus,
                overwrite=settings.overwrite,
                progress=reporter.exported,
            )
        )
    return tuple(written)
