"""A release on disk: its tables, versions, notes and warnings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ehrtraj.release.table_file import TableFile
from ehrtraj.release.versions import Version
from ehrtraj.sources.source import Source


@dataclass(frozen=True)
class Release:
    """A release on disk.

    Attributes:
        source: source that the tables belong to.
        root: folder that contains the modules of the main download.
        version: of the main download: `2.2`, `3.1`, `demo 2.2`, or `unknown` if neither path nor files show it.
        files: the tables it contains, by full name.
        missing: full names of known tables that are missing from modules that are present.
        notes: what a user should know, one sentence each.
        warnings: what a user must know before using the result.
        versions: version of each download that is present.
        absent_modules: modules of the newest release that are absent.
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
        """Return a table's file for display: relative to the root, or `module/file` if it is outside the root."""
        path = self.files[name].path
        if path.is_relative_to(self.root):
            return str(path.relative_to(self.root))
        return f"{path.parent.name}/{path.name}"

    def outside(self, name: str) -> str | None:
        """Return the absolute path of a table's file if it is outside the root, such as that of another module."""
        path = self.files[name].path
        return None if path.is_relative_to(self.root) else str(path.resolve())
