"""Write a report of a dataset, or of the difference between two."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from ehrtraj import interrupt
from ehrtraj.arguments import check_argument, checked
from ehrtraj.errors import OutputError
from ehrtraj.format.manifest import dataset_digest, refuse_in_dataset
from ehrtraj.paths import check_target
from ehrtraj.reports.files import DatasetFiles
from ehrtraj.reports.gather import gather_report
from ehrtraj.reports.page import FIRST_BYTES, GENERATOR, fill
from ehrtraj.storage.safe import refuse_link, write_atomically

if TYPE_CHECKING:
    from ehrtraj.dataset.dataset import Dataset
    from ehrtraj.diffs.run import DiffReport


@checked
def report(dataset: str | Path | Dataset, output: str | Path | None = None, *, with_examples: bool = False) -> Path:
    """Write a report of a dataset as one HTML file. The same as `ehrtraj report`.

    Args:
        dataset: folder of a dataset, or an open one; the report is about all its patients.
        output: file to write; by default next to the dataset, such as `v1-report.html`. Another report is replaced.
        with_examples: show exact counts and examples of values. Such a report contains patient data.

    Returns:
        Path of the report.

    Raises:
        DatasetError: if it is not a dataset, is incomplete, or damaged.
        OutputError: if the file exists and is not a report, is inside a dataset, or cannot be written.
    """
    from ehrtraj.dataset.dataset import Dataset
    from ehrtraj.dataset.layout import broken, find_layout

    check_argument("dataset", dataset, str | Path | Dataset)
    root = (find_layout(dataset) if isinstance(dataset, (str, Path)) else dataset.layout).root
    path = default_path(root, with_examples=with_examples) if output is None else Path(output).expanduser()
    refuse_to_replace(path)
    try:
        content = build_report(root, with_examples=with_examples)
    except (pa.ArrowInvalid, ValueError, KeyError) as error:
        raise broken(root, error) from None
    write_report(path, content)
    return path


@checked
def diff_report(difference: DiffReport, output: str | Path, *, with_examples: bool = False) -> Path:
    """Write the difference between two datasets as one HTML file. The same as `ehrtraj diff --html`.

    Args:
        difference: what `ehrtraj.diff` returns.
        output: file to write. Another report is replaced.
        with_examples: show exact counts, rare codes and examples of events. Such a report contains patient data.

    Returns:
        Path of the report.

    Raises:
        OutputError: if the file exists and is not a report, is inside a dataset, or cannot be written.
    """
    from ehrtraj.diffs.run import DiffReport
    from ehrtraj.reports.differences import gather_differences

    check_argument("difference", difference, DiffReport)
    path = Path(output).expanduser()
    refuse_to_replace(path)
    write_report(path, fill("diff.html", diff=gather_differences(difference, with_examples=with_examples)))
    return path


def report_after(root: Path, warn: Callable[[str], object], *, already_there: bool) -> Path | None:
    """Write the report of a dataset that was just finished. A failure is a warning, because the dataset is complete.

    Args:
        root: folder of the dataset.
        warn: receives the reason if the report cannot be written.
        already_there: whether the dataset already existed, so that an existing report of it is kept.

    Returns:
        Path of the report; None if it was not written.
    """
    path = default_path(root)
    try:
        if already_there and is_report_of(path, root):
            return path
        refuse_to_replace(path)
        write_report(path, build_report(root), after_build=True)
    except Exception as error:  # whatever fails, the dataset is complete
        if interrupt.requested():
            raise
        warn(f"the dataset is complete, but its report was not written: {error or type(error).__name__}")
        return None
    return path


def build_report(root: Path, *, with_examples: bool = False) -> bytes:
    """Return the report of a complete dataset.

    Args:
        root: folder of the dataset.
        with_examples: whether the report is for private use.
    """
    content = gather_report(DatasetFiles(root), with_examples=with_examples)
    return fill("report.html", report=content, digest=dataset_digest(root))


def default_path(root: Path, *, with_examples: bool = False) -> Path:
    """Return the path of the report of a dataset: a file next to it, because a finished dataset does not change."""
    if root.name in ("", ".."):
        root = Path(os.path.abspath(root))  # noqa: PTH100  # a link keeps its name
    return root.with_name(f"{root.name}-report{'-with-examples' if with_examples else ''}.html")


def refuse_to_replace(path: Path) -> None:
    """Check that a report can be written to a path, before its content is computed.

    Raises:
        OutputError: if the path exists and is not a report, is inside a dataset, or its folder is not writable.
    """
    check_target(path, overwrite=True)
    refuse_link(path)
    refuse_in_dataset(path)
    if path.exists() and not _is_report(path):
        raise OutputError(
            f"{path} exists and is not a report of ehrtraj, so it is not replaced: choose another --output"
        )


def write_report(path: Path, content: bytes, *, after_build: bool = False) -> None:
    """Write a report, readable only by the user.

    Args:
        path: file to write or replace.
        content: the page.
        after_build: whether it belongs to a dataset that was just finished. If an earlier run was killed, its
            unfinished file is replaced.

    Raises:
        OutputError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content, is_locked=after_build)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}. Choose another --output") from None


def is_report_of(path: Path, root: Path) -> bool:
    """Return whether a file is a report of the dataset in a folder, and not of one that it replaced."""
    return dataset_digest(root).encode() in _beginning(path)


def _is_report(path: Path) -> bool:
    """Return whether a file is a report of ehrtraj, which may be replaced."""
    return GENERATOR in _beginning(path)


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FIRST_BYTES)
    except OSError:
        return b""
