"""Find out which release lies in a folder: modules, tables, columns and version, all from the files themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from ehrtraj.errors import ReleaseError
from ehrtraj.release import schema
from ehrtraj.release.completeness import cut_off, look_alikes
from ehrtraj.release.history import history, projects
from ehrtraj.release.layout import Layout, find_file, find_layout
from ehrtraj.release.reader import Stamp, TableStream
from ehrtraj.release.records import ColumnKind, RecordShape
from ehrtraj.release.schema import Table
from ehrtraj.release.versions import (
    SYNTHETIC_MARKER,
    UNKNOWN,
    Version,
    find_version,
    fits,
    mixed,
    told_wrong,
    version_by_counts,
)

__all__ = ["SYNTHETIC_MARKER", "Release", "TableFile", "detect", "version_by_counts"]


@dataclass(frozen=True)
class TableFile:
    """A table that is there.

    Attributes:
        table: what is known of it.
        path: its file.
        header: column names as the file writes them.
        size: bytes of the file.
        mtime_ns: time of last change.
        folder: module it lies in, as this release calls it.
        stamp: the file as it was when its column names were read, by which a change is noticed.
    """

    table: Table
    path: Path
    header: tuple[str, ...]
    size: int
    mtime_ns: int
    folder: str = ""
    stamp: Stamp | None = None

    def open(self) -> TableStream:
        """The file's bytes, from its start.

        Raises:
            ReleaseError: if it cannot be read, or changed since it was detected.
        """
        return TableStream(self.path, self.stamp, self.header)

    @property
    def shape(self) -> RecordShape:
        """What a record of the file looks like."""
        ours = {written: column for column, written in self.present.items()}
        kinds = [_kind(self.table.columns.get(ours.get(name, ""))) for name in self.header]
        return RecordShape.of(kinds, [self.header.index(self.present[c]) for c in self.table.key_columns])

    @property
    def present(self) -> dict[str, str]:
        """Known columns that the file has: our name to the file's, whatever this release calls it."""
        written = {name.lower(): name for name in self.header}
        found = {}
        for column in self.table.columns:
            if name := next((n for n in self.table.names_of(column) if n.lower() in written), None):
                found[column] = written[name.lower()]
        return found


def _kind(type_: pa.DataType | None) -> ColumnKind:
    if type_ is None or pa.types.is_string(type_):
        return "text"
    if pa.types.is_timestamp(type_):
        return "time"
    return "integer" if pa.types.is_integer(type_) else "number"


@dataclass(frozen=True)
class Release:
    """A release on disk.

    Attributes:
        source: `mimiciv`.
        root: folder that holds the modules of the main download.
        version: of the main download: `2.2`, `3.1`, `demo 2.2`, or `unknown` where neither path nor files tell.
        files: tables that are there, by full name.
        missing: full names of known tables that are not there, in modules that are.
        notes: what a user should know, one sentence each.
        warnings: what a user must know before using the result.
        versions: of each download that is there.
        absent_modules: modules of the newest release that are not there.
        extra: folder with a user's own tables and recipes, if any.
    """

    source: str
    root: Path
    version: str
    files: dict[str, TableFile]
    missing: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())
    warnings: tuple[str, ...] = field(default=())
    versions: dict[str, Version] = field(default_factory=dict)
    absent_modules: tuple[str, ...] = ()
    extra: Path | None = None

    def where(self, name: str) -> str:
        """The file of a table for a reader: below the root, or from its module on where it lies elsewhere."""
        path = self.files[name].path
        if path.is_relative_to(self.root):
            return str(path.relative_to(self.root))
        return f"{path.parent.name}/{path.name}"


def _table_file(table: Table, path: Path, folder: str) -> TableFile:
    with TableStream(path) as stream:
        header, stamp = tuple(stream.read_header()[0]), stream.stamp
    seen = [h.lower() for h in header]
    if twice := sorted({h for h in seen if seen.count(h) > 1}):
        raise ReleaseError(f"{path}: its first line names {', '.join(twice)} twice")
    if lacking := [c for c in table.key_columns if not {n.lower() for n in table.names_of(c)} & set(seen)]:
        shown = ", ".join(header)[:200]
        raise ReleaseError(
            f"{path}: its first line lacks the column {', '.join(lacking)}, without which {table.full_name} cannot be "
            f"read (it has: {shown}). Download the file again, or move it elsewhere to build without it"
        )
    return TableFile(table, path, header, stamp.size, stamp.mtime_ns, folder, stamp)


def _files(layout: Layout, tables: Mapping[str, Table]) -> dict[str, TableFile]:
    """Every table that is read and is there; where it lies in two places, the newest release's counts."""
    files = {}
    for name, table in tables.items():
        if table.kind == "no_patients":
            continue
        for module in table.places or (table.module,):
            folder = layout.folders.get(module)
            if folder is not None and (path := find_file(folder, table.name)):
                files[name] = _table_file(table, path, module)
                break
    return files


