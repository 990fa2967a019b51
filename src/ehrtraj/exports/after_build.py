"""Exports that a build asks for, each in a folder beside the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ehrtraj.exports import formats
from ehrtraj.exports.run import export
from ehrtraj.results import ExportResult
from ehrtraj.runtime.progress import Reporter


def export_after_build(
    dataset: Path, asked: Sequence[str], reporter: Reporter, *, max_cpus: int, overwrite: bool
) -> tuple[ExportResult, ...]:
    """Write the files that were asked for of a finished dataset, as `v1-patient-jsonl` beside `v1`.

    Args:
        dataset: its folder.
        asked: what has a file and its format, such as `patient:jsonl`.
        reporter: receives progress.
        max_cpus: maximum number of CPU cores.
        overwrite: replace other exports of these names.

    Raises:
        EhrtrajError: see `export`.
    """
    written = []
    for wanted in asked:
        per, _, kind = wanted.partition(":")
        name = f"{per}-{kind or formats.DEFAULT}"
        reporter.exporting(name)
        about: dict[str, Any] = {"per": per, "format": kind or None}
        written.append(
            export(
                dataset,
                dataset.with_name(f"{dataset.name}-{name}"),
                **about,
                max_cpus=max_cpus,
                overwrite=overwrite,
                progress=reporter.exported,
            )
        )
    return tuple(written)
