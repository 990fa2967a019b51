"""What a build says of a download that is not whole."""

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
    """Tables that SHA256SUMS.txt in a release's folder names and that are not there; none where it is not there.

    A table counts as there whether it is packed (`.csv.gz`) or not.
    """
    if not (root / SUMS_FILE).is_file():
        return []
    try:
        listed = read_sums(root)
    except ReleaseError:
        # The build does not need the list, and `ehrtraj verify` says what is wrong with it.
        return []
    named = [(path, name) for path in listed if (name := table_of(path))]
    return [p for p, name in named if not any((root / f"{name}{ending}").is_file() for ending in TABLE_ENDINGS)]


def download_notes(root: Path) -> list[str]:
    """One sentence on what a download lacks and the command that fetches it, or nothing."""
    missing = missing_files(root)
    if not missing:
        return []
    more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
    begun = sum((root / (p + PART_ENDING)).is_file() for p in missing)
    parts = f" ({begun} partly there)" if begun else ""
    return [
        f"this download is not whole, missing: {', '.join(missing[:_MOST_NAMED])}{more}{parts}. "
        f"To fetch: {command(root, missing)}"
    ]


@contextmanager
def naming_what_is_missing(data_dir: Path) -> Iterator[None]:
    """Add to a refusal of the release what a download that lies there lacks, and how it is fetched."""
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
    """The command that fetches what is missing of a release, and no more than its modules.

    Args:
        root: its folder.
        missing: paths in it.
    """
    parts = root.absolute().parts
    known = len(parts) > 1 and parts[-2] in projects()
    name, release = parts[-2:] if known else ("PROJECT", "RELEASE")
    account = "" if known and projects()[name].is_open else " --user NAME"
    tables = [table_of(p) for p in missing]
    only = ""
    if None not in tables and len(tables) <= _MOST_NAMED:
        only = f" --tables {','.join(filter(None, tables))}"
    elif None not in tables:
        only = f" --modules {','.join(sorted({p.split('/')[0] for p in missing}))}"
    return f"ehrtraj download {name} --release {release}{account} --to {shlex.quote(str(root))}{only}"