def _column_notes(files: Mapping[str, TableFile], versions: Mapping[str, Version], source: str) -> list[str]:
    """Columns that are not as the release should have them; what the release never had is told in one sentence."""
    notes = []
    shapes = {(s.project, s.release): s for listed in history(source).shapes.values() for s in listed}
    never: list[str] = []
    for name, file in files.items():
        version = versions[schema.project_of(file.table.module, source)]
        release = version.number if (version.project, version.number) in shapes else (version.fits or ("",))[-1]
        shape = shapes.get((version.project, release))
        had = shape.columns.get(name) if shape else None
        lacking = [c for c in file.table.columns if c not in file.present]
        older = [c for c in lacking if had is not None and not had & {n.lower() for n in file.table.names_of(c)}]
        never += [f"{name}.{c}" for c in older]
        if lacking := [c for c in lacking if c not in older]:
            notes.append(f"{name} has no column {', '.join(lacking)}: null in this build")
        known = {n.lower() for c in file.table.columns for n in file.table.names_of(c)} | set(file.table.dropped)
        if unknown := [h for h in file.header if h.lower() not in known]:
            notes.append(f"{name} has columns this version does not know, left out: {', '.join(unknown)}")
        if file.path.name.endswith(".gz") and file.path.with_suffix("").is_file():
            notes.append(f"{name} lies there as .csv.gz and as .csv: the .csv.gz is read")
    if never:
        notes.append(f"columns that came with a later release, null in this build: {', '.join(never)}")
    return notes


def _other_modules(layout: Layout, tables: Mapping[str, Table]) -> list[str]:
    """Folders beside the modules that hold tables nobody knows."""
    known = {module for table in tables.values() for module in table.places or (table.module,)}
    roots = {folder.parent for folder in layout.folders.values()}
    return sorted(
        d.name for root in roots for d in root.iterdir() if d.is_dir() and d.name not in known and any(d.glob("*.csv*"))
    )


def detect(
    data_dir: Path,
    source: str = "mimiciv",
    *,
    modules: Mapping[str, Path | None] | None = None,
    extra: Path | None = None,
) -> Release:
    """Find the release in `data_dir` or in a folder below it.

    Args:
        data_dir: the release's own folder, a module of it, or one above it such as `physionet.org/`.
        source: whose tables to look for.
        modules: folders of single modules that lie elsewhere, as `{"ed": ...}`.
        extra: folder with a user's own tables and recipes.

    Raises:
        ReleaseError: if there is none, more than one, or a table lacks a key column.
    """
    tables = schema.tables(source, extra)
    layout = find_layout(data_dir, tables, source, modules)
    files = _files(layout, tables)
    by_project: dict[str, list[TableFile]] = {}
    for file in files.values():
        by_project.setdefault(schema.project_of(file.table.module, source), []).append(file)
    versions = {}
    for project, listed in by_project.items():
        root = listed[0].path.parent.parent
        versions[project] = find_version(project, root, layout.root, listed, source)
    main = next(iter(projects(source)))
    there = {file.table.module for file in files.values()}
    notes = [note for version in versions.values() for note in version.notes]
    if others := _other_modules(layout, tables):
        notes.append(f"modules this version does not read, left out: {', '.join(others)}")
    notes += _column_notes(files, versions, source)
    warnings = [warning for version in versions.values() for warning in version.warnings]
    warnings += mixed(versions, _by_module(by_project.get(main, []), source), source)
    warnings += cut_off(files.values())
    warnings += look_alikes(layout, tables, {file.path for file in files.values()})
    for version in versions.values():
        told = told_wrong(version, dict.fromkeys(files, 0), source)
        notes += told[0]
        warnings += told[1]
    read = {name: table for name, table in tables.items() if table.kind != "no_patients"}
    return Release(
        source=source,
        root=layout.root,
        version=versions[main].text if main in versions else UNKNOWN,
        files=files,
        missing=tuple(n for n, table in read.items() if n not in files and table.module in there),
        notes=tuple(notes),
        warnings=tuple(warnings),
        versions=versions,
        absent_modules=tuple(dict.fromkeys(t.module for t in read.values() if t.module not in there)),
        extra=extra,
    )


def _by_module(files: list[TableFile], source: str) -> dict[str, tuple[str, ...]]:
    """For each module of the main download, the releases whose columns it has exactly."""
    main = next(iter(projects(source)))
    grouped: dict[str, list[TableFile]] = {}
    for file in files:
        grouped.setdefault(file.folder, []).append(file)
    found = {module: fits(main, listed, source) for module, listed in grouped.items()}
    return {module: releases for module, (releases, exact) in found.items() if exact}
