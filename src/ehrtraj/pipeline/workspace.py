"""The folder in which a build works: locked, bound to one input and one set of settings, resumable.

It lies beside the dataset as `.<version>.build/` and is gone when the build is done. A finished step leaves a marker
file, written under another name and then renamed, so that a marker that is there is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ehrtraj.errors import OutputError

DATASET = "dataset"


def write_json(path: Path, content: object) -> None:
    """Write JSON so that the file is either whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any] | None:
    """What `write_json` wrote; None where nothing is, or where a power cut left something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def size_of(path: Path) -> int:
    """Bytes of a file, 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


class Workspace:
    """Paths of one build and what is known to be finished in it.

    Attributes:
        root: the working folder.
        resumed: whether an earlier run of the same build left work to go on with.
    """

    def __init__(self, output: Path, version: str) -> None:
        self.root = output / f".{version}.build"
        self.final = output / version
        self.resumed = False

    @property
    def dataset(self) -> Path:
        """What becomes the dataset."""
        return self.root / DATASET

    @property
    def published(self) -> bool:
        """Whether this is what was left of a build whose dataset is in place, and not one to go on with."""
        return self.root.exists() and self.final.exists() and not self.dataset.exists()

    def staged(self, table: str) -> Path:
        """Folder of a staged table (full name)."""
        return self.root / "stage" / table.replace("/", ".")

    def reject_piece(self, table: str, piece: str) -> Path:
        """One file of a table's rejects."""
        return self.root / "rejects" / table.replace("/", ".") / f"{piece}.arrow"

    def shard_marker(self, shard: int) -> Path:
        """The file that says a shard is done."""
        return self.root / "shards" / f"{shard:05d}.json"

    def prepare(self, fingerprint: dict[str, Any]) -> None:
        """Make the folder, or take up what an earlier run with the same fingerprint left.

        Args:
            fingerprint: everything that decides the result: input files, settings, software, recipes and rules.
        """
        state = self.root / "state.json"
        wanted = json.loads(json.dumps(fingerprint, default=str))
        if read_json(state) == wanted:
            self.resumed = True
            return
        if self.root.exists():
            state.unlink(missing_ok=True)
            shutil.rmtree(self.root)
        self.dataset.mkdir(parents=True)
        write_json(state, wanted)

    def remove(self) -> None:
        """Remove the working folder, first what would make a half of it look like work to go on with."""
        (self.root / "state.json").unlink(missing_ok=True)
        shutil.rmtree(self.root, ignore_errors=True)


@contextmanager
def private_files() -> Iterator[None]:
    """Make every file and folder created inside readable by the user alone (0600, 0700)."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def locked(output: Path, version: str) -> Iterator[None]:
    """Hold the one place that a version is built in. The lock goes with the process, however that ends.

    Raises:
        OutputError: if another build holds it, or the output cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the output folder {output}: {error.strerror}") from None
    path = output / f".{version}.lock"
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OutputError(
            f"another build of '{version}' is at work in {output}: wait for it, or give this one another "
            "--trajectory-version"
        ) from None
    except OSError as error:
        raise OutputError(f"cannot write to the output folder {output}: {error.strerror}") from None
    try:
        yield
    finally:
        # The empty file stays: removing it would let two builds lock two files of the same name.
        lock.release()
