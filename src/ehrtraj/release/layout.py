"""Find the modules of a release: in one folder, or each in a separate download."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ehrtraj.errors import ReleaseError
from ehrtraj.release.schema import Table
from ehrtraj.sources.source import Source
from ehrtraj.suggestions import did_you_mean

ENDINGS = (".csv.gz", ".csv")
_SEARCH_DEPTH = 6
_MOST_NAMED = 8


@dataclass(frozen=True)
class ReleaseLayout:
    """Locations of the modules.

    Attributes:
        root: folder of the main download, or of the first download found.
        folders: folder of each module with patient tables.
    """

    root: Path
    folders: dict[str, Path]


def find_file(folder: Path, name: str) -> Path | None:
    """Return the file of a table in a module's folder, or None."""
    for ending in ENDINGS:
        path = folder / f"{name}{ending}"
        if path.is_file():
            return path
    return None


def find_layout(data_dir: Path, source: Source, given: Mapping[str, Path | None] | None = None) -> ReleaseLayout:
    """Find the modules in a folder and its subfolders.

    Args:
        data_dir: the release's folder, one of its modules, or a folder above it such as `physionet.org/`.
        source: whose tables to look for.
        given: folders that the user named for single modules; they take precedence over `data_dir`.

    Raises:
        ReleaseError: if no module is found, or several copies of a download, or `given` names an unknown module.
    """
    if not data_dir.exists():
        raise ReleaseError(f"the folder {data_dir} does not exist")
    if not data_dir.is_dir():
        raise ReleaseError(
            f"{data_dir} is a file: give the folder that contains {' and '.join(_example_modules(source))} instead"
        )
    names = _names(source.tables)
    start = data_dir.parent if data_dir.name in names else data_dir
    found = _modules(start, names, _SEARCH_DEPTH)
    named = {module: folder for module, folder in (given or {}).items() if folder is not None}
    found = [(module, folder) for module, folder in found if module not in named]
    if unknown := sorted(set(named) - set(names)):
        suggestions = ", ".join(name + did_you_mean(name, names) for name in unknown)
        raise ReleaseError(
            f"--modules names {suggestions}, which has no known tables: declare them in --overlay, or name one of "
            f"{', '.join(sorted(names))}"
        )
    named = {module: _named_module(module, folder, names[module], source) for module, folder in named.items()}
    if not found and not named:
        inside = ", ".join(sorted(p.name for p in data_dir.iterdir())[:8]) or "nothing"
        examples = ", ".join(f"{name}{ENDINGS[0]}" for name in source.declared.examples)
        raise ReleaseError(
            f"{data_dir} is not a {source.title} release: neither it nor its subfolders contain {examples} or another "
            f"table of the release (it contains: {inside})"
        )
    roots: dict[str, list[Path]] = {}
    for module, folder in found:
        listed = roots.setdefault(source.project_of(module), [])
        if folder.parent not in listed:
            listed.append(folder.parent)
    # Modules in the folder itself take precedence over copies further down.
    chosen = {project: [start] if start in folders else folders for project, folders in roots.items()}
    _check_one_each(data_dir, chosen, source)
    kept = {folder for folders in chosen.values() for folder in folders}
    # A folder that the user named is read even if other modules of its download are elsewhere.
    folders = {module: folder for module, folder in found if folder.parent in kept} | named
    for module, folder in named.items():
        chosen.setdefault(source.project_of(module), [folder.parent])
    main = source.main_project if source.main_project in chosen else next(iter(chosen))
    return ReleaseLayout(chosen[main][0], folders)


def holds_tables(data_dir: Path, source: Source) -> bool:
    """Return whether a folder is a module of a source, or contains one at any level."""
    names = _names(source.tables)
    return bool(_modules(data_dir.parent if data_dir.name in names else data_dir, names, _SEARCH_DEPTH))


def _example_modules(source: Source) -> list[str]:
    return list(dict.fromkeys(f"{name.partition('/')[0]}/" for name in source.declared.examples))


def _names(tables: Mapping[str, Table]) -> dict[str, list[str]]:
    """Return the names of the patient tables that each module may contain in any release."""
    names: dict[str, list[str]] = {}
    for table in tables.values():
        if table.kind == "patient":
            for module in table.places or (table.module,):
                names.setdefault(module, []).append(table.name)
    return names


def _contains_table(folder: Path, tables: list[str]) -> bool:
    return any(find_file(folder, name) for name in tables)


def _folders(folder: Path) -> list[Path]:
    """Return the sorted subfolders of a folder, without hidden ones; empty if the folder cannot be read."""
    try:
        return sorted(c for c in folder.iterdir() if c.is_dir() and not c.name.startswith("."))
    except PermissionError:
        return []


def _table_folders(folder: Path, tables: list[str], depth: int) -> list[Path]:
    """Return the topmost folders that contain some of the tables, whatever the folders are named."""
    if _contains_table(folder, tables):
        return [folder]
    return [path for child in _folders(folder) if depth for path in _table_folders(child, tables, depth - 1)]


def _modules(folder: Path, names: Mapping[str, list[str]], depth: int) -> list[tuple[str, Path]]:
    """Return the modules in a folder and its subfolders, sorted by path."""
    found: list[tuple[str, Path]] = []
    for child in _folders(folder):
        if child.name in names and _contains_table(child, names[child.name]):
            found.append((child.name, child))
        elif depth > 1:
            found += _modules(child, names, depth - 1)
    return found


def _named_module(module: str, folder: Path, tables: list[str], source: Source) -> Path:
    """Return the folder of a module, in the folder that the user named or below it."""
    options = [f"--{option}" for option, name in source.declared.module_options.items() if name == module]
    option = options[0] if options else f"--modules {module}="
    if not folder.is_dir():
        raise ReleaseError(f"{option}: the folder {folder} does not exist")
    below = _table_folders(folder, tables, _SEARCH_DEPTH)
    if not below:
        example = f"{tables[0]}{ENDINGS[0]}" + (" or another of its tables" if len(tables) > 1 else "")
        raise ReleaseError(f"{option}: neither {folder} nor its subfolders contain {example} ({_data_files(folder)})")
    if len(below) > 1:
        listed = "\n  ".join(map(str, below))
        raise ReleaseError(f"{option}: {folder} contains several copies of the module; name one of them:\n  {listed}")
    return below[0]


def _data_files(folder: Path) -> str:
    """Return the first CSV files in a folder and its subfolders: one of them may be a table under another name."""
    found = _csv_files(folder, _SEARCH_DEPTH)
    if not found:
        return "there is no CSV file"
    more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    shown = ", ".join(str(path.relative_to(folder)) for path in found[:_MOST_NAMED])
    return f"CSV files found: {shown}{more}. Rename the file of the table"


def _csv_files(folder: Path, depth: int) -> list[Path]:
    own = sorted(p for p in folder.iterdir() if p.name.lower().endswith(ENDINGS) and p.is_file())
    return own + [path for child in _folders(folder) if depth for path in _csv_files(child, depth - 1)]


def _check_one_each(data_dir: Path, roots: Mapping[str, list[Path]], source: Source) -> None:
    options = source.declared.module_options
    for project, folders in roots.items():
        if len(folders) > 1:
            listed = "\n  ".join(map(str, folders))
            hint = "name one of them"
            if named := [name for name, module in options.items() if source.project_of(module) == project]:
                hint = f"name one of them with --{named[0]}"
            raise ReleaseError(f"{data_dir} contains several releases; {hint}:\n  {listed}")
