"""The folder in which a build works: locked, bound to one input and one set of settings, resumable.

It is beside the dataset as `.<version>.build/` and is removed when the build is done. A finished step leaves a marker
file, written under another name and then renamed, so that a marker that exists is complete.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import Timeout

from ehrtraj.errors import OutputError
from ehrtraj.format.manifest import MANIFEST, files_of_dataset, refuse_in_dataset
from ehrtraj.storage.files import read_json, write_json
from ehrtraj.storage.owned import (
    claim,
    clear_claimed,
    named,
    refuse_foreign,
    refuse_replacing,
    remove_claimed,
    remove_entry,
    remove_listed,
    strangers,
)
from ehrtraj.storage.safe import locked_file, refuse_link

DATASET = "dataset"
KIND = "build"
"""Of the work that a working folder is for, in its marker."""


class WorkPaths:
    """Where the pieces of a build are below a folder: the working folder, or that of one attempt at a shard.

    Attributes:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def dataset(self) -> Path:
        """What becomes the dataset."""
        return self.root / DATASET

    @property
    def spill(self) -> Path:
        """Folder for what does not fit into DuckDB's memory."""
        return self.root / "spill"

    def staged(self, table: str) -> Path:
        """Folder of a staged table (full name)."""
        return self.root / "stage" / table.replace("/", ".")

    def reject_piece(self, table: str, piece: str) -> Path:
        """One file of a table's rejects."""
        return self.root / "rejected" / table.replace("/", ".") / f"{piece}.arrow"

    def shard_marker(self, shard: int) -> Path:
        """The file that shows that a shard is done."""
        return self.root / "shards" / f"{shard:05d}.json"


class Workspace(WorkPaths):
    """Paths of one build and what is known to be finished in it.

    Attributes:
        root: the working folder.
        resumed: whether an earlier run of the same build left work to resume.
        warnings: what the user must know about files that were kept.
    """

    def __init__(self, output: Path, version: str) -> None:
        super().__init__(output / f".{version}.build")
        self.final = output / version
        self.resumed = False
        self.warnings: list[str] = []

    @property
    def published(self) -> bool:
        """Whether this is what was left of a build whose dataset is in place, and not one to resume."""
        return self.root.exists() and self.final.exists() and not self.dataset.exists()

    @property
    def _replaced(self) -> Path:
        """Where a dataset that is being replaced waits until the new one has its name."""
        return self.root / "replaced"

    @property
    def attempts(self) -> Path:
        """Folder in which each attempt at a shard has a folder of its own."""
        return self.root / "attempts"

    def check_target(self, inputs: Iterable[Path], modules: Iterable[Path], *, overwrite: bool) -> None:
        """Check, before anything is written, that this build may write here. It deletes nothing.

        Args:
            inputs: files and folders that the build reads.
            modules: folders of the release's tables.
            overwrite: whether a dataset of the same name is to be replaced.

        Raises:
            OutputError: if the dataset's path is in the input, contains it or is in another dataset, if the working
                folder is not ours, or if what is to be replaced is anything but a dataset that ehrtraj built.
        """
        refuse_replacing(self.final, inputs, modules)
        refuse_in_dataset(self.final)
        refuse_foreign(self.root, KIND)
        if overwrite:
            self.check_replaceable()

    def check_replaceable(self) -> None:
        """Check that what has the dataset's name may be deleted, if anything has it.

        Raises:
            OutputError: if it is not a folder with our manifest that contains only files listed there.
        """
        if not os.path.lexists(self.final):
            return
        refuse_link(self.final)
        way_out = "choose another --trajectory-version or --output, or remove it yourself"
        if not self.final.is_dir():
            raise OutputError(f"{self.final} is a file, not a dataset: {way_out}")
        listed = files_of_dataset(self.final)
        if listed is None:
            raise OutputError(
                f"{self.final} was not made by ehrtraj, or its {MANIFEST} is damaged, so --overwrite does not replace "
                f"it: {way_out}"
            )
        if other := strangers(self.final, listed):
            raise OutputError(
                f"{self.final} contains what does not belong to the dataset ({named(other)}), so --overwrite does not "
                "replace it: move that away, or choose another --trajectory-version or --output"
            )

    def prepare(self, fingerprint: dict[str, Any]) -> None:
        """Make the folder, or take up what an earlier run with the same fingerprint left.

        Args:
            fingerprint: everything that decides the result: input files, settings, software, recipes and rules.

        Raises:
            OutputError: if the path of the folder is taken by something that ehrtraj did not create.
        """
        claim(self.root, KIND)
        self._drop_replaced()
        state = self.root / "state.json"
        wanted = json.loads(json.dumps(fingerprint, default=str))
        if read_json(state) == wanted:
            # What an attempt left that was cut short is of no use.
            remove_entry(self.attempts)
            self.resumed = True
            return
        state.unlink(missing_ok=True)
        clear_claimed(self.root)
        self.dataset.mkdir(parents=True)
        write_json(state, wanted)

    def restore(self) -> None:
        """Put back a dataset whose replacement was cut short before the new one had its name."""
        if self._replaced.is_dir() and not os.path.lexists(self.final):
            self._replaced.replace(self.final)

    def show(self, *, overwrite: bool) -> None:
        """Give the finished dataset its name. One that had the name before waits in the working folder.

        Args:
            overwrite: replace a dataset of that name.

        Raises:
            OutputError: if what has that name is not a dataset of ours.
        """
        if overwrite:
            self.check_replaceable()
            if self.final.exists():
                self.final.replace(self._replaced)
        self.dataset.replace(self.final)

    def remove(self) -> None:
        """Remove the working folder, first what would make a half of it look like work to resume."""
        (self.root / "state.json").unlink(missing_ok=True)
        self._drop_replaced()
        remove_claimed(self.root)

    def _drop_replaced(self) -> None:
        """Delete a dataset that was replaced. Files in it that its manifest does not list are kept."""
        if not self._replaced.is_dir():
            return
        if not remove_listed(self._replaced, files_of_dataset(self._replaced) or (), last=MANIFEST):
            kept = self.final.with_name(f"{self.final.name}.replaced-{secrets.token_hex(4)}")
            self._replaced.replace(kept)
            self.warnings.append(f"the replaced dataset contained files that are not part of it: they are in {kept}")


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
    try:
        # The empty file stays: removing it would let two builds lock two files of the same name.
        with locked_file(path):
            yield
    except Timeout:
        raise OutputError(
            f"another build of '{version}' is running in {output}: wait for it, or give this one another "
            "--trajectory-version"
        ) from None
