"""The folder of an export: new, unfinished, or complete; locked while it is written.

Only files listed in the export's index, or in the journal of an unfinished export, may be deleted or replaced.
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
    first_names,
    refuse_foreign,
    refuse_replacing,
    remove_claimed,
    remove_listed,
    unlisted_entries,
)
from ehrtraj.storage.safe import locked_file, refuse_link

DONE = "export.json"
"""Written last: an export with this file is complete."""

INDEX = "index.csv"

METADATA = (names.CODES, names.FLAGS, names.DATASET_JSON, names.SPLITS)
"""Files copied from the dataset, so that codes and flags can be looked up in the folder of the export."""

_WORK = ".export"
_KIND = "export"
_FIXED = frozenset((DONE, f".{DONE}.new", INDEX, *METADATA))


class ExportSpace:
    """The folder of an export."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.work = output / _WORK
        self.state = self.work / "state.json"

    def marker(self, name: str) -> Path:
        """Return the path of the marker of a data file: it lists the files of the patients once they are exported."""
        return self.work / f"{name}.parquet"

    def announce(self, name: str, files: Iterable[str]) -> None:
        """Record the files that are about to be written, so that they are recognised as part of this export.

        Args:
            name: name of the group of patients, as in `marker`.
            files: paths in the export.
        """
        with (self.work / f"{name}.files").open("a", encoding="utf-8") as journal:
            journal.writelines(f"{path}\n" for path in files)

    def check(self) -> None:
        """Check that the folder is empty, or contains an export, complete or not, and nothing else.

        Raises:
            OutputError: if it contains anything that ehrtraj did not write.
        """
        refuse_link(self.output)
        if not self.output.exists():
            return
        if not self.output.is_dir():
            raise OutputError(f"{self.output} is a file: choose another --output")
        refuse_foreign(self.work, _KIND)
        other = [name for name in unlisted_entries(self.output, self._listed()) if name != f"{_WORK}/"]
        if other and not self._is_ours():
            raise OutputError(
                f"{self.output} contains files that are not an export ({first_names(other)}): choose another --output"
            )
        if other:
            raise OutputError(
                f"{self.output} contains files that are not part of its export ({first_names(other)}): move them away, "
                "or choose another --output"
            )

    def finished(self, fingerprint: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the content of export.json if the same export is already complete, otherwise None."""
        done = read_json(self.output / DONE)
        return done if done is not None and done.get("fingerprint") == fingerprint else None

    def prepare(self, fingerprint: dict[str, Any], *, overwrite: bool) -> bool:
        """Prepare the folder for the export.

        Args:
            fingerprint: everything that decides the content of the files.
            overwrite: remove an existing export.

        Returns:
            Whether an earlier run of the same export left work to resume.

        Raises:
            OutputError: if the folder contains another export, and `overwrite` is False.
        """
        if read_json(self.state) == fingerprint and not overwrite:
            return True
        if self._is_ours() and not overwrite:
            raise OutputError(
                f"{self.output} contains an export of another dataset or with other settings: choose another --output, "
                "or replace it with --overwrite"
            )
        listed = self._listed()
        # The file that marks the export as complete is removed first, the file that lists its files last.
        write_json(self.state, {"ehrtraj": fingerprint["ehrtraj"], "removing": True})
        (self.output / DONE).unlink(missing_ok=True)
        remove_listed(self.output, listed - {INDEX})
        (self.output / INDEX).unlink(missing_ok=True)
        for path in (*self.work.glob("*.parquet"), *self.work.glob("*.files")):
            path.unlink()
        write_json(self.state, fingerprint)
        return False

    def finish(self, content: Mapping[str, Any]) -> None:
        """Mark the export as complete, and remove the file that was needed to resume it."""
        write_json(self.output / DONE, content)
        self.state.unlink()

    def _is_ours(self) -> bool:
        """Whether the folder contains a complete or unfinished export, judged by its content."""
        done, state = read_json(self.output / DONE), read_json(self.state)
        return any("ehrtraj" in content for content in ((done or {}).get("fingerprint") or {}, state or {}))

    def _listed(self) -> set[str]:
        """Return the paths in the folder that the export may have written."""
        if not self._is_ours():
            return set()
        listed = set(_FIXED)
        try:
            with (self.output / INDEX).open(encoding="utf-8", newline="") as index:
                listed |= {line["path"] for line in csv.DictReader(index) if line.get("path")}
        except (OSError, ValueError, csv.Error):
            # An unfinished export has no index. Without a readable index, the files count as foreign.
            pass
        for journal in self.work.glob("*.files"):
            listed |= set(journal.read_text(encoding="utf-8").splitlines())
        return listed


@contextmanager
def open_export_space(output: Path, inputs: Iterable[Path]) -> Iterator[ExportSpace]:
    """Lock the folder of an export. New files in it are private, and failed writes raise errors with plain messages.

    Args:
        output: folder of the export. Nothing is written if it contains anything that ehrtraj did not write.
        inputs: files and folders that the export reads.

    Raises:
        OutputError: if another export is running in the folder, ehrtraj did not write its content, or it cannot be
            written.
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
                    # Check again, because another export may have written to it before the lock was taken.
                    space.check()
                    yield space
                finally:
                    # Without this file there is nothing to resume: the export is complete, or never began.
                    if not space.state.is_file():
                        remove_claimed(space.work)
    except Timeout:
        raise OutputError(
            f"another export is running in {output}: wait until it ends, or choose another --output"
        ) from None
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"{output} is a file: choose another --output") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"the disk of {output} is full. Finished work is kept: free some space, then run the same command "
                "again to resume"
            ) from error
        if (explained := error_of_path(error, output)) is not None:
            raise explained from error
        raise


def fingerprint_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fingerprint as JSON returns it, so that it can be compared with a saved one."""
    fingerprint: dict[str, Any] = json.loads(json.dumps(content, default=str))
    return fingerprint
