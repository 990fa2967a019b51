"""The folder of an export: new, to be resumed, or done; locked while it is written.

What may be deleted or replaced in it is what our own index, or the journal of an unfinished export, lists.
"""

from __future__ import annotations

import csv
import errno
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import Timeout

from ehrtraj.errors import OutputError
from ehrtraj.format import names
from ehrtraj.paths import error_of_path
from ehrtraj.storage.files import private_files, read_json, write_json
from ehrtraj.storage.owned import (
    claim,
    named,
    refuse_foreign,
    refuse_replacing,
    remove_claimed,
    remove_listed,
    strangers,
)
from ehrtraj.storage.safe import locked_file, refuse_link

DONE = "export.json"
"""Written last: an export that has it is complete."""

INDEX = "index.csv"

METADATA = (names.CODES, names.FLAGS, names.DATASET_JSON, names.SPLITS)
"""Copied, so that codes and flags can be looked up where the files are."""

_WORK = ".export"
_KIND = "export"
_FIXED = frozenset((DONE, f".{DONE}.new", INDEX, *METADATA))


class ExportSpace:
    """The folder that receives an export."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.work = output / _WORK
        self.state = self.work / "state.json"

    def marker(self, name: str) -> Path:
        """The file that shows that the patients of a data file are exported, and lists their files."""
        return self.work / f"{name}.parquet"

    def announce(self, name: str, files: Iterable[str]) -> None:
        """Record which files are about to be written, so that they are known to be ours.

        Args:
            name: of the patients they are about, as in `marker`.
            files: paths in the export.
        """
        with (self.work / f"{name}.files").open("a", encoding="utf-8") as journal:
            journal.writelines(f"{path}\n" for path in files)

    def check(self) -> None:
        """Check that the folder is free or an export, complete or not, with nothing else in it.

        Raises:
            OutputError: if it contains anything that ehrtraj did not write.
        """
        refuse_link(self.output)
        if not self.output.exists():
            return
        if not self.output.is_dir():
            raise OutputError(f"{self.output} is a file: choose another --output")
        refuse_foreign(self.work, _KIND)
        other = [name for name in strangers(self.output, self._listed()) if name != f"{_WORK}/"]
        if other and not self._is_ours():
            raise OutputError(
                f"{self.output} holds something that is no export ({named(other)}): choose another --output"
            )
        if other:
            raise OutputError(
                f"{self.output} holds files that are not part of the export in it ({named(other)}): move them away, or "
                "choose another --output"
            )

    def finished(self, fingerprint: Mapping[str, Any]) -> dict[str, Any] | None:
        """The content of export.json, if this very export is done already."""
        done = read_json(self.output / DONE)
        return done if done is not None and done.get("fingerprint") == fingerprint else None

    def prepare(self, fingerprint: dict[str, Any], *, overwrite: bool) -> bool:
        """Make the folder ready.

        Args:
            fingerprint: everything that decides the files.
            overwrite: remove another export that is there.

        Returns:
            Whether an earlier run of the same export left work to resume.

        Raises:
            OutputError: if something else is there.
        """
        if read_json(self.state) == fingerprint and not overwrite:
            return True
        if self._is_ours() and not overwrite:
            raise OutputError(
                f"{self.output} holds an export of another dataset or with other settings: choose another --output, "
                "or replace it with --overwrite"
            )
        listed = self._listed()
        # What shows that it is complete goes first, what shows that it is ours goes last.
        write_json(self.state, {"ehrtraj": fingerprint["ehrtraj"], "removing": True})
        (self.output / DONE).unlink(missing_ok=True)
        remove_listed(self.output, listed - {INDEX})
        (self.output / INDEX).unlink(missing_ok=True)
        for path in (*self.work.glob("*.parquet"), *self.work.glob("*.files")):
            path.unlink()
        write_json(self.state, fingerprint)
        return False

    def finish(self, content: Mapping[str, Any]) -> None:
        """Mark the export as complete, and remove what was needed to resume it."""
        write_json(self.output / DONE, content)
        self.state.unlink()

    def _is_ours(self) -> bool:
        """Whether a complete or unfinished export is here, by its content."""
        done, state = read_json(self.output / DONE), read_json(self.state)
        return any("ehrtraj" in found for found in ((done or {}).get("fingerprint") or {}, state or {}))

    def _listed(self) -> set[str]:
        """Paths in the folder that an export of ours may have written."""
        if not self._is_ours():
            return set()
        listed = set(_FIXED)
        try:
            with (self.output / INDEX).open(encoding="utf-8", newline="") as index:
                listed |= {line["path"] for line in csv.DictReader(index) if line.get("path")}
        except (OSError, ValueError, csv.Error):
            # An unfinished export has none; files of a damaged one count as foreign.
            pass
        for journal in self.work.glob("*.files"):
            listed |= set(journal.read_text(encoding="utf-8").splitlines())
        return listed


@contextmanager
def exporting(output: Path, inputs: Iterable[Path]) -> Iterator[ExportSpace]:
    """Hold the folder of an export: files in it are private, and failed writes give plain messages.

    Args:
        output: folder of the export. Nothing is written if it contains anything that is not ours.
        inputs: files and folders that the export reads.

    Raises:
        OutputError: if another export is running in it, it is not ours, or it cannot be written.
    """
    try:
        with private_files():
            space = ExportSpace(output)
            refuse_replacing(output, inputs)
            space.check()
            output.mkdir(parents=True, exist_ok=True)
            claim(space.work, _KIND)
            with locked_file(space.work / "lock"):
                try:
                    # Again, now that nobody else of ours writes here.
                    space.check()
                    yield space
                finally:
                    # Nothing to resume: done, or never begun.
                    if not space.state.is_file():
                        remove_claimed(space.work)
    except Timeout:
        raise OutputError(f"another export is running in {output}: wait for it, or choose another --output") from None
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"{output} is a file: choose another --output") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"the disk that holds {output} is full. Free some space and run the same command again: it resumes "
                "where it stopped"
            ) from error
        if (found := error_of_path(error, output)) is not None:
            raise found from error
        raise


def fingerprint_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from JSON, to be compared."""
    fingerprint: dict[str, Any] = json.loads(json.dumps(content, default=str))
    return fingerprint
