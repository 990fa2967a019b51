"""Find what a release on disk lacks: truncated files, files under names that are not read, and missing tables."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ehrtraj.release.layout import ENDINGS, ReleaseLayout
from ehrtraj.release.schema import Table

if TYPE_CHECKING:
    from ehrtraj.release.found import Release
    from ehrtraj.release.table_file import TableFile

# Folders of tables also contain documentation, files created by wget, and the user's programs.
_NO_DATA = (".txt", ".md", ".html", ".htm", ".pdf", ".sql", ".py", ".ipynb", ".json", ".yaml", ".toml", ".journal")
_COPIES = ("copy of ", "copy_of_", "copy-of-")
_MOST_NAMED = 10


def listed(names: Iterable[str]) -> str:
    """Return the first ten names, and the number of the others."""
    names = list(names)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"


def cut_off(files: Iterable[TableFile]) -> list[str]:
    """Return a warning for each decompressed table without a final line break: all of PhysioNet's files have one."""
    return [
        f"{file.path} does not end with a line break: its last row may be cut off. Compare it with the original, or "
        "decompress it again"
        for file in files
        if file.path.suffix == ".csv" and not _ends_with_line_break(file.path)
    ]


def _ends_with_line_break(path: Path) -> bool:
    with path.open("rb") as handle:
        size = handle.seek(0, 2)
        handle.seek(max(0, size - 1))
        return handle.read(1) in (b"\n", b"")


def look_alikes(layout: ReleaseLayout, tables: Mapping[str, Table], read: Collection[Path]) -> list[str]:
    """Return a warning about files and folders that are named like a table or a module, but are not read.

    Args:
        layout: where the modules are.
        tables: of the source.
        read: files that are read.
    """
    modules = {place for table in tables.values() for place in table.places or (table.module,)}
    names = sorted({table.name for table in tables.values()}, key=len, reverse=True)
    decompressed = {path.with_suffix("") for path in read if path.suffix == ".gz"}
    not_read = {
        folder / f"{table.name}{ending}"
        for table in tables.values()
        if table.kind == "no_patients"
        for folder in layout.folders.values()
        for ending in ENDINGS
    }
    roots = sorted({folder.parent for folder in layout.folders.values()})
    # A module is not found if the names of all its files are wrong.
    unread = [p for root in roots for p in _entries(root) if p.name in modules - layout.folders.keys() and p.is_dir()]
    named = {folder / f"{name}{ending}" for folder in unread for name in names for ending in ENDINGS}
    known = {*read, *decompressed, *not_read, *named}
    found = [p for root in roots for p in _entries(root) if p.is_dir() and _resembles_module(p.name, modules)]
    for folder in sorted({*roots, *layout.folders.values(), *found, *unread}):
        found += [p for p in _entries(folder) if p not in known and _table_like(p, names)]
    if not found:
        return []
    shown = listed(str(p.relative_to(roots[0]) if p.is_relative_to(roots[0]) else p) for p in found)
    example = f"<module>/<table>{ENDINGS[0]}"
    return [
        f"these look like tables or modules of the release, but are not read: {shown}. A table must be named {example}"
    ]


def _entries(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    except OSError:
        return


def _resembles_module(name: str, modules: Collection[str]) -> bool:
    """Return whether a folder's name resembles a module's name without being one."""
    lowered = name.lower()
    return name not in modules and any(_begins_as(lowered, module, "(") for module in modules)


def _begins_as(lowered: str, name: str, after: str) -> bool:
    """Return whether `lowered` is `name`, optionally followed by one of the characters `after` and other text."""
    rest = lowered.removeprefix(name)
    return lowered.startswith(name) and (not rest.strip() or rest.strip()[0] in after)


def _table_like(path: Path, names: list[str]) -> bool:
    lowered = path.name.lower()
    if lowered.endswith(_NO_DATA):
        return False
    for copy in _COPIES:
        lowered = lowered.removeprefix(copy)
    lowered = lowered.replace("-", "_")
    name = next((n for n in names if lowered.startswith(n)), None)
    # A folder without an ending can be anything, such as the user's own `diagnosis`.
    return name is not None and _begins_as(lowered, name, "._(~") and (lowered != name or path.is_file())


def lacking(release: Release, needed: Collection[str] | None) -> tuple[list[str], list[str]]:
    """Report the missing tables.

    Args:
        release: on disk.
        needed: tables that the build needs; None for all.

    Returns:
        Notes on tables that the release never had or that are a separate download, and warnings about the others.
    """
    source = release.source
    shapes = {(s.project, s.release): s for known in source.history.shapes.values() for s in known}
    expected: set[str] = set()
    present = set()
    for project, version in release.versions.items():
        present.add(project)
        number = version.number if (project, version.number) in shapes else (version.fits or ("",))[-1]
        if shape := shapes.get((project, number)):
            expected |= set(shape.columns)
    missing = [name for name in release.missing if needed is None or name in needed]
    serious = [name for name in missing if name in expected]
    modules = [m for m in release.absent_modules if source.project_of(m) in present] if needed is None else []
    notes, warnings = [], []
    if serious:
        warnings.append(f"the release is incomplete: these tables are missing and are left out: {', '.join(serious)}")
    if others := [name for name in missing if name not in expected]:
        notes.append(f"missing tables, left out: {', '.join(others)}")
    if modules:
        titles = ", ".join(source.projects[p].title for p in dict.fromkeys(map(source.project_of, modules)))
        warnings.append(f"missing modules: {', '.join(modules)}, although other modules of {titles} are present")
    if needed is None and (absent := [m for m in release.absent_modules if m not in modules]):
        notes.append(f"missing modules: {', '.join(absent)}")
    return notes, warnings
