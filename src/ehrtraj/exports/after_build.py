"""Exports requested by a build, each in a folder next to the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ehrtraj.exports import formats
from ehrtraj.exports.run import export
from ehrtraj.results import ExportResult
from ehrtraj.runtime.progress import Reporter
from ehrtraj.runtime.sizes import DEFAULT, Sizes


def export_after_build(
    dataset: Path,
    requested: Sequence[str],
    reporter: Reporter,
    *,
    max_cpus: int,
    overwrite: bool,
    sizes: Sizes = DEFAULT,
) -> tuple[ExportResult, ...]:
    """Write the requested exports of a finished dataset, such as `v1-patient-jsonl` next to `v1`.

    Args:
        dataset: folder of the dataset.
        requested: unit and format of each export, such as `patient:jsonl`.
        reporter: receives progress.
        max_cpus: maximum number of CPU cores.
        overwrite: replace existing exports with these names.
        sizes: batch sizes.

    Raises:
        EhrtrajError: see `export`.
    """
    written = []
    for request in requested:
        per, _, kind = request.partition(":")
        name = f"{per}-{kind or formats.DEFAULT}"
        reporter.exporting(name)
        options: dict[str, Any] = {"per": per, "format": kind or None}
        written.append(
            export(
                dataset,
                dataset.with_name(f"{dataset.name}-{name}"),
                **options,
                max_cpus=max_cpus,
                overwrite=overwrite,
                progress=reporter.exported,
                sizes=sizes,
            )
        )
    return tuple(written)
