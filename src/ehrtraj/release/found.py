"""A release on disk: its tables, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ehrtraj.release.table_file import TableFile
from ehrtraj.release.versions import (
    Version,
)
from ehrtraj.sources.source import Source


@dataclass(frozen=True)
class Release:
    """A release on disk.

    Attributes:
        source: whose tables they are.
        root: folder that holds the modules of the main download.
        version: of the main download: `2.2`, `3.1`, `demo 2.2`, or `unknown` where neither path nor files tell.
        files: tables that are there, by full name.
        missing: full names of known tables that are not there, in modules that are.
        notes: what a user should know, one sentence each.
        warnings: what a user must know before using the result.
        versions: of each download that is there.
        absent_modules: modules of the newest release that are not there.
    """

    source: Source
    root: Path
    version: str
    files: dict[str, TableFile]
    missing: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())
    warnings: tuple[str, ...] = field(default=())
    versions: dict[str, Version] = field(default_factory=dict)
    absent_modules: tuple[str, ...] = ()

    def where(self, name: str) -> str:
        """The file of a table for a reader: below the root, or from its module on where it lies elsewhere."""
        path = self.files[name].path
        if path.is_relative_to(self.root):
            return str(path.relative_to(self.root))
        return f"{path.parent.name}/{path.name}"
