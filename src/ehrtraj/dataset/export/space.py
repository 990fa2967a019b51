"""The folder of an export: new, to be gone on with, or done; locked while it is worked on."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ehrtraj.errors import OutputError
from ehrtraj.pipeline.workspace import private_files, read_json, write_json

DONE = "export.json"
"""Written last: an export that has it is whole."""

INDEX = "index.csv"
_WORK = ".export"


class ExportSpace:
    """The folder that receives an export."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.work = output / _WORK
        self.state = self.work / "state.json"

    def marker(self, name: str) -> Path:
        """The file that says that a part is exported, and lists its files."""
        return self.work / f"{name}.parquet"

    def finished(self, fingerprint: Mapping[str, Any]) -> dict[str, Any] | None:
        """What export.json says, if this very export is done already."""
        done = read_json(self.output / DONE)
        return done if done is not None and done.get("fingerprint") == fingerprint else None

    def prepare(self, fingerprint: dict[str, Any], *, overwrite: bool) -> bool:
        """Make the folder ready.

        Args:
            fingerprint: everything that decides the files.
            overwrite: remove another export that lies there.

        Returns:
            Whether an earlier run of the same export left work to go on with.

        Raises:
            OutputError: if something else lies there.
        """
        if read_json(self.state) == fingerprint and not overwrite:
            return True
        content = [p for p in self.output.iterdir() if p != self.work]
        ours = (self.output / DONE).is_file() or self.state.is_file()
        if content and not ours:
            raise OutputError(f"{self.output} holds something that is no export: choose another --output")
        if ours and not overwrite:
            raise OutputError(
                f"{self.output} holds an export of another dataset or with other settings: choose another --output, "
                "or replace it with --overwrite"
            )
        # What says that it is whole goes first.
        for path in sorted(content, key=lambda p: p.name != DONE):
            _remove(path)
        for marker in self.work.glob("*.parquet"):
            marker.unlink()
        write_json(self.state, fingerprint)
        return False

    def finish(self, content: Mapping[str, Any]) -> None:
        """Say that the export is whole, and remove what was needed to go on."""
        write_json(self.output / DONE, content)
        self.state.unlink()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@contextmanager
def exporting(output: Path) -> Iterator[ExportSpace]:
    """Hold the folder of an export: files in it are private, and failed writes are said in plain words.

    Raises:
        OutputError: if another export is at work in it, or it cannot be written.
    """
    try:
        with private_files():
            space = ExportSpace(output)
            space.work.mkdir(parents=True, exist_ok=True)
            with FileLock(space.work / "lock", timeout=0):
                try:
                    yield space
                finally:
                    # Nothing to go on with: done, or never begun.
                    if not space.state.is_file():
                        shutil.rmtree(space.work)
    except Timeout:
        raise OutputError(f"another export is at work in {output}: wait for it, or choose another --output") from None
    except (FileExistsError, NotADirectoryError):
        raise OutputError(f"{output} is a file: choose another --output") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"the disk that holds {output} is full. Free some space and run the same command again: it goes on "
                "where it stopped"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise OutputError(f"cannot write to {output}: {error.strerror} ({error.filename})") from error
        raise


def fingerprint_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from JSON, to be compared."""
    fingerprint: dict[str, Any] = json.loads(json.dumps(content, default=str))
    return fingerprint
