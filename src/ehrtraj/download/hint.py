"""Messages of a build about an incomplete download."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ehrtraj.download.choose import TABLE_ENDINGS, table_of
from ehrtraj.download.projects import projects
from ehrtraj.download.sums import PART_ENDING, SUMS_FILE, read_sums
from ehrtraj.download.verify import find_releases
from ehrtraj.errors import ReleaseError

_MOST_NAMED = 8


def missing_files(root: Path) -> list[str]:
    """Return the tables that SHA256SUMS.txt lists and that are missing from the folder of a release.

    Without SHA256SUMS.txt, the list is empty. A table may be compressed (`.csv.gz`) or not.
    """
    if not (root / SUMS_FILE).is_file():
        return []
    try:
        listed = read_sums(root)
    except ReleaseError:
        # The build does not need the list, and `ehrtraj verify` reports the problem.
        return []
    tables = [(path, name) for path in listed if (name := table_of(path))]
    return [p for p, name in tables if not any((root / f"{name}{ending}").is_file() for ending in TABLE_ENDINGS)]


def download_notes(root: Path) -> list[str]:
    """Return a note that lists the missing files of a download and the command that fetches them, or no note."""
    missing = missing_files(root)
    if not missing:
        return []
    more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
    partial = sum((root / (p + PART_ENDING)).is_file() for p in missing)
    parts = f" ({partial} partly downloaded)" if partial else ""
    return [
        f"this download is incomplete. Missing files: {', '.join(missing[:_MOST_NAMED])}{more}{parts}. "
        f"To fetch them, run: {command(root, missing)}"
    ]


@contextmanager
def adding_missing_files_to_errors(data_dir: Path) -> Iterator[None]:
    """Add to an error about the release the missing files of the download in its folder, and how to fetch them."""
    try:
        yield
    except ReleaseError as error:
        notes = [note for root in _roots(data_dir) for note in download_notes(root)]
        if not notes:
            raise
        raise type(error)(". ".join([str(error), *notes])) from None


def _roots(data_dir: Path) -> list[Path]:
    try:
        return find_releases(data_dir)
    except (ReleaseError, OSError):
        return []


def command(root: Path, missing: Sequence[str]) -> str:
    """Return the command that fetches the missing files of a release, limited to their tables or modules.

    Args:
        root: folder of the release.
        missing: paths in the release.
    """
    parts = root.absolute().parts
    is_known = len(parts) > 1 and parts[-2] in projects()
    name, release = parts[-2:] if is_known else ("PROJECT", "RELEASE")
    account = "" if is_known and projects()[name].is_open else " --user NAME"
    tables = [table_of(p) for p in missing]
    selection = ""
    if None not in tables and len(tables) <= _MOST_NAMED:
        selection = f" --tables {','.join(filter(None, tables))}"
    elif None not in tables:
        selection = f" --modules {','.join(sorted({p.split('/')[0] for p in missing}))}"
    return f"ehrtraj download {name} --release {release}{account} --to {shlex.quote(str(root))}{selection}"
