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

from ehrtraj.errors import OutputError
from ehrtraj.format.manifest import files_of_dataset, refuse_in_dataset
from ehrtraj.format.names import MANIFEST
from ehrtraj.pipeline.layout import ATTEMPTS, DATASET, STATE
from ehrtraj.storage.base import LockedError, Storage
from ehrtraj.storage.documents import read_document, write_document
from ehrtraj.storage.owned import (
    claim,
    clear_claimed,
    named,
    refuse_foreign,
    refuse_replacing,
    remove_claimed,
    remove_listed,
    strangers,
)
from ehrtraj.storage.safe import refuse_link

KIND = "build"
"""Of the work that a working folder is for, in its marker."""
_REPLACED = "replaced"
"""Where a dataset that is being replaced waits until the new one has its name."""


class Workspace:
    """The working folder of one build, and what is known to be finished in it.

    Attributes:
        files: what is in the working folder.
        root: path of the working folder.
        final: path of the dataset.
        resumed: whether an earlier run of the same build left work to resume.
        warnings: what the user must know about files that were kept.
    """

    def __init__(self, output: Storage, version: str) -> None:
        """Name the folder; nothing is created.

        Args:
            output: the folder that receives the dataset.
            version: name of the dataset.
        """
        self._output = output
        self._version = version
        self._work = f".{version}.build"
        self.files = output.below(self._work)
        self.root = Path(output.where(self._work))
        self.final = Path(output.where(version))
        self.resumed = False
        self.warnings: list[str] = []

    @property
    def published(self) -> bool:
        """Whether this is what was left of a build whose dataset is in place, and not one to resume."""
        return self.root.exists() and self.final.exists() and not (self.root / DATASET).exists()

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
        wanted = json.loads(json.dumps(fingerprint, default=str))
        if read_document(self.files, STATE) == wanted:
            # What an attempt left that was cut short is of no use.
            self.files.delete(ATTEMPTS)
            self.resumed = True
            return
        self.files.delete(STATE)
        clear_claimed(self.root)
        (self.root / DATASET).mkdir(parents=True)
        write_document(self.files, STATE, wanted)

    def restore(self) -> None:
        """Put back a dataset whose replacement was cut short before the new one had its name."""
        if (self.root / _REPLACED).is_dir() and not os.path.lexists(self.final):
            self._output.move(f"{self._work}/{_REPLACED}", self._version)

    def show(self, *, overwrite: bool) -> None:
        """Give the finished dataset its name, once everything is on the disk, so that a power cut leaves none or all.

        One that had the name before waits in the working folder, which is removed in the end.

        Args:
            overwrite: replace a dataset of that name.

        Raises:
            OutputError: if what has that name is not a dataset of ours.
        """
        self.files.sync(DATASET)
        if overwrite:
            self.check_replaceable()
            if self.final.exists():
                self._output.move(self._version, f"{self._work}/{_REPLACED}")
        self._output.move(f"{self._work}/{DATASET}", self._version)
        self._output.sync_names()
        self.remove()

    def remove(self) -> None:
        """Remove the working folder, first what would make a half of it look like work to resume."""
        self.files.delete(STATE)
        self._drop_replaced()
        remove_claimed(self.root)

    def _drop_replaced(self) -> None:
        """Delete a dataset that was replaced. Files in it that its manifest does not list are kept."""
        replaced = self.root / _REPLACED
        if not replaced.is_dir():
            return
        if not remove_listed(replaced, files_of_dataset(replaced) or (), last=MANIFEST):
            kept = f"{self._version}.replaced-{secrets.token_hex(4)}"
            self._output.move(f"{self._work}/{_REPLACED}", kept)
            self.warnings.append(
                f"the replaced dataset contained files that are not part of it: they are in {self._output.where(kept)}"
            )


@contextmanager
def locked(output: Storage, version: str) -> Iterator[None]:
    """Hold the one place that a version is built in.

    Raises:
        OutputError: if another build holds it, or the output cannot be written.
    """
    try:
        with output.lock(f".{version}.lock"):
            yield
    except LockedError:
        raise OutputError(
            f"another build of '{version}' is running in {output.where()}: wait for it, or give this one another "
            "--trajectory-version"
        ) from None
