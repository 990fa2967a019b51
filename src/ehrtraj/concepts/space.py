"""The folder of computed concepts in a dataset: locked while it is written, and resumable."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import Timeout

from ehrtraj.concepts.index import ComputedConcept, folder_of, index_content, read_index
from ehrtraj.concepts.session import ConceptMode
from ehrtraj.errors import OutputError
from ehrtraj.format.manifest import concept_files
from ehrtraj.format.names import CONCEPT_INDEX
from ehrtraj.paths import error_of_path
from ehrtraj.storage.files import private_files, read_json, write_json
from ehrtraj.storage.local import LocalStorage
from ehrtraj.storage.owned import claim, first_names, refuse_foreign, remove_claimed, unlisted_entries
from ehrtraj.storage.safe import locked_file, refuse_link

_WORK, _KIND = ".working", "concepts"
_STATE = "state.json"
SHARDS, ATTEMPTS, FILES = "shards", "attempts", "files"


class ConceptSpace:
    """The folder of the concepts of one mode, with a working folder in it.

    Attributes:
        work: storage of the working folder: `shards/` has a document for each finished shard, `files/` their files.
    """

    def __init__(self, root: Path, mode: ConceptMode) -> None:
        """Describe the folder; nothing is written.

        Args:
            root: folder of the dataset.
            mode: how the concepts are computed.
        """
        self._root = root
        self._mode = mode
        self.folder = root / folder_of(mode)
        self._storage = LocalStorage(self.folder)
        self.work = self._storage.below(_WORK)

    def prepare(self, fingerprint: Mapping[str, Any]) -> bool:
        """Prepare the working folder, and return whether an earlier run of the same work is resumed."""
        state = self.work.root / _STATE
        if read_json(state) == fingerprint:
            return True
        for name in (SHARDS, ATTEMPTS, FILES):
            self.work.delete(name)
        write_json(state, fingerprint)
        return False

    def check(self) -> None:
        """Check that the folder contains nothing but concepts.

        Raises:
            OutputError: if it contains anything else.
        """
        refuse_link(self.folder)
        if not self.folder.exists():
            return
        refuse_foreign(self.work.root, _KIND)
        prefix = f"{self.folder.name}/"
        files = (name.removeprefix(prefix) for name in concept_files(self._root) if name.startswith(prefix))
        listed = {CONCEPT_INDEX, f".{CONCEPT_INDEX}.new", *files}
        other = [name for name in unlisted_entries(self.folder, listed) if name != f"{_WORK}/"]
        other = [name for name in other if name.split("/")[0] not in self._moving()]
        if other:
            raise OutputError(
                f"{self.folder} contains files that are not concepts of this dataset ({first_names(other)}): move them "
                "away, then run the same command again"
            )

    def _moving(self) -> set[str]:
        """Return the concepts that an interrupted run was moving to their place."""
        return set((read_json(self.work.root / _STATE) or {}).get("concepts", ()))

    def publish(self, computed: Mapping[str, ComputedConcept]) -> None:
        """Move finished concepts to their place, and add them to the index.

        A concept is removed from the index before its files change, and added when they are complete. After a kill, the
        same call finishes the work.
        """
        kept = {n: concept for n, concept in read_index(self._root, self._mode).items() if n not in computed}
        self._write_index(kept)
        for name, concept in computed.items():
            if not concept.files:
                self._storage.delete(name)
            # An interrupted run may have moved the files already.
            elif self.work.files(f"{FILES}/{name}"):
                self._storage.delete(name)
                self._storage.move(f"{_WORK}/{FILES}/{name}", name)
        self._remove_unlisted(kept | dict(computed))
        self._write_index(kept | dict(computed))
        self.work.delete(_STATE)

    def _remove_unlisted(self, listed: Collection[str]) -> None:
        """Remove the folders of concepts that no longer have rows, or that belong to an earlier build."""
        for name in {file.partition("/")[0] for file in self._storage.files()} - {_WORK, CONCEPT_INDEX, *listed}:
            self._storage.delete(name)

    def _write_index(self, concepts: Mapping[str, ComputedConcept]) -> None:
        write_json(self.folder / CONCEPT_INDEX, index_content(self._root, self._mode, concepts))


@contextmanager
def open_concept_space(root: Path, mode: ConceptMode) -> Iterator[ConceptSpace]:
    """Lock the folder of concepts. New files in it are private, and failed writes raise errors with plain messages.

    Args:
        root: folder of the dataset.
        mode: how the concepts are computed.

    Raises:
        OutputError: if concepts are being computed already, or the folder cannot be written.
    """
    space = ConceptSpace(root, mode)
    try:
        with private_files():
            space.check()
            space.folder.mkdir(exist_ok=True)
            claim(space.work.root, _KIND)
            with locked_file(space.work.root / "lock"):
                try:
                    space.check()
                    yield space
                finally:
                    # Without this file there is nothing to resume: all is published, or the work never began.
                    if not (space.work.root / _STATE).is_file():
                        remove_claimed(space.work.root)
                        if not any(space.folder.iterdir()):
                            space.folder.rmdir()
    except Timeout:
        raise OutputError(f"concepts of {root} are being computed already: wait until that run ends") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutputError(
                f"the disk of {root} is full. Finished work is kept: free some space, then run the same command again "
                "to resume"
            ) from error
        if (explained := error_of_path(error, root)) is not None:
            raise explained from error
        raise
