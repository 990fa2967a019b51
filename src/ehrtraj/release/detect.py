"""Detect the release in a folder: modules, tables, columns and version, all from the files themselves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ehrtraj.errors import ReleaseError
from ehrtraj.release.completeness import cut_off, look_alikes
from ehrtraj.release.found import Release
from ehrtraj.release.layout import ReleaseLayout, find_file, find_layout, holds_tables
from ehrtraj.release.reader import TableStream
from ehrtraj.release.schema import Table
from ehrtraj.release.table_file import TableFile
from ehrtraj.release.versions import (
    SYNTHETIC_MARKER,
    UNKNOWN,
    Version,
    find_version,
    fits,
    known_errata,
    mixed,
    version_by_counts,
)
from ehrtraj.sources.source import Source, find_source, packaged, packaged_names

__all__ = ["SYNTHETIC_MARKER", "Release", "TableFile", "detect", "version_by_counts", "which_source"]


def _table_file(table: Table, path: Path, folder: str) -> TableFile:
    with TableStream(path) as stream:
        header, stamp = tuple(stream.read_header()[0]), stream.stamp
    seen = [h.lower() for h in header]
    if twice := sorted({h for h in seen if seen.count(h) > 1}):
        raise ReleaseError(f"{path}: the first line contains {', '.join(twice)} more than once")
    if lacking := [c for c in table.key_columns if not {n.lower() for n in table.names_of(c)} & set(seen)]:
        shown = ", ".join(header)[:200]
        raise ReleaseError(
            f"{path}: the first line lacks the column {', '.join(lacking)}, which is required to read "
            f"{table.full_name} (columns found: {shown}). Download the file again, or move it elsewhere to build "
            "without it"
        )
    return TableFile(table, path, header, stamp, folder)


def _files(layout: ReleaseLayout, tables: Mapping[str, Table]) -> dict[str, TableFile]:
    """Return all tables found that the build reads; if a table is in two modules, that of the newest release."""
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


def _column_notes(files: Mapping[str, TableFile], versions: Mapping[str, Version], source: Source) -> list[str]:
    """Return notes on unexpected and missing columns; one note lists all columns that the release never had."""
    notes = []
    shapes = {(s.project, s.release): s for listed in source.history.shapes.values() for s in listed}
    never: list[str] = []
    for name, file in files.items():
        version = versions[source.project_of(file.table.module)]
        release = version.number if (version.project, version.number) in shapes else (version.fits or ("",))[-1]
        shape = shapes.get((version.project, release))
        had = shape.columns.get(name) if shape else None
        lacking = [c for c in file.table.columns if c not in file.present]
        older = [c for c in lacking if had is not None and not had & {n.lower() for n in file.table.names_of(c)}]
        never += [f"{name}.{c}" for c in older]
        if lacking := [c for c in lacking if c not in older]:
            notes.append(f"{name} lacks the column {', '.join(lacking)}: null in this build")
        known = {n.lower() for c in file.table.columns for n in file.table.names_of(c)} | set(file.table.dropped)
        if unknown := [h for h in file.header if h.lower() not in known]:
            notes.append(f"{name} has unknown columns, left out: {', '.join(unknown)}")
        if file.path.name.endswith(".gz") and file.path.with_suffix("").is_file():
            notes.append(f"{name} exists as .csv.gz and as .csv: the .csv.gz is read")
    if never:
        notes.append(f"columns that only later releases have, null in this build: {', '.join(never)}")
    return notes


def _other_modules(layout: ReleaseLayout, tables: Mapping[str, Table]) -> list[str]:
    """Return the folders next to the modules that contain unknown tables."""
    known = {module for table in tables.values() for module in table.places or (table.module,)}
    # A folder that the user named for a module can have any name, and its neighbours are not part of the release.
    roots = {folder.parent for module, folder in layout.folders.items() if folder.name == module}
    others = [d for root in roots for d in root.iterdir() if d.name not in known and d not in layout.folders.values()]
    return sorted(d.name for d in others if d.is_dir() and any(d.glob("*.csv*")))


def which_source(data_dir: Path, given: str | None = None, overlay: Path | None = None) -> Source:
    """Return the source of the release in a folder: the named one, or the one whose tables are found.

    Args:
        data_dir: the release's own folder, a module of it, or one above it.
        given: name of a packaged source, or the folder of a custom source.
        overlay: a user's overlay folder with recipes and rules.

    Raises:
        SettingsError: if the named source does not exist.
        ReleaseError: if tables of several sources are found, or of none.
    """
    names = packaged_names()
    if given is not None or len(names) == 1:
        return find_source(given, overlay)
    found = [name for name in names if holds_tables(data_dir, packaged(name))]
    if len(found) == 1:
        return find_source(found[0], overlay)
    if found:
        raise ReleaseError(f"{data_dir} contains tables of {' and '.join(found)}: choose the source with --source")
    titles = ", ".join(f"{packaged(name).title} ({', '.join(packaged(name).declared.examples)})" for name in names)
    raise ReleaseError(f"{data_dir} contains no table of a known source: looked for {titles}")


def detect(
    data_dir: Path, source: Source | None = None, *, modules: Mapping[str, Path | None] | None = None
) -> Release:
    """Find the release in `data_dir` or in one of its subfolders.

    Args:
        data_dir: the release's folder, one of its modules, or a folder above it such as `physionet.org/`.
        source: source whose tables to look for; by default the one whose tables are found.
        modules: folders of single modules that are elsewhere, such as `{"ed": ...}`.

    Raises:
        ReleaseError: if no release or more than one is found, or a table lacks a key column.
    """
    source = source or which_source(data_dir)
    tables = source.tables
    layout = find_layout(data_dir, source, modules)
    files = _files(layout, tables)
    by_project: dict[str, list[TableFile]] = {}
    for file in files.values():
        by_project.setdefault(source.project_of(file.table.module), []).append(file)
    versions = {}
    for project, listed in by_project.items():
        root = listed[0].path.parent.parent
        versions[project] = find_version(project, root, layout.root, listed, source)
    main = source.main_project
    present = {file.table.module for file in files.values()}
    notes = [note for version in versions.values() for note in version.notes]
    if others := _other_modules(layout, tables):
        notes.append(f"unknown modules, left out: {', '.join(others)}")
    notes += _column_notes(files, versions, source)
    warnings = [warning for version in versions.values() for warning in version.warnings]
    warnings += mixed(versions, _by_module(by_project.get(main, []), source), source)
    warnings += cut_off(files.values())
    warnings += look_alikes(layout, tables, {file.path for file in files.values()})
    for version in versions.values():
        errata_notes, errata_warnings = known_errata(version, dict.fromkeys(files, 0), source)
        notes += errata_notes
        warnings += errata_warnings
    read = {name: table for name, table in tables.items() if table.kind != "no_patients"}
    return Release(
        source=source,
        root=layout.root,
        version=versions[main].text if main in versions else UNKNOWN,
        files=files,
        missing=tuple(n for n, table in read.items() if n not in files and table.module in present),
        notes=tuple(notes),
        warnings=tuple(warnings),
        versions=versions,
        absent_modules=tuple(dict.fromkeys(t.module for t in read.values() if t.module not in present)),
    )


def _by_module(files: list[TableFile], source: Source) -> dict[str, tuple[str, ...]]:
    """Return the releases whose columns agree exactly with each module of the main download."""
    main = source.main_project
    grouped: dict[str, list[TableFile]] = {}
    for file in files:
        grouped.setdefault(file.folder, []).append(file)
    found = {module: fits(main, listed, source) for module, listed in grouped.items()}
    return {module: releases for module, (releases, exact) in found.items() if exact}
