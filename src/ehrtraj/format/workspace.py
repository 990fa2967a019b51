"""The working folder in which a dataset is written: locked, bound to one input and one set of settings, resumable.

It is called `.<version>.build/`, next to the dataset, and is removed when the dataset is complete. Each finished step
writes a marker file. The file is written under another name and then renamed, so a marker that exists is complete.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehrtraj.errors import OutputError
from ehrtraj.format.manifest import files_of_dataset, refuse_in_dataset
from ehrtraj.format.names import MANIFEST
from ehrtraj.storage.base import LockedError, Storage
from ehrtraj.storage.documents import read_document, write_document
from ehrtraj.storage.owned import (
    claim,
    clear_claimed,
    first_names,
    refuse_foreign,
    refuse_replacing,
    remove_claimed,
    remove_listed,
    unlisted_entries,
)
from ehrtraj.storage.safe import refuse_link

DATASET = "dataset"
"""Folder that becomes the dataset."""
ATTEMPTS = "attempts"
"""Folder that contains a separate folder for each attempt at a task."""
STATE = "state.json"
"""Fingerprint of the work."""
_REPLACED = "replaced"
"""Folder that contains the replaced dataset until the new one is in place."""


@dataclass(frozen=True)
class Kind:
    """A kind of work that writes a dataset.

    Attributes:
        name: its name, in the marker and the name of the working folder.
        options: options of the command line that decide the path of the dataset.
    """

    name: str
    options: str


BUILD = Kind("build", "--trajectory-version or --output")


class Workspace:
    """The working folder of one dataset, with its finished steps.

    Attributes:
        files: storage of the working folder.
        root: path of the working folder.
        final: path of the dataset.
        resumed: whether an earlier run of the same work left work to resume.
        warnings: warnings about files that were kept.
    """

    def __init__(self, output: Storage, version: str, kind: Kind = BUILD) -> None:
        """Determine the paths. Nothing is created.

        Args:
            output: storage that receives the dataset.
            version: name of the dataset.
            kind: kind of work.
        """
        self._output = output
        self._version = version
        self._kind = kind
        self._work = f".{version}.{kind.name}"
        self.files = output.below(self._work)
        self.root = Path(output.where(self._work))
        self.final = Path(output.where(version))
        self.resumed = False
        self.warnings: list[str] = []

    @property
    def published(self) -> bool:
        """Whether the working folder is left over from work whose dataset is already in place."""
        return self.root.exists() and self.final.exists() and not (self.root / DATASET).exists()

    def check_target(self, inputs: Iterable[Path], modules: Iterable[Path], *, overwrite: bool) -> None:
        """Check, before anything is written, that this work may write to its paths. Nothing is deleted.

        Args:
            inputs: files and folders that it reads.
            modules: folders of the release's tables.
            overwrite: whether to replace a dataset of the same name.

        Raises:
            OutputError: if the dataset's path is in the input, contains it or is in another dataset, if ehrtraj did not
                create the working folder, or if the target of `overwrite` is not a dataset that ehrtraj built.
        """
        refuse_replacing(self.final, inputs, modules)
        refuse_in_dataset(self.final)
        refuse_foreign(self.root, self._kind.name)
        if overwrite:
            self.check_replaceable()

    def check_replaceable(self) -> None:
        """Check that the dataset's path may be replaced, if it exists.

        Raises:
            OutputError: if it is not a folder with a manifest of ehrtraj, or contains files that are not listed in it.
        """
        if not os.path.lexists(self.final):
            return
        refuse_link(self.final)
        advice = f"choose another {self._kind.options}, or remove it yourself"
        if not self.final.is_dir():
            raise OutputError(f"{self.final} is a file, not a dataset: {advice}")
        listed = files_of_dataset(self.final)
        if listed is None:
            raise OutputError(
                f"{self.final} was not made by ehrtraj, or its {MANIFEST} is damaged, so --overwrite does not replace "
                f"it: {advice}"
            )
        if other := unlisted_entries(self.final, listed):
            raise OutputError(
                f"{self.final} contains files that do not belong to the dataset ({first_names(other)}), so --overwrite "
                f"does not replace it: move them away, or choose another {self._kind.options}"
            )

    def prepare(self, fingerprint: dict[str, Any]) -> None:
        """Create the working folder, or resume an earlier run with the same fingerprint.

        Args:
            fingerprint: everything that affects the result: input files, settings, software, recipes and rules.

        Raises:
            OutputError: if the path exists and ehrtraj did not create it.
        """
        claim(self.root, self._kind.name)
        self._drop_replaced()
        state = json.loads(json.dumps(fingerprint, default=str))
        if read_document(self.files, STATE) == state:
            # Files of interrupted attempts are useless.
            self.files.delete(ATTEMPTS)
            self.resumed = True
            return
        self.files.delete(STATE)
        clear_claimed(self.root)
        (self.root / DATASET).mkdir(parents=True)
        write_document(self.files, STATE, state)

    def restore(self) -> None:
        """Move a replaced dataset back to its path if a run was interrupted before the new one took its place."""
        if (self.root / _REPLACED).is_dir() and not os.path.lexists(self.final):
            self._output.move(f"{self._work}/{_REPLACED}", self._version)

    def show(self, *, overwrite: bool) -> None:
        """Move the finished dataset to its final path.

        Everything is synced to the disk first, so that a power failure leaves either the complete dataset or none. A
        dataset that is replaced is moved to the working folder, which is removed at the end.

        Args:
            overwrite: whether to replace a dataset of the same name.

        Raises:
            OutputError: if the final path exists and is not a dataset of ehrtraj.
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
        """Remove the working folder. The state is removed first, so that the rest does not look resumable."""
        self.files.delete(STATE)
        self._drop_replaced()
        remove_claimed(self.root)

    def _drop_replaced(self) -> None:
        """Delete a replaced dataset. Files that its manifest does not list are kept."""
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
def locked(output: Storage, version: str, kind: Kind = BUILD) -> Iterator[None]:
    """Hold the lock on the dataset of a name.

    Raises:
        OutputError: if another process holds the lock, or the output cannot be written.
    """
    try:
        with output.lock(f".{version}.lock"):
            yield
    except LockedError:
        raise OutputError(
            f"another {kind.name} of '{version}' is running in {output.where()}: wait until it ends, or choose another "
            f"{kind.options}"
        ) from None
